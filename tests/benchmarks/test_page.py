"""The page says what was reached, missed, and not run."""

import pytest
from page import MARKS, between_marks, page, summary

PEER = {
    "low": 0.9,
    "high": 0.93,
    "size_bytes": 263_000,
    "latency_p50_ms": 0.12,
    "latency_p95_ms": 0.2,
    "memory_bytes": 4e7,
}


def found(accuracy, status="met"):
    ours = {
        **PEER,
        "name": "PocketLM ≤ 300kB",
        "bar": 0.985,
        "accuracy": accuracy,
        "chosen": "n-grams",
        "seconds": 60.0,
    }
    rows = [
        {**ours, "status": status, "p_teacher": 0.0004, "p_tfidf": 0.25},
        {"name": "Model2Vec 256, fine-tuned", "not_run": "No module named 'model2vec'"},
    ]
    teacher = {"quality": {"test": {"accuracy": 0.94}}, "seconds": 500.0}
    home = {"intent_accuracy": 0.96, "slot_f1": 0.85, "frame_accuracy": 0.7}
    machine = {"cpu": "a CPU", "cores": 2, "python": "3.11", "versions": {"torch": "2"}}
    taken = {"command": "python benchmarks/run.py", "date": "2026-01-01", "machine": machine}
    alone = {**taken, "command": "python benchmarks/run.py --only runtime"}
    return {
        "banking77": {
            "teacher": teacher, "rows": rows, "test_rows": 3080, "agreement": {"float": 1.0, "int8_points": -0.4},
            "taken": taken,
        },
        "runtime": {
            "taken": alone, "import_ms": 20.0, "load_import_ms": 120.0,
            "graphs": [{"name": "small-convnet", "predict_ms": 0.3, "bare_ms": 0.2}],
        },
        "smart_home": {
            "taken": taken,
            "teacher": {"intent_accuracy": 0.96, "slot_f1": 0.9, "frame_accuracy": 0.8}, "student": home,
            "measurement": {"size_bytes": 674_000, "latency_p50_ms": 0.3}, "chosen": "n-grams", "seconds": 400.0,
        },
    }  # fmt: skip


def line(text, beginning):
    return next(one for one in text.splitlines() if one.startswith(beginning))


def test_a_bar_is_reached_by_share_and_budget_together():
    assert "98.5%: reached" in line(page(found(0.93)), "| PocketLM")
    assert "98.5%: missed" in line(page(found(0.92)), "| PocketLM")
    assert "98.5%: missed" in line(page(found(0.93, status="missed")), "| PocketLM")


def test_differences_and_what_did_not_run_are_said():
    text = page(found(0.93))
    assert "< 0.001 | 0.250 |" in line(text, "| PocketLM")
    assert "not run: No module named 'model2vec'" in line(text, "| Model2Vec")
    assert "99.90 %: reached" in text and "-0.40 points of accuracy (bar 0.3: missed)" in text
    assert "120 ms (bar 150: reached)" in text and "50%: missed" in line(text, "| small-convnet")
    assert "98%: reached" in line(text, "| intent_accuracy") and "97%: missed" in line(text, "| slot_f1")


def test_each_part_names_the_command_that_took_it():
    text = page(found(0.93))
    assert text.count("Written by `python benchmarks/run.py` on 2026-01-01") == 2
    assert "Written by `python benchmarks/run.py --only runtime`" in text.partition("## The runtime itself")[2]


def test_every_row_has_as_many_cells_as_the_heading():
    rows = [one for one in page(found(0.93)).splitlines() if one.startswith("| ")][:4]
    assert {one.count("|") for one in rows} == {11}


def test_the_table_replaces_what_stood_between_the_marks():
    old = f"top\n{MARKS[0]}\nold\n{MARKS[1]}\nend"
    new = between_marks(old, summary(found(0.93)))
    assert "| PocketLM ≤ 300kB | 93.0% | 263 kB | 120 µs |" in new and "old" not in new
    assert new.startswith("top\n") and new.endswith("\nend") and between_marks(new, "x") == between_marks(old, "x")
    with pytest.raises(ValueError, match="unpack"):
        between_marks("no marks", "x")
