"""A transferred vocabulary copies what both have, composes the rest, and is worth more than noise on real text."""

import pytest
import torch
from families import make_family
from made_tokenizers import tokenizer_of

from pocketlm.compress.calibration import calibration_from_lines
from pocketlm.compress.compose import by_parts, by_spelling, compose, sparsemax, spelling
from pocketlm.compress.context import Context
from pocketlm.compress.transfer_vocabulary import TransferVocabulary
from pocketlm.compress.trim_vocabulary import unlimited
from pocketlm.compress.words import follow
from pocketlm.data.smart_home import smart_home
from pocketlm.errors import ModelError, RecipeError
from pocketlm.model.learn_tokenizer import learn_alike
from pocketlm.model.pretrained import Model, load_model, save_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.train.heal import HealSchedule, RateGroup, endless_batches, heal
from pocketlm.train.language_modelling import Language, text_rows

KINDS = ("WordPiece", "Unigram", "BPE")


def texts_of(language, count=300):
    rows = [row["text"] for rows in smart_home(language).splits.values() for row in rows]
    return list(dict.fromkeys(rows))[:count]


def learn(model: Model, texts, steps, rate=3e-3):
    """Train all of the model on the texts; the loss on the last fifth of them before and after."""
    language = Language(model, text_rows(model, texts, 32))
    cut = len(language.rows) * 4 // 5
    judge = range(cut, len(language.rows))
    before = language.judged(judge)
    for weight in model.module.parameters():
        weight.data = weight.data.clone()
        weight.requires_grad_(True)
    places = endless_batches([len(row) for row in language.rows[:cut]], 16, 0)
    heal([RateGroup(list(model.module.parameters()), rate)], language.loss, places, HealSchedule(steps))
    model.module.requires_grad_(False)
    return before, language.judged(judge)


