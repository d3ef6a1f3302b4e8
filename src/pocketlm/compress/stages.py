"""Run one block stage by stage: every layer is changed before anything that it feeds is computed, in one forward pass.

A stage is the linear layers that read one tensor (q, k and v, say). The forward pass of each calibration batch stops
where a stage begins, its input is measured, and goes on once all batches are there and the stage's layers are changed:
what is called true-sequential costs no second pass. A batch that waits is a coroutine on this thread: threads would
each have a heap, and OpenMP threads, of their own. Experts run in the order of their numbers, so that each is a stage
or two of its own; a batch that has no token for an expert goes on to the next stage that it has one for, and waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import greenlet
import torch
from torch import Tensor, nn

from pocketlm.compress.moments import Moments
from pocketlm.compress.routed import every_expert, hearing_routes
from pocketlm.compress.walk import BlockView, precision, read_tokens


@dataclass(frozen=True)
class Stage:
    """Linear layers that read the same tensor, and its moments. place: which of the block's stages it is."""

    names: tuple[str, ...]
    moments: Moments
    place: int


@dataclass
class Plans:
    """Stages of the kinds of blocks seen so far: blocks with the same layers run alike."""

    known: dict[tuple[type, tuple[str, ...]], list[tuple[str, ...]]] = field(default_factory=dict)


def stages_of(view: BlockView, fast: bool, plans: Plans | None = None) -> list[tuple[str, ...]]:
    """Names of the block's linear layers in the order they run, those that read one tensor together.

    Experts are all there, in the order they run when chosen. Empty where a layer runs more than once.
    """
    plans, start = plans or Plans(), len(view.name) + 1
    kind = (type(view.module), tuple(name[start:] for name in view.linears()))
    if kind not in plans.known:
        plans.known[kind] = [tuple(name[start:] for name in names) for names in _heard(view, fast)]
    return [tuple(f"{view.name}.{name}" for name in names) for names in plans.known[kind]]


def _heard(view: BlockView, fast: bool) -> list[tuple[str, ...]]:
    linears = view.linears()
    heard: list[tuple[str, Tensor]] = []
    handles = [
        child.register_forward_pre_hook(lambda module, args, name=name: heard.append((name, args[0])))
        for name, child in linears.items()
    ]
    try:
        with precision(fast), every_expert(view.module):
            view.run(0)
    finally:
        for handle in handles:
            handle.remove()
    found: list[tuple[str, ...]] = []
    for place, (name, inputs) in enumerate(heard):
        if place and heard[place - 1][1] is inputs:
            found[-1] = (*found[-1], name)
        else:
            found.append((name,))
    named = [name for stage in found for name in stage]
    return found if len(named) == len(set(named)) else []


class _Stopped(Exception):
    """The input that was asked for is known: the rest of the block need not run."""


Change = Callable[[Stage], None]
Listen = Callable[[Stage, int, Tensor, Mapping[str, Tensor], Tensor | None], None]


class _Relay:
    """The forward passes of all batches, each of which goes from stage to stage when it is its turn."""

    def __init__(self, view: BlockView, stages: list[tuple[str, ...]], fast: bool, listen: Listen | None) -> None:
        self.view, self.stages, self.fast, self.listen = view, stages, fast, listen
        self.read: list[dict[str, Tensor]] = [{"": view.inputs[place]} for place in range(len(view.calls))]
        self.firsts = {names[0]: place for place, names in enumerate(stages)}
        self.routes: list[dict[str, Tensor]] = [{} for _ in view.calls]
        self.waits: list[int | None] = [None] * len(view.calls)  # before which stage each is
        self.current = -1
        self.home = greenlet.getcurrent()
        self.passes = [greenlet.greenlet(self.work) for _ in view.calls]

    def work(self, batch: int) -> None:
        """Run the block on a batch; begun by its first turn."""
        self.view.inputs[batch] = self.view.run(batch)

    def stop(self, name: str, inputs: Tensor) -> None:
        """Called where a stage begins: measure its input, and go on when it is this batch's turn again."""
        batch, moments = self.current, self.view.statistics.moments
        tokens = self.routes[batch].get(name)
        if name not in moments:
            moments[name] = Moments.empty(inputs.shape[-1])
        moments[name].add(read_tokens(self.view, batch, inputs, tokens))
        if self.listen is not None:
            self.listen(self.stage(self.firsts[name]), batch, inputs, self.read[batch], tokens)
        self.waits[batch] = self.firsts[name]
        # where a model's own code is in other precision here, the others must not go on in it
        precise, graded = torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()
        self.home.switch()
        torch.set_autocast_enabled("cpu", precise)
        torch.set_grad_enabled(graded)

    def route(self, path: str, tokens: Tensor) -> None:
        """Keep which tokens a layer of an expert reads of the batch whose turn it is."""
        self.routes[self.current][f"{self.view.name}.{path}"] = tokens

    def note(self, source: str, inputs: Tensor) -> None:
        """Keep what a submodule reads of the batch whose turn it is."""
        self.read[self.current][source] = inputs

    def stage(self, place: int) -> Stage:
        """A stage with its moments so far."""
        return Stage(self.stages[place], self.view.statistics.moments[self.stages[place][0]], place)

    def turn(self, place: int | None = None) -> None:
        """Let every batch that waits before stage `place` (None: has not begun) run until it stops or ends."""
        for batch, one in enumerate(self.passes):
            if self.waits[batch] == place:
                self.current, self.waits[batch] = batch, len(self.stages)
                with precision(self.fast):
                    one.switch(*(() if one else (batch,)))

    def drive(self, change: Change) -> None:
        """All stages in turn, each changed before it runs."""
        self.turn()
        for place, names in enumerate(self.stages):
            if names[0] not in self.view.statistics:  # experts that nothing was routed to
                self.turn(place)
                continue
            stage = self.stage(place)
            self.view.statistics.moments.update(dict.fromkeys(names, stage.moments))
            with torch.no_grad():
                change(stage)
            self.turn(place)
        if any(self.passes):
            raise RuntimeError(f"block {self.view.name}: a layer ran more than once in a forward pass")

    def end(self) -> None:
        """Leave what has not come to its end, and let go of tensors: passes and this refer to each other."""
        for one in self.passes:
            with precision(self.fast):
                one.throw()
        self.passes.clear()
        self.read.clear()
        self.routes.clear()


