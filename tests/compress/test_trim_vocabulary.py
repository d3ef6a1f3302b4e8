"""A trimmed model says to the bit what the whole one said of covered text, whatever cuts it; the rest is smaller."""

import json
from collections import Counter

import pytest
import torch
from families import make_family
from made_tokenizers import tokenizer_of
from tokenizers import Tokenizer, models
from transformers import AutoModel, PreTrainedTokenizerFast

from pocketlm.compress.calibration import calibration_from_lines
from pocketlm.compress.context import Context
from pocketlm.compress.distill import Distill
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.compress.trim_vocabulary import TrimVocabulary, _usual
from pocketlm.compress.words import comparable, kept_of
from pocketlm.errors import CalibrationError, DataError, ModelError, NoEffect, RecipeError
from pocketlm.export.transformers_folder import export_folder
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.model.vocabulary import usual_pieces
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe

TEXTS = ["dim the hall lamp", "turn on the green attic lamp, please", "kitchen: 2 lamps off"]
# Of each kind of tokenizer, models with and without a head, tied and not.
CASES = [("WordPiece", "bert"), ("WordPiece", "bert-words"), ("Unigram", "roberta"), ("Unigram", "t5-gated"),
         ("BPE", "llama"), ("BPE", "gpt2"), ("BPE", "qwen2"), ("merged both ways", "llama")]  # fmt: skip


@pytest.fixture(scope="module")
def whole(understanding_rows, tmp_path_factory):
    """whole("BPE", "llama"): a tiny model that knows more words than TEXTS has."""
    made = {}

    def model(kind, family):
        if (kind, family) not in made:
            texts = [row["text"] for row in understanding_rows] + TEXTS + ["zebras like mountains, unlike 3 lions"] * 4
            folder = tmp_path_factory.mktemp("whole")
            made[kind, family] = make_family(family, folder, tokenizer_of(kind, texts))
        return load_model(made[kind, family])

    return model


def trimmed(model, **settings):
    return compress(model, Recipe([TrimVocabulary(**settings)]), Context(calibration_from_lines(TEXTS, model)))


def states(model, text):
    """The first output on a text: logits where there is a head, hidden states elsewhere."""
    batch = dict(model.tokenizer(text, return_tensors="pt", return_token_type_ids=False))
    if model.spec.kind == "encoder-decoder":
        batch["decoder_input_ids"] = batch["input_ids"]
    with torch.no_grad():
        return model.module(**batch)[0]


@pytest.mark.parametrize(("kind", "family"), CASES)
def test_outputs_on_covered_text_are_equal_to_the_bit_also_when_opened_again(whole, kind, family, tmp_path):
    model = whole(kind, family)
    small = trimmed(model)
    save_model(small, tmp_path / "small")
    assert small.size_bytes < model.size_bytes
    rows = len(small.tokenizer)
    assert rows < len(model.tokenizer)
    assert small.module.config.vocab_size == small.module.get_input_embeddings().weight.shape[0] == rows
    assert small.parameters < model.parameters
    kept = list(kept_of(model.tokenizer, small.tokenizer))
    for again in (small, load_model(tmp_path / "small")):
        for text in [*TEXTS, "the attic lamp off"]:
            expected, found = states(model, text), states(again, text)
            if expected.shape != found.shape:
                expected = expected[..., kept]
            assert torch.equal(found, expected), text
        assert again.tokenizer.decode(again.tokenizer(TEXTS[1]).input_ids) == model.tokenizer.decode(
            model.tokenizer(TEXTS[1]).input_ids
        )


def test_numbers_of_pieces_follow(whole):
    model = whole("BPE", "llama")
    last = len(model.tokenizer) - 1
    model.module.config.eos_token_id = [3, last]
    model.module.generation_config.bad_words_ids = [[last], [4]]
    small = trimmed(model)
    piece = model.tokenizer.convert_ids_to_tokens(last)
    own = small.tokenizer.convert_tokens_to_ids(piece)
    assert own is not None and own < last
    assert small.module.config.eos_token_id == [3, own]
    assert small.module.generation_config.bad_words_ids == [[own], [4]]
    assert model.module.config.eos_token_id == [3, last]


def test_what_is_not_covered_is_cut_into_characters_and_less_is_kept_where_less_is_asked_for(whole):
    model = whole("WordPiece", "bert")
    small, least = trimmed(model), trimmed(model, coverage=0.5)
    assert len(least.tokenizer) < len(small.tokenizer)
    unknown = small.tokenizer.unk_token_id
    assert unknown not in small.tokenizer("zebras").input_ids[1:-1]
    assert unknown not in least.tokenizer(TEXTS[0]).input_ids
    assert len(trimmed(model, pieces=1).tokenizer) < len(least.tokenizer)


@pytest.mark.parametrize(("kind", "family"), CASES[:1] + CASES[2:3] + CASES[4:5])
def test_usual_pieces_stay_for_words_to_come(whole, kind, family):
    model = whole(kind, family)
    small, more = trimmed(model), trimmed(model, at_least=len(trimmed(model).tokenizer) + 12)
    assert len(more.tokenizer) >= len(small.tokenizer) + 12
    text = "turn on the blue bedroom lamp"  # words that TEXTS has not
    kept = [len(one.tokenizer(text).input_ids) for one in (small, more, model)]
    assert kept[0] >= kept[1] >= kept[2]
    for known in TEXTS:
        expected, found = states(model, known), states(more, known)
        if expected.shape != found.shape:
            expected = expected[..., list(kept_of(model.tokenizer, more.tokenizer))]
        assert torch.equal(found, expected)
    with pytest.raises(NoEffect, match="every piece is needed"):
        trimmed(model, at_least=10_000)
    with pytest.raises(ValueError, match="goes without"):
        TrimVocabulary(at_least=5, coverage=0.9)


