"""Dropping layers: whole blocks that change their input least, or whose absence is felt least.

Block influence is 1 − E[cos(h_in, h_out)] over tokens (Men et al. 2024, arXiv:2403.03853). By loss, blocks are tried
without, one at a time, and the one missed least is dropped, again and again (as Siddiqui et al. 2024,
arXiv:2407.16286, find better than any score taken once).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketlm.compress.calibration import batch_masks
from pocketlm.compress.context import Context
from pocketlm.compress.gradients import batch_loss, chunks
from pocketlm.compress.removal import keep_stack
from pocketlm.compress.structure import check_choice, check_share
from pocketlm.compress.walk import first_tensor, precision
from pocketlm.errors import RecipeError
from pocketlm.model.anatomy import replace_module, stacks
from pocketlm.model.families import FAMILIES
from pocketlm.model.pretrained import Model


@dataclass(frozen=True)
class DropLayers:
    """Drop whole blocks.

    count: how many, or, where it is 0, share: of the blocks. by: "influence", measured once, or "loss", measured
    again after each drop. protect: blocks at the beginning and end of a stack that stay. sequences: of calibration to
    measure on. stack: the path of the stack to drop from; "" is every stack, count and share holding for each.
    blocks: numbers of the blocks to drop, instead of choosing them.
    """

    name: ClassVar[str] = "drop-layers"
    kind: ClassVar[str] = "structure"
    count: int = 0
    share: float = 0.25
    by: str = "loss"
    protect: int = 1
    sequences: int = 16
    stack: str = ""
    blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_share(self.share)
        check_choice(self.by, ("influence", "loss"), "by")
        if self.count < 0 or self.protect < 0:
            raise ValueError(f"count and protect are at least 0, got {self.count} and {self.protect}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with fewer blocks."""
        for stack in self._stacks(model):
            blocks: Any = model.module.get_submodule(stack)
            total = len(blocks)
            gone = len(self.blocks) or self.count or round(total * self.share)
            free = [place for place in range(total) if self._is_free(place, total, model)]
            if self.blocks:
                free = [place for place in free if place in self.blocks]
            if gone > len(free):
                raise RecipeError(
                    f"pass {self.name}: {stack} has {len(free)} blocks that are not protected; cannot drop {gone}"
                )
            kept, prices = self._kept(model, stack, gone, free, context)
            dropped = [place for place in range(total) if place not in kept]
            for place in dropped:
                facts = {self.by: float(f"{prices[place]:.4g}")} if place in prices else {}
                context.journal.layer(f"{stack}.{place}", "dropped", **facts)
            if dropped:
                context.journal.note(f"{stack}: dropped {dropped} of {total} blocks; those left are numbered anew")
                model = keep_stack(model, stack, kept)
        return model

    def _is_free(self, place: int, total: int, model: Model) -> bool:
        family = FAMILIES[model.spec.model_type]
        first = max(self.protect, int(family.anchored))
        return family.alike and first <= place < total - self.protect

    def _stacks(self, model: Model) -> list[str]:
        found = [stack[0].rpartition(".")[0] for stack in stacks(model.module)]
        if self.stack and self.stack not in found:
            raise RecipeError(f"stack {self.stack!r}: is none of this model's; there is {', '.join(found)}")
        return [self.stack] if self.stack else found

    def _kept(
        self, model: Model, stack: str, gone: int, free: list[int], context: Context
    ) -> tuple[list[int], dict[int, float]]:
        """Numbers of the blocks to keep, and what each dropped one was measured to do."""
        blocks: Any = model.module.get_submodule(stack)
        kept = list(range(len(blocks)))
        if self.blocks:
            return [place for place in kept if place not in self.blocks], {}
        if self.by == "influence":
            prices = block_influence(model, stack, context, self)
            dropped = sorted(free, key=lambda place: prices[place])[:gone]
            return [place for place in kept if place not in dropped], prices
        prices, taught = {}, taught_states(model, context, self)
        ticks = context.ticks(f"{self.name}: {stack}")
        for number in range(gone):
            tried = {}
            for place in free:
                with only(model.module, stack, [one for one in kept if one != place]):
                    tried[place] = loss_against(model, taught, context, self)
            best = min(tried, key=lambda place: tried[place])
            prices[best] = tried[best]
            kept.remove(best)
            free = [place for place in free if place != best]
            ticks(number + 1, gone, f"{stack}.{best}")
        return kept, prices


@contextmanager
def only(module: nn.Module, stack: str, kept: Sequence[int]) -> Iterator[None]:
    """While open, the stack has only these blocks."""
    blocks: Any = module.get_submodule(stack)
    replace_module(module, stack, nn.ModuleList([blocks[place] for place in kept]))
    try:
        yield
    finally:
        replace_module(module, stack, blocks)


def block_influence(model: Model, stack: str, context: Context, step: Any) -> dict[int, float]:
    """1 − the mean cosine of what goes into and comes out of each block of a stack."""
    blocks: Any = model.module.get_submodule(stack)
    sums, counts = dict.fromkeys(range(len(blocks)), 0.0), dict.fromkeys(range(len(blocks)), 0)
    masks: list[Tensor] = []

    def listen(place: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
            before = (args[0] if args else kwargs["hidden_states"]).float()
            cosine = F.cosine_similarity(before, first_tensor(output).float(), dim=-1)
            fitting = next((mask for mask in masks if mask.shape == cosine.shape), torch.ones_like(cosine).bool())
            sums[place] += float((1 - cosine)[fitting].sum())
            counts[place] += int(fitting.sum())

        return hook

    handles = [block.register_forward_hook(listen(place), with_kwargs=True) for place, block in enumerate(blocks)]
    try:
        for batch, _ in chunks(context, step.name, step.sequences):
            masks[:] = batch_masks(batch)
            with precision(context.fast):
                model.module(**batch, **({} if model.spec.kind == "encoder" else {"use_cache": False}))
    finally:
        for handle in handles:
            handle.remove()
    return {place: sums[place] / max(1, counts[place]) for place in sums}


def taught_states(model: Model, context: Context, step: Any) -> list[Tensor]:
    """Of an encoder or classifier without labels, what it says of the calibration and is to keep; nothing of others."""
    if context.labels or not (model.spec.kind == "encoder" or model.spec.classifies):
        return []
    with precision(context.fast):
        return [
            first_tensor(model.module(**batch)[0]).float() for batch, _ in chunks(context, step.name, step.sequences)
        ]


def loss_against(model: Model, taught: list[Tensor], context: Context, step: Any) -> float:
    """The loss a token on calibration, or the squared distance a token from the hidden states `taught`."""
    total, tokens = 0.0, 0
    for place, (batch, labels) in enumerate(chunks(context, step.name, step.sequences)):
        masks = batch_masks(batch)
        with precision(context.fast):
            if taught:
                lost = (first_tensor(model.module(**batch)[0]).float() - taught[place]).square().mean(-1)
                total += float(lost[masks[0]].sum() if lost.shape == masks[0].shape else lost.sum())
            else:
                total += float(batch_loss(model, batch, labels, torch.Generator()))
        tokens += int(masks[-1].sum()) if masks else 1
    return total / max(1, tokens)
