"""Is this calibration good enough? What it covers, how stable what is measured on it is, what of the test is in it.

Coverage: the share of the vocabulary, and of an evaluation text's tokens, that occur in it. Stability: S of two halves
of the sequences, compared layer by layer (relative difference of Frobenius norms), and whether both halves would prune
the same weights (Wanda's score, half of every row; by chance a half agrees). Overlap: the share of a test text's
n-grams of 13 words that stand in the calibration, as Brown et al. 2020, arXiv:2005.14165, appendix C, look for leaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.calibration import Batch, Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.masks import keep_mask
from pocketlm.compress.moments import Statistics
from pocketlm.compress.walk import BlockView, run_collecting, walk
from pocketlm.model.layers import packed
from pocketlm.model.pretrained import Model

NGRAM = 13
# What makes a person look twice: halves that differ by so much, or so little agreement or overlap.
UNSTABLE, DISAGREE, LEAK, COVERED = 0.5, 0.8, 0.01, 0.95


@dataclass(frozen=True)
class Coverage:
    """tokens, sequences: read. vocabulary: share of it that occurs. text: share of an evaluation text's tokens that do.

    overlap: share of the test text's n-grams of 13 words that occur. texts, overlap: None where none was given.
    """

    tokens: int
    sequences: int
    distinct: int
    vocabulary: float | None = None
    text: float | None = None
    overlap: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data without what is not known, rounded."""
        return {key: _rounded(value) for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Stability:
    """Halves compared. differences: of S, by layer. agreements: of masks, by layer. experts: tokens each was sent."""

    differences: Mapping[str, float] = field(default_factory=dict)
    agreements: Mapping[str, float] = field(default_factory=dict)
    experts: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Mean and worst, and the experts."""
        found: dict[str, Any] = {}
        if self.differences:
            worst = max(self.differences, key=lambda name: self.differences[name])
            found["difference"] = _rounded(sum(self.differences.values()) / len(self.differences))
            found["worst"] = {"layer": worst, "difference": _rounded(self.differences[worst])}
            found["agreement"] = _rounded(sum(self.agreements.values()) / len(self.agreements))
        if self.experts:
            counts = list(self.experts.values())
            found["experts"] = {"least": min(counts), "most": max(counts), "unreached": counts.count(0)}
        return found


def audit(
    model: Model, calibration: Calibration, test: str | None = None, text: str | None = None,
    context: Context | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Coverage, stability and warnings as plain data. text: that is to be covered; test: that is not to be."""
    covered, stable = coverage(model, calibration, text, test), stability(model, calibration, context or Context())
    return {**covered.to_json(), **stable.to_json(), "notes": warnings(covered, stable)}


def warnings(covered: Coverage, stable: Stability) -> list[str]:
    """What of it should be looked at, a line each."""
    found = []
    if covered.text is not None and covered.text < COVERED:
        found.append(f"{1 - covered.text:.1%} of the evaluation text's tokens never occur: calibrate on text like it")
    if covered.overlap is not None and covered.overlap > LEAK:
        found.append(f"{covered.overlap:.1%} of the test text's 13-grams stand in the calibration: figures flatter")
    about = stable.to_json()
    if about.get("difference", 0.0) > UNSTABLE or about.get("agreement", 1.0) < DISAGREE:
        found.append(
            f"halves differ by {about['difference']:.0%} and agree on {about['agreement']:.0%} of the weights to prune"
            ": give more text"
        )
    if missing := about.get("experts", {}).get("unreached", 0):
        found.append(f"{missing} experts were sent no token: give more or other text")
    return found


def coverage(model: Model, calibration: Calibration, text: str | None = None, test: str | None = None) -> Coverage:
    """What the calibration holds; needs no forward pass."""
    seen = set(torch.cat([ids.reshape(-1) for ids in _ids(calibration.batches)] or [torch.empty(0)]).long().tolist())
    sequences = sum(len(next(iter(batch.values()))) for batch in calibration.batches)
    tokenizer = getattr(model.tokenizer, "tokenizer", model.tokenizer)
    known = len(tokenizer) if tokenizer is not None else 0
    share = None
    if text is not None and tokenizer is not None:
        wanted = tokenizer(text, verbose=False, add_special_tokens=False).input_ids
        share = sum(one in seen for one in wanted) / max(1, len(wanted))
    overlap = None if test is None else ngram_overlap(calibration.texts, test)
    return Coverage(
        calibration.tokens, sequences, len(seen), len(seen) / known if known and seen else None, share, overlap
    )


def _ids(batches: Sequence[Batch]) -> Iterator[Tensor]:
    """Token ids that are no padding, of encoder and decoder."""
    for batch in batches:
        for name, mask in (("input_ids", "attention_mask"), ("decoder_input_ids", "decoder_attention_mask")):
            if name in batch:
                yield batch[name][batch[mask].bool()] if mask in batch else batch[name]


def ngram_overlap(texts: Sequence[str], test: str, size: int = NGRAM) -> float:
    """The share of the test's n-grams of so many words that stand in the texts word for word; 0 where it has none."""

    def ngrams(text: str) -> Iterator[tuple[str, ...]]:
        words = text.split()
        return (tuple(words[place : place + size]) for place in range(len(words) - size + 1))

    held = {one for text in texts for one in ngrams(text)}
    wanted = list(ngrams(test))
    return sum(one in held for one in wanted) / len(wanted) if wanted else 0.0


def stability(model: Model, calibration: Calibration, context: Context) -> Stability:
    """Moments of two halves of the sequences compared, one block's at a time, and tokens of every expert."""
    halves = Calibration(tuple(_halved(calibration.batches)), (), calibration.source)
    found = Stability({}, {}, {})

    def visit(view: BlockView) -> None:
        first, second = Statistics(), Statistics()
        for place in range(len(view.calls)):
            view.inputs[place] = run_collecting(view, place, (first, second)[place % 2], context.fast)
        view.advanced = True
        for name, layer in view.linears().items():
            counted = [one.moments[name].tokens if name in one else 0 for one in (first, second)]
            if ".experts." in name:
                expert = name[: name.index(".experts.") + 9] + name.partition(".experts.")[2].partition(".")[0]
                found.experts[expert] = sum(counted)  # type: ignore[index]
            if all(counted):
                _compare(name, layer, first, second, found)

    walk(
        model, halves, visit, fast=context.fast, disk=context.disk, statistics=False,
        progress=context.ticks("halves of the calibration"),
    )  # fmt: skip
    return found


def _halved(batches: Sequence[Batch]) -> Iterator[Batch]:
    """Every batch as two, sequence by sequence in turn; of one sequence, the two are the same."""
    for batch in batches:
        for start in (0, 1):
            rows = len(next(iter(batch.values())))
            yield {name: value[min(start, rows - 1) :: 2] for name, value in batch.items()}


def _compare(name: str, layer: nn.Module, first: Statistics, second: Statistics, found: Stability) -> None:
    one, two = first[name], second[name]
    whole = ((one.s + two.s) / (one.tokens + two.tokens)).norm().clamp(min=1e-30)
    found.differences[name] = float((one.mean - two.mean).norm() / whole)  # type: ignore[index]
    matrix = packed(layer).weight
    masks = [keep_mask(matrix.square() * half.mean.diagonal(), 0.5) for half in (one, two)]
    gone = [~mask for mask in masks]
    both = float((gone[0] & gone[1]).sum()) / max(1.0, float(gone[0].sum()))
    found.agreements[name] = both  # type: ignore[index]


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
