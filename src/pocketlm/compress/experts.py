"""Fewer experts: those that add least are dropped, or like ones are merged into one.

Dropping (REAP, Lasby et al. 2025, arXiv:2510.13999): the experts of least saliency, mean g_j(x) · ‖f_j(x)‖ over the
tokens routed to j, go with their rows of the router; the router's weights are shared among those left.
Merging: experts are joined two by two where that moves their outputs least, p_a p_b / (p_a + p_b) · ‖f_a − f_b‖² with p
the share of tokens (clusters of outputs as in HC-SMoE, Chen et al. 2024, arXiv:2410.08589); units are put in the order
of the most used expert's, and matrices averaged by p (M-SMoE, Li et al. 2024, arXiv:2310.01334). The router stays as it
is, several of its rows leading to one expert: experts that are the same but for the order of units merge without loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pocketlm.compress.context import Context
from pocketlm.compress.removal import keep_stack, matrix_of, set_attributes, set_matrix, take_rows
from pocketlm.compress.routing import (
    Routing,
    chosen_mixtures,
    experts_at,
    mixture_in,
    observe,
    observe_all,
    say_unreached,
)
from pocketlm.compress.walk import BlockView, walk
from pocketlm.model.experts import Expert, RoutedExperts
from pocketlm.model.pretrained import Model

SCORES = ("saliency", "tokens", "weight")


def check_expert_share(share: float) -> None:
    """Raises ValueError for a share of experts that is not above 0 and below 1."""
    if not 0 < share < 1:
        raise ValueError(f"share is above 0 and below 1, got {share}")


def kept_experts(scores: Sequence[Tensor], share: float, least: Sequence[int], spread: str) -> list[list[int]]:
    """Numbers of the experts of each mixture that stay, in order.

    scores: (experts,) of each mixture. least: of each, how many stay at least. spread: "even": the same share of every
    mixture; "global": the lowest scores of all, each relative to the mean of its mixture.
    """
    if spread == "even":
        return [
            _highest(one, max(low, len(one) - round(len(one) * share))) for one, low in zip(scores, least, strict=True)
        ]
    kept = [list(range(len(one))) for one in scores]
    gone = round(sum(map(len, scores)) * share)
    ranked = sorted(
        (float(value / one.mean().clamp(min=1e-30)), place, number)
        for place, one in enumerate(scores)
        for number, value in enumerate(one)
    )
    for _, place, number in ranked:
        if gone and len(kept[place]) > least[place]:
            kept[place].remove(number)
            gone -= 1
    return kept


def _highest(scores: Tensor, count: int) -> list[int]:
    return sorted(scores.argsort(descending=True, stable=True)[:count].tolist())


def keep_experts(model: Model, path: str, kept: Sequence[int]) -> Model:
    """The model whose mixture at `path` has only these experts left, and the rows of the router that lead there."""
    experts, router = experts_at(model, path), model.module.get_submodule(path).gate
    routes = list(range(len(experts))) if experts.mapping is None else experts.mapping
    rows = [row for row, number in enumerate(routes) if number in kept]
    take_rows(router.proj, torch.tensor(rows), f"{path}.gate.proj")
    mapping = [list(kept).index(routes[row]) for row in rows]
    return _with_mapping(keep_stack(model, f"{path}.experts", kept), path, mapping)


def _with_mapping(model: Model, path: str, mapping: list[int]) -> Model:
    plain = mapping == list(range(len(mapping)))
    if plain and f"{path}.experts" not in model.spec.attributes:
        return model
    return set_attributes(model, f"{path}.experts", {"mapping": None if plain else mapping})


@dataclass(frozen=True)
class DropExperts:
    """Drop the experts that add least, and their rows of the router.

    share: of the experts. by: "saliency" (weight times length of output, a token), "tokens" (how many are routed to it)
    or "weight" (its weights summed). spread: "even": the same share of every mixture; "global": where scores, relative
    to their mixture's mean, are lowest. As many as a token is routed to always stay. layers, exclude: groups or name
    patterns; a mixture counts where any of its experts does.
    """

    name: ClassVar[str] = "drop-experts"
    kind: ClassVar[str] = "structure"
    share: float = 0.25
    by: str = "saliency"
    spread: str = "even"
    layers: tuple[str, ...] = ("experts",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_expert_share(self.share)
        if self.by not in SCORES:
            raise ValueError(f"by is one of {', '.join(SCORES)}, got {self.by!r}")
        if self.spread not in ("even", "global"):
            raise ValueError(f"spread is even or global, got {self.spread!r}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with fewer experts."""
        paths = chosen_mixtures(model, self.layers, self.exclude, self.name)
        routings = observe_all(model, context, paths, self.name)
        scores = [getattr(routings[path], self.by) for path in paths]
        least = [int(model.module.get_submodule(path).gate.top_k) for path in paths]
        for path, kept in zip(paths, kept_experts(scores, self.share, least, self.spread), strict=True):
            count, facts = len(experts_at(model, path)), routings[path].facts()
            gone = [number for number in range(count) if number not in kept]
            if not gone:
                context.journal.left(f"{path}.gate.proj", "all of its experts stay")
                continue
            for number in gone:
                context.journal.layer(f"{path}.experts.{number}", "dropped", tokens=facts["tokens"][number])
            model = keep_experts(model, path, kept)
            context.journal.layer(f"{path}.gate.proj", "pruned", kept=kept, **facts)
            context.journal.note(f"{path}: dropped experts {gone} of {count}; those left are numbered anew")
            context.journal.promise(f"{path}.gate.proj", "shape", tuple(matrix_of(_proj(model, path)).shape))
        _note(context, routings, "they count as adding nothing")
        return model


