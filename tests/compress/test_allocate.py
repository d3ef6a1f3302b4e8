import itertools

import numpy as np
import pytest

from pocketlm.compress.allocate import WORTH, allocate, allocate_few, least_bytes
from pocketlm.compress.options import FewerUnits, Option, Survey, SurveyedLayer, front
from pocketlm.errors import BudgetError


def made_table(seed, layers=4, options=4, drops=False):
    """A random table: of each layer a few options of random size and loss, two layers a block."""
    random = np.random.default_rng(seed)
    found = []
    for place in range(layers):
        offered = tuple(
            Option(str(kind), int(random.integers(10, 90)), {str(kind): float(random.exponential())}, {"bits": number})
            for number, kind in enumerate(random.choice(["grid", "prune"], options))
        )
        found.append(SurveyedLayer((f"b.{place // 2}.l{place}",), "linear", f"b.{place // 2}", (10, 5), 100, offered))
    rises = {f"b.{block}": float(random.exponential(2)) for block in range(1, layers // 2)} if drops else {}
    return Survey(tuple(found), rises, 0, "nats a token")


def brute_force(table, budget, scales=None, most_drops=0):
    """The least loss over every combination."""
    best = float("inf")
    for number in range(most_drops + 1):
        for dropped in itertools.combinations(table.drops, number):
            left = [one for one in table.layers if one.block not in dropped]
            for picked in itertools.product(*([one.keep, *one.options] for one in left)):
                if sum(one.bytes for one in picked) <= budget:
                    loss = sum(one.loss(scales) for one in picked)
                    loss += sum(table.drops[one] * (scales or {}).get("drop", 1) for one in dropped)
                    best = min(best, loss)
    return best


@pytest.mark.parametrize("seed", range(8))
def test_the_choice_is_the_best_of_all(seed):
    table = made_table(seed)
    scales = {"grid": 0.5, "prune": 1.5} if seed % 2 else None
    for budget in (least_bytes(table), 200, 300, 400):
        found = allocate(table, max(budget, least_bytes(table)), scales)
        assert found.bytes <= max(budget, least_bytes(table))
        assert found.loss(scales) == pytest.approx(brute_force(table, max(budget, least_bytes(table)), scales))


@pytest.mark.parametrize("seed", range(4))
def test_dropped_blocks_compete_with_everything_else(seed):
    table = made_table(seed, layers=8, options=2, drops=True)  # 4 blocks, one of which may go
    for budget in (least_bytes(table), 350, 500):
        found = allocate(table, max(budget, least_bytes(table)))
        assert len(found.dropped) <= 1
        assert found.loss() == pytest.approx(brute_force(table, max(budget, least_bytes(table)), most_drops=1))
        assert set(found.chosen) == {one.name for one in table.layers if one.block not in found.dropped}


@pytest.mark.parametrize("seed", range(6))
def test_layers_of_a_feed_forward_lose_units_together(seed):
    """Against every combination of a share of units and options of its layers."""
    random = np.random.default_rng(seed)
    plain = made_table(seed, layers=4, options=3)
    units = FewerUnits("b.0.l1", ("b.0.l0", "b.0.l1"), ((0.25, float(random.exponential(0.3))), (0.5, 0.5)))
    table = Survey(plain.layers, {}, 0, plain.unit, widths=(units,))
    scales = {"grid": 0.7, "width": 0.5} if seed % 2 else None
    assert least_bytes(table) < least_bytes(plain)
    for budget in (least_bytes(table) + 2, 120, 200, 300):
        found = allocate(table, budget, scales)
        widths = {found.chosen[name].settings.get("width", 0.0) for name in units.members}
        assert len(widths) == 1 and all("width" not in found.chosen[f"b.1.l{n}"].settings for n in (2, 3))
        best = float("inf")
        for share, rise in ((0.0, 0.0), *units.steps):
            for picked in itertools.product(*([one.keep, *one.options] for one in table.layers)):
                size = sum(round(one.bytes * (1 - share * (n < 2))) for n, one in enumerate(picked))
                if size <= budget:
                    loss = sum(one.loss(scales) * (1 - share * (n < 2)) for n, one in enumerate(picked))
                    best = min(best, loss + rise * (scales or {}).get("width", 1.0))
        assert found.bytes <= budget and found.loss(scales) == pytest.approx(best)
    assert allocate(table, 200, kinds=("grid", "prune")).losses.keys() <= {"grid", "prune"}


def test_more_bytes_never_cost_loss():
    table = made_table(3, layers=12, options=6, drops=True)
    budgets = np.linspace(least_bytes(table), 1200, 15).astype(int)
    losses = [allocate(table, int(budget)).loss() for budget in budgets]
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(losses))
    assert losses[-1] == 0  # everything stays as it is
    assert allocate(table, 1200).bytes == 1200


def test_only_the_kinds_asked_for_are_used():
    table = made_table(1)
    found = allocate(table, 300, kinds=("grid",))
    assert {one.kind for one in found.chosen.values()} <= {"grid", "keep"}


@pytest.mark.parametrize("seed", range(8))
def test_a_kind_that_buys_little_is_left_out(seed):
    """What stays is worth it: without any one of the kinds the loss would be clearly higher."""
    table, scales = made_table(seed, layers=6, drops=True), {"grid": 0.5} if seed % 2 else None
    for budget in (least_bytes(table) + 20, 300, 420):
        best, few = allocate(table, budget, scales), allocate_few(table, budget, scales)
        assert few.bytes <= budget and set(few.losses) <= set(best.losses)
        assert best.loss(scales) - 1e-9 <= few.loss(scales) <= (1 + WORTH) * best.loss(scales) + 1e-9
        for kind in few.losses if len(few.losses) > 1 else ():
            try:
                without = allocate(table, budget, scales, [one for one in few.losses if one != kind])
            except BudgetError:
                continue
            assert without.loss(scales) > (1 + WORTH) * best.loss(scales)


def test_a_kind_that_alone_reaches_the_budget_stays():
    options = (Option("grid", 50, {"grid": 1.0}), Option("prune", 30, {"prune": 1.01}))
    table = Survey((SurveyedLayer(("a",), "linear", "", (10, 5), 100, options),), {}, 0, "nats a token")
    assert allocate_few(table, 60).losses == {"grid": 1.0}
    assert allocate_few(table, 40).losses == {"prune": 1.01}


def test_a_budget_out_of_reach_names_the_least_size():
    table = made_table(2, drops=True)
    least = least_bytes(table)
    assert allocate(table, least).bytes == least
    with pytest.raises(BudgetError, match=rf"out of reach.*{least:,} bytes"):
        allocate(table, least - 1)


def test_what_is_beaten_in_both_is_not_offered():
    kept = front([Option("grid", 10, {"grid": 1.0}), Option("prune", 12, {"prune": 2.0}), Option("keep", 20)])
    assert [one.kind for one in kept] == ["grid", "keep"]
    scaled = front([Option("grid", 10, {"grid": 1.0}), Option("prune", 12, {"prune": 2.0})], {"prune": 0.1})
    assert [one.kind for one in scaled] == ["grid", "prune"]


def test_options_have_names_for_people():
    assert Option("low-rank", 1, {}, {"share": 0.4, "bits": 4}).label == "low-rank 40 % 4 bits"


def test_a_table_survives_json():
    table = made_table(5, drops=True)
    assert Survey.from_json(table.to_json()) == table
