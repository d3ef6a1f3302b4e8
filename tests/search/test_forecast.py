"""Expected latencies: amounts of work, corrected by what was measured, and moved to another machine."""

from dataclasses import replace

import pytest

from pocketlm.budget import Budget, Measurement
from pocketlm.measure.calibrate import described
from pocketlm.measure.device import UNITS, Device
from pocketlm.recipe.recipe import Recipe
from pocketlm.search.facts import Facts
from pocketlm.search.forecast import COPIES, Forecast, with_room_of
from pocketlm.search.space import Space
from pocketlm.search.work import TextSize, work_of
from pocketlm.students.convnet import SmallConvnet
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.static import StaticEmbeddings
from pocketlm.students.transformer import SmallTransformer

FACTS = Facts(5_000, 10, False, 3_000, 384, 6, 12, 1536, taught=True, single=True, encoder=True)
TEXT = TextSize(12, 20, 16, 16)
HERE = Device("here", described()["usual"], runtime_bytes=60_000_000, light_bytes=40_000_000)
SLOW = Device(
    "slow",
    {unit: 4 * rate for unit, rate in HERE.microseconds.items()},
    runtime_bytes=50_000_000,
    light_bytes=25_000_000,
)
STUDENTS = [HashedNgrams(), StaticEmbeddings(), SmallConvnet(), SmallTransformer()]


def measured(latency):
    return Measurement({"accuracy": 0.9}, 10_000, latency, 2 * latency, 80_000_000)


@pytest.mark.parametrize("student", STUDENTS, ids=lambda one: one.name)
@pytest.mark.parametrize("tagging", [False, True])
def test_longer_texts_are_more_work(student, tagging):
    facts = replace(FACTS, tagging=tagging)
    short, long = (work_of(Recipe((student,)), facts, replace(TEXT, words=n, cut=n, pieces=n)) for n in (4, 40))
    assert set(short) == set(long) <= set(UNITS)
    assert HERE.milliseconds(long) > HERE.milliseconds(short)
    assert all(long[unit] >= short[unit] for unit in short)


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (SmallTransformer(1), SmallTransformer(4)),
        (SmallTransformer(2, ffn=128), SmallTransformer(2, ffn=1024)),
        (SmallConvnet(1), SmallConvnet(4)),
        (HashedNgrams(width=16), HashedNgrams(width=128)),
        (HashedNgrams(max_words=4), HashedNgrams(max_words=48)),
    ],
)
def test_larger_students_are_more_work(small, large):
    took = [HERE.milliseconds(work_of(Recipe((one,)), FACTS, TEXT)) for one in (small, large)]
    assert took[0] < took[1]


def test_products_are_counted_exactly():
    own = SmallTransformer(depth=2, heads=3, ffn=100, rank=64)
    work = work_of(Recipe((own,)), FACTS, TEXT)
    layer = 4 * 384 * 3 * 32 + 2 * 384 * 100
    assert work["streamed"] == 2 * layer + 64 * 384 + 10 * 384
    assert work["int8"] == 16 * (2 * layer + 64 * 384) + 10 * 384
    assert work["float32"] == 2 * 2 * 16**2 * 96


def test_a_stack_is_both_its_parts_called_once():
    stack = next(one.recipe for one in Space(FACTS, Budget()).starts if one.family == "stack")
    whole = work_of(stack, FACTS, TEXT)
    encoder = work_of(Recipe((stack.steps[0],)), FACTS, TEXT)
    assert whole["call"] == 1
    assert whole["word"] == 12 and "word" not in encoder
    assert HERE.milliseconds(whole) > HERE.milliseconds(encoder)


def test_expectations_follow_what_was_measured():
    forecast, recipe = Forecast(HERE, FACTS, TEXT), Recipe((SmallTransformer(),), "a")
    first = forecast.milliseconds(recipe)
    for _ in range(2):
        forecast.note(recipe, measured(3 * first))
    assert forecast.milliseconds(recipe) == pytest.approx(3 * first)
    other = Recipe((HashedNgrams(),), "b")
    assert forecast.milliseconds(other) == pytest.approx(HERE.milliseconds(work_of(other, FACTS, TEXT)))
    forecast.note(recipe, measured(3 * first))
    about = forecast.to_json()
    assert [one["expected_ms"] / one["measured_ms"] for one in about["checked"]] == pytest.approx([1 / 3, 1 / 3, 1])
    assert about["median_error"] == pytest.approx(2 / 3)
    assert about["worst_error"] == pytest.approx(2 / 3)
    assert about["memory"] == pytest.approx({"median": 80 / 60.02, "lowest": 80 / 60.02}), "of 60 MB and a file"


def test_what_was_measured_is_moved_to_another_machine():
    forecast, recipe = Forecast(HERE, FACTS, TEXT, SLOW), Recipe((SmallTransformer(),), "a")
    moved = forecast.moved(recipe, measured(0.5))
    assert (moved.latency_p50_ms, moved.latency_p95_ms) == pytest.approx((2.0, 4.0))
    assert moved.memory_bytes == 70_000_000
    unknown = Forecast(HERE, FACTS, TEXT, replace(SLOW, runtime_bytes=0)).moved(recipe, measured(0.5))
    ngrams = Forecast(HERE, FACTS, TEXT, SLOW).moved(Recipe((HashedNgrams(),), "b"), measured(0.5))
    assert ngrams.memory_bytes == 65_000_000, "which need numpy alone"
    assert unknown.memory_bytes == 80_000_000, "a runtime that nobody measured is taken for as large as here"
    assert moved.device == "slow"
    assert Forecast(HERE, FACTS, TEXT).moved(recipe, measured(0.5)) == measured(0.5)
    verdict = Budget.parse(max_size="1MB", max_latency="1ms").check(moved, "accuracy")
    assert [str(limit) for limit in verdict.limits] == [
        "size 10 kB (≤ 1 MB): holds", "latency 2 ms (≤ 1 ms, estimated for slow): missed by 100.0%",
    ]  # fmt: skip


def test_memory_is_that_of_the_runtime_and_the_file_at_least():
    graph, ngrams = Recipe((SmallTransformer(),)), Recipe((HashedNgrams(),))
    here, there = Forecast(HERE, FACTS, TEXT), Forecast(HERE, FACTS, TEXT, SLOW)
    assert [here.memory(one, 1_000_000) for one in (graph, ngrams)] == [60_000_000 + COPIES * 1_000_000, 41_000_000]
    assert here.memory(graph, here.room(70_000_000)) == 70_000_000 and here.room(None) is None
    assert Forecast(replace(HERE, runtime_bytes=0), FACTS, TEXT).room(70_000_000) is None
    assert [there.memory(one, 0) for one in (graph, ngrams)] == [50_000_000, 25_000_000]
    assert Forecast(replace(HERE, light_bytes=0), FACTS, TEXT).memory(ngrams, 1_000_000) == 0, "nobody knows"


def test_a_machines_room_is_a_limit_where_nothing_else_is():
    board = replace(SLOW, ram=200_000_000, flash=4_000_000)
    assert with_room_of(Budget(), board) == Budget(max_size=4_000_000, max_memory=200_000_000)
    assert with_room_of(Budget(max_size=10_000), board).max_size == 10_000
    assert with_room_of(Budget(), None) == Budget()
