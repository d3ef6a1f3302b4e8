"""Taking features out of the stream of hidden states, and making the layers that read it guess those that are gone."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.calibration import batch_masks
from pocketlm.compress.columns import damped
from pocketlm.compress.context import Context
from pocketlm.compress.gradients import chunks
from pocketlm.compress.removal import matrix_of, set_matrix, take_columns, take_rows
from pocketlm.model.pretrained import Model


@dataclass(frozen=True)
class Places:
    """Names of modules that have the hidden width: as their columns, rows, embedding width or weight."""

    readers: tuple[str, ...]
    writers: tuple[str, ...]
    embeddings: tuple[str, ...]
    norms: tuple[str, ...]


def norm_weight(model: Model, name: str) -> Tensor:
    """The gains of a norm."""
    norm: Any = model.module.get_submodule(name)
    weight: Tensor = norm.weight.detach()
    return weight


@contextmanager
def removed_after(handles: list[Any]) -> Iterator[None]:
    """Hooks that are taken away in the end."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class Guess:
    """Of a norm: Σ x x'ᵀ (width, kept), Σ x' x'ᵀ (kept, kept), the squares of the features kept before and after.

    readers: the layers that read it.
    """

    cross: Tensor
    own: Tensor
    squares: list[float] = field(default_factory=lambda: [0.0, 0.0])
    readers: set[str] = field(default_factory=set)

    @property
    def gain(self) -> float:
        """What the smaller norm's outputs are to be multiplied by to be as large as before."""
        return float((self.squares[0] / max(self.squares[1], 1e-30)) ** 0.5)

    def add(self, whole: Tensor, smaller: Tensor, kept: Tensor) -> None:
        """Take (tokens, width) and (tokens, kept) into account."""
        self.cross += whole.t() @ smaller
        self.own += smaller.t() @ smaller
        self.squares[0] += float(whole[:, kept].square().sum())
        self.squares[1] += float(smaller.square().sum())

    def matrix(self, damping: float, kept: Tensor) -> Tensor:
        """R: (width, kept) float64, near to taking the features kept where data says little."""
        ridge = damping * float(self.own.diagonal().double().mean()) or 1.0
        cross = self.cross.double()
        cross[kept, torch.arange(len(kept))] += ridge * self.gain
        return torch.cholesky_solve(cross.t(), torch.linalg.cholesky(damped(self.own, damping))).t() / self.gain


def guess_others(model: Model, places: Places, kept: Tensor, context: Context, step: Any) -> dict[str, Guess]:
    """For each norm, what the outputs that the smaller norm would give say of all that it gives now."""
    heard: dict[str, tuple[Tensor, Tensor]] = {}
    width = len(norm_weight(model, places.norms[0]))
    found = {one: Guess(torch.zeros(width, len(kept)), torch.zeros(len(kept), len(kept))) for one in places.norms}

    def norm_hook(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            heard[name] = (given[0], output)

        return hook

    def reader_hook(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            for norm, (_, output) in heard.items():
                if output.data_ptr() == given[0].data_ptr() and output.shape == given[0].shape:
                    found[norm].readers.add(name)

        return hook

    handles = [model.module.get_submodule(one).register_forward_hook(norm_hook(one)) for one in places.norms]
    handles += [model.module.get_submodule(one).register_forward_pre_hook(reader_hook(one)) for one in places.readers]
    with removed_after(handles), torch.no_grad():
        for batch, _ in chunks(context, step.name, step.sequences):
            heard.clear()
            model.module(**batch, **({} if model.spec.kind == "encoder" else {"use_cache": False}))
            for name, (before, after) in heard.items():
                fitting = [one for one in batch_masks(batch) if one.shape == after.shape[:-1]]
                mask = fitting[0] if fitting else torch.ones(after.shape[:-1], dtype=torch.bool)
                smaller = _narrow_norm(model.module.get_submodule(name), before[mask], kept)
                found[name].add(after[mask].float(), smaller.float(), kept)
    return found


def _narrow_norm(norm: nn.Module, inputs: Tensor, kept: Tensor) -> Tensor:
    """What the norm would give of the features kept alone."""
    smaller = copy.deepcopy(norm)
    _take_norm(smaller, kept, 1.0)
    out: Tensor = smaller(inputs[:, kept])
    return out


def _take_norm(norm: Any, kept: Tensor, gain: float) -> None:
    set_matrix(norm, norm.weight.detach()[kept] * gain)
    if getattr(norm, "bias", None) is not None:
        norm.bias = nn.Parameter(norm.bias.detach()[kept] * gain, requires_grad=False)


def narrow(model: Model, places: Places, kept: Tensor, guesses: Mapping[str, Guess], damping: float) -> None:
    """Take all features but those kept out of the model: in place."""
    ties = {name: group for group in model.spec.ties for name in group}
    matrices = {
        name: guess.matrix(damping, kept) for guess in guesses.values() for name in guess.readers if name not in ties
    }
    tied: dict[tuple[str, ...], Any] = {}
    for name in (*places.embeddings, *places.readers):
        layer: Any = model.module.get_submodule(name)
        if name in matrices:
            set_matrix(layer, (matrix_of(layer, name).double() @ matrices[name]).float())
        elif ties.get(name) in tied:
            _share(layer, tied[ties[name]])
        else:
            take_columns(layer, kept, name)
            if name in ties:
                tied[ties[name]] = layer
    for name in places.writers:
        take_rows(model.module.get_submodule(name), kept, name)
    for name in places.norms:
        norm = model.module.get_submodule(name)
        _take_norm(norm, kept, guesses[name].gain if name in guesses and guesses[name].squares[0] else 1.0)


def _share(layer: Any, first: Any) -> None:
    """Let a layer have the matrix of another."""
    if hasattr(layer, "stored"):
        layer.stored = first.stored
        return
    layer.weight = first.weight
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
