"""Where a model's bytes and its loss are: every matrix with what it may become, measured once and kept.

One backward pass gives the energy of the loss's gradient at every output, one walk the moments of every input, a block
at a time, and from both come the predicted losses of `costs`. Whole blocks are left out one at a time and the rise of
the loss is measured. The table is kept as JSON under a hash of weights, calibration, settings and this code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress import columns, costs, felt, options
from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.costs import Metric, options_of, width_steps
from pocketlm.compress.depth import only
from pocketlm.compress.felt import each_matrix, matrices, plain_matrix
from pocketlm.compress.options import FewerUnits, Option, Survey, SurveyedLayer
from pocketlm.compress.rise import reference_of
from pocketlm.compress.sublayers import Sublayer, sublayers
from pocketlm.model.anatomy import LayerInfo, stacks
from pocketlm.model.families import FAMILIES, FeedForward
from pocketlm.model.folder import RECORD, WEIGHTS
from pocketlm.model.pretrained import Model
from pocketlm.model.rebuild import stored_tensors
from pocketlm.model.tensors import LARGEST_PLANES, encode_tensor
from pocketlm.pocket.format import write_atomically
from pocketlm.pocket.work import cache_folder

# Tokens that blocks are left out on: every block is one more forward pass, and its absence is loud.
DROP_TOKENS = 1024
OFFERED = ("grid", "low-rank", "prune", "width", "drop", "entropy-coded")


def survey(
    model: Model, calibration: Calibration | None = None, context: Context | None = None, *,
    kinds: Sequence[str] = OFFERED, rows: int = costs.ROWS, cache: Path | None = None, keep: bool = True,
    folder: Path | None = None,
) -> Survey:  # fmt: skip
    """Every matrix of the model with its options of these kinds; the model itself stays as it is.

    Without calibration, losses are errors of the weights relative to them, and blocks have none. rows: of a matrix
    that are tried. cache: the folder where surveys are kept; keep: whether they are. folder: that the model was loaded
    from, for the sizes in its file.
    """
    context = context or Context()
    path = (
        cache or cache_folder() / "surveys"
    ) / f"{_key(model, calibration, [sorted(kinds), rows, context.fast])}.json"
    if keep and path.is_file():
        return Survey.from_json(json.loads(path.read_text("utf-8")))
    work = _Work(model, context, tuple(kinds), rows, tensor_bytes(model, folder))
    made = work.weights_only() if calibration is None else work.calibrated(calibration)
    if keep:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(made.to_json()).encode(), replace=True)
    return made


def _key(model: Model, calibration: Calibration | None, settings: Any) -> str:
    """A hash of all that a survey depends on."""
    found = hashlib.sha256(json.dumps(settings).encode())
    for file in (__file__, columns.__file__, costs.__file__, felt.__file__, options.__file__):
        found.update(Path(file).read_bytes())
    tensors: list[Mapping[str, Tensor]] = [stored_tensors(model.module)]
    for batch in [*tensors, *(calibration.batches if calibration is not None else ())]:
        for name, tensor in batch.items():
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:40]


def tensor_bytes(model: Model, folder: Path | None = None) -> dict[str, int]:
    """Bytes of every stored tensor: from the folder's file where PocketLM wrote it, else as it would be written."""
    if folder is not None and (folder / RECORD).is_file():
        from safetensors import safe_open

        with safe_open(folder / WEIGHTS, "pt") as file:
            return {name: int(file.get_slice(name).get_shape()[0]) for name in file.keys()}  # noqa: SIM118
    dtype = getattr(torch, model.spec.dtype)
    found = {}
    for name, tensor in stored_tensors(model.module).items():
        plain = tensor.is_floating_point() and isinstance(tensor, nn.Parameter)
        dense = plain and tensor.numel() > LARGEST_PLANES and int(tensor.count_nonzero()) > 0.8 * tensor.numel()
        stored = tensor.to(dtype) if plain and not dense else tensor
        found[name] = tensor.numel() * dtype.itemsize if dense else len(encode_tensor(stored).data)
    return found


