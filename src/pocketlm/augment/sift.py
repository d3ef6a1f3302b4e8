"""Which new rows are kept: none that is known or held out, and none that a judge reads otherwise than its label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pocketlm.augment.apply import NewRow
from pocketlm.augment.method import AUGMENTERS
from pocketlm.data.splits import normal_text
from pocketlm.outputs import Example, Output, texts_of
from pocketlm.runtime.decode import Prediction
from pocketlm.runtime.inputs import Text

# What a model says of texts, in order.
Judge = Callable[[Sequence[Text]], Sequence[Prediction]]
HELD_OUT, KNOWN, OTHER, UNSURE = "in dev or test", "not new", "judged otherwise", "judge unsure"


@dataclass(frozen=True)
class Sieve:
    """What new rows have to pass.

    held: dev and test rows, no text of which may come back. judge: what says a row's label again, for methods whose
    rows may have lost theirs; None where nobody does. confidence: the least score of its label, in [0, 1].
    """

    held: Sequence[Example] = ()
    judge: Judge | None = None
    outputs: Sequence[Output] = ()
    confidence: float = 0.5

    def __call__(self, rows: Sequence[NewRow], train: Sequence[Example]) -> tuple[list[NewRow], Counter[str]]:
        """The rows that are kept, in order, and how many were dropped for which reason."""
        held = {normal_text(text) for one in self.held for text in (one.text, one.target) if text}
        known = {_key(one) for one in train}
        kept, dropped = [], Counter[str]()
        for row in rows:
            key = _key(row.example)
            if normal_text(row.example.text) in held:
                dropped[HELD_OUT] += 1
            elif key in known or not row.example.text:
                dropped[KNOWN] += 1
            else:
                known.add(key)
                kept.append(row)
        return self._judged(kept, dropped)

    def _judged(self, rows: list[NewRow], dropped: Counter[str]) -> tuple[list[NewRow], Counter[str]]:
        doubtful = [row for row in rows if not AUGMENTERS[row.method].certain]
        if self.judge is None or not doubtful:
            return rows, dropped
        said = self.judge(texts_of([row.example for row in doubtful], self.outputs))
        verdicts = {
            id(row): verdict(row.example, own, self.outputs, self.confidence)
            for row, own in zip(doubtful, said, strict=True)
        }
        reasons = [verdicts.get(id(row), "") for row in rows]
        dropped.update(reason for reason in reasons if reason)
        return [row for row, reason in zip(rows, reasons, strict=True) if not reason], dropped


def verdict(example: Example, said: Prediction, outputs: Sequence[Output], confidence: float) -> str:
    """Why a judge's answer speaks against a row; nothing where it says the same with confidence."""
    for output in outputs:
        if output.kind == "single" and example.labels:
            if said[output.name] != example.labels[0]:
                return OTHER
            if said["score"] < confidence:
                return UNSURE
        others = output.kind == "multi" and set(said["labels"]) != set(example.labels)
        if others or (output.kind == "tags" and list(said[output.name]) != list(example.tags)):
            return OTHER
    return ""


def _key(example: Example) -> tuple[str, ...]:
    """What makes a row new: its text as a model reads it, case and marks included, and what it is about."""
    return (" ".join(example.text.split()), " ".join(example.tokens), example.pair, example.target)
