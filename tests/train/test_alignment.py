"""IBM model 1 finds which piece translates which, and shortlists of it hold the translations."""

import numpy as np

from pocketlm.train.alignment import lexical_table, make_shortlist

# 0-3 are source pieces, 4-7 their translations; 8 stands in every target.
SOURCES = [[0, 1], [1, 2], [2, 3], [3, 0], [0, 2], [1, 3]]
TARGETS = [[4, 5, 8], [5, 6, 8], [6, 7, 8], [7, 4, 8], [4, 6, 8], [5, 7, 8]]


def table():
    source, target, share = lexical_table(SOURCES, TARGETS, 9, rounds=10)
    whole = np.zeros((10, 9))
    whole[source, target] = share
    return whole


def test_each_piece_finds_its_translation():
    assert table()[:4].argmax(1).tolist() == [4, 5, 6, 7]


def test_shares_of_a_source_piece_sum_to_one():
    whole = table()
    assert np.allclose(whole[[0, 1, 2, 3, 9]].sum(1), 1)
    assert not whole[4:9].any()


def test_what_stands_everywhere_belongs_to_the_empty_word():
    assert table()[9].argmax() == 8


def test_one_round_by_hand():
    # one pair (a) -> (x, y), one (a, b) -> (x): before any round all shares are even
    source, target, share = lexical_table([[0], [0, 1]], [[2, 3], [2]], 4, rounds=1)
    got = {(int(s), int(t)): float(p) for s, t, p in zip(source, target, share, strict=True)}
    # t(2|0)=t(3|0)=1/2, t(2|1)=1, t(2|null)=t(3|null)=1/2; expected counts of (0,2): 1/2 + (1/2)/2 = 3/4, of (0,3): 1/2
    assert np.isclose(got[0, 2], 0.75 / 1.25)
    assert np.isclose(got[1, 2], 1)


def test_a_shortlist_holds_the_translations_and_what_is_frequent():
    shift = 300  # below are letters, which are always allowed
    rows = [[[one + shift for one in row] for row in side] for side in (SOURCES, TARGETS)]
    found = make_shortlist(*rows, pieces=shift + 9, most=1, frequent=1)
    assert set(found.allowed([shift, shift + 1]).tolist()) == {*range(258), *(shift + n for n in (0, 1, 4, 5, 8))}
