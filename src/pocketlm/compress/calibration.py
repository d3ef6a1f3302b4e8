"""Calibration: windows of text as a model reads them, and what its layers' inputs are like on them.

One streaming pass accumulates, per linear input, S = Σ x xᵀ over the tokens that are no padding (Frantar et al. 2022,
arXiv:2210.17323, eq. 1 with H = 2S); every method that needs activations reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.errors import CalibrationError
from pocketlm.model.anatomy import is_linear
from pocketlm.model.pretrained import Model

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Calibration:
    """Batches of keyword arguments for the module. mask: of each batch, true (sequences, tokens) where no padding is.

    texts: what they were made of, for the audit. source: for messages.
    """

    batches: tuple[Batch, ...]
    texts: tuple[str, ...] = ()
    source: str = "calibration"

    @property
    def tokens(self) -> int:
        """Tokens that are no padding, of the main input."""
        return sum(int(_mask(batch).sum()) for batch in self.batches)


def _main(batch: Batch) -> Tensor:
    return next(batch[name] for name in ("input_ids", "input_features", "decoder_input_ids") if name in batch)


def _mask(batch: Batch) -> Tensor:
    main = _main(batch)
    return batch["attention_mask"].bool() if "attention_mask" in batch else torch.ones(main.shape[:2], dtype=torch.bool)


def read_calibration(
    path: str | Path, model: Model, windows: int = 128, length: int = 512, batch_size: int = 8, seed: int = 0
) -> Calibration:
    """Calibration from a UTF-8 text file.

    A decoder reads `windows` stretches of `length` tokens drawn at random places of the text; an encoder reads lines,
    each a sequence of at most `length` tokens; an encoder-decoder reads lines and predicts them.
    Raises CalibrationError where there is less than one window, or the file cannot be read.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"calibration {path}: cannot be read as UTF-8 text: {error}") from None
    return calibration_from_text(text, model, windows, length, batch_size, seed, str(path))


def calibration_from_text(
    text: str, model: Model, windows: int = 128, length: int = 512, batch_size: int = 8, seed: int = 0,
    source: str = "calibration",
) -> Calibration:  # fmt: skip
    """As `read_calibration`, from the text itself."""
    if model.tokenizer is None:
        raise CalibrationError(f"{source}: the model has no tokenizer to read text with")
    if model.spec.kind == "decoder":
        return _windows(text, model, windows, length, batch_size, seed, source)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise CalibrationError(f"{source}: has no line of text")
    picked = _draw(lines, windows, seed)
    return calibration_from_lines(picked, model, length, batch_size, source)


def _draw(lines: Sequence[str], count: int, seed: int) -> list[str]:
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(seed)).tolist()
    return [lines[place] for place in order[:count]]


def _windows(
    text: str, model: Model, windows: int, length: int, batch_size: int, seed: int, source: str
) -> Calibration:
    limit = getattr(model.module.config, "max_position_embeddings", None) or length
    length = min(length, limit)
    ids = torch.tensor(model.tokenizer(text, verbose=False).input_ids)
    if len(ids) < length:
        raise CalibrationError(
            f"{source}: has {len(ids):,} tokens, fewer than one window of {length:,}; "
            "give more text or a shorter window"
        )
    generator = torch.Generator().manual_seed(seed)
    whole = len(ids) // length
    if windows <= whole:  # no overlap: windows of a grid at a random offset
        offset = int(torch.randint(len(ids) - whole * length + 1, (1,), generator=generator))
        starts = (torch.randperm(whole, generator=generator)[:windows] * length + offset).tolist()
    else:
        starts = torch.randint(len(ids) - length + 1, (windows,), generator=generator).tolist()
    rows = torch.stack([ids[start : start + length] for start in sorted(starts)])
    batches = tuple(
        {"input_ids": part, "attention_mask": torch.ones_like(part)} for part in torch.split(rows, batch_size)
    )
    return Calibration(batches, tuple(model.tokenizer.batch_decode(rows)), source)


