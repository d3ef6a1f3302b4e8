"""Where a model's bytes and its loss are: every matrix with what it may become, measured once and kept.

One backward pass gives the energy of the loss's gradient at every output, one walk the moments of every input, a block
at a time, and from both come the predicted losses of `costs`. Whole blocks are left out one at a time and the rise of
the loss is measured. The table is kept as JSON under a hash of weights, calibration, settings and this code.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress import costs, options
from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.costs import Metric, options_of
from pocketlm.compress.curvature import Curvature, curvature_of
from pocketlm.compress.depth import only
from pocketlm.compress.moments import Moments
from pocketlm.compress.options import Option, Survey, SurveyedLayer
from pocketlm.compress.outer import outer_moments
from pocketlm.compress.rise import reference_of
from pocketlm.compress.vocabulary import count_rows
from pocketlm.compress.walk import BlockView, walk
from pocketlm.errors import ModelError
from pocketlm.model.anatomy import LayerInfo, is_embedding, stacks
from pocketlm.model.families import FAMILIES
from pocketlm.model.layers import PackedEmbedding, PackedLinear
from pocketlm.model.pretrained import RECORD, WEIGHTS, Model
from pocketlm.model.rebuild import stored_tensors
from pocketlm.model.tensors import LARGEST_PLANES, encode_tensor
from pocketlm.model.weights import DenseWeight
from pocketlm.pocket.format import write_atomically

OFFERED = ("grid", "low-rank", "prune", "drop", "entropy-coded")
# Smaller matrices stay as they are: what describes a form of theirs takes more than it saves.
SMALLEST = 512


def cache_folder() -> Path:
    """Where surveys are kept unless another place is named: the user's cache folder (XDG)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pocketlm" / "surveys"


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
    path = (cache or cache_folder()) / f"{_key(model, calibration, [sorted(kinds), rows, context.fast])}.json"
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
    for file in (__file__, costs.__file__, options.__file__):
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


def plain_matrix(layer: Any) -> Tensor | None:
    """The float32 matrix of a layer that holds a plain one."""
    if isinstance(layer, (PackedLinear, PackedEmbedding)):
        return layer.stored.matrix() if isinstance(layer.stored, DenseWeight) else None
    weight: Tensor = layer.weight.detach().float()
    return weight