def _run_again(
    view: BlockView,
    stages: list[tuple[str, ...]],
    fast: bool,
    change: Change,
    listen: Listen | None,
    sources: Iterable[str],
) -> None:
    """As `run_in_stages`, one batch after the other, up to each stage in turn and then to the block's end."""
    linears, moments = view.linears(), view.statistics.moments
    streams = {name: view.module.get_submodule(name) for name in sources}
    for wave in waves([names[0] for names in stages]):
        now = [Stage(stages[place], Moments.empty(int(linears[stages[place][0]].in_features)), place) for place in wave]  # type: ignore[arg-type]
        layers = {stage.names[0]: linears[stage.names[0]] for stage in now}
        for batch in range(len(view.calls)):
            routes: dict[str, Tensor] = {}
            with hearing_routes(view.module, routes.__setitem__):
                heard, read = _read_by(view, streams, layers, batch, fast)
            for stage in (one for one in now if one.names[0] in heard):
                inputs, tokens = heard[stage.names[0]], routes.get(stage.names[0][len(view.name) + 1 :])
                stage.moments.add(read_tokens(view, batch, inputs, tokens))
                if listen is not None:
                    listen(stage, batch, inputs, read, tokens)
        for stage in (one for one in now if one.moments.tokens):
            moments.update(dict.fromkeys(stage.names, stage.moments))
            with torch.no_grad():
                change(stage)
    for batch in range(len(view.calls)):
        with precision(fast):
            view.inputs[batch] = view.run(batch)
    view.advanced = True


def waves(names: Sequence[str]) -> list[list[int]]:
    """Places of stages, in the order they run, those together that one run can measure: experts' first, then second.

    names: the first of each stage.
    """
    found: list[list[int]] = []
    known: dict[tuple[str, int], list[int]] = {}
    seen: Counter[str] = Counter()
    for place, name in enumerate(names):
        mixture, inside, rest = name.partition(".experts.")
        if not inside:
            found.append([place])
            continue
        expert = f"{mixture}.{rest.partition('.')[0]}"
        key = mixture, seen[expert]
        seen[expert] += 1
        if key not in known:
            found.append(known.setdefault(key, []))
        known[key].append(place)
    return found


def _read_by(
    view: BlockView, sources: Mapping[str, nn.Module], layers: Mapping[str, nn.Module], batch: int, fast: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What layers of the block read of a batch, those that are reached, and what `sources` read before."""
    heard: dict[str, Tensor] = {}
    read: dict[str, Tensor] = {"": view.inputs[batch]}

    def hear(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            heard[name] = args[0]
            if len(layers) == 1:
                raise _Stopped

        return hook

    with ExitStack() as stack:
        for name, module in sources.items():
            note = lambda module, args, name=name: read.update({name: args[0]})  # noqa: E731
            stack.callback(module.register_forward_pre_hook(note).remove)
        for name, layer in layers.items():
            stack.callback(layer.register_forward_pre_hook(hear(name)).remove)
        with suppress(_Stopped), precision(fast):
            view.run(batch)
    return heard, read


def run_in_stages(
    view: BlockView,
    stages: list[tuple[str, ...]],
    fast: bool,
    change: Change,
    listen: Listen | None = None,
    sources: Iterable[str] = (),
) -> None:
    """Run the block on all batches, calling `change` on each stage before its layers run; the view then has advanced.

    listen: called with a stage, a batch, its input of the stage, what the submodules `sources` (paths in the block)
    read before and, of an expert, which tokens the input holds. What `change` puts in a packed layer's place is what
    runs. Moments are also left in `view.statistics`; a stage that no token reached has none, and is not changed.
    Where hidden states are on disk, no batch waits in memory: each runs anew up to every stage, with the same result.
    """
    sources = {*sources} - {""}
    if getattr(view.inputs, "folder", None) is not None:
        _run_again(view, stages, fast, change, listen, sources)
        return
    relay, linears = _Relay(view, stages, fast, listen), view.linears()
    with ExitStack() as stack:
        for name in relay.firsts:
            stop = lambda module, args, name=name: relay.stop(name, args[0])  # noqa: E731
            stack.callback(linears[name].register_forward_pre_hook(stop).remove)
        for source in sources:
            note = lambda module, args, name=source: relay.note(name, args[0])  # noqa: E731
            stack.callback(view.module.get_submodule(source).register_forward_pre_hook(note).remove)
        stack.enter_context(hearing_routes(view.module, relay.route))
        stack.callback(relay.end)
        relay.drive(change)
    view.advanced = True
