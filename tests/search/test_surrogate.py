"""What a Gaussian process guesses of recipes that were not tried."""

import math
from dataclasses import replace

import numpy as np
import pytest
from made_searches import SPACE

from pocketlm.knobs import Choice, Real, Whole
from pocketlm.search.surrogate import DECISIVE, SPREAD, Places, Surrogate

# decades of bytes, one setting, two kinds
PLACES = [[5.0, 0.1, 1, 0], [5.5, 0.9, 1, 0], [6.0, 0.5, 1, 0], [5.2, 0.5, 0, 1], [6.1, 0.2, 0, 1]]
FIGURES = [0.7, 0.8, 0.9, 0.5, 0.6]


def test_known_places_are_guessed_as_they_were_and_far_ones_are_unsure():
    guess = Surrogate(PLACES, 1, FIGURES)
    means, errors = guess.of(PLACES)
    assert np.abs(means - FIGURES).max() < 0.05
    _, far = guess.of([[2.0, 0.5, 1, 0]])
    assert far[0] > 2 * errors.max()


def test_it_is_the_textbook_process_of_its_lengths():
    guess = Surrogate(PLACES, 1, FIGURES)
    size, setting, kind = guess._lengths

    def near(one, other):
        far = ((one[0] - other[0]) / size) ** 2 + ((one[1] - other[1]) / setting) ** 2
        far += ((one[2] - other[2]) ** 2 + (one[3] - other[3]) ** 2) / 2 / kind**2
        r = math.sqrt(5 * far)
        return (1 + r + r * r / 3) * math.exp(-r)

    known = np.array([[near(one, other) for other in PLACES] for one in PLACES])
    root = guess._root @ guess._root.T
    noise = root[0, 0] - 1
    assert np.allclose(root, known + noise * np.eye(5))
    inverse = np.linalg.inv(root)
    ones, figures = np.ones(5), np.array(FIGURES)
    mean = ones @ inverse @ figures / (ones @ inverse @ ones)
    variance = ((figures - mean) @ inverse @ (figures - mean) + SPREAD**2) / 6
    asked = [5.4, 0.3, 1, 0]
    k = np.array([near(one, asked) for one in PLACES])
    means, errors = guess.of([asked])
    assert means[0] == pytest.approx(mean + k @ inverse @ (figures - mean))
    unsure = (1 - ones @ inverse @ k) ** 2 / (ones @ inverse @ ones)  # the mean is a guess, too
    assert errors[0] == pytest.approx(math.sqrt(variance * (1 - k @ inverse @ k + unsure)))


def test_one_figure_is_enough_and_equal_ones_are_not_believed_too_surely():
    means, errors = Surrogate(PLACES[:1], 1, [0.7]).of(PLACES[:2])
    assert means == pytest.approx([0.7, 0.7]) and errors[1] > errors[0] > 0
    _, errors = Surrogate(PLACES, 1, [0.7] * 5).of([[7.0, 0.5, 1, 0]])
    assert errors[0] > 1e-3


def test_what_decides_is_learnt():
    random = np.random.default_rng(0)
    places = [[5 + random.random(), random.random(), 1.0] for _ in range(30)]
    guess = Surrogate(places, 1, [one[0] / 10 for one in places])
    means, _ = guess.of([[5.2, 0.1, 1.0], [5.2, 0.9, 1.0], [5.8, 0.1, 1.0]])
    assert abs(means[0] - means[1]) < 0.005 and means[2] - means[0] == pytest.approx(0.06, abs=0.01)


def test_places_are_decades_shares_of_ranges_and_kinds():
    where = Places(SPACE.knobs, SPACE.decisive)
    one = next(one for one in SPACE.starts if one.family == "bag")
    place = where.of(one)
    assert place[0] == pytest.approx(math.log10(one.expected_bytes))
    assert len(place) == 1 + len(where.settings) + len(SPACE.knobs)
    assert sum(place[1 + len(where.settings) :]) == 1
    shares = dict(zip(where.settings, place[1:], strict=False))
    assert all(0 <= share <= (DECISIVE if name in SPACE.decisive else 1) for name, share in shares.items())


def test_values_of_what_decides_most_are_further_apart_than_others():
    assert {"distill.rate", "hashed-ngrams.width", "hashed-ngrams.max_words"} <= SPACE.decisive
    assert not {"distill.alpha", "quantize.bits", "hashed-ngrams.buckets"} & SPACE.decisive
    where = Places(SPACE.knobs, SPACE.decisive)
    one = next(one for one in SPACE.starts if one.family == "bag")
    place, rate = where.of(one), SPACE.knobs["bag"]["distill.rate"]
    at = 1 + where.settings.index("distill.rate")
    assert place[at] == pytest.approx(DECISIVE * rate.place(one.values["distill.rate"]))
    other = where.of(replace(one, values={**one.values, "distill.rate": rate.low}))
    assert math.dist(place, other) == pytest.approx(DECISIVE * rate.place(one.values["distill.rate"]))


@pytest.mark.parametrize(
    ("knob", "value", "share"),
    [
        (Whole(10, 1000, log=True), 100, 0.5), (Whole(0, 8, 2), 2, 0.25), (Real(0.0, 2.0), 0.5, 0.25),
        (Real(1e-4, 1e-2, log=True), 1e-3, 0.5), (Choice((4, 8, 16)), 8, 0.5), (Choice(("only",)), "only", 0.5),
        (Whole(3, 3), 3, 0.5),
    ],
)  # fmt: skip
def test_how_far_up_its_range_a_setting_is(knob, value, share):
    assert knob.place(value) == pytest.approx(share)


@pytest.mark.parametrize(
    "knob", [Whole(10, 1000, log=True), Whole(0, 8, 2), Real(1e-4, 1e-2, log=True), Choice((1, 2))]
)
def test_values_are_drawn_evenly_from_the_range(knob):
    random = np.random.default_rng(0)
    drawn = [knob.drawn(random) for _ in range(2_000)]
    assert all(knob.nearest(one) == one for one in drawn)
    assert np.mean([knob.place(one) for one in drawn]) == pytest.approx(0.5, abs=0.03)
    if isinstance(knob, Whole) and not knob.log:
        assert np.bincount(drawn)[:: knob.step].min() > 300, "the ends as often as the rest"
