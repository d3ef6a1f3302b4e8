"""Walk through a model block by block: inputs of one block at a time are held, never those of all.

Each block is seen with the inputs that the blocks before it, already compressed, give it. Peak memory is the weights,
one block's moments, and the hidden states of the calibration batches, however deep the model is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.calibration import Calibration, batch_masks
from pocketlm.compress.moments import Moments, Statistics, collecting, counted, tokens_of
from pocketlm.compress.store import Store
from pocketlm.errors import ModelError
from pocketlm.model.anatomy import is_linear, stacks
from pocketlm.model.experts import RoutedExperts
from pocketlm.model.pretrained import Model


@dataclass
class Call:
    """What a block is called with besides its hidden states."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass
class BlockView:
    """One block while it is compressed.

    name: its path. module: the block. statistics: of its linear layers, by full name. inputs: hidden states (one of
    (sequences, tokens, width) a batch) with `calls`, to run it again. masks: of each batch. index, total: place.
    advanced: set by a visit that has put the block's outputs in place of `inputs`, which then is not done again.
    unreached: names of layers that no token reached, of the blocks so far.
    """

    name: str
    module: nn.Module
    statistics: Statistics
    inputs: Store
    calls: list[Call]
    masks: list[list[Tensor]]
    index: int
    total: int
    advanced: bool = False
    unreached: set[str] = field(default_factory=set)

    def linears(self) -> dict[str, nn.Module]:
        """Its linear layers by full name."""
        return {f"{self.name}.{name}": child for name, child in self.module.named_modules() if is_linear(child)}

    def run(self, place: int) -> Tensor:
        """The block's hidden states on batch `place`, as it is now."""
        return first_tensor(self.module(self.inputs[place], *self.calls[place].args, **self.calls[place].kwargs))


def first_tensor(output: Any) -> Tensor:
    """The hidden states of what a block returns: a tensor, or a tuple that begins with it."""
    found: Tensor = output if isinstance(output, Tensor) else output[0]
    return found


class _Stop(Exception):
    """The inputs are known: the rest of the model need not run."""


@contextmanager
def precision(fast: bool) -> Iterator[None]:
    """bfloat16 matrix products where `fast`, float32 otherwise."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
        yield


def walk(
    model: Model,
    calibration: Calibration,
    visit: Callable[[BlockView], None],
    *,
    fast: bool = False,
    statistics: bool = True,
    disk: Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> None:
    """Call `visit` on every block in the order they run; what it changes is what later blocks see.

    fast: forward passes in bfloat16. disk: a folder for hidden states, which otherwise stay in memory.
    """
    found = stacks(model.module)
    if not found:
        raise ModelError(f"{model.spec.architecture}: has no stack of blocks to walk through")
    total = sum(len(stack) for stack in found)
    done = 0
    for stack in found:
        inputs, calls, masks = _first_inputs(model, stack, calibration, fast)
        store = Store(inputs, disk)
        inputs.clear()  # which on disk are not to stay in memory
        for name in stack:
            block = model.module.get_submodule(name)
            view = BlockView(name, block, Statistics(), store, [one[name] for one in calls], masks, done, total)
            view.unreached = calibration.unreached
            if statistics:
                measure(view, fast)
            visit(view)
            done += 1
            if progress is not None:
                progress(done, total, name)
            if name != stack[-1] and not view.advanced:
                view.module = model.module.get_submodule(name)
                for place in range(len(store)):
                    with precision(fast):
                        store[place] = view.run(place)


def measure(view: BlockView, fast: bool) -> None:
    """Run the block as it is now on every batch, to take the moments of its linear layers."""
    for place in range(len(view.calls)):
        run_collecting(view, place, view.statistics, fast)
    fill_unreached(view)


def stream_mask(view: BlockView, place: int) -> Tensor | None:
    """Where hidden states of batch `place` are no padding; of two masks of their shape a decoder's is the last."""
    shape = view.inputs[place].shape[:2]
    return next((one for one in view.masks[place][::-1] if one.shape == shape), None)


def part_of(call: Call, rows: Tensor | slice, count: int) -> Call:
    """What a block is called with for some rows of a batch of `count`."""
    return Call(tuple(_rows(one, rows, count) for one in call.args), {
        name: _rows(one, rows, count) for name, one in call.kwargs.items()
    })  # fmt: skip


def _rows(value: Any, rows: Tensor | slice, count: int) -> Any:
    if isinstance(value, Tensor):
        return value[rows] if value.dim() > 1 and len(value) == count else value
    if isinstance(value, (tuple, list)):
        return type(value)(_rows(one, rows, count) for one in value)
    return value


