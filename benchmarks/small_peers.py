"""Peers that can be made to fit a budget of bytes: each learns from the training rows and says labels of test rows.

fastText tunes itself and quantizes itself to the size (Joulin et al. 2016; `autotuneModelSize`); TF-IDF with a linear
SVM keeps the features that tell most about the labels; Model2Vec has as many dimensions in int8 as fit.
Dev rows are what fastText and Model2Vec choose by, as in a fit without --refit; nothing learns from them.
"""

from __future__ import annotations

import math
import pickle
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# Of fastText's own search; a fit of so many bytes takes minutes, too.
TUNING_SECONDS = 300
# Its files turn out a few hundredths larger than it was asked for.
ASKED = 0.95
DIMENSIONS = (256, 128, 64, 32)

Rows = Sequence[tuple[str, str]]


class Lot(NamedTuple):
    """What a peer is given. encoder: the folder of a pretrained one, for those that start from it."""

    train: Rows
    dev: Rows
    texts: Sequence[str]
    max_bytes: int
    encoder: str | None


class Said(NamedTuple):
    """Labels of the lot's texts, and the bytes that said them."""

    labels: list[str]
    size_bytes: int


def fasttext(lot: Lot) -> Said | None:
    """One thread, so that its seed decides; None where its own search found nothing so small."""
    import fasttext as library

    names = {label: f"__label__{place}" for place, label in enumerate(sorted({label for _, label in lot.train}))}
    labels = {name: label for label, name in names.items()}
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, rows in (("train", lot.train), ("dev", lot.dev)):
            files[name] = str(Path(folder, f"{name}.txt"))
            lines = [f"{names[label]} {_tokens(text)}\n" for text, label in rows if label in names]
            Path(files[name]).write_text("".join(lines), "utf-8")
        try:
            model = library.train_supervised(
                input=files["train"], autotuneValidationFile=files["dev"], autotuneDuration=TUNING_SECONDS,
                autotuneModelSize=f"{int(ASKED * lot.max_bytes) // 1000}K", thread=1, seed=0, verbose=0,
            )  # fmt: skip
        except RuntimeError:  # "could not find a model within the size"
            return None
        model.save_model(str(Path(folder, "model.ftz")))
        size = Path(folder, "model.ftz").stat().st_size
        if size > lot.max_bytes:
            return None
        # its own `predict` asks numpy 2 for an array without a copy; what it wraps is the same
        said = [labels[model.f.predict(_tokens(text) + "\n", 1, 0.0, "strict")[0][1]] for text in lot.texts]
    return Said(said, size)


def _tokens(text: str) -> str:
    """Lower-cased words and marks, as fastText's examples prepare text."""
    import re

    return " ".join(re.findall(r"\w+|[^\w\s]", text.lower()))


def linear(lot: Lot) -> Said | None:
    """Word 1-2 and char_wb 2-5 TF-IDF of the features of highest chi², float32 weights, with a linear SVM."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.feature_selection import chi2
    from sklearn.preprocessing import normalize
    from sklearn.svm import LinearSVC

    labels = [label for _, label in lot.train]
    kinds = (
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, norm=None),
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
        """Bytes of names, of what makes them rare, and of one weight a label."""
        own = [(list(map(str, name[places])), np.zeros(len(places), np.float32))
               for name, places in zip(names, kept(count), strict=True)]  # fmt: skip
        return len(pickle.dumps([own, sorted(set(labels)), np.zeros((len(set(labels)), count + 1), np.float32)]))

    # features differ in bytes, so their count is found by halving
    fewest, most = 0, len(order) + 1
    while most - fewest > 1:
        middle = (fewest + most) // 2
        fewest, most = (middle, most) if stored(middle) <= lot.max_bytes else (fewest, middle)
    if not fewest:
        return None

    def features(blocks: Sequence[Any]) -> Any:
        places = kept(fewest)
        return hstack([normalize(one[:, own]) for one, own in zip(blocks, places, strict=True) if len(own)]).tocsr()

    model = LinearSVC().fit(features(learnt), labels)
    said = model.predict(features([one.transform(list(lot.texts)).tocsc() for one in kinds]))
    return Said([str(label) for label in said], stored(fewest))


def model2vec(lot: Lot) -> Said | None:
    """The static model of most dimensions that fits, fine-tuned, its vectors in int8; None without an encoder."""
    if lot.encoder is None:
        return None
    from model2vec.distill import distill
    from model2vec.model import quantize_model
    from model2vec.train import StaticModelForClassification

    for dimensions in DIMENSIONS:
        if len(_vocabulary(lot.encoder)) * dimensions > lot.max_bytes:
            continue
        classifier = StaticModelForClassification.from_static_model(
            model=distill(model_name=lot.encoder, pca_dims=dimensions)
        )
        text, label = ([row[place] for row in lot.train] for place in (0, 1))
        held = [row for row in lot.dev if row[1] in set(label)]
        classifier.fit(text, label, X_val=[row[0] for row in held], y_val=[row[1] for row in held])
        pipeline = classifier.to_pipeline()
        pipeline.model = quantize_model(pipeline.model, quantize_to="int8")
        with tempfile.TemporaryDirectory() as folder:
            pipeline.save_pretrained(folder)
            size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        if size <= lot.max_bytes:
            return Said([str(one) for one in pipeline.predict(list(lot.texts))], size)
    return None


def _vocabulary(encoder: str) -> dict[str, int]:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(Path(encoder, "tokenizer.json"))).get_vocab()


PEERS: dict[str, Callable[[Lot], Said | None]] = {
    "fastText, tuned and quantized by itself": fasttext, "TF-IDF of chosen features, linear SVM": linear,
    "Model2Vec, int8": model2vec,
}  # fmt: skip


def rights(said: Said, gold: Sequence[str]) -> float:
    """Share of labels that are right."""
    if len(said.labels) != len(gold):
        raise ValueError(f"{len(said.labels)} labels for {len(gold)} rows")
    return math.fsum(a == b for a, b in zip(said.labels, gold, strict=True)) / len(gold)
