"""What n-grams mean to an encoder: the regression itself, and what `solve` makes of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import make_context
from scipy.sparse import random as random_rows

from pocketlm.errors import RecipeError
from pocketlm.outputs import texts_of
from pocketlm.progress import Silent
from pocketlm.students.least_squares import products
from pocketlm.students.lexicon import (
    WIDTH,
    learn_lexicon,
    lexicon_texts,
    lexicon_words,
    seen_vectors,
)
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.solve import Solve, features, unit_rows
from pocketlm.train.frozen import Seen, pooled_vectors
from pocketlm.train.lesson import Lesson
from pocketlm.train.teach import ask

LINEAR = {"buckets": 2**12, "width": 0, "hidden": False, "min_texts": 1, "dropout": 0.0}
ONE = Solve(penalties=(0.3,), rarities=(1.0,), balances=(0.0,), prior=0.0, words=300, shares=(0.5,))


@pytest.fixture(scope="module")
def context(csv_file, teacher_folder, tmp_path_factory):
    made = make_context(csv_file, teacher_folder, tmp_path_factory.mktemp("work"), text="text", label="category")
    return made.as_pretrained


def test_the_regression_is_that_of_the_normal_equations():
    rows = random_rows(80, 40, 0.3, "csr", np.float32, np.random.default_rng(0))
    vectors = np.random.default_rng(1).normal(size=(80, 6)).astype(np.float32)
    dense = rows.toarray()
    expected = np.linalg.solve(dense.T @ dense + 0.5 * np.eye(40), dense.T @ vectors)
    np.testing.assert_allclose(learn_lexicon(rows, vectors, 0.5, 200), expected, atol=1e-3)


def test_a_feature_of_one_text_alone_means_nothing():
    rows = random_rows(20, 30, 0.1, "csr", np.float32, np.random.default_rng(0))
    alone = np.bincount(rows.indices, minlength=30) < 2
    found = learn_lexicon(rows, np.ones((20, 2), np.float32))
    assert alone.any() and not found[alone].any() and found[~alone].any()


def test_words_are_those_of_most_texts_and_have_a_letter():
    texts = ["a b, b 12", "b c", "a b c", "d"]
    assert lexicon_words(texts, 3) == ["b", "a", "c"]
    assert lexicon_words(texts, 9) == ["b", "a", "c", "d"]


def test_labelled_texts_are_read_first(context, monkeypatch):
    texts = context.lesson.texts
    labels = {"label": [-1 if place % 2 else 0 for place in range(len(texts))]}
    half = replace(context, lesson=replace(context.lesson, labels=labels))
    monkeypatch.setattr("pocketlm.students.lexicon.MOST_TEXTS", len(set(texts[::2])) + 3)
    found = lexicon_texts(half)
    assert set(found[:-3]) == set(texts[::2]) and set(found[-3:]) <= set(texts[1::2])


def test_vectors_are_the_teachers_centred_apart(context):
    words, texts = lexicon_words(context.lesson.texts, 50), lexicon_texts(context)
    found = seen_vectors(words, texts, context)
    assert np.square(found).sum(axis=1).mean() == pytest.approx(1, rel=1e-4)
    assert found.shape[1] <= WIDTH
    for part in np.split(found, [len(words)]):
        np.testing.assert_allclose(part.mean(axis=0), 0, atol=1e-4)
    given = pooled_vectors(context.teacher, texts)
    given -= given.mean(axis=0)
    own = found[len(words) :]
    ratio = np.square(given).sum() / np.square(own).sum()  # no more dimensions than WIDTH: nothing is lost
    np.testing.assert_allclose(own @ own.T * ratio, given @ given.T, atol=1e-2 * np.abs(given @ given.T).max())


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_weights_on_what_n_grams_mean_are_weights_of_n_grams(context, power):
    """The bag says what kernel regression on n-grams beside their vectors says, whatever rare ones tell of labels."""
    start = HashedNgrams(**LINEAR)(None, context)
    solved = replace(ONE, rarities=(power,))(start.copy(), context)
    texts, words = lexicon_texts(context), lexicon_words(context.lesson.texts, 300)
    from scipy.sparse import vstack

    from pocketlm.students.solve import rarity

    importance = rarity(features(start, texts))
    read = [unit_rows(features(start, some), importance) for some in (words, texts)]
    lexicon = learn_lexicon(vstack(read).tocsr(), seen_vectors(words, texts, context))
    both = context.lesson.texts, texts_of(context.dev, context.outputs)
    views = [unit_rows(features(start, some), importance) @ lexicon for some in both]
    rows = [unit_rows(features(start, some), importance**power) for some in both]
    mean = views[0].mean(axis=0)
    scale = 1 / np.sqrt(np.square(views[0] - mean).sum(axis=1).mean())
    views = [(view - mean) * scale for view in views]
    gold = np.eye(context.outputs[0].size)[context.lesson.labels["label"]]
    gram = products(rows[0]) + 0.5 * views[0] @ views[0].T
    duals = np.linalg.solve(gram + 0.3 * np.eye(len(gram)), gold - gold.mean(axis=0))
    expected = ((rows[1] @ rows[0].T).toarray() + 0.5 * views[1] @ views[0].T) @ duals
    said = np.stack(ask(solved, texts_of(context.dev, context.outputs)).logits["label"])
    for own, other in zip(said.T, expected.T, strict=True):
        assert np.corrcoef(own, other)[0, 1] > 0.98  # in the runtime texts are of unit length on average only
    assert (said.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.95


def test_dev_chooses_how_much_meaning_tells_and_the_recipe_keeps_it(context):
    model = replace(ONE, shares=(0.1, 1.0))(HashedNgrams(**LINEAR)(None, context), context)
    assert model.spec.settled["shares"] in ((0.1,), (1.0,))
    assert context.figure(model) > 0.9


def test_without_an_encoder_there_is_no_meaning(context):
    with pytest.raises(RecipeError, match="an encoder; there is none"):
        ONE(HashedNgrams(**LINEAR)(None, context), replace(context, teacher=None))
    with pytest.raises(ValueError, match="words"):
        Solve(words=-1)


def test_vectors_are_asked_for_once_and_kept(context, tmp_path):
    path = tmp_path / "seen.npz"
    first = Seen(path).of(context.teacher, ["a lamp", "a door"], Silent())
    again = Seen(path)
    silent = replace(context.teacher, module=None)  # it is not asked
    np.testing.assert_array_equal(again.of(silent, ["a door", "a lamp"], Silent()), first[::-1])
    path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_allclose(Seen(path).of(context.teacher, ["a lamp", "a door"], Silent()), first, atol=1e-5)


def test_texts_without_words_still_have_meaning(context):
    texts = tuple(f"{place % 7} {place % 5}" for place in range(40))
    labels = {"label": [place % 2 for place in range(40)]}
    digits = replace(context, lesson=Lesson(texts, labels))
    model = ONE(HashedNgrams(**LINEAR)(None, digits), digits)
    assert torch.isfinite(model.module.table).all()
