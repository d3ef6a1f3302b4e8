"""Run one block stage by stage: every layer is changed before anything that it feeds is computed, in one forward pass.

A stage is the linear layers that read one tensor (q, k and v, say). The forward pass of each calibration batch stops
where a stage begins, its input is measured, and goes on once all batches are there and the stage's layers are changed:
what is called true-sequential costs no second pass. Each batch waits in a thread of its own, of which one runs at a
time, so results do not depend on timing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

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
    """This batch need not go on: what was asked for is known, or another failed."""


Change = Callable[[Stage], None]
Listen = Callable[[Stage, int, Tensor], None]


class _Relay:
    """Passes the right to run from the thread of one batch to the next and back."""

    def __init__(self, view: BlockView, stages: list[tuple[str, ...]], fast: bool, listen: Listen | None) -> None:
        self.view, self.stages, self.fast, self.listen = view, stages, fast, listen
        self.firsts = {names[0]: place for place, names in enumerate(stages)}
        self.error: BaseException | None = None
        self.current = -1
        self.home = threading.Semaphore(0)
        self.gates = [threading.Semaphore(0) for _ in view.calls]

    def work(self, batch: int) -> None:
        """What a batch's thread does: run the block when it is its turn."""
        self.gates[batch].acquire()
        try:
            if self.error is None:
                with precision(self.fast):
                    self.view.inputs[batch] = self.view.run(batch)
        except _Stopped:
            pass
        except BaseException as error:  # handed to the main thread, whatever it is
            self.error = error
        self.home.release()

    def stop(self, name: str, inputs: Tensor) -> None:
        """Called where a stage begins: measure its input, hand the right back, go on when it comes again."""
        batch, moments = self.current, self.view.statistics.moments
        if name not in moments:
            moments[name] = Moments.empty(inputs.shape[-1])
        moments[name].add(read_tokens(self.view, batch, inputs))
        if self.listen is not None:
            self.listen(self.stage(self.firsts[name]), batch, inputs)
        self.home.release()
        self.gates[batch].acquire()
        if self.error is not None:
            raise _Stopped

    def stage(self, place: int) -> Stage:
        """A stage with its moments so far."""
        return Stage(self.stages[place], self.view.statistics.moments[self.stages[place][0]], place)

    def turn(self) -> None:
        """Let every batch run until it stops or ends."""
        for batch, gate in enumerate(self.gates):
            self.current = batch
            gate.release()
            self.home.acquire()
        if self.error is not None:
            raise self.error

    def drive(self, change: Change) -> None:
        """All stages in turn, each changed before it runs."""
        self.turn()
        for place, names in enumerate(self.stages):
            stage = self.stage(place)
            self.view.statistics.moments.update(dict.fromkeys(names, stage.moments))
            with torch.no_grad():
                change(stage)
            self.turn()


def _run_again(
    view: BlockView, stages: list[tuple[str, ...]], fast: bool, change: Change, listen: Listen | None
) -> None:
    """As `run_in_stages`, one batch after the other, up to each stage in turn and then to the block's end."""
    linears, moments = view.linears(), view.statistics.moments
    for place, names in enumerate(stages):
        stage = Stage(names, Moments.empty(int(linears[names[0]].in_features)), place)  # type: ignore[arg-type]
        moments.update(dict.fromkeys(names, stage.moments))
        for batch in range(len(view.calls)):
            if (inputs := _input_of(view, linears[names[0]], batch, fast)) is None:
                continue
            stage.moments.add(read_tokens(view, batch, inputs))
            if listen is not None:
                listen(stage, batch, inputs)
        with torch.no_grad():
            change(stage)
    for batch in range(len(view.calls)):
        with precision(fast):
            view.inputs[batch] = view.run(batch)
    view.advanced = True


def _input_of(view: BlockView, layer: nn.Module, batch: int, fast: bool) -> Tensor | None:
    """What a layer of the block reads of a batch."""
    heard: list[Tensor] = []

    def stop(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        heard.append(args[0])
        raise _Stopped

    handle = layer.register_forward_pre_hook(stop)
    try:
        with precision(fast):
            view.run(batch)
    except _Stopped:
        pass
    finally:
        handle.remove()
    return heard[0] if heard else None


def run_in_stages(
    view: BlockView, stages: list[tuple[str, ...]], fast: bool, change: Change, listen: Listen | None = None
) -> None:
    """Run the block on all batches, calling `change` on each stage before its layers run; the view then has advanced.

    listen: called with each batch's input of a stage. What `change` puts in a packed layer's place is what runs.
    Moments are also left in `view.statistics`. Where hidden states are on disk, no batch waits in memory: each runs
    anew up to every stage, with the same result.
    """
    if getattr(view.inputs, "folder", None) is not None:
        _run_again(view, stages, fast, change, listen)
        return
    relay, linears = _Relay(view, stages, fast, listen), view.linears()
    handles = [
        linears[name].register_forward_pre_hook(lambda module, args, name=name: relay.stop(name, args[0]))
        for name in relay.firsts
    ]
    threads = [threading.Thread(target=relay.work, args=(place,), daemon=True) for place in range(len(view.calls))]
    for thread in threads:
        thread.start()
    try:
        relay.drive(change)
    except BaseException as error:
        relay.error = error
        raise
    finally:
        for gate in relay.gates:  # those that have not ended wait here: they end by _Stopped
            gate.release()
        for thread in threads:
            thread.join()
        for handle in handles:
            handle.remove()
    view.advanced = True
