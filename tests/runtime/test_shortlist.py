"""A shortlist allows what its table says, and comes back from its bytes as it was."""

import io

import numpy as np
import pytest

from pocketlm.runtime.shortlist import Shortlist

LIST = Shortlist(np.array([0, 1, 5]), np.array([0, 2, 0, 3, 0, 0, 0, 1]), np.array([4, 6, 2, 5, 7, 0]))


def test_a_source_allows_its_own_pieces_its_lists_and_what_is_always_allowed():
    assert LIST.allowed([3, 1, 3]).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert LIST.allowed([2]).tolist() == [0, 1, 2, 5]
    assert LIST.allowed([7]).tolist() == [0, 1, 5, 7]


def test_bytes_hold_all_of_it():
    again = Shortlist.from_bytes(LIST.to_bytes())
    for piece in range(8):
        assert again.allowed([piece]).tolist() == LIST.allowed([piece]).tolist()


def test_a_random_table_survives_too():
    random = np.random.default_rng(0)
    rows = [np.sort(random.choice(900, random.integers(0, 9), replace=False)) for _ in range(900)]
    table = Shortlist(np.arange(4), np.array([len(row) for row in rows]), np.concatenate(rows))
    again = Shortlist.from_bytes(table.to_bytes())
    assert np.array_equal(again.lists, table.lists)
    assert np.array_equal(again.counts, table.counts)


def test_bytes_that_do_not_fit_are_refused():
    file = io.BytesIO()
    np.savez_compressed(file, always=LIST.always, counts=LIST.counts, steps=LIST.lists[:-1])
    with pytest.raises(ValueError, match="5 pieces where its counts say 6"):
        Shortlist.from_bytes(file.getvalue())
