"""Strategies: every entry of the table keeps its promises, and each does what its paper says."""

import numpy as np
import pytest
from labelling.made_rows import made_rows

from pocketlm.labelling.features import features, hashed_ngrams
from pocketlm.labelling.learner import RIDGE, learn
from pocketlm.labelling.simulate import Replay, replay
from pocketlm.labelling.strategies import STRATEGIES, Standing, clusters, margins


def standing(labelled=(), doubts=None, points=None, seed=0):
    if points is None:
        points = np.random.default_rng(1).standard_normal((60, 5)).astype(np.float32)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    free = np.setdiff1d(np.arange(len(points)), labelled)
    counts = np.array([len(labelled), 0, 0]) if doubts is not None else np.zeros(0, np.int64)
    return Standing(points, free, np.array(labelled, np.int64), counts, doubts, np.random.default_rng(seed))


def some_doubts(count):
    return np.random.default_rng(2).dirichlet(np.ones(3), count)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("labelled", [(), (3, 5, 8)])
def test_every_strategy_returns_different_free_rows_and_the_same_ones_again(name, labelled):
    for doubts in (None, some_doubts(60 - len(labelled))):
        chosen = STRATEGIES[name](standing(labelled, doubts), 12)
        assert len(chosen) == 12 == len(set(chosen.tolist()))
        assert not set(chosen.tolist()) & set(labelled)
        again = STRATEGIES[name](standing(labelled, doubts), 12)
        assert chosen.tolist() == again.tolist()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_asked_for_more_than_there_is_returns_all(name):
    points = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0]]
    chosen = STRATEGIES[name](standing((), some_doubts(5), points), 9)
    assert sorted(chosen.tolist()) == [0, 1, 2, 3, 4]


def test_typical_rows_come_from_every_group_and_from_its_middle():
    random = np.random.default_rng(0)
    centres = np.eye(3, 8)
    points = np.concatenate([centre + 0.1 * random.standard_normal((20, 8)) for centre in centres])
    points = np.concatenate([points, [[0, 0, 0, 0, 0, 0, 0, 1.0]]])  # alone: typical of nothing
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    chosen = STRATEGIES["typical"](standing((), None, points), 3)
    assert sorted(chosen // 20) == [0, 1, 2]
    within = [points[group * 20 : group * 20 + 20] for group in chosen // 20]
    middle = [float((own @ points[place]).mean()) for own, place in zip(within, chosen, strict=True)]
    assert all(at > np.median((own @ own.T).mean(axis=1)) for at, own in zip(middle, within, strict=True))


def test_margin_takes_the_closest_two_and_farthest_the_least_alike():
    doubts = np.array([[0.9, 0.1, 0], [0.5, 0.45, 0.05], [0.4, 0.3, 0.3], [0.34, 0.33, 0.33]])
    points = np.eye(4, dtype=np.float32)
    assert STRATEGIES["margin"](standing((), doubts, points), 3).tolist() == [3, 1, 2]
    assert margins(doubts) == pytest.approx([0.8, 0.05, 0.1, 0.01])
    line = np.array([[1, 0], [0.99, 0.14], [0, 1]], np.float32)
    assert STRATEGIES["farthest"](standing((0,), None, line), 1).tolist() == [2]


def test_rare_classes_come_first_among_equal_doubts():
    doubts = np.array([[0.5, 0.4, 0.1], [0.4, 0.5, 0.1], [0.98, 0.01, 0.01], [0.98, 0.01, 0.01]])
    now = standing((4, 5, 6, 7), doubts, np.eye(8, dtype=np.float32))
    assert STRATEGIES["spread-margin"](now, 1).tolist() == [1]  # all labelled rows are of class 0


def test_mixed_asks_for_typical_rows_and_later_for_doubtful_ones_too(monkeypatch):
    doubts = some_doubts(57)
    now = (3, 5, 8), doubts
    assert STRATEGIES["mixed"](standing(*now), 8).tolist() == STRATEGIES["typical"](standing(*now), 8).tolist()
    monkeypatch.setattr("pocketlm.labelling.strategies.ENOUGH_A_CLASS", 1)
    chosen = STRATEGIES["mixed"](standing(*now), 8)
    assert len(set(chosen.tolist())) == 8
    free = standing(*now).free.tolist()
    later = [margins(doubts)[free.index(place)] for place in chosen[4:]]
    assert chosen[:4].tolist() == STRATEGIES["typical"](standing(*now), 4).tolist()
    assert max(later) < np.median(margins(doubts))


def test_clusters_find_groups_apart():
    points = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)
    found = clusters(points, 3, np.random.default_rng(0))
    assert [len(set(found[at : at + 5].tolist())) for at in (0, 5, 10)] == [1, 1, 1]
    assert len(set(found.tolist())) == 3


def test_hashed_ngrams_keep_cosines():
    texts = ["my card is lost", "my card was lost", "the exchange rate", "the exchange rates of euro", "ጤና ይስጥልኝ", ""]
    rows = hashed_ngrams(texts)
    near = rows @ rows.T
    assert np.diag(near)[:4] == pytest.approx(np.ones(4), abs=1e-5)
    assert near[0, 1] > 0.5 > near[0, 2] and near[2, 3] > 0.5
    assert not rows[4].any() and not rows[5].any()  # nothing of theirs is in a second text
    assert features(texts).dense.shape == (6, 5)


def test_the_learner_says_what_it_would_say_without_each_row():
    random = np.random.default_rng(0)
    rows = random.standard_normal((12, 6)).astype(np.float32)
    gold = [0, 1, 2] * 4
    whole = learn(rows, gold, 3)
    wanted = np.eye(3)[gold] - 1 / 3
    for place in (0, 7):
        rest = [other for other in range(12) if other != place]
        kernel = rows[rest] @ rows[rest].T + RIDGE * np.eye(11)
        said = rows[[place]] @ rows[rest].T @ np.linalg.solve(kernel, wanted[rest]) + 1 / 3
        logits = np.log(whole.left_out[place])
        assert logits - logits.mean() == pytest.approx(whole.temperature * (said - said.mean())[0], abs=1e-4)


def test_a_replay_finds_what_is_to_be_found():
    rows = made_rows(160)
    texts, labels = [text for text, _ in rows], [label for _, label in rows]
    result = replay(texts, labels, features(texts), Replay(("typical",), most=30, batch=10, seeds=2))
    assert result["sizes"] == [10, 20, 30] and set(result["curves"]) == {"typical", "random"}
    typical = np.array(result["curves"]["typical"]["accuracy"])
    assert typical.shape == (2, 3) and typical[:, -1].min() > 0.8
    gain = result["curves"]["typical"]["mean_gain"]
    assert gain["low"] <= gain["value"] <= gain["high"]
    assert result["curves"]["random"]["mean_gain"] == {"value": 0, "low": 0, "high": 0}