def _proj(model: Model, path: str) -> Any:
    return model.module.get_submodule(path).gate.proj


def _note(context: Context, routings: dict[str, Routing], what: str) -> None:
    if (line := say_unreached(routings, what)) is not None:
        context.journal.note(line)


def output_products(experts: RoutedExperts, sample: Tensor) -> Tensor:
    """Mean over tokens of ⟨f_i(x), f_j(x)⟩: (experts, experts). sample: (tokens, width)."""
    total = torch.zeros(len(experts), len(experts), dtype=torch.float64)
    with torch.no_grad():
        for part in torch.split(sample, 32):
            outputs = torch.stack([one(part).reshape(-1) for one in experts]).double()
            total += outputs @ outputs.t()
    return total / max(1, len(sample))


def clusters(products: Tensor, shares: Tensor, count: int) -> list[list[int]]:
    """`count` groups of experts, joined two by two where that moves outputs least.

    products: (experts, experts), ⟨f_i, f_j⟩. shares: (experts,), positive, of tokens.
    """
    groups = [[number] for number in range(len(shares))]
    products, shares = products.double().clone(), shares.double().clone()
    while len(groups) > count:
        lengths = products.diagonal()
        apart = (lengths[:, None] + lengths[None] - 2 * products).clamp(min=0)
        cost = shares[:, None] * shares[None] / (shares[:, None] + shares[None]) * apart
        cost.fill_diagonal_(torch.inf)
        first, second = sorted(divmod(int(cost.argmin()), len(groups)))
        both = shares[first] + shares[second]
        mixed = torch.eye(len(groups), dtype=torch.float64)
        mixed[first, first], mixed[first, second] = shares[first] / both, shares[second] / both
        rest = [place for place in range(len(groups)) if place != second]
        products = (mixed @ products @ mixed.t())[rest][:, rest]
        shares[first] = both
        shares = shares[rest]
        groups[first] = sorted(groups[first] + groups.pop(second))
    return groups


