"""Pieces of work that do not depend on each other: here, over several processes, or over a Ray cluster.

A piece is a pure function of a module and what it is given; results come in the order of the pieces. Every process
computes with as many threads as this one, since sums are taken in another order with another number of them: the same
bits come out wherever a piece was computed, on processors of one kind. Few pieces are on their way at a time, so that
memory does not grow with how many there are.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing.connection import wait
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.cluster import LOCAL, connected
from pocketlm.compress.context import Context
from pocketlm.compress.targets import Leaf
from pocketlm.errors import RecipeError

Task = tuple[Any, ...]
# Pieces on their way for every process: one at work, one that waits.
AHEAD = 2

_pools: dict[int, ProcessPoolExecutor] = {}
_clusters: list[Any] = []


def spread(function: Callable[..., Any], tasks: Iterable[Task], context: Context) -> list[Any]:
    """What `function`, of a module and pure, makes of every task, in order; an exception comes out as it was."""
    return list(stream(function, tasks, context))


def stream(function: Callable[..., Any], tasks: Iterable[Task], context: Context) -> Iterator[Any]:
    """As `spread`, one result after the other; tasks are made only a few ahead of what was taken."""
    waiting = iter(tasks)
    if context.ray is None and context.workers <= 1:
        yield from (function(*task) for task in waiting)
        return
    first = list(islice(waiting, 2))
    if len(first) < 2:  # a single piece is not worth the way
        yield from (function(*task) for task in first)
        return
    over = _over_processes if context.ray is None else _over_ray
    try:
        yield from over(function, chain(first, waiting), context)
    except KeyboardInterrupt:
        end_workers()
        raise


def spread_leaves(
    function: Callable[..., Any],
    layers: Iterable[tuple[str, Iterator[Leaf]]],
    task: Callable[[str, Leaf], Task],
    context: Context,
) -> Iterator[tuple[str, Leaf, Any]]:
    """Layer, leaf and what `function` makes of the leaf's task: the first leaf of all layers, then the second, ….

    A later leaf of a layer is looked for once the earlier ones are in place: a left factor reads what the right gives.
    """
    waiting = list(layers)
    while waiting:
        going: list[tuple[str, Iterator[Leaf]]] = []
        pulled: deque[tuple[str, Leaf]] = deque()
        for result in stream(function, _round(waiting, going, pulled, task), context):
            name, leaf = pulled.popleft()
            yield name, leaf, result
        waiting = going


def _round(
    waiting: list[tuple[str, Iterator[Leaf]]],
    going: list[tuple[str, Iterator[Leaf]]],
    pulled: deque[tuple[str, Leaf]],
    task: Callable[[str, Leaf], Task],
) -> Iterator[Task]:
    for name, found in waiting:
        leaf = next(found, None)
        if leaf is not None:
            going.append((name, found))
            pulled.append((name, leaf))
            yield task(name, leaf)


def _over_processes(function: Callable[..., Any], tasks: Iterator[Task], context: Context) -> Iterator[Any]:
    workers, threads = context.workers, torch.get_num_threads()
    if workers not in _pools:
        _pools[workers] = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin)
    pool, going = _pools[workers], deque[Future[bytes]]()
    try:
        for task in tasks:
            going.append(pool.submit(_work, _packed((function, task)), threads))
            if len(going) >= AHEAD * workers:
                yield _result(going.popleft().result())
        while going:
            yield _result(going.popleft().result())
    except BrokenProcessPool:
        end_workers()
        raise RecipeError(
            f"workers {workers}: one of them was ended from outside, most likely for want of memory; fewer would do "
            "(a script of your own has to begin its work under `if __name__ == '__main__':`)"
        ) from None
    finally:
        for one in going:
            one.cancel()


def _over_ray(function: Callable[..., Any], tasks: Iterator[Task], context: Context) -> Iterator[Any]:
    ray, threads = _cluster(context), torch.get_num_threads()
    remote, going = ray.remote(_work), deque[Any]()
    most = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    try:
        for task in tasks:
            going.append(remote.remote(_packed((function, task)), threads))
            if len(going) >= most:
                yield _result(ray.get(going.popleft()))
        while going:
            yield _result(ray.get(going.popleft()))
    finally:
        for one in going:
            ray.cancel(one)


def _cluster(context: Context) -> Any:
    """The module `ray`, connected; a cluster that was reached here is left by `end_workers`."""
    ray, begun = connected(context.ray or LOCAL, context.workers if context.workers > 1 else None)
    if begun:
        _clusters.append(ray)
    return ray


def end_workers() -> None:
    """End the processes, and leave the cluster, that were begun here; the next piece of work begins them again."""
    while _pools:
        _, pool = _pools.popitem()
        processes = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:  # not join(): the pool's own thread may reap one at the same moment
            wait([process.sentinel])
    while _clusters:
        _clusters.pop().shutdown()


def _begin() -> None:
    """In a new process: an interrupt is the parent's to answer, and without the parent there is nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(given: bytes, threads: int) -> bytes:
    """The packed result of a packed function and task; or the exception, so that it crosses as it is."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    function, task = pickle.loads(given)  # noqa: S301 — from our own parent
    try:
        with torch.no_grad():
            return _packed((True, function(*task)))
    except Exception as error:
        try:
            pickle.loads(said := _packed((False, error)))  # noqa: S301
            return said
        except Exception:
            return _packed((False, RuntimeError(f"{type(error).__name__}: {error}")))


def _result(given: bytes) -> Any:
    good, value = pickle.loads(given)  # noqa: S301 — from our own worker
    if not good:
        raise value
    return value


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        """A part of a larger tensor goes alone, without the rest."""
        if type(value) not in (Tensor, nn.Parameter) or value.untyped_storage().nbytes() <= value.nbytes:
            return NotImplemented
        alone = value.detach().clone()
        alone = alone if type(value) is Tensor else nn.Parameter(alone, value.requires_grad)
        return alone.__reduce_ex__(pickle.HIGHEST_PROTOCOL)


def _packed(value: Any) -> bytes:
    # through memory of its own, not torch's shared one, which containers keep too small
    file = io.BytesIO()
    _Pickler(file, pickle.HIGHEST_PROTOCOL).dump(value)
    return file.getvalue()
