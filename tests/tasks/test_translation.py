"""BLEU and chrF++ are sacrebleu's, with its signatures; counts that differ are refused."""

import pytest
from sacrebleu.metrics import BLEU, CHRF

from pocketlm.budget import QualityFloor
from pocketlm.errors import DataError
from pocketlm.outputs import Example
from pocketlm.tasks.table import TASKS
from pocketlm.tasks.translation import TRANSLATION, compare

REFERENCES = [f"the cat number {place} sat on the mat today" for place in range(30)]
SAID = [text if place % 3 else text.replace("sat on", "is near") for place, text in enumerate(REFERENCES)]
EXAMPLES = [Example(f"paka {place}", target=text) for place, text in enumerate(REFERENCES)]
OUTPUTS = TRANSLATION.outputs(EXAMPLES)


def predictions(texts):
    return [{OUTPUTS[0].name: text} for text in texts]


def test_figures_are_sacrebleus():
    figures = TRANSLATION.figures(EXAMPLES, predictions(SAID), OUTPUTS)
    assert figures["bleu"] == pytest.approx(BLEU().corpus_score(SAID, [REFERENCES]).score / 100)
    assert figures["chrf++"] == pytest.approx(CHRF(word_order=2).corpus_score(SAID, [REFERENCES]).score / 100)
    assert TASKS["translation"].main_metric in figures


def test_scores_have_intervals_and_signatures():
    scores = TRANSLATION.score(EXAMPLES, predictions(SAID), OUTPUTS)
    for figure in scores.metrics.values():
        assert figure.low < figure.value < figure.high
    assert scores.n == 30
    assert "nw:2" in scores.signatures["chrf++"]
    assert "tok:13a" in scores.signatures["bleu"]
    assert "bs:1000" in scores.signatures["bleu"]
    assert scores.to_json()["signatures"] == scores.signatures


def test_what_is_right_scores_one_whatever_is_drawn():
    scores = TRANSLATION.score(EXAMPLES, predictions(REFERENCES), OUTPUTS)
    assert scores.metrics["bleu"].value == pytest.approx(1)
    assert scores.metrics["chrf++"].low == pytest.approx(1)


def test_counts_that_differ_are_refused():
    with pytest.raises(DataError, match="29 translations for 30 references"):
        TRANSLATION.figures(EXAMPLES, predictions(SAID[:-1]), OUTPUTS)
    with pytest.raises(DataError, match="student: 29 texts for 30 references"):
        compare(REFERENCES, {"teacher": REFERENCES, "student": SAID[:-1]})


def test_a_row_without_a_target_is_named():
    with pytest.raises(DataError, match="row 2 has no target"):
        TRANSLATION.outputs([EXAMPLES[0], Example("maji")])


def test_systems_are_compared_in_pairs():
    found = compare(REFERENCES, {"right": REFERENCES, "same": REFERENCES, "worse": SAID})
    assert found["systems"]["right"]["bleu"]["p"] is None
    assert found["systems"]["same"]["chrf++"]["p"] == 1
    assert found["systems"]["worse"]["chrf++"]["p"] < 0.05
    assert found["systems"]["worse"]["chrf++"]["value"] < found["systems"]["right"]["chrf++"]["value"]
    assert "test:bs" in found["signatures"]["bleu"] or "bs:1000" in found["signatures"]["bleu"]


def test_a_floor_may_name_the_metric():
    floor = QualityFloor.parse("chrf++>=0.4")
    assert (floor.metric, floor.value) == ("chrf++", 0.4)


def test_a_system_that_says_next_to_nothing_right_is_judged_too():
    """Some samples of the bootstrap have not one n-gram right."""
    examples = [Example("x", target="habari ya asubuhi") for _ in range(10)]
    said = [{"translation": "habari" if place == 0 else "zzz"} for place in range(10)]
    scores = TRANSLATION.score(examples, said, OUTPUTS)
    found, plain = scores.metrics["chrf++"], TRANSLATION.figures(examples, said, OUTPUTS)["chrf++"]
    assert found.low < found.value < found.high
    assert plain == pytest.approx(found.value, abs=1e-6)
