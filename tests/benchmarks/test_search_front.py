"""The benchmark of the search: its volumes are exact, and its table says them."""

import math
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


def trial(quality, size, start=False):
    return {"start": start, "figures": {"quality": quality, "size_bytes": size, "latency_p50_ms": 0.1}}


def test_points_are_better_the_larger_they_are():
    assert search.points([trial(0.9, 1000), {"start": True}]) == [(0.9, -math.log(1000), -math.log(0.1))]


def test_the_table_compares_medians():
    one = {"trials": [trial(0.9, 1000)], "chosen": "a", "test": {"value": 0.88}, "seconds": 9.0}
    other = {"trials": [trial(0.8, 1000)], "chosen": "b", "test": {"value": 0.78}, "seconds": 11.0}
    volumes = {
        "tpe 0": 3.0,
        "tpe 1": 4.0,
        "tpe 2": 9.0,
        "random 0": 2.0,
        "random 1": 1.0,
        "random 2": 3.0,
        "rules": 2.0,
    }
    runs = {name: one if name.startswith("tpe") else other for name in volumes if name != "rules"}
    said = search.table({"banking77 2MB": {"volumes": volumes, "runs": runs}})
    assert "banking77 | 2MB | 2.00 | 2.00 | a | 90.0 / 80.0 | 9 / 11 | 88.0" in said
    assert "median over random: 2.00; least 2.00" in said


def test_what_another_process_kept_stays(tmp_path):
    given = SimpleNamespace(out=tmp_path / "front.json", trials=2, effort=0.5, latency=None)
    search.add(given, "cases", "a 1MB", {"volumes": {"tpe 0": 1.0}})
    before = search.kept(given)
    search.add(given, "cases", "b 1MB", {"volumes": {"tpe 0": 2.0}})  # as another one would, meanwhile
    search.add(given, "peers", "a 1MB", {"linear": None})
    assert before["cases"].keys() == {"a 1MB"} and search.kept(given)["cases"].keys() == {"a 1MB", "b 1MB"}
    assert search.kept(given)["peers"] == {"a 1MB": {"linear": None}}
