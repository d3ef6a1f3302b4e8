"""The page of the search holds figures against their bars, and says nothing of what was not run."""

from xml.etree import ElementTree

import costs
import pytest
import search_page
from cost_curves import drawing
from default_fit import held
from search_page import beside_peers, page

from pocketlm.advice.evidence import known_cases, scored

MACHINE = {"cpu": "a processor", "vectors": "AVX2", "cores": 2, "python": "3.11", "versions": {"torch": "2"}}


def searched(search, chance):
    """The worst that chance tried has the quality 0; each found one of these."""

    def run(*qualities):
        figures = [{"quality": one, "size_bytes": 1000, "latency_p50_ms": 0.1} for one in qualities]
        trials = [
            {"start": True, "figures": one, "key": str(one), "seconds": 1.0, "status": "measured"} for one in figures
        ]
        return {
            "trials": trials,
            "chosen": "n-grams",
            "test": {"value": 0.88, "low": 0.86, "high": 0.905},
            "seconds": 9.0,
            "status": "met",
        }

    runs = {"search 0": run(search), "random 0": run(0.0, chance)}
    return {"runs": runs, "effort": 0.25, "study": search_page.search_front.ASKING, "date": "2026-01-02"}


@pytest.mark.parametrize(
    ("search", "word"),
    [(0.5, "20 of 20 cases (bar all of 20: reached)"), (0.42, "0 of 20 cases (bar all of 20: missed)")],
)
def test_the_front_is_held_against_chance(search, word):
    done = {
        "machine": MACHINE,
        "trials": 12,
        "cases": {f"banking77 {size}MB": searched(search, 0.4) for size in range(search_page.FRONTS)},
        "peers": {},
    }
    made = page({"search_front": done})
    assert word in made and "## Twenty budgets" not in made and "peers" not in made
    assert "an earlier way of asking" not in made and "cases on" not in made
    done["cases"]["banking77 5MB"]["machine"] = {**MACHINE, "cpu": "another"}
    assert " 1 of 20 cases on another.\n" in page({"search_front": done})
    del done["cases"]["banking77 3MB"]["study"]
    assert "- 1 of 20 cases are of an earlier way of asking" in page({"search_front": done})


def test_searches_on_surrogates_are_told():
    case = {"search": [3.0], "random": {"12": [2.0], "18": [3.0]}}
    done = {"machine": MACHINE, "date": "2026-01-02", "trials": 12, "seeds": 1, "cases": {"news 2MB": case}}
    made = page({"search_simulated": done})
    assert "news | 2MB | 1.50 | 18" in made and "- geometric mean over random: 1.50; least 1.50." in made


def test_every_peer_that_fits_counts():
    cases = {f"banking77 {size}": searched(0.9, 0.4) for size in ("100kB", "2MB")}
    peers = {
        "banking77 100kB": {"one": {"accuracy": 0.8, "size_bytes": 90_000}, "other": None},
        "banking77 2MB": {
            "other": {"accuracy": 0.9, "size_bytes": 2},
            "third": {"failed": "NaN"},
            "one": {"accuracy": 0.88, "size_bytes": 10},
        },
        "news 2MB": {"one": {"accuracy": 0.99, "size_bytes": 1}},
    }
    lines = beside_peers(cases, peers)
    assert "| banking77 | 100kB | 88.0% | 80.0% (90 kB) | - |  |" in lines
    assert "| banking77 | 2MB | 88.0% | 88.0% (10 B) | 90.0% (2 B) | failed: NaN |" in lines
    ended = "1 failed to run; 1 budgets are not searched yet; 1 more are within the 95 % interval"
    assert f"as good as a peer that fits, or better: 2 of 3; {ended}" in lines[-1]
    assert "news" not in " ".join(lines), "nothing was searched there"
    assert beside_peers(cases, {}) == []


@pytest.mark.parametrize("run", [{"status": "missed"}, {"status": "missed", "test": None, "chosen": None}])
def test_a_search_that_missed_its_budget_beats_nobody(run):
    case = searched(0.9, 0.4)
    case["runs"]["search 0"] = {**case["runs"]["search 0"], **run}
    lines = beside_peers({"news 2MB": case}, {"news 2MB": {"one": {"accuracy": 0.1, "size_bytes": 10}, "other": None}})
    assert "| news | 2MB | missed | 10.0% (10 B) | - |" in lines
    assert "0 of 1 (bar all: missed)" in lines[-1]


@pytest.mark.parametrize(("right", "word"), [(True, "2 of 2 ended rightly (bar all: reached)"),
                                             (False, "1 of 2 ended rightly (bar all: missed)")])  # fmt: skip
