"""Joint intent and slot understanding: one intent a sentence, one BIO tag a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pocketlm.errors import DataError
from pocketlm.outputs import Example, Output
from pocketlm.tasks.answers import Floats, Ints, Predictions, distinct, single_answers
from pocketlm.tasks.metrics import Counts, confusion, macro, micro, single_counts, span_counts
from pocketlm.tasks.scores import Scores, figures_with_intervals, per_label

# Figures of all rows; those of slots are about the rows that have some.
OF_ROWS = ("frame_accuracy", "intent_accuracy", "intent_f1_macro")


@dataclass(frozen=True)
class _Judged:
    """Gold and predicted intents (rows,), span counts (rows, slots), and whether all tags are right (rows,)."""

    gold: Ints
    said: Ints
    spans: tuple[Floats, Floats, Floats]
    tags_right: NDArray[np.bool_]
    labels: tuple[str, ...]
    slots: tuple[str, ...]

    def at(self, rows: NDArray[np.intp]) -> _Judged:
        """Some of the rows."""
        right, said, true = (part[rows] for part in self.spans)
        return replace(
            self,
            gold=self.gold[rows],
            said=self.said[rows],
            spans=(right, said, true),
            tags_right=self.tags_right[rows],
        )

    def measure(self, weights: Floats) -> dict[str, Floats]:
        """Every metric for each row of weights."""
        total = weights.sum(axis=1)
        intents = self.gold == self.said
        precision, recall, f1 = micro(Counts(*(weights @ part for part in self.spans)))
        return {
            "frame_accuracy": weights @ (intents & self.tags_right) / total,
            "intent_accuracy": weights @ intents / total,
            "intent_f1_macro": macro(single_counts(self.gold, self.said, len(self.labels), weights))[2],
            "slot_precision": precision,
            "slot_recall": recall,
            "slot_f1": f1,
        }


@dataclass(frozen=True)
class Understanding:
    """Intent and slots; judged by frame accuracy: the intent and every tag right."""

    name: str = "understanding"
    main_metric: str = "frame_accuracy"

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """{metric: whether more is better}."""
        return dict.fromkeys(
            ("frame_accuracy", "intent_accuracy", "intent_f1_macro", "slot_precision", "slot_recall", "slot_f1"), True
        )

    def outputs(self, examples: Sequence[Example]) -> tuple[Output, ...]:
        """An intent and its slots: "O", then B- and I- of every slot. Raises DataError without two intents."""
        intents = sorted({label for example in examples for label in example.labels})
        if len(intents) < 2:
            raise DataError(f"the training rows have one intent only ({', '.join(intents) or 'none'}); two are needed")
        slots = sorted({tag[2:] for example in examples for tag in example.tags if tag != "O"})
        tags = ("O", *(f"{mark}-{slot}" for slot in slots for mark in "BI"))
        return (Output("intent", "single", tuple(intents)), Output("slots", "tags", tags))

    def figures(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]
    ) -> dict[str, float]:
        """Every metric, without intervals."""
        judged = _judge(examples, predictions, outputs)
        return {name: float(value[0]) for name, value in judged.measure(np.ones((1, len(examples)))).items()}

    def score(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output], seed: int = 0
    ) -> Scores:
        """Every metric with intervals, per intent and per slot, and the intents' confusion matrix."""
        judged = _judge(examples, predictions, outputs)
        one, times = distinct(judged.gold, judged.said, judged.tags_right, *judged.spans)
        counts = single_counts(judged.gold, judged.said, len(judged.labels), np.ones((1, len(examples))))
        return Scores(
            len(examples),
            figures_with_intervals(judged.at(one).measure, times, seed, of_rows=OF_ROWS),
            per_label(judged.labels, Counts(counts.right[0], counts.predicted[0], counts.gold[0])),
            per_label(judged.slots, Counts(*(part.sum(axis=0) for part in judged.spans))),
            {
                "labels": list(judged.labels),
                "counts": confusion(judged.gold, judged.said, len(judged.labels)).tolist(),
            },
        )


def _judge(examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]) -> _Judged:
    intents, tags = outputs
    gold, said, labels = single_answers(examples, [one[intents.name] for one in predictions], intents.labels)
    gold_tags = [list(example.tags) for example in examples]
    said_tags = [list(one[tags.name]) for one in predictions]
    slots = {tag[2:] for row in [*gold_tags, *said_tags, tags.labels] for tag in row if tag != "O"}
    return _Judged(
        gold,
        said,
        span_counts(gold_tags, said_tags, sorted(slots)),
        np.array([own == theirs for own, theirs in zip(gold_tags, said_tags, strict=True)], bool),
        labels,
        tuple(sorted(slots)),
    )


UNDERSTANDING = Understanding()
