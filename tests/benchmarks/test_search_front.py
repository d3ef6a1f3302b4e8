"""The benchmark of the search: its volumes are exact, and its table says them."""

import math
import os
import time
from types import SimpleNamespace

import pytest
import search_front as search

WORST = (0.0, 0.0, 0.0)


def test_one_point_has_the_volume_of_its_box():
    assert search.hypervolume([(0.5, 2.0, 3.0)], WORST) == pytest.approx(3.0)
    assert search.hypervolume([(0.5, 2.0, 3.0)], (0.0, 0.0, 1.0)) == pytest.approx(2.0)
    assert search.hypervolume([], WORST) == 0
    assert search.hypervolume([(0.5, -1.0, 3.0)], WORST) == 0, "it is worse than the worst in one figure"


def test_what_is_dominated_adds_nothing_and_overlaps_count_once():
    box = [(1.0, 1.0, 1.0)]
    assert search.hypervolume([*box, (0.5, 0.5, 0.5)], WORST) == pytest.approx(1.0)
    both = [(2.0, 1.0, 1.0), (1.0, 2.0, 1.0)]
    assert search.hypervolume(both, WORST) == pytest.approx(3.0)
    assert search.hypervolume([*both, (1.0, 1.0, 2.0)], WORST) == pytest.approx(4.0)


def trial(quality, size, start=False, milliseconds=0.1, seconds=1.0):
    figures = {"quality": quality, "size_bytes": size, "latency_p50_ms": milliseconds}
    return {"start": start, "figures": figures, "key": f"{quality} {size}", "seconds": seconds,
            "status": "measured"}  # fmt: skip


def test_points_are_better_the_larger_they_are():
    tried = [trial(0.9, 1000), {"start": True}]
    assert search.points(tried, timed=True) == [(0.9, -math.log(1000), -math.log(0.1))]
    assert search.points(tried, timed=False) == [(0.9, -math.log(1000), 0.0)]


def made(*trials, seconds=9.0):
    return {"trials": trials, "chosen": "a", "test": {"value": 0.88}, "seconds": seconds}


def runs():
    """The worst quality is 0.5, and the most bytes e times 1000; rules of thumb are a part of the first search."""
    worst = trial(0.5, round(1000 * math.e))
    return {
        "search 0": made(trial(0.6, 1000, start=True), trial(0.9, 1000)),
        "search 1": made(trial(0.8, 1000)),
        "search 2": made(trial(0.7, 1000)),
        "random 0": made(trial(0.6, 1000), worst, seconds=11.0),
        "random 1": made(trial(0.65, 1000), seconds=11.0),
        "random 2": made(trial(0.9, 1000, milliseconds=0.2), seconds=11.0),
    }


def test_at_equal_time_the_shorter_of_both_ends_it():
    slow, quick = trial(0.9, 1000, seconds=7.0), trial(0.8, 1000, seconds=2.0)
    remembered = {**slow, "seconds": 0.01}
    found = {"search 0": made(quick, slow), "random 0": made(quick, trial(0.7, 900), trial(0.6, 800))}
    within = search.at_equal_time({"a 1MB": {"runs": found}})["a 1MB"]
    assert within["search 0"]["trials"] == (quick,) and within["random 0"]["trials"] == found["random 0"]["trials"]
    shared = {"a 1MB": {"runs": found}, "a 2MB": {"runs": {"search 0": made(remembered), "random 0": made(quick)}}}
    within = search.at_equal_time(shared)["a 2MB"]
    assert within["search 0"]["trials"] == (), "it was trained for the other budget, and takes as long for this one"
    assert within["random 0"]["trials"] == (quick,)


def answers(lot):
    return f"of {lot}"


def breaks(lot):
    raise RuntimeError("NaN")


def dies(lot):
    os._exit(9)


def waits(lot):
    time.sleep(60)


def test_a_peer_is_asked_in_a_process_of_its_own():
    assert search.bounded(answers, "lot", 60) == "of lot"
    for peer, seconds, said in ((breaks, 60, "NaN"), (dies, 60, "died"), (waits, 0.5, "took more than")):
        with pytest.raises(RuntimeError, match=said):
            search.bounded(peer, "lot", seconds)


def test_fronts_are_compared_by_quality_and_bytes_and_beside_it_by_time():
    found = search.volumes(runs(), timed=False)
    assert found["search 1"] / found["rules"] == pytest.approx(3.0, rel=1e-3)
    assert found["random 2"] == pytest.approx(found["search 0"])
    assert search.over_random(runs()) == pytest.approx(2.0, rel=1e-3), "0.3 of the median over 0.15"
    timed = search.volumes(runs(), timed=True)
    assert timed["random 2"] < timed["random 0"], "it is the slowest"
    assert search.over_random(runs(), timed=True) == pytest.approx(3.0, rel=1e-3)
    assert search.over_rules(runs()) == pytest.approx(3.0, rel=1e-3)


def test_all_that_was_measured_is_one_front_above_every_run():
    assert search.all_over_random(runs()) == pytest.approx(0.4 / 0.15, rel=1e-3)
    small = {**runs(), "search 2": made(trial(0.7, 1000), trial(0.7, 500))}
    assert search.all_over_random(small) > search.all_over_random(runs()) + 0.5, "what one run found alone counts, too"


def test_the_table_compares_medians():
    said = search.table({"banking77 2MB": {"runs": runs(), "effort": 0.25}})
    assert "banking77 | 2MB | 0.25 | 2.00 | 2.00 | 3.00 | 2.67 | 3.00 | a | 80.0 / 65.0 | 9 / 11 | 88.0" in said
    assert "median over random: 2.00; least 2.00" in said


def test_what_another_process_kept_stays(tmp_path):
    given = SimpleNamespace(out=tmp_path / "front.json", trials=2, latency=None)
    search.add(given, "cases", "a 1MB", {"runs": runs(), "effort": 1})
    before = search.kept(given)
    search.add(given, "cases", "b 1MB", {"runs": runs(), "effort": 0.1})  # as another one would, meanwhile
    search.add(given, "peers", "a 1MB", {"linear": None})
    assert before["cases"].keys() == {"a 1MB"} and search.kept(given)["cases"].keys() == {"a 1MB", "b 1MB"}
    assert search.kept(given)["peers"] == {"a 1MB": {"linear": None}}
