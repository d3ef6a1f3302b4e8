"""What is asked for at half its bytes."""

import pytest
from made_searches import SPACE

from pocketlm.search.smaller import Known, halved

LEAST = {family: knobs["size"].low for family, knobs in SPACE.knobs.items()}


def known(family, quality, size):
    start = next(one for one in SPACE.starts if one.family == family)
    return Known(SPACE.params(start), quality, size)


def untried(recipe):
    return True


# a large one that is good, and another kind that is so small that at half its bytes nothing is known
LARGE, SMALL = known("bag", 0.9, 8 * LEAST["static"]), known("static", 0.8, 2 * LEAST["static"])


def test_what_may_gain_most_comes_first():
    assert halved(SPACE, [LARGE, SMALL], untried) == {**SMALL.params, "static/size": LEAST["static"]}
    alike = SMALL._replace(size=LEAST["static"] // 4)
    assert halved(SPACE, [LARGE, alike], untried) == {**LARGE.params, "bag/size": LARGE.size // 2}


def test_what_is_no_better_than_what_is_that_small_is_left():
    assert halved(SPACE, [LARGE, Known(SMALL.params, 0.9, 1)], untried) is None


def test_what_was_tried_or_may_not_be_asked_for_is_left():
    assert halved(SPACE, [LARGE, SMALL], lambda recipe: False) is None
    assert halved(SPACE, [LARGE._replace(size=2 * LEAST["bag"])], untried)["bag/size"] == LEAST["bag"]
    assert halved(SPACE, [LARGE._replace(size=2 * LEAST["bag"] - 2)], untried) is None


@pytest.mark.parametrize("size", [0, 10**12])
def test_sizes_outside_of_the_space_are_none(size):
    assert SPACE.resized(LARGE.params, size) is None
