"""The benchmark's own parts: what it makes of TF-IDF's sparse rows, and figures of vectors it is handed."""

import numpy as np
import pytest
from similarity import judged, tfidf

from pocketlm.outputs import Example

TEXTS = ["turn on the lamp", "turn the lamp on", "what time is it", "set the time", "turn on the lamp"]


def test_dense_rows_have_the_products_of_sparse_ones():
    _, size, encode = tfidf(TEXTS)
    dense, sparse = encode.many(TEXTS), encode.union.transform(TEXTS).toarray()
    np.testing.assert_allclose(dense @ dense.T, sparse @ sparse.T, atol=1e-6)
    assert encode(TEXTS[0]).shape[1] == sparse.shape[1]
    assert size > 1_000


def test_figures_of_pairs_and_of_labels():
    spread = {"a": (1, 0), "b": (1, 0.1), "c": (0, 1)}

    def encode(texts):
        return np.array([spread[text] for text in texts])

    pairs = [Example("a", pair="b", score=2.0), Example("a", pair="c", score=0.0), Example("b", pair="c", score=1.0)]
    assert judged(pairs, encode)["spearman"]["value"] == pytest.approx(1)
    labelled = [Example("a", ("x",)), Example("b", ("x",)), Example("c", ("y",))]
    assert judged(labelled, encode)["mrr"]["value"] == 1
