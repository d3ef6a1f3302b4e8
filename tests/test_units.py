"""Units as people write them, and what is refused."""

from dataclasses import dataclass
from typing import Any

import pytest

from pocketlm.budget import Budget, Measurement, QualityFloor
from pocketlm.errors import BudgetError, RecipeError, UnitError, UnknownNameError
from pocketlm.students.passes import STUDENT_PASSES
from pocketlm.tables import Table, pass_from_json, settings_of
from pocketlm.units import (
    exact_size,
    format_duration,
    format_latency,
    format_size,
    parse_duration,
    parse_latency,
    parse_share,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"), [("1MB", 10**6), ("300 kB", 300_000), ("1.5mb", 1_500_000), ("1MiB", 2**20), ("10b", 10)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "ms"), [("1ms", 1.0), ("0.5 ms", 0.5), ("200us", 0.2), ("200 µs", 0.2), ("2s", 2000.0)]
)
def test_latencies(text, ms):
    assert parse_latency(text) == pytest.approx(ms)


@pytest.mark.parametrize("text", ["12 parsecs", "1", "MB", "-1MB", "1MB/s", ""])
def test_wrong_sizes_say_what_is_right(text):
    with pytest.raises(UnitError, match='such as "1MB"'):
        parse_size(text)


def test_durations_and_shares():
    assert parse_duration("10m") == 600
    assert parse_share("97%") == parse_share("0.97") == 0.97
    for wrong in ("1.2", "0", "97 cats"):
        with pytest.raises(UnitError):
            parse_share(wrong)


def test_formats():
    assert [format_size(n) for n in (12, 57_300, 999_900, 1_580_000)] == ["12 B", "57.3 kB", "1,000 kB", "1.58 MB"]
    assert [format_latency(ms) for ms in (0.085, 1.24, 2100)] == ["85 µs", "1.24 ms", "2.1 s"]
    assert [format_duration(s) for s in (4.2, 185, 3720)] == ["4.2 s", "3m 05s", "1h 02m"]


def measured(**changes):
    return Measurement(
        **{
            **dict(
                quality={"accuracy": 0.9}, size_bytes=10**6, latency_p50_ms=1.0, latency_p95_ms=2.0, memory_bytes=10**8
            ),
            **changes,
        }
    )


def test_a_figure_at_its_limit_holds_and_one_above_misses():
    budget = Budget.parse("1MB", "1ms", "100MB", "accuracy>=0.9")
    assert budget.check(measured(), "accuracy").met
    verdict = budget.check(measured(size_bytes=1_100_000), "accuracy")
    assert not verdict.met
    assert verdict.distance == pytest.approx(0.1)
    assert "size 1.1 MB (≤ 1 MB): missed by 10.0%" in str(verdict)


def test_quality_is_a_share_of_the_teachers_where_there_is_one():
    budget = Budget(min_quality=QualityFloor.parse("0.97"))
    assert budget.check(measured(), "accuracy", {"accuracy": 0.92}).met
    assert not budget.check(measured(), "accuracy", {"accuracy": 0.95}).met
    assert not budget.check(measured(), "accuracy").met


def test_a_figure_that_is_better_the_lower_is_bounded_from_above():
    budget = Budget(min_quality=QualityFloor.parse("perplexity<=30"))
    figures = measured(quality={"bits_per_byte": 1.0, "perplexity": 33.0})
    limit = budget.check(figures, "bits_per_byte", lower=["bits_per_byte", "perplexity"]).limits[0]
    assert limit.over == pytest.approx(0.1) and not limit.holds and "≤ 30" in str(limit)
    share = Budget(min_quality=QualityFloor.parse("0.8"))
    for teacher, met in ((0.81, True), (0.79, False)):
        assert share.check(figures, "bits_per_byte", {"bits_per_byte": teacher}, ["bits_per_byte"]).met is met
    with pytest.raises(BudgetError, match="better the higher; write accuracy>=30"):
        Budget.parse(min_quality="accuracy<=30").check(measured(), "accuracy")
    with pytest.raises(UnitError, match="not a figure above 0"):
        QualityFloor.parse("perplexity<=low")


@pytest.mark.parametrize("limits", [{"max_size": "10B"}, {"max_latency": "0ms"}, {"max_memory": "1kB"}])
def test_impossible_budgets_are_refused(limits):
    with pytest.raises(BudgetError, match="impossible"):
        Budget.parse(**limits)


def test_unknown_metric_of_a_floor_is_named():
    with pytest.raises(BudgetError, match="f1_makro.*accuracy"):
        Budget.parse(min_quality="f1_makro>=0.5").check(measured(), "accuracy")


def test_tables_suggest_the_nearest_name():
    table = Table("thing", {"alpha": "math:pi", "beta": "math:e"})
    assert table["alpha"] > 3
    assert "beta" in table
    assert len(table) == 2
    with pytest.raises(UnknownNameError, match="Did you mean 'alpha'"):
        table["alpah"]


def test_sizes_of_options_lose_nothing():
    assert [exact_size(one) for one in (60_000, 1_500_000, 1_234_567)] == ["60kB", "1.5MB", "1234567B"]


@pytest.mark.parametrize(("low", "high", "said"), [
    (0.9, 1.1, "holds, though 900 µs to 1.1 ms were measured"), (0.9, 0.99, "holds"), (1.01, 1.1, "holds"),
])  # fmt: skip
def test_a_latency_near_its_limit_says_how_far_it_spreads(low, high, said):
    costs = {"size_bytes": 1, "latency_p50_ms": 0.98, "latency_p95_ms": 2.0, "memory_bytes": 1}
    spread = {"latency_p50_low_ms": low, "latency_p50_high_ms": high}
    verdict = Budget.parse(max_latency="1ms").check(Measurement.of({"accuracy": 0.9}, {**costs, **spread}), "accuracy")
    assert str(verdict).endswith(said)
    assert str(Budget.parse(max_latency="1ms").check(Measurement.of({}, costs), "accuracy")).endswith(": holds")


@pytest.mark.parametrize(("setting", "value", "said"), [
    ("rate", "1e-4", "pass distill: rate is a number, got '1e-4'"),  # as YAML reads it
    ("epochs", 2.5, "pass distill: epochs is a whole number, got 2.5"),
    ("epochs", True, "pass distill: epochs is a whole number, got True"),
])  # fmt: skip
def test_a_setting_of_a_recipe_is_of_its_kind(setting, value, said):
    with pytest.raises(RecipeError, match=said):
        pass_from_json({"pass": "distill", setting: value}, STUDENT_PASSES)
    assert pass_from_json({"pass": "distill", "rate": 1e-4}, STUDENT_PASSES).rate == 1e-4


def test_settings_whose_types_cannot_be_found_are_let_be():
    @dataclass
    class FromElsewhere:
        rate: "Nowhere" = 1.0  # noqa: F821

    assert settings_of(FromElsewhere) == {"rate": Any}
