"""Learned rounding: codes and scales of a whole block learned so that the block puts out what it did before.

Block by block, with the inputs that the blocks before it, already quantized, give it, and as target what the model put
out there before it was compressed: min Σ_t ‖B̂(x̂)_t − B(x)_t‖² / ‖B(x)_t‖² over codes and scales by the sign of the
gradient, with a rate that falls linearly to 0 (SignRound: Cheng et al. 2023, arXiv:2309.05516). A token's error counts
relative to its size, as the norm of the next block will have it. Learning starts from GPTQ's codes. What is no better
on calibration windows held back stays as it started.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pocketlm.compress.blockwise import by_blocks
from pocketlm.compress.context import Context
from pocketlm.compress.feedback import Feedback
from pocketlm.compress.gptq import Gptq, Solved, solve
from pocketlm.compress.grid import grid_for
from pocketlm.compress.offsets import MOMENTUM, Offsets
from pocketlm.compress.rounding import check_bits
from pocketlm.compress.stages import Plans, Stage
from pocketlm.compress.targets import Leaf, leaves, setting_for, zeros_of
from pocketlm.compress.upstream import Drift, Upstream, run_block
from pocketlm.compress.walk import BlockView, first_tensor, part_of, precision, rerun, stream_mask
from pocketlm.model.pretrained import Model
from pocketlm.model.weights import DenseWeight

# Of every so many sequences of calibration one is held back, at most so many, to judge by.
HELD_EVERY, HELD_MOST = 8, 4


@dataclass(frozen=True)
class Sample:
    """A few sequences of one batch. rows: which. weight: (rows, tokens), 0 for padding."""

    batch: int
    rows: Tensor
    weight: Tensor


@dataclass
class Learned:
    """One matrix while it is learned."""

    leaf: Leaf
    offsets: Offsets
    solved: Solved
    bits: int


@dataclass(frozen=True)
class LearnedRounding:
    """Quantize with codes and scales learned on each block's output.

    bits: 2 to 8, or a mapping from layer patterns to bits. group_size: columns that share a scale; 0: a row.
    symmetric: whether the grid is centred on 0. start: "gptq", or "nearest" for plain rounding. steps: a block.
    sequences: of calibration, a step. rate: how far, in steps of the grid, codes may move in all, twice over.
    scale_rate, norm_rate: the same for scales and for the block's norms, as shares of themselves; 0: not learned.
    correct: share of the error of earlier layers that each matrix is fitted to make up for before it is rounded.
    damping, refine: of GPTQ. layers, exclude: groups ("blocks", "embeddings", "head", "all") or name patterns; what
    lies outside the blocks is quantized as `gptq` does.
    """

    name: ClassVar[str] = "learned-rounding"
    kind: ClassVar[str] = "quantize"
    follows: ClassVar[bool] = True
    bits: int | Mapping[str, int] = 4
    group_size: int = 64
    symmetric: bool = False
    start: str = "gptq"
    steps: int = 40
    sequences: int = 4
    rate: float = 0.52
    scale_rate: float = 0.1
    norm_rate: float = 0.05
    correct: float = 0.5
    damping: float = 0.01
    refine: int = 3
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_bits(self.bits, self.group_size)
        if self.group_size < 0:
            raise ValueError("group_size is a number of columns or 0 for a row: a scale for a matrix is not learned")
        if self.start not in ("gptq", "nearest"):
            raise ValueError(f'start is "gptq" or "nearest", got {self.start!r}')
        if not 0 <= self.correct <= 1:
            raise ValueError(f"correct is a share from 0 to 1, got {self.correct}")
        for name, least in (("steps", 0), ("sequences", 1), ("rate", 0), ("scale_rate", 0), ("norm_rate", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is at least {least}, got {getattr(self, name)}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with its layers quantized."""
        outer = Gptq(self.bits, self.group_size, self.symmetric, damping=self.damping, refine=self.refine)

        def visit(view: BlockView, inner: set[str], upstream: Upstream, plans: Plans) -> None:
            self._visit(view, inner, upstream, plans, context)

        return by_blocks(self, outer, visit, model, context)

    def _visit(self, view: BlockView, inner: set[str], upstream: Upstream, plans: Plans, context: Context) -> None:
        store, mine = view.inputs, view.inputs.kept("before")
        learned = self._start(view, inner, upstream, plans, context)
        view.inputs = mine
        for one in learned:
            one.leaf.put(one.offsets.live)
        if learned and self.steps:
            learn_block(view, upstream.hidden, learned, self, context)
        for one in learned:
            one.leaf.put(DenseWeight(one.offsets.weight().matrix()))
        rerun(view, store, context.fast)
        for one in learned:
            one.leaf.put(one.offsets.weight())

    def _start(
        self, view: BlockView, inner: set[str], upstream: Upstream, plans: Plans, context: Context
    ) -> list[Learned]:
        """Every matrix on its grid, where learning starts; `upstream` then has what the block should put out."""
        found: list[Learned] = []
        known: dict[int, Feedback] = {}
        linears = {name: layer for name, layer in view.linears().items() if name in inner}

        def change(stage: Stage) -> None:
            for name in stage.names:
                if name in linears:
                    drift = upstream.drift.get(stage.names[0])
                    found.extend(self._layer(name, linears[name], view, drift, known, context))

        heard = run_block(view, plans, context.fast, change, upstream, compare=bool(self.correct))
        for name in [name for name in linears if name not in heard]:
            found.extend(self._layer(name, linears[name], view, None, known, context))
        return found

    def _layer(
        self, name: str, layer: Any, view: BlockView, drift: Drift | None, known: dict[int, Feedback], context: Context
    ) -> list[Learned]:
        """The layer's matrices, each on its grid; what runs from now on is what they stand for."""
        bits, found = setting_for(self.bits, name), []
        for leaf in leaves(name, layer, view.statistics.moments.get(name)):
            found.append(self._leaf(leaf, bits, drift if leaf.name == name else None, known, context.fast))
            leaf.put(DenseWeight(found[-1].offsets.weight().matrix()))
            solved = found[-1].solved
            error = solved.error if self.start == "gptq" else solved.plain
            context.journal.layer(leaf.name, "quantized", error, bits=bits)
        if found:
            context.journal.promise(name, "bits", bits)
        else:
            context.journal.left(name, "is quantized already")
        return found

    def _leaf(self, leaf: Leaf, bits: int, drift: Drift | None, known: dict[int, Feedback], fast: bool) -> Learned:
        s = torch.eye(leaf.matrix.shape[1]) if leaf.moments is None else leaf.moments.s
        frozen, target = zeros_of(leaf.matrix), leaf.matrix
        if drift is not None:
            target = drift.target(target, s, self.correct, self.damping)
            target = target if frozen is None else target.masked_fill(frozen, 0.0)
        grid = grid_for(target, bits, self.group_size, self.symmetric, True, s.diagonal())
        if id(s) not in known:
            known[id(s)] = Feedback.of(s, True, self.damping)
        solved = solve(target, grid, known[id(s)], frozen, self.refine)
        grid, codes = (solved.grid, solved.codes) if self.start == "gptq" else (grid, grid.codes(target))
        return Learned(leaf, Offsets(target, grid, codes, frozen, fast), solved, bits)


