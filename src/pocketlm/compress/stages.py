"""Run one block stage by stage: every layer is changed before anything that it feeds is computed, in one forward pass.

A stage is the linear layers that read one tensor (q, k and v, say). The forward pass of each calibration batch stops
where a stage begins, its input is measured, and goes on once all batches are there and the stage's layers are changed:
what is called true-sequential costs no second pass. A batch that waits is a coroutine on this thread: threads would
each have a heap, and OpenMP threads, of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import greenlet
import torch
from torch import Tensor, nn

from pocketlm.compress.moments import Moments
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

    Empty where the order may differ from batch to batch, as it does where experts are chosen.
    """
    plans, start = plans or Plans(), len(view.name) + 1
    kind = (type(view.module), tuple(name[start:] for name in view.linears()))
    if kind not in plans.known:
        plans.known[kind] = [tuple(name[start:] for name in names) for names in _heard(view, fast)]
    return [tuple(f"{view.name}.{name}" for name in names) for names in plans.known[kind]]


def _heard(view: BlockView, fast: bool) -> list[tuple[str, ...]]:
    linears = view.linears()
    if any(".experts." in name for name in linears):
        return []
    heard: list[tuple[str, Tensor]] = []
    handles = [
        child.register_forward_pre_hook(lambda module, args, name=name: heard.append((name, args[0])))
        for name, child in linears.items()
    ]
    try:
        with precision(fast):
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
Listen = Callable[[Stage, int, Tensor, Mapping[str, Tensor]], None]


class _Relay:
    """The forward passes of all batches, each of which goes from stage to stage when it is its turn."""

    def __init__(self, view: BlockView, stages: list[tuple[str, ...]], fast: bool, listen: Listen | None) -> None:
        self.view, self.stages, self.fast, self.listen = view, stages, fast, listen
        self.read: list[dict[str, Tensor]] = [{"": view.inputs[place]} for place in range(len(view.calls))]
        self.firsts = {names[0]: place for place, names in enumerate(stages)}
        self.current = -1
        self.home = greenlet.getcurrent()
        self.passes = [greenlet.greenlet(self.work) for _ in view.calls]

    def work(self, batch: int) -> None:
        """Run the block on a batch; begun by its first turn."""
        self.view.inputs[batch] = self.view.run(batch)

    def stop(self, name: str, inputs: Tensor) -> None:
        """Called where a stage begins: measure its input, and go on when it is this batch's turn again."""
        batch, moments = self.current, self.view.statistics.moments
        if name not in moments:
            moments[name] = Moments.empty(inputs.shape[-1])
        moments[name].add(read_tokens(self.view, batch, inputs))
        if self.listen is not None:
            self.listen(self.stage(self.firsts[name]), batch, inputs, self.read[batch])
        # where a model's own code is in other precision here, the others must not go on in it
        precise, graded = torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()
        self.home.switch()
        torch.set_autocast_enabled("cpu", precise)
        torch.set_grad_enabled(graded)

    def note(self, source: str, inputs: Tensor) -> None:
        """Keep what a submodule reads of the batch whose turn it is."""
        self.read[self.current][source] = inputs

    def stage(self, place: int) -> Stage:
        """A stage with its moments so far."""
        return Stage(self.stages[place], self.view.statistics.moments[self.stages[place][0]], place)

    def turn(self) -> None:
        """Let every batch run until it stops or ends."""
        for batch, one in enumerate(self.passes):
            self.current = batch
            with precision(self.fast):
                one.switch(*(() if one else (batch,)))  # one that has ended hands its turn back

    def drive(self, change: Change) -> None:
        """All stages in turn, each changed before it runs."""
        self.turn()
        for place, names in enumerate(self.stages):
            stage = self.stage(place)
            self.view.statistics.moments.update(dict.fromkeys(names, stage.moments))
            with torch.no_grad():
                change(stage)
            self.turn()
        if any(self.passes):
            raise RuntimeError(f"block {self.view.name}: a layer ran more than once in a forward pass")

    def end(self) -> None:
        """Leave what has not come to its end."""
        for one in self.passes:
            with precision(self.fast):
                one.throw()


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
    for place, names in enumerate(stages):
        stage = Stage(names, Moments.empty(int(linears[names[0]].in_features)), place)  # type: ignore[arg-type]
        moments.update(dict.fromkeys(names, stage.moments))
        for batch in range(len(view.calls)):
            inputs, read = _read_by(view, streams, linears[names[0]], batch, fast)
            if inputs is None:
                continue
            stage.moments.add(read_tokens(view, batch, inputs))
            if listen is not None:
                listen(stage, batch, inputs, read)
        with torch.no_grad():
            change(stage)
    for batch in range(len(view.calls)):
        with precision(fast):
            view.inputs[batch] = view.run(batch)
    view.advanced = True


def _read_by(
    view: BlockView, sources: Mapping[str, nn.Module], layer: nn.Module, batch: int, fast: bool
) -> tuple[Tensor | None, dict[str, Tensor]]:
    """What a layer of the block reads of a batch, and what `sources` read before it."""
    heard: list[Tensor] = []
    read: dict[str, Tensor] = {"": view.inputs[batch]}

    def stop(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        heard.append(args[0])
        raise _Stopped

    with ExitStack() as stack:
        for name, module in sources.items():
            note = lambda module, args, name=name: read.update({name: args[0]})  # noqa: E731
            stack.callback(module.register_forward_pre_hook(note).remove)
        stack.callback(layer.register_forward_pre_hook(stop).remove)
        with suppress(_Stopped), precision(fast):
            view.run(batch)
    return (heard[0] if heard else None), read


def run_in_stages(
    view: BlockView,
    stages: list[tuple[str, ...]],
    fast: bool,
    change: Change,
    listen: Listen | None = None,
    sources: Iterable[str] = (),
) -> None:
    """Run the block on all batches, calling `change` on each stage before its layers run; the view then has advanced.

    listen: called with a stage, a batch, its input of the stage, and what the submodules `sources` (paths in the block)
    read before. What `change` puts in a packed layer's place is what runs. Moments are also left in `view.statistics`.
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
        stack.callback(relay.end)
        relay.drive(change)
    view.advanced = True
