"""Language modelling: how well a model that writes foresees a text, in perplexity and in bits a byte."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pocketlm.outputs import Example, Output
from pocketlm.tasks.answers import Floats, Predictions, check_rows
from pocketlm.tasks.scores import RESAMPLES, Scores, figures_with_intervals


@dataclass(frozen=True)
class Generation:
    """Text token by token.

    perplexity: exp of the mean −ln p of a token; it depends on how the tokenizer cuts, bits_per_byte does not: −log2 p
    of the text over its UTF-8 bytes. Intervals are over documents, or over the windows of a single one.
    Predictions are {"windows": [{"nats", "tokens", "bytes"}, …]}, as `runtime.likelihood` makes them.
    """

    name: str = "generation"
    main_metric: str = "bits_per_byte"

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """{metric: whether more is better}."""
        return dict.fromkeys(("perplexity", "bits_per_byte"), False)

    def outputs(self, examples: Sequence[Example]) -> tuple[Output, ...]:
        """Text."""
        return (Output("generated", "text", ()),)

    def figures(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]
    ) -> dict[str, float]:
        """Every metric, without intervals."""
        counts = _counts(examples, predictions)
        return {name: float(value[0]) for name, value in _measure(np.ones((1, len(counts))), counts).items()}

    def score(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output], seed: int = 0
    ) -> Scores:
        """Every metric with its interval; n is of documents, or of windows."""
        counts = _counts(examples, predictions)
        times = np.ones(len(counts), np.int64)
        return Scores(len(counts), figures_with_intervals(lambda weights: _measure(weights, counts), times, seed), [])


def compare(
    examples: Sequence[Example], systems: Mapping[str, Predictions], seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, dict[str, Any]]:
    """Systems beside the first of them on the same windows, as {"systems": {name: {metric: figures}}}.

    Figures are "value", "difference", "low" and "high". difference: from the first system's value, with its 95 %
    interval by paired bootstrap: of every resample, the same documents (or windows of a single one) are taken of both.
    """
    counts = {name: _counts(examples, said) for name, said in systems.items()}
    first = next(iter(counts.values()))
    drawn = np.random.default_rng(seed).multinomial(len(first), np.full(len(first), 1 / len(first)), size=resamples)
    weights = np.concatenate([np.ones((1, len(first))), drawn.astype(float)])
    against, found = _measure(weights, first), {}
    for name, own in counts.items():
        figures = {}
        for metric, values in _measure(weights, own).items():
            apart = values - against[metric]
            low, high = np.quantile(apart[1:], [0.025, 0.975])
            figures[metric] = {
                "value": float(values[0]), "difference": float(apart[0]), "low": float(low), "high": float(high),
            }  # fmt: skip
        found[name] = figures
    return {"systems": found}


def _counts(examples: Sequence[Example], predictions: Predictions) -> Floats:
    """Nats, tokens and bytes of each document, or of each window of a single one: (rows, 3)."""
    check_rows(examples, predictions)
    windows: list[Sequence[Mapping[str, Any]]] = [one["windows"] for one in predictions]
    if len(windows) == 1:
        windows = [[one] for one in windows[0]]
    return np.array([[sum(one[name] for one in row) for name in ("nats", "tokens", "bytes")] for row in windows], float)


def _measure(weights: Floats, counts: Floats) -> dict[str, Floats]:
    nats, tokens, size = (weights @ counts).T
    return {"perplexity": np.exp(nats / tokens), "bits_per_byte": nats / math.log(2) / size}


GENERATION = Generation()