def learn_block(
    view: BlockView, goal: list[Tensor], learned: list[Learned], step: LearnedRounding, context: Context
) -> None:
    """Learn a block's codes, scales and norms in place; put back what it started from where that was no worse."""
    pool, held = samples(view, goal, step.sequences, context.seed + view.index)
    norms = [one for one in view.module.parameters() if one.dim() == 1] if step.norm_rate else []
    start = [one.offsets.snapshot() for one in learned], [one.detach().clone() for one in norms]
    before = judged(view, goal, held, context.fast)
    sums = [torch.zeros_like(one) for one in norms]
    for norm in norms:
        norm.data = norm.data.clone()  # a draft shares its model's weights
        norm.requires_grad_(True)
    for number in range(step.steps):
        rate = (1 - number / step.steps) / step.steps
        sample = next(pool)
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=context.fast):
            loss = block_loss(view, goal, sample)
        loss.backward()  # type: ignore[no-untyped-call]
        for one in learned:
            one.offsets.step(rate * step.rate, rate * step.scale_rate)
        for norm, total in zip(norms, sums, strict=True):
            move(norm, total, rate * step.norm_rate)
    for norm in norms:
        norm.requires_grad_(False)
    after = judged(view, goal, held, context.fast)
    if not after < before:
        for one, kept in zip(learned, start[0], strict=True):
            one.offsets.restore(kept)
        for norm, old in zip(norms, start[1], strict=True):
            norm.data.copy_(old)
        context.journal.note(f"{view.name}: learning was of no use and was undone: {before:.4g} to {after:.4g}")
        return
    context.journal.note(f"{view.name}: relative error of its output {before:.4g} to {after:.4g}")


@torch.no_grad()
def move(value: nn.Parameter, total: Tensor, rate: float) -> None:
    """Move a vector by `rate` of its mean size, against the sign of the running sum of its gradients."""
    if value.grad is not None:
        total.mul_(MOMENTUM).add_(value.grad)
        value.sub_(total.sign(), alpha=rate * float(value.abs().mean()))
        value.grad = None


def samples(view: BlockView, goal: list[Tensor], sequences: int, seed: int) -> tuple[Iterator[Sample], list[Sample]]:
    """Samples to learn from, without end, and those held back to judge by; with few sequences, the same ones."""
    places = [(batch, row) for batch, one in enumerate(goal) for row in range(len(one))]
    held = places[:: max(HELD_EVERY, -(-len(places) // HELD_MOST))] if len(places) >= HELD_EVERY else []
    pool = [one for one in places if one not in held]

    def sample(batch: int, rows: list[int]) -> Sample:
        chosen = torch.tensor(rows)
        size = goal[batch][chosen].float().square().mean(-1).clamp(min=1e-12)
        mask, weight = stream_mask(view, batch), size.reciprocal()
        return Sample(batch, chosen, weight if mask is None else weight * mask[chosen])

    def endless() -> Iterator[Sample]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            order = torch.randperm(len(pool), generator=generator).tolist()
            by_batch: dict[int, list[int]] = {}
            for place in order:
                batch, row = pool[place]
                by_batch.setdefault(batch, []).append(row)
                if len(by_batch[batch]) == sequences:
                    yield sample(batch, by_batch.pop(batch))
            yield from (sample(batch, rows) for batch, rows in by_batch.items())

    return endless(), [sample(batch, [row]) for batch, row in held or pool]


def block_loss(view: BlockView, goal: list[Tensor], sample: Sample) -> Tensor:
    """Mean over tokens of the block's error relative to the size of its target."""
    batch, rows = sample.batch, sample.rows
    call = part_of(view.calls[batch], rows, len(goal[batch]))
    made = first_tensor(view.module(view.inputs[batch][rows], *call.args, **call.kwargs))
    lost = (made.float() - goal[batch][rows].float()).square().mean(-1)
    return (lost * sample.weight).sum() / sample.weight.count_nonzero().clamp(min=1)


def judged(view: BlockView, goal: list[Tensor], held: list[Sample], fast: bool) -> float:
    """The mean loss on what was held back."""
    with precision(fast):
        return float(torch.stack([block_loss(view, goal, sample) for sample in held]).mean())