@dataclass
class _Work:
    """One survey. found: options by the first name of a matrix."""

    model: Model
    context: Context
    kinds: tuple[str, ...]
    rows: int
    sizes: Mapping[str, int]
    found: dict[str, list[Option]] = field(default_factory=dict)

    def weights_only(self) -> Survey:
        """The table by weights alone."""
        for names, layer in self.matrices():
            matrix = self.matrix(names[0], layer)
            if matrix is not None:
                size = matrix.square().sum().clamp(min=1e-30)
                metric = Metric((2 / size).expand(len(matrix)), torch.ones(matrix.shape[1]))
                self.offer(names[0], layer, matrix, [metric])
        return self.table({}, "relative error", 0)

    def calibrated(self, calibration: Calibration) -> Survey:
        """The table by what calibration shows."""
        energy = self.energies(calibration)
        groups = {name: (names, layer) for names, layer in self.matrices() for name in names}

        def visit(view: BlockView) -> None:
            for name in view.linears():
                names, layer = groups[name]
                if names[0] == name and len(names) == 1 and (matrix := self.matrix(name, layer)) is not None:
                    metric = _seen_through(name, energy, view.statistics.moments[name], layer)
                    self.offer(name, layer, matrix, [metric])

        walk(
            self.model, calibration, visit, fast=self.context.fast, disk=self.context.disk,
            progress=self.context.ticks("sensitivity of layers"),
        )  # fmt: skip
        self.outside(calibration, energy)
        drops = self.drops(calibration) if "drop" in self.kinds else {}
        return self.table(drops, "nats a token", calibration.tokens)

    def energies(self, calibration: Calibration) -> Curvature:
        """The gradient's energy at every output of linear layers and embeddings."""
        names = [one.name for one in self.model.layers if one.kind != "embedding"]
        words = {one.name: self.model.module.get_submodule(one.name) for one in self.model.layers}
        with _waking({name: one for name, one in words.items() if is_embedding(one)}) as found:
            made = curvature_of(
                self.model, calibration, names, full=False, seed=self.context.seed, fast=self.context.fast,
                progress=self.context.ticks("gradients"),
            )  # fmt: skip
        made.outer.update(found)
        return made

    def outside(self, calibration: Calibration, energy: Curvature) -> None:
        """Heads, embeddings, and matrices that are both."""
        rest = [(names, one) for names, one in self.matrices() if names[0] not in self.found]
        known = {one.name: one for one in self.model.layers}
        members = [known[name] for names, _ in rest for name in names if name in known]
        linears = {one.name: self.model.module.get_submodule(one.name) for one in members if one.kind != "embedding"}
        heard = outer_moments(self.model, linears, calibration, self.context.fast) if linears else None
        counts = count_rows(self.model, members, calibration)
        for names, layer in rest:
            matrix = self.matrix(names[0], layer)
            metrics = []
            for name in [one for one in names if one in known]:
                if name in counts and name in energy.outer:
                    metrics.append(Metric(_frequencies(counts[name].float()), energy.mean(name)))
                elif heard is not None and name in heard.moments:
                    metrics.append(_seen_through(name, energy, heard.moments[name], known[name]))
            if matrix is not None and metrics:
                self.offer(names[0], layer, matrix, metrics)

    def drops(self, calibration: Calibration) -> dict[str, float]:
        """The rise of the loss without each block that may go, one at a time."""
        reference = reference_of(self.model, calibration, fast=self.context.fast)
        tick, found = self.context.ticks("blocks left out"), {}
        for stack in stacks(self.model.module):
            first = max(1, int(FAMILIES[self.model.spec.model_type].anchored))
            for place in range(first, len(stack) - 1):
                with only(self.model.module, stack[0].rpartition(".")[0], [x for x in range(len(stack)) if x != place]):
                    found[stack[place]] = reference.rise(self.model)
                tick(place, len(stack), stack[place])
        return found

    def matrices(self) -> list[tuple[tuple[str, ...], LayerInfo]]:
        """Every matrix once, with the names of all modules that use it."""
        tied = {name: tuple(group) for group in self.model.spec.ties for name in group}
        found: dict[tuple[str, ...], LayerInfo] = {}
        for layer in self.model.layers:
            found.setdefault(tied.get(layer.name, (layer.name,)), layer)
        return list(found.items())

    def matrix(self, name: str, layer: LayerInfo) -> Tensor | None:
        """The plain matrix of a layer that has options. Raises ModelError where it is not finite."""
        matrix = plain_matrix(self.model.module.get_submodule(name))
        if matrix is None or layer.kind == "router" or matrix.numel() < SMALLEST:
            return None
        if not bool(matrix.isfinite().all()):
            bad = int((~matrix.isfinite()).sum())
            raise ModelError(f"layer {name}: {bad:,} of its weights are NaN or infinite; repair the model first")
        return matrix

    def offer(self, name: str, layer: LayerInfo, matrix: Tensor, metrics: list[Metric]) -> None:
        """Keep the options of a matrix."""
        inner = bool(layer.block) and layer.kind != "embedding"
        kinds = [one for one in self.kinds if inner or one not in ("low-rank", "prune")]
        item = getattr(torch, self.model.spec.dtype).itemsize
        self.found[name] = options_of(matrix, metrics, item, kinds, rows=self.rows * (1 if inner else 4))

    def table(self, drops: Mapping[str, float], unit: str, tokens: int) -> Survey:
        """All of it."""
        left = dict(self.sizes)
        layers = []
        for names, layer in self.matrices():
            own = [
                key for key in left if key.startswith(tuple(f"{name}." for name in names)) and _is_matrix(key, names)
            ]
            stored = sum(left.pop(key) for key in own)
            offered = tuple(one for one in self.found.get(names[0], ()) if one.bytes < stored)
            layers.append(SurveyedLayer(names, layer.kind, layer.block, layer.shape, stored, offered))
        return Survey(tuple(layers), dict(drops), sum(left.values()), unit, tokens)


def _is_matrix(key: str, names: tuple[str, ...]) -> bool:
    """Whether a stored tensor is (a part of) the weight of one of these modules, no bias."""
    rest = next(key.removeprefix(f"{name}.") for name in names if key.startswith(f"{name}."))
    return rest == "weight" or rest.startswith("stored.")


def _seen_through(name: str, energy: Curvature, moments: Moments, layer: LayerInfo) -> Metric:
    """What an error in a linear layer costs; where no token reached it, what one costs in the others on average."""
    if name in energy.outer:
        return Metric(energy.mean(name), moments.mean)
    mean = sum(energy.energy(one) for one in energy.outer) / max(1, len(energy.outer))
    return Metric(torch.full((layer.shape[0],), mean), moments.mean)


def _frequencies(counts: Tensor) -> Tensor:
    """How often each row is read: seen ones by their counts, the rest by what is read once (Good 1953): (rows,)."""
    total = counts.sum().clamp(min=1)
    unseen = ((counts == 1).sum() + 1) / (total + 1)
    return (1 - unseen) * counts / total + unseen / len(counts)


@contextmanager
def _waking(embeddings: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """While open, gradients flow back to the outputs of embeddings, where their energies add up: {name: (width,)}."""
    found: dict[str, Tensor] = {}

    def listen(name: str) -> Callable[..., Tensor]:
        def take(gradient: Tensor) -> None:
            summed = gradient.reshape(-1, gradient.shape[-1]).float().square().sum(0)
            found[name] = found[name] + summed if name in found else summed

        def hook(module: nn.Module, given: Any, output: Tensor) -> Tensor:
            if not torch.is_grad_enabled():
                return output
            woken = output.detach().requires_grad_(True)
            woken.register_hook(take)  # type: ignore[no-untyped-call]
            return woken

        return hook

    handles = [one.register_forward_hook(listen(name)) for name, one in embeddings.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