def test_every_budget_must_end_rightly(right, word):
    met = {"data": "smart-home:eu", "limits": "--max-size 20kB", "exit": 0, "size_bytes": 19_000,
           "latency_p50_ms": 0.1, "memory_bytes": 4e7, "right": True}  # fmt: skip
    refused = {"data": "smart-home:eu", "limits": "--max-size 1kB", "exit": 2, "right": right}
    made = page({"budgets": {"machine": MACHINE, "date": "2026-01-02", "budgets": [met, refused]}})
    assert word in made and "| 19 kB, 0.10 ms, 40 MB | yes |" in made


@pytest.mark.parametrize(("minutes", "word"), [(29.9, "29.9 minutes on 2 cores (bar 30: reached)"),
                                               (30.1, "30.1 minutes on 2 cores (bar 30: missed)")])  # fmt: skip
def test_the_default_fit_is_held_against_three_bars(minutes, word):
    run = {
        "minutes": minutes,
        "exit": 0,
        "of_teacher": 0.999,
        "p50_ms": 1.2,
        "chosen": "n-grams",
        "tried": 7,
        "teacher": 0.94,
        "size_bytes": 7_900_000,
        "accuracy": {"value": 0.939, "low": 0.93, "high": 0.95},
        "date": "2026-01-02",
    }
    made = page({"default_fit": {"machine": MACHINE, "limits": "--max-size 8MB", "run": run, "held": held(run)}})
    assert word in made and "99.90% of the teacher's accuracy (bar 99.8 %: reached)" in made
    assert "1.20 ms a text, measured again in a process of its own (bar 1 ms: missed)" in made
    assert "7.90 MB (bar 8 MB: reached)" in made and "exit code 0 (bar 0: reached)" in made


def test_costs_tell_how_seconds_grow():
    base = {"max_size": "500kB", "teacher": None, "trials": 6, "workers": 0, "teacher_seconds": 0.0,
            "search_seconds": 1.0, "date": "2026-01-02"}  # fmt: skip
    runs = [{**base, "varied": "rows", "rows": rows, "seconds": rows**0.5, "trial_ends": []} for rows in (100, 400)]
    runs.append({**base, "varied": "trials", "rows": 100, "seconds": 9.0, "trial_ends": [2.0, 4.0, 9.0]})
    made = page({"costs": {"machine": MACHINE, "effort": 0.25, "runs": runs}})
    assert "seconds grow with the power 0.50 of rows" in made
    assert "one search of 3 recipes: 2 s after 1, 9 s after 3." in made
    drawn = ElementTree.fromstring(str(drawing(runs)))
    panels = drawn.findall("{*}g")
    dots = [len(panel.findall("{*}circle")) for panel in panels]
    assert dots == [4, 3], "the whole fit and its search at two counts of rows, no teacher; three recipes"
    rows = [float(one.get("cx")) for one in panels[0].findall("{*}circle")]
    assert rows[0] == rows[2] < rows[1] == rows[3]


def test_one_thing_is_varied_at_a_time_and_the_base_is_shared():
    wanted = list(costs.settings(["a", "b"], [2]))
    base = next(given for name, given in wanted if name == "rows" and given["rows"] == costs.BASE_ROWS)
    assert sum(given == base for _, given in wanted) == 3, "of rows, budgets and teachers"
    assert all(
        sum(given[key] != base[key] for key in base) <= (2 if name == "workers" else 1) for name, given in wanted
    )


def test_the_score_of_advice_is_said():
    cases = known_cases()
    done = {one.name: {"date": "2026-01-02", "case": one.to_json()} for one in cases}
    made = page({"advice": {"machine": MACHINE, "cases": done}})
    verdicts = scored(cases)
    reached = "reached" if all(one.good for one in verdicts) and len(cases) >= search_page.STUDIES else "missed"
    good, chance = sum(one.good for one in verdicts), sum(one.chance for one in verdicts if one.able > 1)
    assert f"- good: {good} of {len(cases)}; within a point" in made
    assert f"a blind draw would be in {chance:.1f} (bar all of at least 12: {reached})." in made


def test_what_the_front_searched_is_a_case_of_advice_too():
    one, other = ({"date": "2026-01-02", "case": case.to_json()} for case in known_cases()[:2])
    front = {
        "machine": MACHINE,
        "trials": 12,
        "cases": {"banking77 2MB": {**searched(0.9, 0.4), **other}},
        "peers": {},
    }
    made = page({"advice": {"machine": MACHINE, "cases": {"one": one}}, "search_front": front})
    assert " of 2; within a point" in made and f"{other['case']['name']} |" in made
