"""Text classification: one label a text, or any number of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlm.errors import DataError
from pocketlm.outputs import Example, Output
from pocketlm.tasks.metrics import Counts, confusion, macro, micro, multi_counts, single_counts
from pocketlm.tasks.scores import Scores, figures_with_intervals, per_label

Floats = NDArray[np.float64]
Predictions = Sequence[Mapping[str, Any]]


def label_places(labels: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """The place of each label among the known ones, -1 where it is none of them."""
    places = {label: place for place, label in enumerate(known)}
    return np.array([places.get(label, -1) for label in labels], np.int64)


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

    def _measure(
        self, gold: NDArray[np.int64], said: NDArray[np.int64], labels: int, weights: Floats
    ) -> dict[str, Floats]:
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
        return Scores(
            len(gold),
            figures_with_intervals(lambda weights: self._measure(gold, said, len(labels), weights), len(gold), seed),
            per_label(labels, Counts(counts.right[0], counts.predicted[0], counts.gold[0])),
            confusion={"labels": list(labels), "counts": confusion(gold, said, len(labels)).tolist()},
        )

    def _places(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
        output = outputs[0]
        gold = label_places([example.labels[0] for example in examples], output.labels)
        return gold, label_places([said[output.name] for said in predictions], output.labels), output.labels


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
        gold, said = self._tables(examples, predictions, outputs)
        return {name: float(value[0]) for name, value in self._measure(gold, said, np.ones((1, len(gold)))).items()}

    def score(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output], seed: int = 0
    ) -> Scores:
        """Every metric with intervals, and per class."""
        gold, said = self._tables(examples, predictions, outputs)
        return Scores(
            len(gold),
            figures_with_intervals(lambda weights: self._measure(gold, said, weights), len(gold), seed),
            per_label(outputs[0].labels, Counts((gold * said).sum(0), said.sum(0), gold.sum(0))),
        )

    def _tables(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]
    ) -> tuple[Floats, Floats]:
        labels = outputs[0].labels
        gold = np.array([[label in example.labels for label in labels] for example in examples], np.float64)
        said = np.array([[label in one["labels"] for label in labels] for one in predictions], np.float64)
        return gold, said


CLASSIFICATION = Classification()
MULTI_LABEL = MultiLabel()
