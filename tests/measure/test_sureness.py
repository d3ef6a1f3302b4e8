"""How sure a Pocket is: a temperature and a cut fitted on its own answers, and figures of what they are worth."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from pocketlm.cli.main import app
from pocketlm.measure.quality import evaluate
from pocketlm.measure.sureness import fit_sureness
from pocketlm.outputs import Example
from pocketlm.runtime.load import load
from pocketlm.runtime.unsure import Unsure


@pytest.fixture
def model(pocket):
    return load(pocket)


@pytest.fixture
def rows(model):
    """200 texts, of which the label is the model's own answer the oftener the surer it is."""
    random = np.random.default_rng(0)
    words = ["turn", "on", "off", "the", "lamp", "dim", "hall", "attic", "red", "blue", "green", "kitchen"]
    texts = sorted({" ".join(random.choice(words, random.integers(1, 6))) for _ in range(300)})[:200]
    found = []
    for text, said in zip(texts, model.predict(texts), strict=True):
        other = next(label for label in model.outputs[0].labels if label != said["label"])
        right = random.random() < said["score"] ** 2
        found.append(Example(text, (said["label"] if right else other,)))
    return found


def test_a_fitted_pocket_is_better_calibrated_and_answers_the_same(model, rows):
    found = fit_sureness(model, rows)
    assert found.outputs[0].temperature > 1.2, "the model is right less often than it is sure"
    assert found.unsure is None and found.to_json().keys() == {"outputs"}
    plain = evaluate(model, rows)
    model.outputs = found.outputs
    fitted = evaluate(model, rows)
    assert fitted.metrics == plain.metrics
    before, after = (fitted.sureness[name].value for name in ("calibration_error_before", "calibration_error"))
    assert before == pytest.approx(plain.sureness["calibration_error"].value, abs=1e-4)
    assert after < before
    assert f"from {before:.4f} to {after:.4f}" in found.notes[0]


def test_the_cut_keeps_the_error_on_the_rows_it_was_chosen_on(model, rows):
    found = fit_sureness(model, rows, 0.25)
    model.outputs, model.unsure = found.outputs, found.unsure
    figures = evaluate(model, rows).sureness
    assert 0 < figures["coverage"].value < 1
    assert figures["answered_accuracy"].value >= 0.75
    assert figures["answered_accuracy"].value > evaluate(model, rows).metrics["accuracy"].value
    assert f"{figures['coverage'].value:.0%} of dev" in found.notes[1]


def test_an_error_that_dev_cannot_show_is_said(model, rows):
    note = fit_sureness(model, rows[:30], 0.001).notes[-1]
    assert "dev cannot show that at most 0.1% of answers are wrong" in note


def test_few_rows_leave_scores_as_they_are(model, rows):
    found = fit_sureness(model, rows[:10])
    assert found.outputs == model.outputs
    assert "fewer than 20 rows" in found.notes[0]


def test_a_class_out_of_scope_is_not_answered(model, rows):
    found = fit_sureness(model, rows, out_of_scope="b")
    assert found.unsure == Unsure("label", 0.0, "b")
    model.unsure = found.unsure
    said = [one["label"] for one in model.predict([row.text for row in rows])]
    assert "b" not in said and None in said
    assert evaluate(model, rows).sureness["coverage"].value == pytest.approx(1 - said.count(None) / len(said))


def test_tags_alone_have_no_sureness(tagger, tmp_path):
    intents = fit_sureness(load(tagger), [Example("turn it on", ("a",))] * 30)
    assert [one.kind for one in intents.outputs] == ["single", "tags"]
    assert intents.outputs[1].temperature == 1
    words = replace(intents.outputs[1])
    model = load(tagger)
    model.outputs = (words,)
    assert fit_sureness(model, []) is None


def test_evaluate_prints_what_comes_of_answering_the_sure(pocket, rows, tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"text": row.text, "label": row.labels[0]}) + "\n" for row in rows))
    done = CliRunner().invoke(app, ["evaluate", str(pocket), str(data), "--threshold", "0.6", "--json"])
    about = json.loads(done.stdout)["sureness"]
    assert about["coverage"]["low"] < about["coverage"]["value"] < 1
    assert "answered_accuracy" in CliRunner().invoke(app, ["evaluate", str(pocket), str(data)]).stdout
