"""The page of low resources says what was found, whether bars were reached, and nothing of what was not run."""

import pytest
from low_resource_page import gain_at, page

MACHINE = {"cpu": "a processor", "vectors": "AVX2", "cores": 2, "python": "3.11", "versions": {"torch": "2"}}
GOLD = ["a", "b"] * 20


def run(said, size=1_000):
    return {"seed": 0, "date": "2026-01-02", "gold": GOLD, "peer": ["a"] * 40, "said": said, "size_bytes": size,
            "p50_ms": 0.5, "seconds": 3.0, "status": "met", "own_sentences": 6000}  # fmt: skip


def linear(said):
    runs = {"sib200/swh_Latn/5MB": [run(said)], "sib200/swh_Latn/300kB": [run(GOLD)]}
    return {"teacher": "e5", "unlabelled": 6000, "latency": "1ms", "machine": MACHINE, "languages": runs}


@pytest.mark.parametrize(("said", "words"), [(GOLD, "(bar +6: reached)"), (["b"] * 40, "(bar +6: missed)")])
def test_bars_are_held_against_the_mean_gain(said, words):
    made = page({"low_resource_sib": linear(said)})
    assert (
        words in made and "6,000 to 6,000 sentences" in made and "| 0 of 1 |" in made and "## From 10 rows" not in made
    )


def test_the_gain_of_the_default_is_over_what_both_were_run_on():
    rows = [
        {"language": language, "rows": 50, "seed": 0, "way": way, "f1_macro": value, "date": "2026-01-02"}
        for language, way, value in (
            ("a", "default fit", 0.6), ("a", "fine-tuning", 0.4), ("b", "fine-tuning", 0.1), ("a", "linear", 0.2),
        )
    ]  # fmt: skip
    assert gain_at(rows, 50) == pytest.approx(20)
    assert gain_at(rows, 10) is None
    settings = {"teacher": "e5", "max_size": "5MB", "max_latency": "1ms"}
    made = page({"few_shot": {"runs": rows, "machine": MACHINE, "settings": settings}})
    assert "+20.0 points (bar +8: reached)" in made


def test_trimming_transfer_and_pretraining_have_their_parts():
    figures = {"f1_fine_tuned": 0.7, "f1_trimmed": 0.69, "f1_trimmed_first": 0.71, "f1_pocket": 0.69}
    language = {**figures, "kept": 0.986, "share_of_bytes": 0.2, "equal": 9, "covered": 9, "size_bytes": 9, "p50_ms": 1,
                "date": "2026-01-02"}  # fmt: skip
    half = {name: value for name, value in language.items() if name != "f1_trimmed_first"}
    rows = [{"target": "sv", "seed": 0, "arm": arm, "metrics": {"frame_accuracy": {"value": value}}}
            for arm, value in (("50 rows alone", 0.2), ("50 rows and others", 0.4))]  # fmt: skip
    about = {"machine": MACHINE, "date": "2026-01-02",
             "settings": {"max_size": "1MB", "sources": "en,de", "unlabelled": True}}  # fmt: skip
    test = {"value": 1.7, "low": 1.6, "high": 1.8}
    made = page({
        "trim": {"teacher": "e5", "unlabelled": 6000, "max_size": "12MB", "max_latency": "2.5ms", "machine": MACHINE,
                 "languages": {"swh": language, "som": half}},
        "cross_lingual": {"rows": rows, "about": about, "fits": {"one": {"date": "2026-01-02"}},
                          "gains": {"gain": 0.2}},
        "pretrain": {
            "environment": MACHINE, "date": "2026-01-02", "minutes": 30.0, "threads": 1, "counting": {"lzma": 2.0},
            "runs": {"new": {"kind": "masked", "parameters": 9, "test": test}},
            "verdicts": {"masked": {"base": "old", "nothing": "new", "gain": 0.1, "sure": True}},
        },
    })  # fmt: skip
    for words in ("2 of 2 languages", "(bar +15: reached)", "old beats new", "1.700 [1.600, 1.800]", "lzma 2.000",
                  "trimmed after fine-tuning, at most 0.2 points lost: 0 of 2 languages, 1.0 points",
                  "trimmed before fine-tuning, at most 0.2 points lost: 1 of 1 languages, -1.0 points"):  # fmt: skip
        assert words in made


def test_a_strategy_is_told_beside_random():
    curves = {
        "margin": {"accuracy": [[0.2, 0.5], [0.4, 0.7]], "mean_gain": {"value": 0.05, "low": -0.01, "high": 0.1}},
        "random": {"accuracy": [[0.1, 0.4], [0.3, 0.6]], "mean_gain": {"value": 0.0, "low": 0.0, "high": 0.0}},
    }
    one = {"rows": 1_000, "classes": 3, "held_out": 300, "sizes": [10, 20], "curves": curves, "seeds": 2}
    made = page({"active_learning": {"machine": MACHINE, "date": "2026-01-02", "sets": {"some": one}}})
    assert "| 10 | 30.0 | 20.0 |" in made and "| 20 | 60.0 | 50.0 |" in made
    assert "| whole curve, over random | +5.0 [-1.0, +10.0] |  |" in made
