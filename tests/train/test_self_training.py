"""Which answers a teacher learns from: class by class, the surest, none in too great a number."""

import numpy as np
import pytest

from pocketlm.train.self_training import FLOOR, class_thresholds, joining

LABELS = ("a", "b", "c")


def given(*rows):
    return np.array(rows)


def test_a_class_that_is_seldom_sure_has_a_lower_threshold():
    rows = [[0.95, 0.03, 0.02]] * 8 + [[0.04, 0.92, 0.04]] * 4 + [[0.2, 0.2, 0.6]] * 2
    found = class_thresholds(given(*rows), 0.9)
    # FlexMatch, eq. 11: beta is 1, 1/2 and 0
    assert found == pytest.approx([0.9, max(FLOOR, 0.9 * 0.5 / 1.5), FLOOR])


def test_while_few_texts_are_sure_thresholds_stay_near_the_floor():
    rows = [[0.95, 0.03, 0.02]] + [[0.4, 0.3, 0.3]] * 9
    # eq. 7: relative to the texts that are not sure, while those are the most
    assert class_thresholds(given(*rows), 0.9) == pytest.approx([FLOOR] * 3)


def test_the_surest_join_with_their_labels():
    shares = given([0.97, 0.02, 0.01], [0.4, 0.35, 0.25], [0.03, 0.95, 0.02], [0.01, 0.01, 0.98])
    joined = joining(["one", "two", "three", "four"], shares, LABELS, 0.9)
    assert [(one.text, one.labels) for one in joined.examples] == [
        ("one", ("a",)), ("three", ("b",)), ("four", ("c",)),
    ]  # fmt: skip
    assert joined.by_class == {"a": (1, 0.97), "b": (1, 0.95), "c": (1, 0.98)}
    assert str(joined) == "3 rows joined: a 1 (from 0.97), b 1 (from 0.95), c 1 (from 0.98)"


def test_no_class_swamps_the_others():
    sure = [[0.99 - place / 1000, 0.005, 0.005] for place in range(30)]
    shares = given(*sure, [0.02, 0.96, 0.02], [0.02, 0.02, 0.96])
    joined = joining([str(place) for place in range(32)], shares, LABELS, 0.9)
    assert joined.by_class["a"][0] == 22 and joined.by_class["b"][0] == joined.by_class["c"][0] == 1
    assert [one.text for one in joined.examples[:22]] == [str(place) for place in range(22)], "the surest"


def test_nothing_joins_where_nothing_is_sure():
    joined = joining(["one"], given([0.4, 0.3, 0.3]), LABELS, 0.9)
    assert (joined.examples, joined.by_class) == ([], {})
