"""Plots: where marks stand, which figures get a tick, what is on the front, who is confused with whom."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as some
from report.report_results import full

from pocketlm.report.axes import Axis, log_axis, share_axis
from pocketlm.report.confusion import Confusion, matrix
from pocketlm.report.markup import Markup, element, escape, inline_json, label
from pocketlm.report.plots import families, quality_floor
from pocketlm.report.scatter import Mark, Scatter, pareto_front, scatter, shape
from pocketlm.report.waterfall import Stage, waterfall

COSTS = some.lists(some.floats(1e-3, 1e9), min_size=1, max_size=12)
SHARES = some.lists(some.floats(-0.5, 1.0), min_size=1, max_size=12)


def plot(*marks: Mark, **settings) -> Scatter:
    return Scatter("Size and quality", "size", "accuracy on dev", lambda value: f"{value:g} B", marks, **settings)


@given(COSTS)
def test_log_axis_holds_its_values_and_some_ticks(values):
    axis = log_axis(values, 10, 400)
    assert all(10 < axis.at(value) < 400 for value in values)
    ticks = axis.ticks()
    assert 1 < len(ticks) <= 7
    assert all(axis.low * (1 - 1e-9) <= tick <= axis.high * (1 + 1e-9) for tick in ticks)


@given(SHARES)
def test_share_axis_holds_its_values_and_some_ticks(values):
    axis = share_axis(values, 300, 20)
    assert all(20 <= axis.at(value) <= 300 for value in values)
    assert axis.low < axis.high
    assert 1 < len(axis.ticks()) <= 8


def test_equal_ratios_are_equal_distances():
    axis = Axis(1, 10_000, 0, 100, log=True)
    assert [axis.at(value) for value in (1, 10, 100, 10_000)] == pytest.approx([0, 25, 50, 100])
    assert axis.at(0.1) == 0
    assert Axis(0, 4, 100, 0).at(1) == 75


def test_decades_are_ticked():
    assert Axis(50_000, 2e8, 0, 1, log=True).ticks() == pytest.approx([1e5, 1e6, 1e7, 1e8])
    assert Axis(0.87, 0.95, 0, 1).ticks(8) == pytest.approx([0.87, 0.88, 0.89, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95])


@given(some.lists(some.tuples(some.integers(1, 9), some.integers(0, 9)), max_size=12))
def test_front_is_what_nothing_beats(figures):
    marks = [Mark(str(place), cost, quality / 10, 0) for place, (cost, quality) in enumerate(figures)]
    front = pareto_front(marks)
    found = {(mark.cost, mark.quality) for mark in marks}
    best = {
        (cost, quality)
        for cost, quality in found
        if not any(other <= cost and better >= quality for other, better in found - {(cost, quality)})
    }
    assert [(mark.cost, mark.quality) for mark in front] == sorted(best)


def test_marks_can_be_asked_and_the_chosen_one_is_ringed():
    drawn = scatter(
        plot(
            Mark("small", 1000, 0.9, 0, ("1 kB", "90 %")),
            Mark("large", 9000, 0.95, 1, ("9 kB",), met=False, chosen=True),
            Mark("<teacher>", 9e7, 0.96, None),
            cost_limit=5000,
            quality_limit=0.92,
        )
    )
    assert drawn.count('tabindex="0"') == drawn.count("data-tip=") == 3
    assert 'aria-label="small. 1 kB. 90 %"' in drawn
    assert drawn.count('class="ring"') == 1
    assert 'class="mark family-1 missed"' in drawn
    assert 'aria-label="teacher &lt;teacher&gt;"' in drawn
    assert drawn.count('class="limit"') == drawn.count('class="beyond"') == 2
    assert "≤ 5000 B" in drawn
    assert 'class="front"' in drawn


def test_a_plot_without_marks_says_so():
    assert "No candidate" in scatter(plot())


def test_a_lone_mark_has_no_front():
    assert 'class="front"' not in scatter(plot(Mark("only", 10, 0.5, 0)))


def test_shapes_differ_and_repeat():
    kinds = [shape(family, 0, 0) for family in (None, 0, 1, 2, 3, 4, 5)]
    assert len(set(kinds)) == 7
    assert shape(6, 0, 0) == shape(0, 0, 0)


def bars(stages, **settings) -> list[tuple[str, float, float]]:
    found = re.findall(
        r'class="bar (\w+)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', waterfall(stages, "accuracy", **settings)
    )
    return [(kind, float(x), float(width)) for kind, x, width in found]


def test_waterfall_bars_float_from_before_to_after():
    stages = [
        Stage("build", 0, 1000, None, None),
        Stage("prune", 1000, 400, 0.9, 0.8),
        Stage("distill", 400, 400, 0.8, 0.85),
        Stage("file", None, 500, None, 0.85, whole=True),
    ]
    drawn = bars(stages)
    assert [kind for kind, _, _ in drawn] == ["made", "gain", "loss", "same", "gain", "whole"]
    made, pruned, lost, _, gained, whole = ((x, x + width) for _, x, width in drawn)
    assert made[0] == 0
    assert pruned == pytest.approx((0.4 * made[1], made[1]), abs=0.02)
    assert whole == pytest.approx((0, 0.5 * made[1]), abs=0.02)
    assert gained[0] == pytest.approx(lost[0], abs=0.02)
    assert gained[1] - gained[0] == pytest.approx((lost[1] - lost[0]) / 2, abs=0.02)


def test_waterfall_without_figures():
    assert "not taken" in waterfall([Stage("build", None, None, None, None)], "accuracy")
    assert "teacher-line" in waterfall([Stage("build", 0, 5, None, 0.5)], "accuracy", teacher=0.9)


def test_confused_pairs_worst_first():
    found = Confusion.of({"labels": ["a", "b", "c"], "counts": [[5, 1, 4], [0, 9, 1], [0, 0, 0]]})
    assert found is not None
    assert found.pairs() == [("a", "c", 4, 0.4), ("a", "b", 1, 0.1), ("b", "c", 1, 0.1)]


@pytest.mark.parametrize("value", [{}, {"labels": ["a"], "counts": []}, {"labels": ["a", "b"], "counts": [[1], [2]]}])
def test_what_is_no_matrix_is_left_out(value):
    assert Confusion.of(value) is None


@pytest.mark.parametrize(("labels", "numbered"), [(25, True), (26, False)])
def test_a_large_matrix_is_scaled_down(labels, numbered):
    names = tuple(f"label <{place}>" for place in range(labels))
    counts = tuple(tuple(7 if row == column else 0 for column in range(labels)) for row in range(labels))
    drawn = matrix(Confusion(names, counts))
    assert drawn.count("data-tip=") == labels
    assert (">7<" in drawn) == numbered
    assert ("label &lt;0&gt;</text>" in drawn) == numbered


def test_quality_floor_is_held_against_dev():
    assert quality_floor(full()) == pytest.approx(0.97 * 0.9335)
    assert quality_floor({**full(), "teacher": None}) == pytest.approx(0.97)
    assert quality_floor({**full(), "budget": {"min_quality": "accuracy>=0.9"}}) == 0.9
    assert quality_floor({**full(), "budget": {"min_quality": "f1_macro>=0.9"}}) is None
    assert quality_floor({**full(), "budget": {}}) is None


def test_families_keep_their_colour():
    assert families(full()) == ["hashed-ngrams", "small-transformer"]


def test_markup_is_escaped_once():
    assert element("p", "<b>", Markup("<i>"), None, class_="a\"b'", hidden=True, title=None, x=1.5) == (
        '<p class="a&quot;b&#x27;" hidden x="1.5">&lt;b&gt;<i></p>'
    )
    assert escape(escape("&")) == "&amp;"
    assert label("a_b<c") == "<bdi>a_<wbr>b&lt;c</bdi>"


@given(some.recursive(some.none() | some.text() | some.floats(), lambda inner: some.dictionaries(some.text(), inner)))
def test_inline_json_cannot_end_its_element(value):
    text = inline_json(value)
    assert not set("<>&") & set(text)

    def finite(one):
        if isinstance(one, dict):
            return {key: finite(inner) for key, inner in one.items()}
        return None if isinstance(one, float) and not math.isfinite(one) else one

    assert json.loads(text) == finite(value)