def test_the_most_usual_pieces_come_first():
    unigram = {"model": {"type": "Unigram", "vocab": [["a", -5.0], ["b", -1.0], ["c", -3.0]]}}
    assert [piece for _, piece in usual_pieces(json.dumps(unigram))] == ["b", "c", "a"]
    words = {"model": {"type": "WordPiece", "vocab": {"b": 1, "a": 0}}}
    assert usual_pieces(json.dumps(words)) == [(0, "a"), (1, "b")]


def test_each_script_has_its_share_of_what_stays_for_words_to_come():
    pieces = ["the", "of", "and", "мир", "дом", "лес", "1", "ж"]
    rules = json.dumps({"model": {"type": "Unigram", "vocab": [[one, -place] for place, one in enumerate(pieces)]}})
    russian = Counter({"Cyrl": 90, "Latn": 10, "": 0})
    assert _usual(rules, set(), russian, 3) == [3, 4, 5], "not the more usual Latin ones"
    assert _usual(rules, {3, 4}, russian, 3) == [5, 7, 0], "where its own are used up, others follow"
    assert _usual(rules, set(), Counter({"Latn": 5, "": 0}), 4) == [0, 1, 2, 6]


def test_files_of_text_count_instead_of_calibration(whole, tmp_path):
    (tmp_path / "text.txt").write_text("zebras like mountains\n", "utf-8")
    model = whole("WordPiece", "bert")
    small = trimmed(model, text=[str(tmp_path / "text.txt")])
    assert torch.equal(states(small, "zebras like mountains"), states(model, "zebras like mountains"))
    assert "100.00% of the text's" in small.records[0]["notes"][0]
    with pytest.raises(DataError, match="nothing.txt: no such file"):
        trimmed(model, text=(str(tmp_path / "nothing.txt"),))


def test_later_passes_read_calibration_and_hear_the_teacher_in_the_new_words(whole):
    model = whole("BPE", "llama")
    calibration = calibration_from_lines([*TEXTS * 4], model, batch_size=4)
    steps = [TrimVocabulary(), RoundToNearest(bits=4, group_size=16), Distill(steps=2, batch=2, held_out=0.25)]
    small = compress(model, Recipe(steps), Context(calibration, allow_no_effect=True))
    assert "held-out loss" in small.records[2]["notes"][0]
    reference, read = comparable(model, small, calibration)
    with torch.no_grad():
        for old, new in zip(calibration.batches, read.batches, strict=True):
            kept = list(kept_of(model.tokenizer, small.tokenizer))
            assert torch.equal(reference.module(**new).logits, model.module(**old).logits[..., kept])


def test_a_vocabulary_that_cannot_be_trimmed_is_named(whole, family, tmp_path):
    with pytest.raises(ModelError, match="cannot be changed: it has no tokenizer.json"):
        TrimVocabulary(text=("x",))(family("whisper"), Context())
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, "the": 2, "lamp": 3}, unk_token="<unk>"))
    named = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")
    model = load_model(make_family("bert", tmp_path / "words", named))
    with pytest.raises(ModelError, match="cannot trim a WordLevel tokenizer"):
        trimmed(model)
    odd = whole("WordPiece", "bert")
    odd.module.config.pad_token_id = 9_999
    with pytest.raises(ModelError, match="config says pad_token_id 9999, its tokenizer has"):
        trimmed(odd)


def test_a_model_without_a_tokenizers_files_has_none(tmp_path):
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, "the": 2}, unk_token="<unk>"))
    named = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")
    folder = make_family("bert", tmp_path / "bare", named)
    for file in folder.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            file.unlink()
    model = load_model(folder)
    with pytest.raises(CalibrationError, match="the model has no tokenizer"):
        trimmed(model)
    with pytest.raises(ModelError, match="has no tokenizer"):
        TrimVocabulary()(model, Context())


def test_rounded_tables_are_not_cut(whole):
    model = whole("WordPiece", "bert")
    context = Context(calibration_from_lines(TEXTS, model))
    with pytest.raises(RecipeError, match="trim-vocabulary after round-to-nearest"):
        compress(model, Recipe([RoundToNearest(layers=("embeddings",)), TrimVocabulary()]), context)
    rounded = compress(model, Recipe([RoundToNearest(layers=("embeddings",))]), context)
    with pytest.raises(ModelError, match="word_embeddings: is quantized"):
        TrimVocabulary()(rounded, context)
    with pytest.raises(ValueError, match="coverage is a share above 0"):
        TrimVocabulary(coverage=0)


@pytest.mark.parametrize("family", ["bert-words", "gpt2", "llama", "t5"])
def test_transformers_opens_what_is_exported_as_a_folder(whole, family, tmp_path):
    model = trimmed(whole("WordPiece" if family == "bert-words" else "BPE", family))
    export_folder(model, tmp_path / "plain")
    again = AutoModel.from_pretrained(tmp_path / "plain", dtype=torch.float32)
    assert again.get_input_embeddings().weight.shape[0] == len(model.tokenizer)
    reopened = load_model(tmp_path / "plain")
    assert torch.equal(states(reopened, TEXTS[0]), states(model, TEXTS[0]))
