"""One person's labelling of one file: which row is next, what becomes of an answer, and how far it has come.

Read it from top to bottom. A part of the rows, drawn at random before the first label, is held out: they are asked
in that order, never chosen by doubt, and only measure. What is asked of the others is a strategy's choice.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pocketlm.errors import DataError, RecipeError
from pocketlm.labelling.curve import Curve, learning_curve
from pocketlm.labelling.features import Features, Floats, unit_rows
from pocketlm.labelling.learner import Learner, learn
from pocketlm.labelling.ledger import HELD_OUT, TRAIN, Entry, Ledger
from pocketlm.labelling.rows import alike
from pocketlm.labelling.strategies import STRATEGIES, Standing
from pocketlm.tables import did_you_mean

Doubles = NDArray[np.float64]

# Given labels that are shown again at the end, at most, and how unlikely they must be by a model without the row.
MOST_SUSPECTS, SUSPECT = 20, 0.7


@dataclass(frozen=True)
class Plan:
    """How rows are chosen. batch: rows between two fits. held_out: share of the rows asked that only measure."""

    strategy: str = "mixed"
    batch: int = 10
    held_out: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            names = list(STRATEGIES)
            raise RecipeError(
                f"unknown strategy {self.strategy!r}; there is {', '.join(names)}.{did_you_mean(self.strategy, names)}"
            )
        if self.batch < 1 or not 0 <= self.held_out <= 0.5:
            raise RecipeError("a batch has at least 1 row, and the share held out is from 0 to 0.5")


@dataclass(frozen=True)
class Asked:
    """A row to label. guess: the model's label with its probability; none of held-out rows, which it would sway."""

    text: str
    split: str
    guess: tuple[str, float] | None = None


@dataclass(frozen=True)
class Suspect:
    """A label given that a model without the row does not expect. place: among the entries."""

    place: int
    entry: Entry
    expected: str
    probability: float


