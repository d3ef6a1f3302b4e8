"""How sure a Pocket is: temperature and the score it answers from, fitted on dev, and what they are worth elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pocketlm.outputs import Example, Output, texts_of
from pocketlm.runtime.decode import Prediction
from pocketlm.runtime.load import Pocket
from pocketlm.runtime.unsure import Unsure, single_output
from pocketlm.tasks.confidence import (
    FEWEST_ROWS,
    Floats,
    area_under_risk,
    calibration_error,
    choose_cut,
    fit_temperature,
    shares,
)
from pocketlm.tasks.scores import Figure, figures_with_intervals


@dataclass(frozen=True)
class Sureness:
    """What a Pocket's manifest says of how sure it is. outputs: with temperatures. unsure: what it does not answer.

    notes: what was found, in words.
    """

    outputs: tuple[Output, ...]
    unsure: Unsure | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The parts of the manifest that say it."""
        outputs = {"outputs": [output.to_json() for output in self.outputs]}
        return outputs if self.unsure is None else {**outputs, "unsure": self.unsure.to_json()}


def fit_sureness(
    pocket: Pocket, dev: Sequence[Example], error: float | None = None, out_of_scope: str | None = None
) -> Sureness | None:
    """The temperature that fits dev, and the score from which at most the share `error` of answers is wrong there.

    None where no output has one label a text. out_of_scope: the class of texts that should not be answered. The Pocket
    must not have learnt from dev.
    """
    output = single_output(pocket.outputs)
    if output is None:
        return None
    logits = _logits(pocket, dev, output)
    labelled = [one.labels[0] if one.labels else "" for one in dev]
    gold = np.array([output.labels.index(one) if one in output.labels else -1 for one in labelled])
    temperature = fit_temperature(logits, gold)
    fitted = replace(output, temperature=temperature)
    right = (logits.argmax(1) == gold).astype(np.float64)
    before, after = (_top(logits, one) for one in (1.0, temperature))
    one = np.ones((1, len(right)))
    if (gold >= 0).sum() < FEWEST_ROWS:
        notes = [f"scores are as the model gives them: dev has fewer than {FEWEST_ROWS} rows to fit a temperature on"]
    else:
        notes = [
            f"scores are at temperature {temperature:.3g}, fitted on {len(dev):,} rows of dev: their calibration error "
            f"there goes from {calibration_error(before, right, one)[0]:.4f} to "
            f"{calibration_error(after, right, one)[0]:.4f}"
        ]
    unsure = None
    if error is not None or out_of_scope:
        unsure, note = _cut(fitted, logits, after, right, error, out_of_scope or "")
        notes.append(note)
    outputs = tuple(fitted if one.name == output.name else one for one in pocket.outputs)
    return Sureness(outputs, unsure, tuple(notes))


def _cut(
    output: Output, logits: Floats, scores: Floats, right: Floats, error: float | None, out_of_scope: str
) -> tuple[Unsure, str]:
    """What is not answered, and a note on it."""
    able = np.ones(len(scores), bool)
    if out_of_scope:
        able = logits.argmax(1) != output.labels.index(out_of_scope)
    if error is None:
        return Unsure(output.name, 0.0, out_of_scope), f"texts taken for {out_of_scope!r} are not answered"
    cut = choose_cut(scores, right, error, able)
    found = f"answers from a score of {cut.below:.2f} on: {cut.coverage:.0%} of dev"
    if cut.error > error:
        return Unsure(output.name, cut.below, out_of_scope), (
            f"{found}; dev cannot show that at most {error:.1%} of answers are wrong: the surest answers there show no "
            f"less than {cut.error:.1%}"
        )
    return Unsure(output.name, cut.below, out_of_scope), f"{found}, of which at most {cut.error:.1%} are wrong"


def sureness(
    pocket: Pocket, examples: Sequence[Example], said: Sequence[Prediction], seed: int = 0
) -> dict[str, Figure]:
    """Figures of how sure the Pocket was of `said`, what it would answer to all of the examples, with 95 % intervals.

    calibration_error, and calibration_error_before its temperature; risk_area: mean error over all shares of answered
    texts (AURC); coverage: share of texts answered, and answered_accuracy: of those. Nothing without a single label.
    """
    output = single_output(pocket.outputs)
    if output is None or any(not one.labels for one in examples):
        return {}
    right = np.array([one[output.name] == own.labels[0] for one, own in zip(said, examples, strict=True)], np.float64)
    scores = np.array([one["score"] for one in said])
    given = np.array([pocket.unsure is None or pocket.unsure.answers(one) for one in said], np.float64)
    before = scores if output.temperature == 1 else _top(_logits(pocket, examples, output), 1.0)

    def measure(weights: Floats) -> dict[str, Floats]:
        answered = weights @ given
        accuracy = np.divide(weights @ (given * right), answered, out=np.zeros(len(weights)), where=answered > 0)
        return {
            "calibration_error": calibration_error(scores, right, weights),
            "calibration_error_before": calibration_error(before, right, weights),
            "risk_area": area_under_risk(scores, right, weights),
            "coverage": answered / weights.sum(1),
            "answered_accuracy": accuracy,
        }

    return figures_with_intervals(measure, np.ones(len(right), np.int64), seed)


def crossed_calibration(pocket: Pocket, examples: Sequence[Example]) -> float:
    """The calibration error of examples whose scores have the temperature that fits the other half of them."""
    output = single_output(pocket.outputs)
    assert output is not None
    logits = _logits(pocket, examples, output)
    places = {label: place for place, label in enumerate(output.labels)}
    gold = np.array([places.get(one.labels[0] if one.labels else "", -1) for one in examples])
    scores = np.zeros(len(gold))
    for half in (0, 1):
        scores[half::2] = _top(logits[half::2], fit_temperature(logits[1 - half :: 2], gold[1 - half :: 2]))
    right = (logits.argmax(1) == gold).astype(np.float64)
    return float(calibration_error(scores, right, np.ones((1, len(right))))[0])


def _logits(pocket: Pocket, examples: Sequence[Example], output: Output) -> Floats:
    """Logits of the output, one text at a time, as a Pocket is mostly used: (examples, labels)."""
    texts = texts_of(examples, pocket.outputs)
    return np.concatenate([pocket.logits([text])[output.name] for text in texts]).astype(np.float64)


def _top(logits: Floats, temperature: float) -> Floats:
    """The best label's share, rounded as the runtime gives it: (rows,)."""
    out: Floats = shares(logits, temperature).max(1).round(4)
    return out
