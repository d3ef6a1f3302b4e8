"""From what a person names to a session: texts, labels that are there, a model or an encoder that knows something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pocketlm.errors import DataError, MissingExtraError, ModelError
from pocketlm.labelling.features import Features, Floats, features
from pocketlm.labelling.learner import softmax
from pocketlm.labelling.ledger import TRAIN, Entry, Ledger
from pocketlm.labelling.rows import labelled_texts, unlabelled_texts
from pocketlm.labelling.session import Doubles, Plan, Session
from pocketlm.progress import Progress

# Of a larger file so many rows are drawn at random: more would slow every batch down and change little.
MOST_ROWS = 20_000


@dataclass(frozen=True)
class Wish:
    """What is to be labelled. data: a file. output: the file of labels. labels: the names of the classes.

    start: a file of rows that are labelled already, which become training rows. model: a Pocket whose answers help
    until there are labels. teacher: an encoder whose vectors say which texts are alike. text, label: columns.
    """

    data: str
    output: str = "labels.jsonl"
    labels: tuple[str, ...] = ()
    start: str | None = None
    model: str | None = None
    teacher: str | None = None
    text: str | None = None
    label: str | None = None
    plan: Plan = field(default_factory=Plan)


def open_session(wish: Wish, progress: Progress | None = None) -> Session:
    """The session, where it stopped if the file of labels is there already. Raises UserError for wrong input."""
    path = Path(wish.output)
    if path.exists() and path.resolve() == Path(wish.data).resolve():
        raise DataError(f"{path}: is the data itself, which is never changed; name another file with -o")
    texts = unlabelled_texts(Path(wish.data), wish.text)
    if len(texts) > MOST_ROWS:
        drawn = np.random.default_rng(wish.plan.seed).permutation(len(texts))[:MOST_ROWS]
        texts = [texts[place] for place in np.sort(drawn)]
    ledger, unsure = Ledger(path), Ledger(path.with_suffix(".unsure.jsonl"))
    if wish.start is not None:
        there = {entry.text for entry in ledger.entries}
        given = dict(labelled_texts(Path(wish.start), wish.text, wish.label))
        new = [Entry(text, label, TRAIN) for text, label in given.items() if text not in there]
        if new:
            ledger.replace([*ledger.entries, *new])
    every = list(dict.fromkeys([*(entry.text for entry in ledger.entries), *texts]))
    vectors = _vectors(wish.teacher, every, progress) if wish.teacher else None
    names, prior = _prior(wish.model, every) if wish.model else ((), None)
    known = features(every, vectors, seed=wish.plan.seed)
    return Session(every, known, (ledger, unsure), [*names, *wish.labels], wish.plan, prior)


def labelled_features(wish: Wish, progress: Progress | None = None) -> tuple[list[str], list[str], Features]:
    """(texts, labels, features) of data whose labels are known, for a replay; equal texts once."""
    rows = dict(labelled_texts(Path(wish.data), wish.text, wish.label))
    texts = list(rows)
    if len(texts) > MOST_ROWS:
        drawn = np.random.default_rng(wish.plan.seed).permutation(len(texts))[:MOST_ROWS]
        texts = [texts[place] for place in np.sort(drawn)]
    vectors = _vectors(wish.teacher, texts, progress) if wish.teacher else None
    return texts, [rows[text] for text in texts], features(texts, vectors, seed=wish.plan.seed)


def _prior(model: str, texts: Sequence[str]) -> tuple[tuple[str, ...], Doubles]:
    """The labels of a Pocket and its probabilities of each text: (texts, labels)."""
    from pocketlm.runtime.load import load

    pocket = load(model)
    if pocket.task != "classification":
        raise ModelError(f"{model}: does {pocket.task}; rows with one label each are labelled by one of classification")
    output = pocket.outputs[0]
    logits = [pocket.logits(texts[begin : begin + 32])[output.name] for begin in range(0, len(texts), 32)]
    return output.labels, softmax(np.concatenate(logits).astype(np.float64))


def _vectors(teacher: str, texts: Sequence[str], progress: Progress | None) -> Floats:
    """The encoder's vectors of the texts, as it makes them: (texts, dimensions)."""
    try:
        from pocketlm.model.encoder import load_pretrained
        from pocketlm.train.embedder import encoder_as_it_is
        from pocketlm.train.teach import ask
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"--teacher (the package {error.name})", "build") from None
    model = encoder_as_it_is(load_pretrained(teacher), max_length=64)
    if progress is not None:
        progress.stage(f"reading {len(texts):,} rows with {teacher}")
    return np.stack(list(ask(model, texts, progress=progress).logits["vector"]))
