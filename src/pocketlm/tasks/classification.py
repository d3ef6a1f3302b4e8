"""Text classification: one label a text, or any number of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pocketlm.errors import DataError
from pocketlm.outputs import Example, Output
from pocketlm.tasks.answers import Floats, Ints, Predictions, distinct, many_answers, single_answers
from pocketlm.tasks.metrics import Counts, confusion, macro, micro, multi_counts, single_counts
from pocketlm.tasks.scores import Scores, figures_with_intervals, per_label


@dataclass(frozen=True)
class Classification:
    """One label a text; judged by accuracy."""

    name: str = "classification"
    main_metric: str = "accuracy"

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """{metric: whether more is better}."""
        return dict.fromkeys(
            ("accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_micro", "f1_weighted"), True
        )

    def outputs(self, examples: Sequence[Example]) -> tuple[Output, ...]:
        """One single-label output. Raises DataError where fewer than two labels occur."""
        labels = sorted({label for example in examples for label in example.labels})
        if len(labels) < 2:
            raise DataError(f"the training rows have one class only ({', '.join(labels) or 'none'}); two are needed")
        return (Output("label", "single", tuple(labels)),)

    def _measure(self, gold: Ints, said: Ints, labels: int, weights: Floats) -> dict[str, Floats]:
        counts = single_counts(gold, said, labels, weights)
        precision, recall, f1 = macro(counts)
        return {
            "accuracy": weights @ (gold == said) / weights.sum(axis=1),
            "precision_macro": precision,
            "recall_macro": recall,
            "f1_macro": f1,
            "f1_micro": micro(counts)[2],
            "f1_weighted": macro(counts, weighted=True)[2],
        }

    def figures(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]
    ) -> dict[str, float]:
        """Every metric, without intervals."""
        gold, said, labels = self._places(examples, predictions, outputs)
        one = np.ones((1, len(gold)))
        return {name: float(value[0]) for name, value in self._measure(gold, said, len(labels), one).items()}

    def score(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output], seed: int = 0
    ) -> Scores:
        """Every metric with intervals, per class, and the confusion matrix."""
        gold, said, labels = self._places(examples, predictions, outputs)
        counts = single_counts(gold, said, len(labels), np.ones((1, len(gold))))
        one, times = distinct(gold, said)
        return Scores(
            len(gold),
            figures_with_intervals(
                lambda weights: self._measure(gold[one], said[one], len(labels), weights), times, seed, of_rows=None
            ),
            per_label(labels, Counts(counts.right[0], counts.predicted[0], counts.gold[0])),
            confusion={"labels": list(labels), "counts": confusion(gold, said, len(labels)).tolist()},
        )

    def _places(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]
    ) -> tuple[Ints, Ints, tuple[str, ...]]:
        return single_answers(examples, [said[outputs[0].name] for said in predictions], outputs[0].labels)


@dataclass(frozen=True)
class MultiLabel:
    """Any number of labels a text; judged by micro F1."""

    name: str = "multi-label"
    main_metric: str = "f1_micro"

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """{metric: whether more is better}."""
        return dict.fromkeys(
            (
                "exact_match",
                "precision_micro",
                "recall_micro",
                "f1_micro",
                "precision_macro",
                "recall_macro",
                "f1_macro",
                "f1_weighted",
            ),
            True,
        )

    def outputs(self, examples: Sequence[Example]) -> tuple[Output, ...]:
        """One multi-label output. Raises DataError where no label occurs."""
        labels = sorted({label for example in examples for label in example.labels})
        if not labels:
            raise DataError("the training rows have no label at all")
        return (Output("label", "multi", tuple(labels)),)

    def _measure(self, gold: Floats, said: Floats, weights: Floats) -> dict[str, Floats]:
        counts = multi_counts(gold, said, weights)
        names = ("precision", "recall", "f1")
        return {
            "exact_match": weights @ (gold == said).all(axis=1) / weights.sum(axis=1),
            **{f"{name}_micro": value for name, value in zip(names, micro(counts), strict=True)},
            **{f"{name}_macro": value for name, value in zip(names, macro(counts), strict=True)},
            "f1_weighted": macro(counts, weighted=True)[2],
        }

    def figures(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]
    ) -> dict[str, float]:
        """Every metric, without intervals."""
        gold, said, _ = self._tables(examples, predictions, outputs)
        return {name: float(value[0]) for name, value in self._measure(gold, said, np.ones((1, len(gold)))).items()}

    def score(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output], seed: int = 0
    ) -> Scores:
        """Every metric with intervals, and per class."""
        gold, said, labels = self._tables(examples, predictions, outputs)
        one, times = distinct(gold, said)
        return Scores(
            len(gold),
            figures_with_intervals(
                lambda weights: self._measure(gold[one], said[one], weights), times, seed, of_rows=None
            ),
            per_label(labels, Counts((gold * said).sum(0), said.sum(0), gold.sum(0))),
        )

    def _tables(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]
    ) -> tuple[Floats, Floats, tuple[str, ...]]:
        return many_answers(examples, [said["labels"] for said in predictions], outputs[0].labels)


CLASSIFICATION = Classification()
MULTI_LABEL = MultiLabel()
