"""Whether a pretrained model covers a language: by its tokenizer, and by its neighbours of 20 examples."""

from types import SimpleNamespace

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from pocketlm.model.encoder import load_pretrained
from pocketlm.outputs import Example
from pocketlm.runtime.vectors import unit
from pocketlm.train import coverage as room
from pocketlm.train.coverage import _at_least, _hits, coverage

WORDS = ("lamp", "light", "door", "heat", "window", "music", "red", "green", "blue", "kitchen", "hall")
VERBS = ("illuminate", "extinguish", "ventilate", "broadcast")


@pytest.fixture(scope="module")
def examples():
    random = np.random.default_rng(0)
    said = [(" ".join([*random.choice(WORDS, 2), VERBS[place % 4]]), f"label {place % 4}") for place in range(120)]
    return [Example(text, (label,)) for text, label in said]


@pytest.fixture
def knows(monkeypatch):
    """knows(share): a model whose vectors say the label of so many of the texts, and chance of the others."""

    def make(share, cut="words"):
        def vectors(pretrained, texts, length):
            random = np.random.default_rng(1)
            said = np.array([[text.endswith(verb) and random.random() < share for verb in VERBS] for text in texts])
            noise = random.normal(size=(len(texts), 32))
            return unit((noise + 40 * said @ np.eye(4, 32)).astype(np.float32))

        monkeypatch.setattr(room, "frozen_vectors", vectors)
        known = {piece: place for place, piece in enumerate(["[UNK]", *WORDS, *VERBS])}
        letters = sorted({letter for word in known for letter in word})
        pieces = {"words": known, "letters": {"[UNK]": 0}}[cut]
        for letter in letters:
            for piece in (letter, f"##{letter}"):
                pieces.setdefault(piece, len(pieces))
        tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        return SimpleNamespace(tokenizer_json=tokenizer.to_str())

    return make


def test_a_model_that_tells_labels_apart_covers_the_language(knows, examples):
    found = coverage(knows(1.0), examples)
    assert (found.hits, found.asked, found.against, found.a_word) == (20, 20, "", 1)
    assert found.chance == pytest.approx(5, abs=0.2)
    assert "have the same label for 20 of 20" in found.found
    assert found.to_json()["covered"]


def test_neighbours_at_chance_are_no_knowledge(knows, examples):
    assert "which chance may do" in coverage(knows(0.0), examples).against


def test_neighbours_by_characters_alone_do_clearly_better(knows, examples, monkeypatch):
    monkeypatch.setattr(room, "BY_CHANCE", 1.0)
    found = coverage(knows(0.0), examples)
    assert found.by_characters >= 15 and "by their characters alone for" in found.against


def test_a_tokenizer_of_letters_or_of_unknown_words_is_told_first(knows, examples):
    assert coverage(knows(1.0, "words"), examples).a_word == 1
    long = [Example(" ".join(one.text.split()[-1:] * 2), one.labels) for one in examples]
    assert "cuts a word into 9.5 pieces" in coverage(knows(1.0, "letters"), long).against
    strange = [Example("ߒߞߏ ߞߊ߲", one.labels) for one in examples]
    assert "does not know something in 100% of the words" in coverage(knows(1.0), strange).against


def test_few_rows_a_label_tell_nothing_by_their_labels(knows, examples):
    assert coverage(knows(1.0), examples[: 4 * room.ROWS_A_LABEL]).by_labels
    assert not coverage(knows(1.0), examples[: 4 * room.ROWS_A_LABEL - 1]).by_labels


def test_without_labels_copies_are_to_be_found(teacher_folder, understanding_rows):
    found = coverage(load_pretrained(str(teacher_folder)), [Example(row["text"]) for row in understanding_rows])
    assert not found.by_labels and found.asked == 20 and found.chance == pytest.approx(1)
    assert found.hits > 5
    assert "are their own copies for" in found.found


def test_too_few_texts_are_not_asked(knows):
    found = coverage(knows(1.0), [Example(f"lamp {verb}", (verb,)) for verb in VERBS])
    assert found.asked == 0 and found.against == "" and "too few texts" in found.found


def test_texts_that_look_all_alike_are_no_hits():
    same = np.eye(4)
    assert _hits(np.ones((4, 3), np.float32), np.ones((4, 3), np.float32), same) == 0
    assert _hits(np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32), same) == 4


def test_chance_is_the_binomial_tail():
    assert _at_least(0, 20, 0.3) == pytest.approx(1)
    assert _at_least(2, 2, 0.5) == pytest.approx(0.25)
    assert _at_least(1, 3, 0.2) == pytest.approx(1 - 0.8**3)