def calibration_from_lines(
    lines: Sequence[str], model: Model, length: int = 128, batch_size: int = 32, source: str = "calibration"
) -> Calibration:
    """Calibration of whole texts, one a sequence, padded a batch at a time; alike in length in a batch."""
    tokenizer = model.tokenizer
    limit = getattr(model.module.config, "max_position_embeddings", None) or length
    ordered = sorted(lines, key=len)
    batches = []
    for start in range(0, len(ordered), batch_size):
        made = tokenizer(
            ordered[start : start + batch_size], padding=True, truncation=True, max_length=min(length, limit),
            return_tensors="pt",
        )  # fmt: skip
        batch = {name: made[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in made}
        if model.spec.kind == "encoder-decoder":
            batch["decoder_input_ids"] = _shifted(batch["input_ids"], model)
            batch["decoder_attention_mask"] = batch["attention_mask"]
        batches.append(batch)
    return Calibration(tuple(batches), tuple(ordered), source)


def _shifted(ids: Tensor, model: Model) -> Tensor:
    start = model.module.config.decoder_start_token_id or 0
    return torch.cat([torch.full_like(ids[:, :1], start), ids[:, :-1]], dim=1)


@dataclass
class Moments:
    """What one linear layer's input is like. s: Σ x xᵀ, float32 (in, in). tokens: how many. absmax, abssum: (in,)."""

    s: Tensor
    tokens: int
    absmax: Tensor
    abssum: Tensor

    @classmethod
    def empty(cls, width: int) -> Moments:
        """Of no token yet."""
        return cls(torch.zeros(width, width), 0, torch.zeros(width), torch.zeros(width))

    def add(self, inputs: Tensor) -> None:
        """Take (tokens, in) more into account."""
        if not len(inputs):
            return
        self.s += (inputs.t() @ inputs).float()
        magnitude = inputs.abs()
        self.absmax = torch.maximum(self.absmax, magnitude.amax(0).float())
        self.abssum += magnitude.sum(0, dtype=torch.float32)
        self.tokens += len(inputs)

    @property
    def mean(self) -> Tensor:
        """S over tokens: (in, in)."""
        return self.s / max(1, self.tokens)

    @property
    def norms(self) -> Tensor:
        """‖x_j‖₂ of every input feature: (in,), as Wanda takes it."""
        return self.s.diagonal().sqrt()

    def through(self, right: Tensor) -> Moments:
        """Moments of x Rᵀ, for the layer that reads a low-rank factor's output. right: (rank, in)."""
        inner = Moments.empty(right.shape[0])
        inner.s, inner.tokens = right @ self.s @ right.t(), self.tokens
        spread = inner.s.diagonal().clamp(min=0).div(max(1, self.tokens)).sqrt()
        inner.absmax, inner.abssum = spread * 4, spread * self.tokens * 0.8
        return inner


@dataclass
class Statistics:
    """Moments of linear layers by name; layers that read the same tensor share theirs."""

    moments: dict[str, Moments] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Moments:
        if name not in self.moments:
            raise CalibrationError(f"layer {name}: no calibration token reached it")
        return self.moments[name]

    def __contains__(self, name: str) -> bool:
        return name in self.moments and self.moments[name].tokens > 0


@contextmanager
def collecting(named: Mapping[str, nn.Module], statistics: Statistics, masks: Sequence[Tensor]) -> Iterator[None]:
    """While open, the inputs of the linear layers in `named` are added to `statistics`.

    masks: of the batch, true where no padding is; one whose shape an input has says which of its tokens count.
    """
    last: list[Any] = [None, None]

    def listen(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            inputs = given[0]
            own = statistics.moments.get(name)
            if last[0] is inputs and last[1] is not None and (own is None or own is last[1]):
                statistics.moments[name] = last[1]  # q, k and v read one tensor: it is added once
                return
            if own is None:
                own = statistics.moments[name] = Moments.empty(inputs.shape[-1])
            own.add(_tokens(inputs, masks))
            last[0], last[1] = inputs, own

        return hook

    handles = [module.register_forward_pre_hook(listen(name)) for name, module in named.items() if is_linear(module)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tokens(inputs: Tensor, masks: Sequence[Tensor]) -> Tensor:
    """The inputs that are no padding, as (tokens, features)."""
    for mask in masks:
        if inputs.shape[:-1] == mask.shape:
            return inputs[mask]
    return inputs.reshape(-1, inputs.shape[-1])


def batch_masks(batch: Batch) -> list[Tensor]:
    """Masks of a batch: of the main input and of the decoder's."""
    found = [_mask(batch)] if "input_ids" in batch else []
    if "decoder_attention_mask" in batch:
        found.append(batch["decoder_attention_mask"].bool())
    return found