def unit_order(reference: Expert, other: Expert) -> Tensor:
    """The order of the other's units in which they are most like the reference's: (units,), one for each."""
    from scipy.optimize import linear_sum_assignment

    alike = sum(
        matrix_of(getattr(reference, name)) @ matrix_of(getattr(other, name)).t() for name in ("gate_proj", "up_proj")
    ) + matrix_of(reference.down_proj).t() @ matrix_of(other.down_proj)
    _, order = linear_sum_assignment(alike.numpy(), maximize=True)
    return torch.from_numpy(order)


def merged_expert(members: Sequence[Expert], shares: Tensor, align: bool = True) -> Expert:
    """The most used of the members, in place, its matrices the average of all, weighted by shares (members,)."""
    chief = int(shares.argmax())
    reference, weights = members[chief], (shares / shares.sum()).float()
    orders = [unit_order(reference, one) if align and one is not reference else slice(None) for one in members]
    for name in ("gate_proj", "up_proj", "down_proj"):
        total = torch.zeros_like(matrix_of(getattr(reference, name), name))
        for one, order, weight in zip(members, orders, weights, strict=True):
            matrix = matrix_of(getattr(one, name), name)
            total += weight * (matrix[:, order] if name == "down_proj" else matrix[order])
        set_matrix(getattr(reference, name), total)
    return reference


@dataclass(frozen=True)
class MergeExperts:
    """Merge experts whose outputs are alike; the router stays, several of its rows leading to one expert.

    share: of the experts that go. align: put units in one order before matrices are averaged. sample: tokens whose
    outputs are compared. layers, exclude: groups or name patterns; a mixture counts where any of its experts does.
    """

    name: ClassVar[str] = "merge-experts"
    kind: ClassVar[str] = "structure"
    share: float = 0.25
    align: bool = True
    sample: int = 512
    layers: tuple[str, ...] = ("experts",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_expert_share(self.share)
        if self.sample < 1:
            raise ValueError(f"sample is at least 1 token, got {self.sample}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with fewer experts."""
        paths = chosen_mixtures(model, self.layers, self.exclude, self.name)
        changed, routings = model, {}

        def visit(view: BlockView) -> None:
            nonlocal changed
            if (path := mixture_in(view, paths)) is not None:
                routings[path] = observe(view, experts_at(changed, path), context.fast, self.sample)
                changed = self._merge(changed, path, routings[path], context)

        walk(
            model, context.calibrated(self.name), visit, fast=context.fast, statistics=False, disk=context.disk,
            progress=context.ticks("merging experts"),
        )  # fmt: skip
        _note(context, routings, "they weigh as much as one token")
        return changed

    def _merge(self, model: Model, path: str, routing: Routing, context: Context) -> Model:
        experts = experts_at(model, path)
        count = max(1, len(experts) - round(len(experts) * self.share))
        shares = routing.tokens + 1  # one that nothing reached still has a say, and a nearest one
        groups = clusters(output_products(experts, torch.cat(routing.sample)), shares, count)
        kept, leads = [], [0] * len(experts)
        for group in groups:
            chief = group[int(shares[group].argmax())]
            merged_expert([experts[number] for number in group], shares[group], self.align)  # type: ignore[misc]
            kept.append(chief)
            for number in group:
                leads[number] = chief
                if number != chief:
                    context.journal.layer(f"{path}.experts.{number}", "merged", into=chief)
        kept.sort()
        routes = list(range(len(experts))) if experts.mapping is None else experts.mapping
        mapping = [kept.index(leads[number]) for number in routes]
        together = [group for group in groups if len(group) > 1]
        context.journal.note(f"{path}: merged experts {together} of {len(leads)}; those left are numbered anew")
        model = _with_mapping(keep_stack(model, f"{path}.experts", kept), path, mapping)
        context.journal.layers.pop(f"{path}.gate.proj", None)
        context.journal.layer(f"{path}.gate.proj", "mapped", **routing.facts())
        return model
