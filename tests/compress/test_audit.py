import pytest

from pocketlm.compress.audit import Coverage, Stability, audit, coverage, ngram_overlap, stability, warnings
from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe

CONTEXT = Context(fast=False)


def test_overlap_counts_ngrams_word_for_word():
    words = [f"w{number}" for number in range(40)]
    text = " ".join(words)
    assert ngram_overlap([text], text) == 1.0
    assert ngram_overlap([text], " ".join(words[:12])) == 0.0  # no 13 words
    mixed = " ".join(words[:14] + [f"x{number}" for number in range(26)])
    assert ngram_overlap([text], mixed) == pytest.approx(2 / 28)
    assert ngram_overlap([" ".join(words[:20]), " ".join(words[20:])], text) == pytest.approx(16 / 28)


def test_coverage_counts_tokens(family, calibrated):
    model = family("llama")
    found = coverage(model, calibrated(model), text="turn on the kitchen zebra", test="zebra")
    ids = {int(one) for batch in calibrated(model).batches for one in batch["input_ids"].flatten()}
    assert (found.tokens, found.sequences, found.distinct) == (128, 8, len(ids))
    assert found.vocabulary == pytest.approx(len(ids) / len(model.tokenizer))
    wanted = model.tokenizer("turn on the kitchen zebra", add_special_tokens=False).input_ids
    assert found.text == pytest.approx(sum(one in ids for one in wanted) / len(wanted))
    assert found.text < 1 and found.overlap == 0


def test_halves_that_are_the_same_differ_by_nothing(family, calibrated):
    model = family("llama")
    one = calibrated(model).batches[0]
    twice = Calibration(({name: value.repeat_interleave(2, 0) for name, value in one.items()},))
    found = stability(model, twice, CONTEXT)
    assert len(found.differences) == 14
    assert max(found.differences.values()) < 1e-5 and min(found.agreements.values()) == 1.0


def test_more_text_is_more_stable(family, calibrated):
    model = family("bert")
    few, many = (stability(model, calibrated(model, windows=count), CONTEXT).to_json() for count in (4, 64))
    assert many["difference"] < few["difference"] and many["agreement"] > few["agreement"]


@pytest.mark.parametrize("name", ["t5", "mixtral"])
def test_other_families_are_audited(family, calibrated, name):
    model = family(name)
    found = audit(model, calibrated(model), context=CONTEXT)
    assert found["difference"] >= 0 and 0.3 < found["agreement"] <= 1
    if name == "mixtral":
        assert found["experts"]["most"] <= 128 and found["experts"]["unreached"] == 0
    assert "text" not in found and "overlap" not in found


def test_what_is_wrong_is_said():
    poor = warnings(
        Coverage(10, 1, 5, 0.1, text=0.5, overlap=0.2), Stability({"a": 0.9}, {"a": 0.6}, {"e.0": 3, "e.1": 0})
    )
    assert len(poor) == 4 and "20.0%" in poor[1] and "90%" in poor[2] and "1 experts" in poor[3]
    assert warnings(Coverage(10, 1, 5, 0.1, 1.0, 0.0), Stability({"a": 0.1}, {"a": 0.95})) == []


def test_the_record_says_what_a_model_was_calibrated_on(family, calibrated):
    model = family("llama")
    steps = [RoundToNearest(bits=8, layers=("embeddings",)), RoundToNearest(bits=4)]
    made = compress(model, Recipe(steps), Context(calibrated(model)))
    assert made.records[0]["calibration"] == coverage(model, calibrated(model)).to_json()
    assert "calibration" not in made.records[1]