@pytest.fixture(scope="module")
def dutch(tmp_path_factory):
    """A tiny decoder that has read some Dutch."""
    texts = texts_of("nl", 600)
    folder = make_family("llama", tmp_path_factory.mktemp("dutch"), tokenizer_of("BPE", texts, 600))
    model = load_model(folder)
    with torch.no_grad():
        for weight in model.module.parameters():
            if weight.dim() > 1:
                weight.mul_(0.25)  # as freshly made: large ones learn badly
    learn(model, texts, 400)
    return model


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    scores = torch.tensor([[0.5, 0.4, -1.0], [3.0, 0.0, 0.0], [0.1, 0.1, 0.1]])
    expected = torch.tensor([[0.55, 0.45, 0.0], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    torch.testing.assert_close(sparsemax(scores), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_text_gives_the_same_vocabulary_with_the_old_special_pieces_first(kind):
    old = tokenizer_of(kind, ["turn the lamps on", "dim all lamps in the hall"] * 5)
    texts = ["zet de lampen aan in de keuken", "doe alle lampen in de hal uit, nu!"] * 6
    first, second = (learn_alike(old, texts, 300 if kind == "BPE" else 60) for _ in range(2))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    assert first.convert_tokens_to_ids(old.all_special_tokens) == old.all_special_ids
    assert first("lampen").input_ids[0] == old.bos_token_id
    assert len(first("lampen in").input_ids) <= len(old("lampen in").input_ids)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_spelled_as_they_stand_in_text(kind):
    tokenizer = unlimited(tokenizer_of(kind, ["turning turns on lamps"] * 5).backend_tokenizer.to_str())
    spelled = spelling(tokenizer)
    text = "turning lamps"
    pieces = tokenizer.encode(text, add_special_tokens=False).tokens
    assert "".join(map(spelled, pieces)).strip() == text


def test_parts_and_spelling_by_hand():
    old = unlimited(tokenizer_of("WordPiece", ["lamp lamps lampe turn on"] * 9).backend_tokenizer.to_str())
    known = old.get_vocab()
    assert "lamp" in known and "##o" in known | {"##o": 0}
    parts = by_parts(["lampn", "zzz"], old, {}, 5, 0.1)["lampn"]
    assert parts == {known["lamp"]: 0.5, known["##n"]: 0.5}
    shared = {piece: known[piece] for piece in ("lamp", "turn", "on")}
    mixed = by_spelling(["lampen", "#§"], old, shared, 2, 0.1)
    assert max(mixed["lampen"], key=mixed["lampen"].get) == known["lamp"]
    assert abs(sum(mixed["lampen"].values()) - 1) < 1e-6
    table = torch.randn(len(known), 4)
    made = compose(old, old, "both", 3, 0.1)
    assert made.copied == len(known) and torch.equal(made.rows(table), table)


@pytest.mark.slow
def test_composed_rows_beat_noise_at_once_and_after_training(dutch):
    model, texts = dutch, texts_of("af")
    losses = {}
    for way in ("both", "spelling", "noise"):
        compose_by = "mean" if way == "noise" else way
        made, composition = TransferVocabulary(pieces=500, compose=compose_by).transferred(model.copy(), texts)
        table = made.module.get_input_embeddings().weight
        old = model.module.get_input_embeddings().weight
        shared = {
            piece: place for piece, place in made.tokenizer.get_vocab().items() if piece in model.tokenizer.get_vocab()
        }
        assert len(shared) == composition.copied > 50
        for piece, place in shared.items():
            assert torch.equal(table[place], old[model.tokenizer.get_vocab()[piece]])
        if way == "noise":
            generator = torch.Generator().manual_seed(0)
            drawn = torch.randn(table.shape, generator=generator) * old.std() + old.mean()
            with torch.no_grad():
                table.copy_(drawn)
        losses[way] = learn(made, texts, 30, 1e-3)
    for way in ("both", "spelling"):
        assert losses[way][0] < losses["noise"][0], losses
        assert losses[way][1] < losses["noise"][1], losses
        assert losses[way][1] < losses[way][0], losses


def test_the_pass_learns_on_and_its_model_opens_again(dutch, tmp_path):
    model = dutch
    (tmp_path / "af.txt").write_text("\n".join(texts_of("af")), "utf-8")
    step = TransferVocabulary(text=str(tmp_path / "af.txt"), pieces=400, steps=20, batch=8, length=32, rate=1e-3)
    made = compress(model, Recipe([step]), Context(fast=False))
    rows, learnt = made.records[0]["notes"]
    assert rows.startswith(f"{len(made.tokenizer):,} pieces instead of {len(model.tokenizer):,}")
    assert "20 steps on" in learnt and "bits a byte" in learnt and "as composed" not in learnt
    save_model(made, tmp_path / "made")
    again = load_model(tmp_path / "made")
    batch = again.tokenizer("skakel die lig in die kombuis aan", return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        assert torch.equal(again.module(**batch).logits, made.module(**batch).logits)
    assert again.module.lm_head.weight is again.module.model.embed_tokens.weight
    fewer = len(model.tokenizer("skakel die lig in die kombuis aan").input_ids)
    assert batch["input_ids"].shape[1] < fewer


def test_an_encoder_without_a_head_learns_by_hidden_words_too(family):
    model = family("bert")
    texts = ["dim the hall lamp", "turn the attic lamp on", "turn off the kitchen lamp"] * 8
    calibration = calibration_from_lines(texts, model)
    step = TransferVocabulary(pieces=80, steps=4, batch=4, held_out=0.25, rate=1e-3, compose="both")
    made = compress(model, Recipe([step]), Context(calibration, fast=False))
    assert "nats a piece" in made.records[0]["notes"][1]
    following = follow(Context(calibration, teacher=model), model, made)
    assert int(following.calibration.batches[0]["input_ids"].max()) < len(made.tokenizer)
    assert following.teacher.module.config.vocab_size == len(made.tokenizer)


def test_settings_and_models_that_do_not_fit_are_named(family, family_folder):
    for wrong in ({"pieces": 0}, {"compose": "magic"}, {"temperature": 0}, {"held_out": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TransferVocabulary(**wrong)
    with pytest.raises(ModelError, match="has no tokenizer.json"):
        TransferVocabulary(text=("x",))(family("whisper"), Context())
    model = family("t5")
    with pytest.raises(RecipeError, match="teaches encoders and decoders"):
        TransferVocabulary(pieces=100)(model, Context(calibration_from_lines(["dim the lamp", "on"], model)))
