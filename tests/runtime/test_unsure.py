"""A Pocket that does not answer what it is unsure of: no label but a guess; and labels under a temperature."""

import json
from dataclasses import replace

import numpy as np
import pytest
from measure.made_pocket import make_pocket
from starlette.testclient import TestClient
from typer.testing import CliRunner

from pocketlm.cli.main import app
from pocketlm.errors import PocketFileError, UserError
from pocketlm.outputs import Output
from pocketlm.pocket.format import read_pocket, write_pocket
from pocketlm.runtime.decode import decode
from pocketlm.runtime.load import load
from pocketlm.runtime.unsure import Unsure
from pocketlm.serve.app import make_app

TEXTS = ["turn on the light", "turn it off", "dim", "what a day", "play some music", "hello there", "good night"]


@pytest.fixture(scope="module")
def pocket(tmp_path_factory):
    return make_pocket(tmp_path_factory.mktemp("unsure") / "m.pocket")


@pytest.fixture
def again(pocket, tmp_path):
    """The path of the same Pocket with other things said in its manifest."""

    def write(**said):
        file, path = read_pocket(pocket), tmp_path / "other.pocket"
        write_pocket(path, {**file.manifest, **said}, file.members, replace=True)
        return path

    return write


def middle(said):
    return sorted(one["score"] for one in said)[len(said) // 2]


@pytest.mark.parametrize(("temperature", "softer"), [(0.5, False), (3.0, True)])
def test_a_temperature_changes_scores_and_no_label(pocket, again, temperature, softer):
    plain = load(pocket).predict(TEXTS)
    output = replace(load(pocket).outputs[0], temperature=temperature)
    said = load(again(outputs=[output.to_json()])).predict(TEXTS)
    assert [one["label"] for one in said] == [one["label"] for one in plain]
    assert all((own["score"] < one["score"]) is softer for own, one in zip(said, plain, strict=True))


def test_scores_at_a_temperature_are_the_softmax_of_divided_logits():
    logits = np.array([[2.0, 0.5, -1.0]], np.float32)
    output = Output("label", "single", ("a", "b", "c"), temperature=2.0)
    share = float(np.exp(logits[0, 0] / 2) / np.exp(logits[0] / 2).sum())
    assert decode(["x"], [output], {"label": logits}, [0])[0] == {"label": "a", "score": round(share, 4)}
    assert Output.from_json(output.to_json()) == output
    assert "temperature" not in replace(output, temperature=1.0).to_json()


def test_texts_below_the_score_have_no_label_but_a_guess(pocket, again):
    plain = load(pocket).predict(TEXTS)
    cut = middle(plain)
    model = load(again(unsure=Unsure("label", cut).to_json()))
    for own, one in zip(model.predict(TEXTS), plain, strict=True):
        assert own == (one if one["score"] >= cut else {"label": None, "score": one["score"], "guess": one["label"]})
    assert model.predict(TEXTS[0]) == model.predict(TEXTS)[0]
    assert {one["label"] is None for one in model.predict(TEXTS)} == {True, False}


def test_texts_out_of_scope_are_not_answered_however_sure(pocket):
    model = load(pocket)
    other = model.predict(TEXTS[0])["label"]
    model.unsure = Unsure("label", 0.0, other)
    said = model.predict(TEXTS)
    assert said[0]["label"] is None and said[0]["guess"] == other
    assert {one["guess"] for one in said if one["label"] is None} == {other}
    assert Unsure.from_json(model.unsure.to_json()) == model.unsure


def test_a_threshold_replaces_what_the_file_says(pocket, again):
    path = again(unsure=Unsure("label", 0.9999).to_json())
    model, plain = load(path), load(pocket).predict(TEXTS)
    assert model.answering(0.0).predict(TEXTS) == model.answering(None).predict(TEXTS) == plain
    assert sum(one["label"] is None for one in model.answering(1.0).predict(TEXTS)) >= len(TEXTS) - 1
    assert model.unsure == Unsure("label", 0.9999), "the Pocket itself stays as it is"
    with pytest.raises(UserError, match="from 0 to 1, got 1.5"):
        model.answering(1.5)


def test_a_pocket_of_tags_has_no_threshold(tmp_path):
    tagger = load(make_pocket(tmp_path / "t.pocket", tagging=True, intent=False))
    with pytest.raises(UserError, match="one label or intent"):
        tagger.answering(0.5)
    assert tagger.answering(None).predict(TEXTS) == tagger.predict(TEXTS)


def test_an_intent_is_held_back_and_its_slots_stay(tmp_path):
    model = load(make_pocket(tmp_path / "t.pocket", tagging=True))
    own, plain = model.answering(1.0).predict(TEXTS[0]), model.predict(TEXTS[0])
    assert (own["intent"], own["guess"], own["slots"]) == (None, plain["intent"], plain["slots"])


@pytest.mark.parametrize(
    "said", [{"unsure": {"output": "label", "below": 1.2}}, {"unsure": {"output": "label"}}]
)  # fmt: skip
def test_a_manifest_that_says_nonsense_is_refused(again, said):
    with pytest.raises(PocketFileError):
        load(again(**said))


def test_a_temperature_of_nothing_is_refused(pocket, again):
    about = {**load(pocket).outputs[0].to_json(), "temperature": 0.0}
    with pytest.raises(PocketFileError, match="temperature"):
        load(again(outputs=[about]))


def test_run_and_serve_say_so(pocket, again):
    plain = load(pocket).predict(TEXTS)
    path = again(unsure=Unsure("label", middle(plain)).to_json())
    expected = load(path).predict(TEXTS)
    done = CliRunner().invoke(app, ["run", str(path), *TEXTS])
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected
    done = CliRunner().invoke(app, ["run", str(path), "--threshold", "0", *TEXTS])
    assert [json.loads(line) for line in done.stdout.splitlines()] == plain
    assert TestClient(make_app(load(path))).post("/predict", json={"texts": TEXTS}).json() == expected
