import itertools

import numpy as np

from pocketlm.compress.hull import lower_hull


def test_a_point_above_the_line_between_its_neighbours_is_left_out():
    assert lower_hull([(0, 0.0), (10, 4.0), (20, 5.0), (30, 30.0)]) == [0, 2, 3]
    assert lower_hull([(5, 1.0)]) == [0]
    assert lower_hull([(0, 2.0), (1, 1.0), (2, 0.0)]) == [0, 2]  # and one on it


def test_no_point_lies_below_the_hull_and_it_is_convex():
    random = np.random.default_rng(0)
    points = [(place, float(value)) for place, value in enumerate(random.normal(size=40))]
    kept = [points[place] for place in lower_hull(points)]
    assert kept[0] == points[0] and kept[-1] == points[-1]
    slopes = np.diff([y for _, y in kept]) / np.diff([x for x, _ in kept])
    assert (np.diff(slopes) > 0).all()
    for (x, y), (left, right) in itertools.product(points, itertools.pairwise(kept)):
        if left[0] <= x <= right[0]:
            line = left[1] + (right[1] - left[1]) * (x - left[0]) / (right[0] - left[0])
            assert y >= line - 1e-9
