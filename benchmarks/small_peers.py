"""Peers that can be made to fit a budget of bytes: each learns from the training rows and says labels of test rows.

fastText tunes itself and quantizes itself to the size (Joulin et al. 2016; `autotuneModelSize`); TF-IDF with a linear
SVM keeps the features that tell most about the labels, its weights in int8; Model2Vec has as many dimensions in int8 as
fit, or more of them for clusters of pieces. Dev rows are what all of them choose by, as in a fit that does not learn
from dev; nothing learns from them.
"""

from __future__ import annotations

import math
import pickle
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pocketlm.runtime.words import words

# Of fastText's own search, which is over when they are: a busy machine makes it worse.
TUNING_SECONDS = 300
# Sizes are told too low by its search, the more so the smaller they are: so often it is asked for less.
ASKED, ROUNDS = 0.95, 3
# Strengths of the SVM, and shares of pieces that Model2Vec has vectors of, that dev chooses from; steps of dimensions.
STRENGTHS, CLUSTERS, STEP, WIDEST = (0.3, 1.0, 3.0), (1.0, 0.25), 16, 256

Rows = Sequence[tuple[str, str]]


class Lot(NamedTuple):
    """What a peer is given. encoder: the folder of a pretrained one, for those that start from it."""

    train: Rows
    dev: Rows
    texts: Sequence[str]
    max_bytes: int
    encoder: str | None

    @property
    def chosen_by(self) -> Rows:
        """Dev rows of labels that training rows have."""
        taught = {label for _, label in self.train}
        return [row for row in self.dev if row[1] in taught]


class Said(NamedTuple):
    """Labels of the lot's texts, and the bytes that said them."""

    labels: list[str]
    size_bytes: int


def fasttext(lot: Lot) -> Said | None:
    """None where its own search finds nothing so small."""
    import fasttext as library

    asked = ASKED * lot.max_bytes
    with tempfile.TemporaryDirectory() as folder:
        names = {label: f"__label__{place}" for place, label in enumerate(sorted({label for _, label in lot.train}))}
        labels = {name: label for label, name in names.items()}
        files = {}
        for name, rows in (("train", lot.train), ("dev", lot.chosen_by)):
            files[name] = str(Path(folder, f"{name}.txt"))
            lines = [f"{names[label]} {_tokens(text)}\n" for text, label in rows]
            Path(files[name]).write_text("".join(lines), "utf-8")
        for seed in range(ROUNDS):
            try:
                model = library.train_supervised(
                    input=files["train"], autotuneValidationFile=files["dev"], autotuneDuration=TUNING_SECONDS,
                    autotuneModelSize=f"{int(asked) // 1000}K", thread=1, seed=seed, verbose=0,
                )  # fmt: skip
            except RuntimeError as error:
                if "model size" in str(error):
                    return None
                if "NaN" in str(error) and seed < ROUNDS - 1:
                    continue  # training diverged; with another seed it need not
                raise
            model.save_model(str(Path(folder, "model.ftz")))
            size = Path(folder, "model.ftz").stat().st_size
            if size <= lot.max_bytes:
                # its own `predict` asks numpy 2 for an array without a copy; what it wraps is the same
                said = [model.f.predict(_tokens(text) + "\n", 1, 0.0, "strict")[0][1] for text in lot.texts]
                return Said([labels[one] for one in said], size)
            asked *= ASKED * lot.max_bytes / size
    return None


def _tokens(text: str) -> str:
    """Lower-cased words and marks, words whole in every script."""
    return " ".join(words(text.lower()))


