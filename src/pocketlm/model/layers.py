"""Layers whose weight may be held in any form of `model.weights`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.model.weights import DenseWeight, weight_from_settings


class InputRounding(nn.Module):
    """Rounds a layer's input to 8 bits as the runtime will: asymmetric uint8, one scale for all of it.

    static: scale and zero come from calibration; otherwise from each input's own least and greatest value.
    """

    scale: Tensor
    zero: Tensor

    def __init__(self, static: bool, scale: float = 1.0, zero: int = 0) -> None:
        super().__init__()
        self.static = static
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("zero", torch.tensor(float(zero)))

    def forward(self, inputs: Tensor) -> Tensor:
        """The inputs, each the nearest of 256 values."""
        scale, zero = self.scale, self.zero
        if not self.static:
            low, high = inputs.amin().clamp(max=0), inputs.amax().clamp(min=0)
            scale = ((high - low) / 255).clamp(min=1e-12)
            zero = (-low / scale).round()
        # rounded before the zero is added, as ONNX does it
        return (((inputs / scale).round() + zero).clamp(0, 255) - zero) * scale


class PackedLinear(nn.Module):
    """A linear layer whose weight is held in a form of `model.weights`: x Wᵀ + b."""

    stored: Any
    rounding: InputRounding | None

    def __init__(self, weight: nn.Module, bias: Tensor | None = None, rounding: InputRounding | None = None) -> None:
        super().__init__()
        self.stored = weight
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.rounding = rounding

    @property
    def in_features(self) -> int:
        """Width of the input."""
        return int(self.stored.shape[1])

    @property
    def out_features(self) -> int:
        """Width of the output."""
        return int(self.stored.shape[0])

    @property
    def weight(self) -> Tensor:
        """The matrix (out_features, in_features) in float32, made when asked for."""
        matrix: Tensor = self.stored.matrix()
        return matrix

    def forward(self, inputs: Tensor) -> Tensor:
        """(…, in_features) to (…, out_features)."""
        if self.rounding is not None:
            inputs = self.rounding(inputs)
        out: Tensor = self.stored.times(inputs)
        return out if self.bias is None else out + self.bias.to(out.dtype)

    def settings(self) -> dict[str, Any]:
        """Plain data that rebuild the layer before its buffers are filled."""
        rounding = None if self.rounding is None else {"static": self.rounding.static}
        return {
            "layer": "linear", "weight": self.stored.settings(), "bias": self.bias is not None, "rounding": rounding
        }  # fmt: skip


class PackedEmbedding(nn.Module):
    """An embedding whose matrix (tokens, width) is held in a form of `model.weights`."""

    stored: Any

    def __init__(self, weight: nn.Module, padding_idx: int | None = None) -> None:
        super().__init__()
        self.stored, self.padding_idx = weight, padding_idx

    @property
    def num_embeddings(self) -> int:
        """How many tokens it knows."""
        return int(self.stored.shape[0])

    @property
    def embedding_dim(self) -> int:
        """Width of a row."""
        return int(self.stored.shape[1])

    @property
    def weight(self) -> Tensor:
        """The matrix (tokens, width) in float32, made when asked for."""
        matrix: Tensor = self.stored.matrix()
        return matrix

    def forward(self, tokens: Tensor) -> Tensor:
        """Rows of `tokens` (any shape): (*shape, width)."""
        rows, places = torch.unique(tokens.reshape(-1), return_inverse=True)
        out: Tensor = self.stored.matrix(rows)[places].view(*tokens.shape, -1)
        return out

    def settings(self) -> dict[str, Any]:
        """Plain data that rebuild the layer before its buffers are filled."""
        return {"layer": "embedding", "weight": self.stored.settings(), "padding_idx": self.padding_idx}


class PositionTable(nn.Module):
    """Embeddings of places in a sequence, as Whisper's decoder asks for them."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.table = nn.Embedding(weight.shape[0], weight.shape[1], device="meta")
        self.table.weight = weight

    def forward(self, input_ids: Tensor, past_key_values_length: int = 0, position_ids: Tensor | None = None) -> Tensor:
        """Rows of the places of `input_ids` (sequences, tokens) after so many past ones, or of `position_ids`."""
        if position_ids is None:
            start = past_key_values_length
            position_ids = torch.arange(start, start + input_ids.shape[1], device=input_ids.device)
        rows: Tensor = self.table(position_ids)
        return rows


class SinusoidTable(nn.Module):
    """Marian's positions: sines in the first half of a row, cosines in the second. A constant, so never stored.

    Vaswani et al. 2017, arXiv:1706.03762, section 3.5, with the two not interleaved.
    """

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        self.width = width
        angles = torch.arange(positions, dtype=torch.float64)[:, None] * self.rates()
        # a plain attribute: neither a parameter nor a buffer
        self.weight = torch.cat([angles.sin(), angles[:, : width // 2].cos()], dim=1).float()

    def rates(self) -> Tensor:
        """Radians a place, of each sine: (half the width,) in float64."""
        return 10_000 ** (-2 * torch.arange((self.width + 1) // 2, dtype=torch.float64) / self.width)

    def forward(self, shape: torch.Size, past_key_values_length: int = 0, position_ids: Tensor | None = None) -> Tensor:
        """Rows of the places of sequences of `shape` (sequences, tokens) after so many past ones, or of others."""
        start = past_key_values_length
        return self.weight[start : start + shape[1]] if position_ids is None else self.weight[position_ids]


def layer_from_settings(settings: dict[str, Any]) -> PackedLinear | PackedEmbedding:
    """The layer that `settings()` described, its buffers still to be filled."""
    weight = weight_from_settings(settings["weight"])
    if settings["layer"] == "embedding":
        return PackedEmbedding(weight, settings["padding_idx"])
    bias = torch.zeros(weight.shape[0]) if settings["bias"] else None
    rounding = settings["rounding"]
    return PackedLinear(weight, bias, None if rounding is None else InputRounding(rounding["static"]))


def packed(layer: Any) -> PackedLinear | PackedEmbedding:
    """The layer itself where it is packed, else a packed one that holds its weight as it is."""
    if isinstance(layer, (PackedLinear, PackedEmbedding)):
        return layer
    weight = DenseWeight(layer.weight.detach())
    if isinstance(layer, nn.Embedding):
        return PackedEmbedding(weight, layer.padding_idx)
    return PackedLinear(weight, layer.bias)