def rerun(view: BlockView, store: Store, fast: bool) -> None:
    """Put the block's outputs, as it is now, into `store`, the walk's own list of hidden states: it has advanced."""
    for place in range(len(view.calls)):
        with precision(fast):
            store[place] = view.run(place)
    view.inputs, view.advanced = store, True


def masks_of(view: BlockView, place: int, inputs: Tensor) -> list[Tensor]:
    """Masks of batch `place`, that of `inputs`, which a layer of the block reads, before others of its shape."""
    masks, memory = view.masks[place], _memory(view.calls[place], view.masks[place])
    return masks if memory is None or inputs is memory else masks[::-1]


def read_tokens(view: BlockView, place: int, inputs: Tensor, routed: Tensor | None = None) -> Tensor:
    """What a layer of the block reads of batch `place`, without padding: (tokens, features).

    routed: of an expert's layer, the numbers of the tokens that `inputs` holds.
    """
    if routed is None:
        return tokens_of(inputs, masks_of(view, place, inputs))
    return inputs[no_padding(view, place)[routed]]


def no_padding(view: BlockView, place: int) -> Tensor:
    """Which tokens of batch `place`, one after the other, are no padding: bool (sequences · tokens,)."""
    return counted(view.inputs[place], view.masks[place][::-1]).reshape(-1)


def run_collecting(view: BlockView, place: int, statistics: Statistics, fast: bool) -> Tensor:
    """The block's hidden states on batch `place`; what its layers read there is added to `statistics`."""
    routers = {name: child for name, child in view.module.named_modules() if isinstance(child, RoutedExperts)}
    named, memory = {**view.linears(), **routers}, _memory(view.calls[place], view.masks[place])
    with precision(fast), collecting(named, statistics, view.masks[place], memory):
        return view.run(place)


def _memory(call: Call, masks: list[Tensor]) -> Tensor | None:
    """The encoder's output among what a decoder's block is called with."""
    for given in (*call.args, *call.kwargs.values()):
        if isinstance(given, Tensor) and given.dim() == 3 and masks and given.shape[:2] == masks[0].shape:
            return given
    return None


def fill_unreached(view: BlockView) -> None:
    """Give layers of the block that no token reached moments that say nothing of their inputs, and name them."""
    found = {name: layer for name, layer in view.linears().items() if name not in view.statistics}
    for name, layer in found.items():
        view.statistics.moments[name] = Moments.unknown(int(layer.in_features))  # type: ignore[arg-type]
    view.unreached.update(found)


def _first_inputs(
    model: Model, stack: list[str], calibration: Calibration, fast: bool
) -> tuple[list[Tensor], list[dict[str, Call]], list[list[Tensor]]]:
    """Hidden states before the first block, and what every block is called with besides, a batch."""
    inputs: list[Tensor] = []
    calls: list[dict[str, Call]] = []
    masks: list[list[Tensor]] = []
    blocks = {name: model.module.get_submodule(name) for name in stack}
    for batch in calibration.batches:
        heard: dict[str, Call] = {}

        def listen(name: str, heard: dict[str, Call] = heard) -> Any:
            def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                kwargs = dict(kwargs)
                hidden = args[0] if args else kwargs.pop("hidden_states")
                if not heard:
                    inputs.append(hidden.detach())
                heard[name] = Call(args[1:], kwargs)
                if name == stack[-1]:
                    raise _Stop

            return hook

        handles = [block.register_forward_pre_hook(listen(name), with_kwargs=True) for name, block in blocks.items()]
        skipped = _skip_work(list(blocks.values()))
        try:
            with precision(fast), skipped:
                model.module(**batch, use_cache=False) if model.spec.kind != "encoder" else model.module(**batch)
        except _Stop:
            pass
        finally:
            for handle in handles:
                handle.remove()
        calls.append(heard)
        masks.append(batch_masks(batch))
    return inputs, calls, masks


@contextmanager
def _skip_work(blocks: list[nn.Module]) -> Iterator[None]:
    """While open, every block but the first two hands its input on: only what they are called with is wanted.

    The first runs, as T5's makes the position bias that it hands to the others.
    """
    shape: list[Any] = []

    def first(module: nn.Module, args: Any, output: Any) -> None:
        shape.append(output)

    def hand_on(*args: Any, **kwargs: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        return hidden if isinstance(shape[0], Tensor) else (hidden, *shape[0][1:])

    handle = blocks[0].register_forward_hook(first)
    for block in blocks[1:]:
        block.forward = hand_on
    try:
        yield
    finally:
        handle.remove()
        for block in blocks[1:]:
            del block.forward
