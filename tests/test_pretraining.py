"""Plain text makes a model that foresees it, from nothing or from a base, and the same one when it was broken off."""

import json
import random
import unicodedata

import pytest
import torch
from families import make_family
from made_tokenizers import tokenizer_of

from pocketlm.errors import DataError, OutputError, RecipeError
from pocketlm.model.language_model import LanguageShape
from pocketlm.model.pretrained import load_model
from pocketlm.pretraining import Pretraining, bits_a_byte, pretrain
from pocketlm.train import pretrain as lessons

VERBS = ("turn on", "turn off", "close", "open")
THINGS = ("lamp", "light", "radio", "heater", "door", "window", "fan")
ROOMS = ("kitchen", "hall", "attic", "garage", "office", "bedroom")
SMALL = {"pieces": 330, "width": 32, "blocks": 1, "time_limit": None, "epochs": 4, "rate": 1e-2}


def sentences(count, seed=0):
    draw = random.Random(seed)
    return [
        f"{draw.choice(VERBS)} the {draw.choice(THINGS)} in the {draw.choice(ROOMS)} "
        f"before {draw.randint(1, 99)} o'clock on day {draw.randint(1, 999)}"
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for name, count, seed in (("train", 400, 0), ("dev", 60, 1)):
        (folder / f"{name}.txt").write_text("\n".join(sentences(count, seed)), "utf-8")
    return folder


def run(texts, folder, **settings):
    wish = {"dev": str(texts / "dev.txt"), **SMALL, **settings}
    if wish.get("base"):
        wish = {name: value for name, value in wish.items() if name != "width"}
    return pretrain(Pretraining(str(texts / "train.txt"), str(folder), **wish))


def test_from_nothing_it_writes_better_than_counting_knows(texts, tmp_path):
    report = run(texts, tmp_path / "made", epochs=12)
    dev = report["dev"]
    assert dev["model"]["low"] <= dev["model"]["value"] <= dev["model"]["high"] < dev["lzma"]["value"]
    assert set(dev) == {"model", "byte n-grams", "lzma"}
    assert report["rounds"][-1] > report["rounds"][0] + 0.5
    model = load_model(tmp_path / "made")
    assert bits_a_byte(model, plain(texts)) == dev["model"]
    assert model.module.lm_head.weight is model.module.model.embed_tokens.weight
    assert json.loads((tmp_path / "made" / "pretrain.json").read_text("utf-8"))["dev"] == dev


def plain(texts):
    from pocketlm.data.documents import plain_texts

    return plain_texts(str(texts / "train.txt"), str(texts / "dev.txt")).splits["dev"]


def test_broken_off_it_goes_on_to_the_same_weights(texts, tmp_path, monkeypatch):
    run(texts, tmp_path / "whole")
    judged, calls = lessons.Pupil.figure, []

    def stopping(pupil):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return judged(pupil)

    study = lessons.study
    monkeypatch.setattr(lessons, "study", lambda *given, **named: study(*given, **named, checkpoint_seconds=0.0))
    monkeypatch.setattr(lessons.Pupil, "figure", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(texts, tmp_path / "parts")
    run(texts, tmp_path / "parts")
    assert len(calls) == 8 + lessons.ROUNDS - 7
    whole, parts = (load_model(tmp_path / name).module.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    calls.clear()
    run(texts, tmp_path / "parts", force=True)
    assert not calls  # what is done is remembered


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    tokenizer = tokenizer_of("BPE", ["the lamp in the hall", "turn on the radio"] * 9, 330)
    return str(make_family("llama", tmp_path_factory.mktemp("base"), tokenizer))


@pytest.mark.parametrize("settings", [{"vocabulary": "keep", "blocks": 1}, {"vocabulary": "transfer", "adapter": 2}])
def test_a_base_learns_on(base, texts, tmp_path, settings):
    report = run(texts, tmp_path / "made", base=base, **{"blocks": None, **settings})
    assert report["dev"]["model"]["high"] < report["dev"]["base"]["low"]
    made, before = load_model(tmp_path / "made"), load_model(base)
    kept = made.tokenizer.get_vocab() == before.tokenizer.get_vocab()
    assert kept == (settings["vocabulary"] == "keep")
    assert len(made.module.model.layers) == (settings.get("blocks") or 2) == made.module.config.num_hidden_layers
    assert {type(one).__module__.split(".")[0] for one in made.module.modules()} <= {"torch", "transformers"}
    first, own = before.module.model.layers[0], made.module.model.layers[0]
    moved = [not torch.equal(new, old) for new, old in zip(own.parameters(), first.parameters(), strict=True)]
    assert all(moved)


@pytest.mark.parametrize("based", [False, True])
def test_an_encoder_learns_hidden_words_and_teaches(texts, tmp_path, based, family_folder):
    settings = {"base": str(family_folder("bert"))} if based else {"kind": "masked"}
    report = run(texts, tmp_path / "made", epochs=8, **settings, blocks=1)
    assert report["metric"] == "pseudo-likelihood bits per byte"
    assert set(report["dev"]) == {"model"}  # a bare encoder has no words to say, and counting reads one side only
    made = load_model(tmp_path / "made")
    assert made.spec.architecture == "BertForMaskedLM"
    assert report["rounds"][-1] > report["rounds"][0] + 0.3
    from pocketlm.model.encoder import load_pretrained

    assert not load_pretrained(str(tmp_path / "made")).causal


def test_wrong_wishes_are_named(texts, tmp_path, base, family_folder):
    for wrong, said in (
        ({"kind": "both"}, "kind is one of causal, masked"),
        ({"vocabulary": "keep"}, "need --base"),
        ({"adapter": 4}, "need --base"),
        ({"width": 33}, "multiple of 32"),
        ({"base": base, "kind": "masked"}, "is causal, not masked"),
        ({"base": base, "blocks": 9}, "has 2 blocks"),
        ({"base": str(family_folder("t5"))}, "plain text teaches encoders"),
    ):
        with pytest.raises(RecipeError, match=said):
            run(texts, tmp_path / "made", **{**({"blocks": None} if "base" in wrong else {}), **wrong})
    (tmp_path / "other").mkdir()
    with pytest.raises(OutputError, match="is no folder that pretrain wrote"):
        run(texts, tmp_path / "other")
    (tmp_path / "empty.txt").write_text(" ", "utf-8")
    with pytest.raises(DataError, match="has no text"):
        run(texts, tmp_path / "made", dev=str(tmp_path / "empty.txt"))


def test_a_vocabulary_too_small_for_bytes_is_refused(texts, tmp_path):
    with pytest.raises(DataError, match="bytes and specials take"):
        run(texts, tmp_path / "made", pieces=100)


def test_shapes_count_their_weights():
    from pocketlm.model.language_model import new_language_model
    from pocketlm.model.subwords import learn_pieces

    tokenizer = learn_pieces(sentences(50), 300)
    shape = LanguageShape(64, 2)
    model = new_language_model("causal", shape, tokenizer)
    matrices = sum(weight.numel() for weight in model.module.parameters() if weight.ndim == 2)
    assert matrices == shape.parameters(len(tokenizer))
    said = "  two\n\nlines\tand  spaces ọ̀  "
    assert tokenizer.decode(tokenizer(said).input_ids) == unicodedata.normalize("NFC", said)


def test_a_time_limit_plans_steps_and_epochs_bound_them(texts, tmp_path):
    report = run(texts, tmp_path / "made", time_limit="60m")
    assert report["plan"]["steps"] >= 1 and report["epochs"] <= SMALL["epochs"]
