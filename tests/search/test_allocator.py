"""Proposals of a teacher's own parts: they fit the time that students of theirs were timed to take."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from pocketlm.budget import Budget
from pocketlm.measure.calibrate import described
from pocketlm.measure.device import Device
from pocketlm.progress import Deadline
from pocketlm.search.allocator import LARGEST, NEAR, ROOM, allocator, around_layers, limits_of
from pocketlm.search.facts import Facts
from pocketlm.search.ngram_families import LEAST_ROWS
from pocketlm.search.piece_families import LITERAL_BYTES, LITERAL_ROWS, LITERAL_SHARE, literal_filled
from pocketlm.search.space import Space, fast_enough
from pocketlm.search.work import TextSize, linear_work, work_of
from pocketlm.students.allocation import BITS, Layer, Sensitivity

FACTS = Facts(10_000, 77, False, 2_500, 384, 6, 12, 1536, single=True, taught=True, encoder=True)
TEXT = TextSize(words=10, grams=20, cut=14, pieces=14)
HOST = Device("host", described()["usual"])
LAYER = Layer({0: 100.0, 3: 30.0, 6: 10.0, 12: 0.0}, {0: 100.0, 256: 30.0, 768: 10.0, 1536: 0.0})
NEVER = Deadline()
TABLES = {(64, 8): 9.0, (128, 8): 3.0, (256, 8): 0.0, (128, 4): 3.5, (256, 4): 0.5}
KNOWN = Sensitivity((LAYER,) * 6, TABLES, width=384, head_width=32)


def proposals(monkeypatch, budget, timed=None, deadline=NEVER):
    monkeypatch.setattr("pocketlm.search.allocator.sensitivity", lambda context, pieces: KNOWN)
    lesson, progress = SimpleNamespace(taught=object()), SimpleNamespace(stage=lambda text: None)
    context = SimpleNamespace(
        teacher=object(), lesson=lesson, asking=False, vectors=False, progress=progress, deadline=deadline
    )  # fmt: skip
    return allocator(context, None, FACTS, Budget.parse(*budget), HOST, TEXT, timed)


def test_when_time_is_up_nothing_is_proposed(monkeypatch):
    assert proposals(monkeypatch, ("20MB", "1ms"), deadline=Deadline.after(0)) is None


def whole(found):
    return found.milliseconds + around_layers(FACTS, HOST, TEXT, 0.5)


def test_a_student_that_takes_longer_than_expected_makes_all_proposals_smaller(monkeypatch):
    limit = 0.5
    plain = proposals(monkeypatch, ("20MB", f"{limit}ms"))(20_000_000, BITS)
    assert NEAR * limit < whole(plain) <= ROOM * limit
    asked = []

    def timed(recipe):
        asked.append(recipe)
        return 1.5 * HOST.milliseconds(work_of(recipe, FACTS, TEXT))

    propose = proposals(monkeypatch, ("20MB", f"{limit}ms"), timed)
    for size in (20_000_000, 8_000_000):
        assert whole(propose(size, BITS)) * 1.5 <= ROOM * limit * 1.01
    assert asked[0].steps[0].layers == plain.layers, "the largest is timed, and what is proposed in its place"
    assert [one.steps[0].layers for one in asked[1:]] == [propose(20_000_000, BITS).layers]
    # one that is faster than expected allows no more than was allowed
    assert proposals(monkeypatch, ("20MB", f"{limit}ms"), lambda recipe: 0.01)(20_000_000, BITS) == plain


def test_proposals_become_smaller_until_one_is_fast_enough(monkeypatch):
    limit, asked = 0.5, []

    def timed(recipe):  # what takes long does not take less in a smaller one
        asked.append(0.15 + 1.1 * HOST.milliseconds(work_of(recipe, FACTS, TEXT)))
        return asked[-1]

    assert proposals(monkeypatch, ("20MB", f"{limit}ms"), timed)(20_000_000, BITS) is not None
    assert len(asked) == 3 and asked[1] > LARGEST * limit >= asked[2]


@pytest.mark.parametrize("size", ["1MB", "2MB", "20MB"])
def test_linear_ngrams_stand_beside_a_proposal_where_texts_have_one_label(size, monkeypatch):
    facts, budget = replace(FACTS, allocator=proposals(monkeypatch, (size, None))), Budget.parse(size)
    (both,) = [one for one in Space(facts, budget).starts if one.family == "allocated"]
    names = [step.name for step in both.recipe.steps]
    assert names[2:] == ["beside-ngrams", "solve", "prune-rows", "solve", "weigh", "quantize"]
    assert both.expected_bytes <= budget.max_size and "beside linear n-grams" in both.recipe.name
    rows, bits = both.recipe.steps[4].rows, both.recipe.steps[-1].bits
    own = rows * (0.95 * 77 * bits / 8 + 3.1) + 16 * 77
    assert own <= LITERAL_SHARE * budget.max_size and rows <= max(LITERAL_ROWS, LITERAL_BYTES / (77 * bits / 8))
    tagged = replace(facts, single=False)
    (alone,) = [one for one in Space(tagged, budget).starts if one.family == "allocated"]
    assert [step.name for step in alone.recipe.steps] == ["small-transformer", "distill", "quantize"]
    little = Budget.parse("700kB")
    (small,) = [one for one in Space(facts, little).starts if one.family == "allocated"]
    assert len(small.recipe.steps) == 3, "where both have no room the part of the teacher has it all"
    space = Space(facts, budget)
    asked = space.asked({**space.params(both), "allocated/size": 700_000})
    assert len(asked.recipe.steps) == 3, "so has it where the search asks for so few bytes"
    assert asked.expected_bytes <= 700_000
    few = replace(facts, decisive=False)
    (alone,) = [one for one in Space(few, budget).starts if one.family == "allocated"]
    assert len(alone.recipe.steps) == 3, "some dev rows cannot say what each is worth"
    pinned = Space(facts, budget, ("prune-rows.rows=200", "search.family=allocated")).starts
    assert pinned[0].recipe.steps[4].rows == 200
    worded = Space(facts, budget, ("solve.words=20000", "search.family=allocated")).starts
    assert worded[0].recipe.steps[3] == both.recipe.steps[3], "what words mean is of n-grams that stand alone"


def test_ngrams_beside_a_proposal_take_their_part_of_the_time(monkeypatch):
    long = TextSize(words=300, grams=20, cut=400, pieces=64)
    alone, both = (
        limits_of(replace(FACTS, single=single, words=300.0), None, 5.0, HOST, long).milliseconds
        for single in (False, True)
    )
    read = linear_work(48, FACTS, long)
    assert alone - both == pytest.approx(HOST.milliseconds(read) - HOST.milliseconds({"call": 1.0}))


@pytest.mark.parametrize("budget", [("20MB", None), ("1MB", "50ms")])
def test_where_time_does_not_bind_nothing_is_timed(budget, monkeypatch):
    def timed(recipe):
        raise AssertionError(recipe)

    assert proposals(monkeypatch, budget, timed)(1_000_000, BITS) == proposals(monkeypatch, budget)(1_000_000, BITS)


@pytest.mark.parametrize("budget", [("5MB", "1ms"), ("5MB", None)])
def test_a_proposal_is_tried_in_place_of_the_rule_of_thumbs_transformer(budget, monkeypatch):
    facts = replace(FACTS, allocator=proposals(monkeypatch, budget))
    tried = Space(facts, Budget.parse(*budget)).starts
    assert {"transformer", "allocated"} <= {one.family for one in tried}
    fast = [one.family for one in fast_enough(tried, lambda recipe: "")]
    assert "allocated" in fast and "transformer" not in fast
    slow = fast_enough(tried, lambda recipe: "slow" if getattr(recipe.steps[0], "layers", None) else "")
    assert "transformer" in [one.family for one in slow] and "allocated" not in [one.family for one in slow]


@pytest.mark.parametrize(("size", "bits"), [("3.5MB", 4), ("20MB", 8)])
def test_bits_are_proposed_unless_they_are_set(size, bits, monkeypatch):
    facts = replace(FACTS, allocator=proposals(monkeypatch, (size, None)))

    def stored(*narrowed):
        tried = Space(facts, Budget.parse(size), ("search.family=allocated", *narrowed)).starts
        return {one.recipe.steps[-1].bits for one in tried}

    assert stored() == stored("quantize.bits=4,8") == {bits}, "few bytes are better spent on layers"
    assert stored("quantize.bits=8") == {8} and stored("quantize.bits=4") == {4}


@pytest.mark.parametrize("size", ["10kB", "100kB", "2MB"])
def test_few_bytes_for_many_labels_leave_ngrams_no_rows(size, monkeypatch):
    facts = replace(FACTS, labels=151, decisive=True)
    budget = Budget.parse(size, "1ms")
    rows = literal_filled(1.0, facts, budget.max_size, 8)
    assert bool(rows) == (size != "10kB")
    assert all(step.rows >= LEAST_ROWS for step in rows if step.name == "prune-rows")
    proposals(monkeypatch, (size, "1ms"), lambda recipe: 0.1)(budget.max_size, BITS)