def linear(lot: Lot) -> Said | None:
    """Word 1-2 and char_wb 2-5 TF-IDF of the features of highest chi², int8 weights, with a linear SVM."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.feature_selection import chi2
    from sklearn.preprocessing import normalize
    from sklearn.svm import LinearSVC

    labels = [label for _, label in lot.train]
    kinds = (
        TfidfVectorizer(tokenizer=words, token_pattern=None, ngram_range=(1, 2), sublinear_tf=True, norm=None),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, norm=None),
    )
    learnt = [one.fit_transform([text for text, _ in lot.train]).tocsc() for one in kinds]
    names = [one.get_feature_names_out() for one in kinds]
    told = np.concatenate([chi2(normalize(one), labels)[0] for one in learnt])
    order = np.argsort(-np.nan_to_num(told), kind="stable")

    def kept(count: int) -> list[Any]:
        """Places of the best features, by kind."""
        first = len(names[0])
        best = np.sort(order[:count])
        return [best[best < first], best[best >= first] - first]

    def stored(count: int) -> int:
        """Bytes of names, of how rare they are in 16 bits, of one weight a label in 8, and of its scale and bias."""
        own = [(list(map(str, name[places])), np.zeros(len(places), np.float16))
               for name, places in zip(names, kept(count), strict=True)]  # fmt: skip
        every = sorted(set(labels))
        return len(
            pickle.dumps([own, every, np.zeros((len(every), count), np.int8), np.zeros((2, len(every)), np.float32)])
        )

    # features differ in bytes, so their count is found by halving
    fewest, most = 0, len(order) + 1
    while most - fewest > 1:
        middle = (fewest + most) // 2
        fewest, most = (middle, most) if stored(middle) <= lot.max_bytes else (fewest, middle)
    if not fewest:
        return None
    places = kept(fewest)

    def features(blocks: Sequence[Any]) -> Any:
        return hstack([normalize(one[:, own]) for one, own in zip(blocks, places, strict=True) if len(own)]).tocsr()

    def read(texts: Sequence[str]) -> Any:
        return features([one.transform(list(texts)).tocsc() for one in kinds])

    def rounded(strength: float) -> Any:
        model = LinearSVC(C=strength).fit(features(learnt), labels)
        scales = np.maximum(np.abs(model.coef_).max(axis=1, keepdims=True), 1e-12) / 127
        model.coef_ = np.rint(model.coef_ / scales) * scales
        return model

    unseen, gold = (
        read([text for text, _ in lot.chosen_by]) if lot.chosen_by else None,
        [one[1] for one in lot.chosen_by],
    )
    tried = [rounded(strength) for strength in (STRENGTHS if gold else (1.0,))]
    model = max(tried, key=lambda one: one.score(unseen, gold)) if gold else tried[0]
    return Said([str(label) for label in model.predict(read(lot.texts))], stored(fewest))


def model2vec(lot: Lot) -> Said | None:
    """A static model of most dimensions that fit, fine-tuned, its vectors in int8; of two such what is best on dev."""
    if lot.encoder is None:
        raise ValueError("Model2Vec starts from an encoder; give --encoder")
    found = [made for share in CLUSTERS if (made := _static(lot, lot.encoder, share)) is not None]
    gold = [label for _, label in lot.chosen_by]
    texts = [text for text, _ in lot.chosen_by]

    def right(one: tuple[Any, int]) -> float:
        return rights(Said([str(label) for label in one[0].predict(texts)], 0), gold) if gold else 0.0

    if not found:
        return None
    pipeline, size = max(found, key=right)
    return Said([str(one) for one in pipeline.predict(list(lot.texts))], size)


def _static(lot: Lot, encoder: str, share: float) -> tuple[Any, int] | None:
    """A pipeline and its bytes, with a vector for so many of the pieces; None where none of STEP dimensions fits."""
    from model2vec.distill import distill
    from model2vec.model import quantize_model
    from model2vec.train import StaticModelForClassification
    from tokenizers import Tokenizer

    pieces = Tokenizer.from_file(str(Path(encoder, "tokenizer.json"))).get_vocab_size()
    vectors, rest = int(share * pieces), 0
    texts, labels = ([row[place] for row in lot.train] for place in (0, 1))
    held_texts, held_labels = ([row[place] for row in lot.chosen_by] or None for place in (0, 1))
    for _ in range(ROUNDS):
        dimensions = min(WIDEST, (lot.max_bytes - rest) // vectors // STEP * STEP)
        if dimensions < STEP:
            return None
        static = distill(model_name=encoder, pca_dims=dimensions)
        classifier = StaticModelForClassification.from_static_model(model=static)
        classifier.fit(texts, labels, X_val=held_texts, y_val=held_labels)
        pipeline = classifier.to_pipeline()
        clusters = None if share == 1 else vectors
        pipeline.model = quantize_model(pipeline.model, vocabulary_quantization=clusters, quantize_to="int8")
        with tempfile.TemporaryDirectory() as folder:
            pipeline.save_pretrained(folder)
            size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        if size <= lot.max_bytes:
            return pipeline, size
        rest = size - vectors * dimensions
    return None


# Those that start from an encoder are asked where there is one.
TAUGHT = "Model2Vec, int8"
PEERS: dict[str, Callable[[Lot], Said | None]] = {
    "fastText, tuned and quantized by itself": fasttext, "TF-IDF of chosen features, linear SVM, int8": linear,
    TAUGHT: model2vec,
}  # fmt: skip


def rights(said: Said, gold: Sequence[str]) -> float:
    """Share of labels that are right."""
    if len(said.labels) != len(gold):
        raise ValueError(f"{len(said.labels)} labels for {len(gold)} rows")
    return math.fsum(a == b for a, b in zip(said.labels, gold, strict=True)) / len(gold)
