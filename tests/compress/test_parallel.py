"""Work over processes and over Ray: the same bits, in order, exceptions as they were, and no more in memory."""

import importlib.util
import os
import sys
from dataclasses import replace
from multiprocessing.connection import wait
from types import SimpleNamespace

import pytest
import torch

from pocketlm.compress.alps import Alps
from pocketlm.compress.context import Context
from pocketlm.compress.entropy import EntropyCoded
from pocketlm.compress.gptq import Gptq
from pocketlm.compress.hqq import HalfQuadratic
from pocketlm.compress.journal import Journal
from pocketlm.compress.low_rank import LowRank
from pocketlm.compress.parallel import end_workers, spread, stream
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.errors import MissingExtraError, ModelError, RecipeError
from pocketlm.model.pretrained import save_model, settle
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe


def turned(matrix, number):
    return matrix @ matrix.t() * number, os.getpid()


def refuses(number):
    if number == 2:
        raise ModelError(f"layer {number}: 1 of its weights are NaN or infinite; repair the model first")
    return number


def dies(number):
    os._exit(3)


class Unspeakable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def unspeakable(number):
    raise Unspeakable(number, "more")


@pytest.fixture(scope="module")
def two():
    yield Context(workers=2, fast=False)
    end_workers()


def test_results_come_in_order_with_the_same_bits_from_other_processes(two):
    tasks = [(torch.randn(40, 30, generator=torch.Generator().manual_seed(one)), one) for one in range(9)]
    here, there = spread(turned, tasks, Context()), spread(turned, tasks, two)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(here, there, strict=True))
    assert {one[1] for one in here} == {os.getpid()}
    assert os.getpid() not in {one[1] for one in there}


def test_a_single_piece_stays_here(two):
    assert spread(turned, [(torch.ones(1, 1), 1)], two)[0][1] == os.getpid()
    assert spread(turned, [], two) == []


def test_tasks_are_made_a_few_ahead_only(two):
    made = []
    results = stream(refuses, ((made.append(one) or 1,) for one in range(100)), two)
    next(results)
    assert len(made) <= 2 + 2 * 2
    results.close()


def test_of_a_large_tensor_only_the_part_that_is_given_goes():
    from pocketlm.compress.parallel import _packed

    large = torch.randn(1000, 100)
    assert len(_packed(large[:2])) < 3000
    assert len(_packed(torch.nn.Parameter(large)[:2])) < 3000
    assert len(_packed(large)) > 400_000


def test_an_exception_in_a_worker_is_the_users_one_line(two):
    with pytest.raises(ModelError, match=r"^layer 2: 1 of its weights are NaN or infinite; repair the model first$"):
        spread(refuses, [(1,), (2,), (3,)], two)
    with pytest.raises(RuntimeError, match="Unspeakable: 1 and more"):
        spread(unspeakable, [(1,), (2,)], two)
    assert spread(refuses, [(1,), (3,)], two) == [1, 3]  # the same processes go on


def test_a_worker_that_was_killed_is_told_in_one_line_and_the_next_work_begins_anew(two):
    with pytest.raises(RecipeError, match="workers 2: one of them was ended from outside"):
        spread(dies, [(1,), (2,)], two)
    assert spread(refuses, [(1,), (3,)], two) == [1, 3]


def test_an_interrupt_ends_the_workers(two):
    from pocketlm.compress import parallel

    results = stream(refuses, ((one,) for one in (3, 4, 5, 6, 7, 8)), two)
    next(results)
    ended = [process.sentinel for process in parallel._pools[2]._processes.values()]
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    assert len(wait(ended, timeout=0)) == len(ended) > 0
    assert not parallel._pools


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("llama", [RoundToNearest(bits=3)]),
        ("gpt2", [HalfQuadratic(bits=4, group_size=16)]),
        ("llama", [Alps(steps=10), Gptq(bits=3, group_size=16, correct=0.5)]),
        ("bert", [LowRank(share=0.4), Gptq(bits=4)]),
        ("qwen2_moe", [Gptq(bits=4)]),
        ("llama", [LowRank(share=0.4, update="sequential"), EntropyCoded(bits=3, correct=0.5)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(one.name for one in value),
)
def test_two_workers_write_the_same_bytes_as_one(family, calibrated, tmp_path, two, name, steps):
    model, layers = family(name), []
    for workers in (1, 2):
        made, journal = model.copy(), Journal()
        for step in steps:  # without `compress`, which would begin two processes anew for every case
            made = step(made, replace(two, calibration=calibrated(model), workers=workers, journal=journal))
        save_model(settle(made), tmp_path / str(workers))
        layers.append(list(journal.layers.values()))
    assert (tmp_path / "1/model.safetensors").read_bytes() == (tmp_path / "2/model.safetensors").read_bytes()
    assert layers[0] == layers[1]


def fake_ray(log):
    """A module with the calls of ray that are used, which computes at once."""
    state = {"up": False}

    def init(**settings):
        if settings["address"] == "nowhere:1":
            raise ConnectionError("Could not find any\nrunning Ray instance")
        log.append(settings)
        state["up"] = True

    def remote(function):
        return SimpleNamespace(remote=lambda *given: lambda: function(*given))

    return SimpleNamespace(
        init=init, is_initialized=lambda: state["up"], remote=remote, get=lambda ref: ref(),
        cancel=lambda ref: log.append("cancelled"), cluster_resources=lambda: {"CPU": 2.0},
        shutdown=lambda: state.update(up=False),
    )  # fmt: skip


def test_ray_tasks_with_a_fake_ray_module_that_has_the_same_calls(monkeypatch):
    log = []
    monkeypatch.setitem(sys.modules, "ray", fake_ray(log))
    monkeypatch.setattr("pocketlm.cluster._reach", lambda address: None)
    try:
        assert spread(refuses, [(1,), (3,), (4,), (5,), (6,), (7,)], Context(ray="head:6379")) == [1, 3, 4, 5, 6, 7]
        assert log == [{"address": "head:6379", "log_to_driver": False, "logging_level": "ERROR"}]
        with pytest.raises(ModelError, match="^layer 2"):
            spread(refuses, [(2,), (3,), (4,)], Context(ray="head:6379"))
        assert log[1:] == ["cancelled", "cancelled"]
        end_workers()
        spread(refuses, [(1,), (3,)], Context(ray="local", workers=3))
        assert log[-1]["num_cpus"] == 3
        end_workers()
        with pytest.raises(RecipeError, match="ray nowhere:1: no cluster answers there: Could not find any running"):
            spread(refuses, [(1,), (3,)], Context(ray="nowhere:1"))
    finally:
        end_workers()


def test_ray_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pocketlm\[ray\]'"):
        spread(refuses, [(1,), (3,)], Context(ray="local"))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is no dependency of the tests")
def test_two_workers_of_a_real_ray_cluster_write_the_same_bytes(family, calibrated, tmp_path):
    model = family("llama")
    context = Context(calibrated(model), fast=False)
    try:
        for place, ray in (("here", None), ("there", "local")):
            made = compress(model, Recipe([Gptq(bits=4)]), replace(context, ray=ray, workers=1 if ray is None else 2))
            save_model(made, tmp_path / place)
        assert (tmp_path / "here/model.safetensors").read_bytes() == (tmp_path / "there/model.safetensors").read_bytes()
        with pytest.raises(ModelError, match="^layer 2"):
            spread(refuses, [(1,), (2,)], Context(ray="local", workers=2))
    finally:
        end_workers()
