"""The judge's closed form is what a model of all other rows says of each, and it finds labels that were changed."""

import numpy as np
import pytest

from pocketlm.check.confident import bound, changed_labels, doubts_of, estimated, find_noise
from pocketlm.check.judge import _RIDGES, _decomposed, form_of, judge_of
from pocketlm.data.smart_home import smart_home
from pocketlm.tasks.intervals import ranking


@pytest.fixture(scope="module")
def commands():
    """Six hundred German commands and what is meant by each, as a number."""
    rows = [row for part in smart_home("de", seed=0).splits.values() for row in part]
    rows = list({row["text"]: row for row in rows}.values())
    common = sorted({row["intent"] for row in rows}, key=lambda one: -sum(row["intent"] == one for row in rows))[:8]
    chosen = [row for row in rows if row["intent"] in common]
    chosen = [chosen[place] for place in np.random.default_rng(0).permutation(len(chosen))[:600]]
    return [row["text"] for row in chosen], np.array([common.index(row["intent"]) for row in chosen])


@pytest.mark.parametrize(("rows", "columns"), [(12, 40), (40, 12)])
@pytest.mark.parametrize("ridge", _RIDGES[::2])
def test_each_row_is_judged_as_by_a_model_of_all_others(rows, columns, ridge):
    random = np.random.default_rng(1)
    matrix = random.standard_normal((rows, columns)).astype(np.float32)
    labels = random.integers(0, 3, rows)
    judge = _decomposed(matrix)
    centred = matrix - matrix.mean(0)
    strength = ridge * float(np.mean(np.square(np.linalg.svd(centred, compute_uv=False)[: len(judge.power)])))
    expected = []
    for place in range(rows):
        kept = np.delete(np.arange(rows), place)
        known, told = matrix[kept].astype(float), np.eye(3)[labels[kept]]
        inner = known - known.mean(0)
        slope = np.linalg.solve(inner.T @ inner + strength * np.eye(columns), inner.T @ (told - told.mean(0)))
        expected.append((matrix[place] - known.mean(0)) @ slope + told.mean(0))
    assert judge._held_out(labels, 3, ridge) == pytest.approx(np.array(expected), abs=2e-3)


def test_labels_without_meaning_are_not_guessed(commands):
    texts, _ = commands
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1], 100))
    chances = judge_of(texts[:200]).chances(labels, 2)[:, 1].astype(float)
    assert ranking(chances[labels == 1], chances[labels == 0]).low < 0.5


def test_labels_changed_at_random_are_found(commands):
    texts, labels = commands
    random = np.random.default_rng(3)
    places = random.permutation(len(labels))[: len(labels) // 10]
    wrong = labels.copy()
    wrong[places] = (wrong[places] + random.integers(1, 8, len(places))) % 8
    judge = judge_of(texts)
    noise = find_noise(judge, wrong, 8, seed=0)
    hits = np.isin(noise.suspects, places).sum()
    assert hits / len(noise.suspects) >= 0.8
    assert hits / len(places) >= 0.8
    assert np.isin(noise.suspects[:20], places).all()
    assert 0.1 <= noise.at_most <= 0.25
    assert abs(noise.estimate - 0.1) <= 0.07
    assert (noise.said[places] == labels[places]).mean() >= 0.8
    clean = find_noise(judge, labels, 8, seed=0)
    assert clean.at_most < 0.1 and len(clean.suspects) < 0.05 * len(labels)
    assert clean.found >= 0.8


def test_doubts_and_the_confident_joint_of_a_small_table_by_hand():
    chances = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.45, 0.55]], np.float32)
    labels = np.array([0, 0, 0, 1, 1])
    # mean chances of the own label: 0.6 of class 0 and 0.725 of class 1
    assert estimated(chances, labels) == pytest.approx((3 / 3) / 5)  # one of the three of class 0 that count
    doubts, said = doubts_of(chances, labels)
    assert doubts.tolist() == pytest.approx([-0.8, -0.4, 0.6, -0.8, -0.1])
    assert said.tolist() == [1, 1, 1, 0, 0]


def test_labels_are_changed_into_what_they_are_mixed_up_with():
    labels = np.repeat([0, 1, 2], 100)
    chances = np.tile(np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.1, 0.9]], np.float32), 1).repeat(100, 0)
    other = changed_labels(chances, labels, np.random.default_rng(0))
    changed = np.flatnonzero(other != labels)
    assert len(changed) == 30
    assert set(zip(labels[changed].tolist(), other[changed].tolist(), strict=True)) == {(0, 1), (1, 0), (2, 1)}


def test_the_bound_holds_and_narrows_with_rows():
    random = np.random.default_rng(0)
    for rows in (200, 5_000):
        doubts = np.concatenate((random.normal(-1, 0.4, rows), random.normal(1, 0.4, rows // 10)))
        found = bound(doubts, random.normal(1, 0.4, 200))
        assert 1 / 11 <= found <= (0.2 if rows == 200 else 0.13)


@pytest.mark.parametrize(
    ("word", "form"), [("Lamp", "Aa"), ("lamp", "a"), ("21.5°", "0.0°"), ("ሰላም", "c"), ("@user", "@a")]
)
def test_forms_of_words(word, form):
    assert form_of(word) == form