def calibrated_drops(model: Model, calibration: Calibration, context: Context) -> dict[str, float]:
    """The rise of the loss without each block that may go, one at a time."""
    reference = reference_of(model, calibration, DROP_TOKENS, context.fast)
    tick, found = context.ticks("blocks left out"), {}
    family = FAMILIES[model.spec.model_type]
    for stack in stacks(model.module) if family.alike else ():
        first = max(1, int(family.anchored))
        for place in range(first, len(stack) - 1):
            with only(model.module, stack[0].rpartition(".")[0], [x for x in range(len(stack)) if x != place]):
                found[stack[place]] = reference.rise(model)
            tick(place, len(stack), stack[place])
    return found


@dataclass
class _Work:
    """One survey. found: options by the first name of a matrix. narrower: of a feed-forward, by its layer out."""

    model: Model
    context: Context
    kinds: tuple[str, ...]
    rows: int
    sizes: Mapping[str, int]
    found: dict[str, list[Option]] = field(default_factory=dict)
    narrower: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def weights_only(self) -> Survey:
        """The table by weights alone."""
        for _, layer in matrices(self.model):
            if (matrix := plain_matrix(self.model, layer)) is not None:
                size = matrix.square().sum().clamp(min=1e-30)
                metric = Metric((2 / size).expand(len(matrix)), torch.ones(matrix.shape[1]))
                self.offer(layer.name, layer, matrix, [metric])
        return self.table({}, "relative error", 0)

    def calibrated(self, calibration: Calibration) -> Survey:
        """The table by what calibration shows."""
        each_matrix(self.model, calibration, self.context, self.offer)
        drops = calibrated_drops(self.model, calibration, self.context) if "drop" in self.kinds else {}
        return self.table(drops, "nats a token", calibration.tokens)

    def offer(self, name: str, layer: LayerInfo, matrix: Tensor, metrics: list[Metric]) -> None:
        """Keep the options of a matrix."""
        inner = bool(layer.block) and layer.kind != "embedding"
        kinds = [one for one in self.kinds if inner or one not in ("low-rank", "prune")]
        item = getattr(torch, self.model.spec.dtype).itemsize
        self.found[name] = options_of(matrix, metrics, item, kinds, rows=self.rows * (1 if inner else 4))
        if "width" in kinds and len(metrics) == 1 and name in self.parts:
            self.narrower[name] = width_steps(matrix, metrics[0])

    @cached_property
    def parts(self) -> dict[str, Sublayer]:
        """Feed-forwards, by their layer out, all whose matrices are there to be made smaller."""
        every = [one for stack in stacks(self.model.module) for block in stack for one in sublayers(self.model, block)]
        known = {layer.name: layer for names, layer in matrices(self.model) if len(names) == 1}
        return {
            one.output: one for one in every
            if isinstance(one.part, FeedForward)
            and all(name in known and plain_matrix(self.model, known[name]) is not None for name in one.names)
        }  # fmt: skip

    def table(self, drops: Mapping[str, float], unit: str, tokens: int) -> Survey:
        """All of it."""
        left = dict(self.sizes)
        layers = []
        for names, layer in matrices(self.model):
            own = [
                key for key in left if key.startswith(tuple(f"{name}." for name in names)) and _is_matrix(key, names)
            ]
            stored = sum(left.pop(key) for key in own)
            offered = tuple(one for one in self.found.get(names[0], ()) if one.bytes < stored)
            layers.append(SurveyedLayer(names, layer.kind, layer.block, layer.shape, stored, offered))
        widths = tuple(
            FewerUnits(name, tuple(self.parts[name].names), tuple(steps))
            for name, steps in self.narrower.items()
            if steps
        )
        return Survey(tuple(layers), dict(drops), sum(left.values()), unit, tokens, widths)


def _is_matrix(key: str, names: tuple[str, ...]) -> bool:
    """Whether a stored tensor is (a part of) the weight of one of these modules, no bias."""
    rest = next(key.removeprefix(f"{name}.") for name in names if key.startswith(f"{name}."))
    return rest == "weight" or rest.startswith("stored.")
