"""Students are timed untrained once, whatever else their recipes say, and what is plainly too slow is not made."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from pocketlm.budget import Budget
from pocketlm.pocket.work import WorkFolder
from pocketlm.recipe.recipe import Recipe
from pocketlm.runtime.inputs import BagInputs
from pocketlm.runtime.ngrams import Ngrams
from pocketlm.search.family import Candidate
from pocketlm.search.untrained import DOUBT, HOPELESS, hopelessness, slowness, untrained
from pocketlm.students.beside import BesideNgrams
from pocketlm.students.distill import Distill
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.prune_rows import PruneRows
from pocketlm.students.solve import Solve
from pocketlm.students.transformer import SmallTransformer

HERE = SimpleNamespace(ratio=lambda recipe: 2.0, milliseconds=lambda recipe: 0.5, there=None)


@pytest.fixture
def clock(monkeypatch, tmp_path):
    """What times students that are made without rows, and the numbers of words each of them read."""
    made = []

    def latency(model, context):
        made.append(model.inputs.ngrams.lead)
        return 0.25 * len(made)

    def student(self, model, context):
        return SimpleNamespace(inputs=BagInputs(Ngrams(), 2**10))

    monkeypatch.setattr("pocketlm.search.untrained.untrained_latency", latency)
    monkeypatch.setattr(HashedNgrams, "__call__", student)
    run = SimpleNamespace(work=WorkFolder(tmp_path), depends={"data": "a"}, context=None)
    return run, made


def recipe(rate=1e-3, width=64, leads=()):
    return Recipe((HashedNgrams(width=width), Distill(rate=rate), *([Solve(leads=leads)] if leads else [])))


def test_what_an_untrained_student_takes_is_remembered(clock):
    run, made = clock
    timed = untrained(run, HERE)
    assert timed(recipe()) == timed(recipe(rate=5e-3)) == 0.5, "twice as long where it will run; its rate is no matter"
    assert untrained(run, HERE)(recipe()) == 0.5, "by a search that goes on, too"
    assert timed(recipe(width=32)) == 1.0 and timed(recipe(leads=(0, 16, 8))) == 1.5
    assert made == [0, 0, 16], "the most words that it may come to read"


def test_ngrams_beside_an_encoder_are_timed_with_the_rows_they_will_keep(clock, monkeypatch):
    run, _ = clock
    begun = []

    def beside(self, model, context):
        begun.append(self.rows)
        return model

    monkeypatch.setattr(SmallTransformer, "__call__", HashedNgrams.__call__)
    monkeypatch.setattr(BesideNgrams, "__call__", beside)
    steps = SmallTransformer(), BesideNgrams(rows=30_000), Solve(), PruneRows(5_000), Solve()
    untrained(run, HERE)(Recipe(steps))
    untrained(run, HERE)(Recipe(steps[:2]))
    assert begun == [5_000, 30_000]


def test_only_what_may_be_fast_enough_is_timed(clock):
    run, made = clock
    budget = Budget.parse(None, "0.4ms")
    slow = slowness(budget, HERE, untrained(run, HERE))
    assert "untrained it already takes 0.5 ms" in slow(recipe(), 1.0) and not slow(recipe(), 1.25)
    far = SimpleNamespace(**{**vars(HERE), "milliseconds": lambda recipe: 1.01 * DOUBT * 0.4})
    assert "expected to take" in slowness(budget, far, untrained(run, far))(recipe(width=16), 1.0)
    assert len(made) == 1
    there = SimpleNamespace(
        **{**vars(HERE), "milliseconds": lambda recipe: 0.1, "there": SimpleNamespace(name="a board")}
    )
    assert "estimated for a board to take" in slowness(budget, there, untrained(run, there))(recipe(), 1.0)
    assert not slowness(replace(budget, max_latency=None), HERE, untrained(run, HERE))(recipe(), 1.0)


def test_what_takes_too_much_memory_or_time_is_hopeless():
    asked = []

    def slower(recipe, share):
        asked.append(share)
        return "far too slow" if recipe.name == "slow" else ""

    here = SimpleNamespace(memory=lambda recipe, size: 60_000_000 + size, there=None)
    graph = Candidate(Recipe((SmallTransformer(),), "fine"), 5_000_000)
    hopeless = hopelessness(Budget(max_memory=64_000_000, max_latency=1), here, slower)
    why = hopeless(graph)
    assert "expected to take 65 MB of memory at least" in why and "over 64 MB" in why
    small = replace(graph, expected_bytes=1_000_000)
    assert hopeless(small) == "" and asked == [HOPELESS]
    assert hopeless(replace(small, recipe=replace(small.recipe, name="slow"))) == "far too slow"
    ngrams = Candidate(Recipe((HashedNgrams(),), "slow"), 50_000_000)
    assert hopeless(ngrams) == "", "n-grams are the nearest miss"
    assert hopelessness(Budget(max_memory=40_000_000), None, slower)(graph) == ""
    board = SimpleNamespace(memory=here.memory, there=SimpleNamespace(name="a board"))
    assert "estimated for a board to take 65 MB" in hopelessness(Budget(max_memory=64_000_000), board, slower)(graph)
    unknown = SimpleNamespace(memory=lambda recipe, size: 0, there=None)
    assert hopelessness(Budget(max_memory=40_000_000), unknown, slower)(graph) == ""