class Session:
    """The state between two questions; everything that must survive is in the ledgers.

    texts: all texts, those of the ledger among them. prior: (texts, labels) probabilities by a model that is there
    already, of `labels` in order. unsure: rows that a person could not tell, which are not asked again.
    """

    def __init__(
        self, texts: Sequence[str], known: Features, ledgers: tuple[Ledger, Ledger], labels: Sequence[str], plan: Plan,
        prior: Doubles | None = None,
    ) -> None:  # fmt: skip
        self.texts, self.plan, self.prior = texts, plan, prior
        self.ledger, self.unsure = ledgers
        self._dense = known.dense
        self._rows = known.both if prior is None else np.concatenate((known.both, _as_rows(prior)), axis=1)
        self._place = {text: place for place, text in enumerate(texts)}
        self._first = alike(texts)
        self.labels = list(dict.fromkeys([*labels, *(entry.label for entry in self.ledger.entries)]))
        order = sorted(set(self._first.tolist()), key=lambda place: _draw(texts[place], plan.seed))
        self._reserved = order[: round(plan.held_out * len(order))]
        self._skipped: set[int] = set()
        self._queue: list[int] = []
        self._done: list[str] = []  # what the answers of this session were: "label", "unsure" or "skip"
        self._skips: list[int] = []
        self.learner: Learner | None = None
        self.curve: Curve | None = None
        self._refit()

    @property
    def distinct(self) -> int:
        """Texts that are not almost the same as an earlier one."""
        return len(set(self._first.tolist()))

    def counts(self, split: str | None = None) -> dict[str, int]:
        """Rows of each label so far, those without any too."""
        found = Counter(entry.label for entry in self.ledger.entries if split in (None, entry.split))
        return {label: found[label] for label in self.labels}

    def next(self) -> Asked | None:
        """The row to ask, the same one until it is answered; None where all are."""
        if not self._queue:
            self._refit()
            self._queue = self._batch()
        if not self._queue:
            return None
        place = self._queue[0]
        held = place in set(self._reserved)
        return Asked(self.texts[place], HELD_OUT if held else TRAIN, None if held else self._guess(place))

    def answer(self, label: str) -> None:
        """Keep the label of the row that was asked; a label that is new is one from now on. Raises DataError."""
        label = " ".join(label.split())
        if not label:
            raise DataError("a label has at least one letter")
        asked = self._asked()
        self.ledger.add(Entry(asked.text, label, asked.split))
        if label not in self.labels:
            self.labels.append(label)
        self._queue.pop(0)
        self._done.append("label")

    def not_sure(self) -> None:
        """Do not ask this row again."""
        self.unsure.add(Entry(self._asked().text, ""))
        self._queue.pop(0)
        self._done.append("unsure")

    def skip(self) -> None:
        """Ask this row again when there are no others, or another time."""
        self._asked()
        self._skips.append(self._queue.pop(0))
        self._skipped.add(self._skips[-1])
        self._done.append("skip")

    def undo(self) -> str | None:
        """Take the last answer back and ask its row again; its text, or None where there is none."""
        kind = self._done.pop() if self._done else "label"
        if kind == "skip":
            place = self._skips.pop()
            self._skipped.discard(place)
        elif kind == "label" and not self.ledger.entries:
            return None
        else:
            place = self._place[(self.ledger if kind == "label" else self.unsure).drop_last().text]
        self._queue.insert(0, place)
        return self.texts[place]

    def suspects(self) -> list[Suspect]:
        """Labels to look at again, the unlikeliest first, by models that have not seen the row.

        Training rows alone: held-out labels changed where a model disagrees would flatter the model. Northcutt et al.
        2021, arXiv:1911.00068.
        """
        self._refit()
        if self.learner is None:
            return []
        entries = [(place, one) for place, one in enumerate(self.ledger.entries) if one.split == TRAIN]
        often = Counter(one.label for _, one in entries)
        found = []
        for (place, entry), row in zip(entries, self.learner.left_out, strict=True):
            best = int(row.argmax())
            sure = row[best] - row[self._seen.index(entry.label)]
            if self._seen[best] != entry.label and sure > SUSPECT and often[entry.label] > 1:
                found.append(Suspect(place, entry, self._seen[best], float(row[best])))
        return sorted(found, key=lambda one: -one.probability)[:MOST_SUSPECTS]

    def correct(self, place: int, label: str) -> None:
        """Another label for an entry."""
        entries = list(self.ledger.entries)
        entries[place] = replace(entries[place], label=label)
        self.ledger.replace(entries)
        self.labels = list(dict.fromkeys([*self.labels, label]))

    def close(self) -> list[str]:
        """Make the file one that `fit` takes; the labels of which a held-out row had to become a training row.

        `fit` refuses a label that only held-out rows have: nothing could learn it.
        """
        entries = list(self.ledger.entries)
        trained = {one.label for one in entries if one.split == TRAIN}
        moved = []
        for place, one in enumerate(entries):
            if one.label not in trained:
                entries[place] = replace(one, split=TRAIN)
                trained.add(one.label)
                moved.append(one.label)
        if moved:
            self.ledger.replace(entries)
        return moved

    def _asked(self) -> Asked:
        asked = self.next()
        if asked is None:
            raise DataError("every row has been asked")
        return asked

    def _split(self, split: str) -> tuple[list[int], list[str]]:
        own = [one for one in self.ledger.entries if one.split == split]
        return [self._place[one.text] for one in own], [one.label for one in own]

    def _refit(self) -> None:
        """Learn from all labels so far, and measure the curve again on all held-out rows so far."""
        places, labels = self._split(TRAIN)
        self._seen = sorted(set(labels))
        gold = [self._seen.index(one) for one in labels]
        self.learner = learn(self._rows[places], gold, len(self._seen)) if len(self._seen) > 1 else None
        held, truth = self._split(HELD_OUT)
        known = {label: place for place, label in enumerate(self._seen)}
        unseen = [known.get(one, -1) for one in truth]
        self.curve = learning_curve(self._rows[places], gold, self._rows[held], unseen, self.plan.seed)

    def _batch(self) -> list[int]:
        """The next rows, some of them held out, in an order that does not tell which."""
        answered = [entry.text for ledger in (self.ledger, self.unsure) for entry in ledger.entries]
        taken = {int(self._first[self._place[text]]) for text in answered if text in self._place}
        random = np.random.default_rng((self.plan.seed, len(answered), len(self._done)))
        apart = set(self._reserved)
        held = [place for place in self._reserved if place not in taken | self._skipped]
        free = [place for place in np.unique(self._first).tolist() if place not in taken | self._skipped | apart]
        if not held and not free and self._skipped:
            self._skipped.clear()
            return self._batch()
        wanted = self._held_now(len(self._split(HELD_OUT)[0]), len(self._split(TRAIN)[0]))
        chosen = self._choose(np.array(free, np.int64), random, self.plan.batch - wanted) if free else []
        batch = np.array([*held[: self.plan.batch - len(chosen)], *chosen])
        return [int(place) for place in random.permutation(batch)]

    def _held_now(self, held: int, trained: int) -> int:
        """How many of the next batch are held out, so that their share of all rows is what it should be."""
        wanted = round(self.plan.held_out * (held + trained + self.plan.batch)) - held
        return min(max(wanted, 0), self.plan.batch // 2)

    def _choose(self, free: NDArray[np.int64], random: np.random.Generator, count: int) -> list[int]:
        places, labels = self._split(TRAIN)
        doubts, counts = None, np.array([Counter(labels)[one] for one in self._seen], np.int64)
        if self.learner is not None:
            doubts = self.learner.probabilities(self._rows[free])
        elif self.prior is not None:
            doubts, counts = self.prior[free], np.zeros(self.prior.shape[1], np.int64)
        now = Standing(self._dense, free, np.array(places, np.int64), counts, doubts, random)
        return [int(place) for place in STRATEGIES[self.plan.strategy](now, count)]

    def _guess(self, place: int) -> tuple[str, float] | None:
        if self.learner is not None:
            row, names = self.learner.probabilities(self._rows[[place]])[0], self._seen
        elif self.prior is not None:
            row, names = self.prior[place], self.labels
        else:
            return None
        return names[int(row.argmax())], float(row.max())


def _as_rows(prior: Doubles) -> Floats:
    """Probabilities of a model that is there already as columns for the learner, as weighty as the others."""
    return unit_rows(prior)


def _draw(text: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{text}".encode("utf-8", "surrogatepass")).hexdigest()
