"""What a setting may be, and values beside one that it has."""

import numpy as np
import pytest

from pocketlm.errors import RecipeError, UnitError
from pocketlm.knobs import Choice, Real, Whole, parse_setting

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("allowed", "value", "low", "high"),
    [
        (Whole(16, 160, 16), 64, 32, 96),
        (Whole(16, 160, 16), 16, 16, 48),
        (Whole(10, 10_000, log=True), 1000, 500, 2000),
        (Real(0.0, 1.0), 0.5, 0.25, 0.75),
        (Real(1e-4, 1e-2, log=True), 1e-3, 5e-4, 2e-3),
        (Choice((4, 6, 8)), 6, 4, 8),
        (Choice((4, 6, 8)), 4, 6, 6),
        (Choice((4, 6, 8)), 8, 6, 6),
        (Choice((True, False)), True, 0, 0),
    ],
)
def test_a_move_is_small_and_stays_inside(allowed, value, low, high):
    found = [allowed.moved(value, RANDOM) for _ in range(200)]
    assert low <= min(found) and max(found) <= high
    assert all(allowed.nearest(one) == one for one in found)
    assert any(one != value for one in found)
    assert {type(one) for one in found} == {type(value)}


def test_settings_are_values_and_ranges_and_sizes_are_written_as_budgets_are():
    assert parse_setting("quantize.bits = 4, 8") == ("quantize.bits", (4, 8))
    assert parse_setting("distill.rate=1e-4..1e-2") == ("distill.rate", slice(1e-4, 1e-2))
    assert parse_setting("search.size=100kB..2MB") == ("search.size", slice(100_000, 2_000_000))
    assert parse_setting("search.size=5000") == ("search.size", (5_000,))
    with pytest.raises(RecipeError, match=r"the range goes down; write 100kB..1MB"):
        parse_setting("search.size=1MB..100kB")
    with pytest.raises(UnitError, match="much"):
        parse_setting("search.size=much")
