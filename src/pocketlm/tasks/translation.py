"""Translation, and any other text written for a text: BLEU and chrF++ by sacrebleu, with signatures and intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pocketlm.errors import DataError, MissingExtraError
from pocketlm.outputs import Example, Output
from pocketlm.tasks.answers import Predictions, check_rows
from pocketlm.tasks.scores import RESAMPLES, Figure, Scores

OUTPUT = "translation"


@dataclass(frozen=True)
class Translation:
    """One text for each text, judged against one reference.

    chrf++: F2 of character n-grams up to 6 and word n-grams up to 2 (Popović 2017), in [0, 1]: sacrebleu's 45.3 is
    0.453. bleu: sacrebleu's with its defaults (Post 2018, arXiv:1804.08771), in [0, 1] too.
    """

    name: str = "translation"
    main_metric: str = "chrf++"

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """{metric: whether more is better}."""
        return {"chrf++": True, "bleu": True}

    def outputs(self, examples: Sequence[Example]) -> tuple[Output, ...]:
        """The text to write. Raises DataError where an example has none."""
        bare = [place + 1 for place, example in enumerate(examples) if not example.target]
        if bare:
            raise DataError(f"row {bare[0]} has no target ({len(bare)} of {len(examples)} rows have none)")
        return (Output(OUTPUT, "text", ()),)

    def figures(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]
    ) -> dict[str, float]:
        """Every metric, without intervals."""
        said, references = _texts(examples, predictions, outputs)
        return {name: metric.corpus_score(said, [references]).score / 100 for name, metric in _metrics().items()}

    def score(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output], seed: int = 0
    ) -> Scores:
        """Every metric with sacrebleu's bootstrap interval, which has a seed of its own (SACREBLEU_SEED)."""
        said, references = _texts(examples, predictions, outputs)
        figures, signatures = {}, {}
        for name, metric in _metrics().items():
            found = metric.corpus_score(said, [references], n_bootstrap=RESAMPLES)
            signature = str(metric.get_signature())
            signatures[name] = f"by sacrebleu {signature}"
            about = json.loads(found.format(width=4, is_json=True, signature=signature))
            mean, spread = (about.get(f"confidence_{key}", 0.0) / 100 for key in ("mean", "var"))
            figures[name] = Figure(
                round(found.score / 100, 6), round(max(0.0, mean - spread), 6), round(mean + spread, 6)
            )
        return Scores(len(examples), figures, [], signatures=signatures)


def compare(references: Sequence[str], systems: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Systems beside the first of them, by paired bootstrap (Koehn 2004): {"signatures", "systems"}.

    "systems": of each {metric: {"value", "mean", "spread", "p"}}; p is None for the first. Raises DataError where a
    system says more or fewer texts than there are references.
    """
    for name, said in systems.items():
        if len(said) != len(references):
            raise DataError(f"{name}: {len(said):,} texts for {len(references):,} references; one for each is needed")
    metrics = _metrics()
    from sacrebleu.significance import PairedTest

    test = PairedTest(
        [(name, list(said)) for name, said in systems.items()], metrics, references=[list(references)],
        test_type="bs", n_samples=RESAMPLES,
    )  # fmt: skip
    signatures, results = test()
    # sacrebleu has names of its own for the metrics, in the same order
    first = list(next(iter(systems.values())))
    called = dict(zip(metrics, signatures, strict=True))
    return {
        "signatures": {name: str(signatures[own]) for name, own in called.items()},
        "systems": {
            system: {name: _result(results[own][place], list(said) == first) for name, own in called.items()}
            for place, (system, said) in enumerate(systems.items())
        },
    }


def _result(found: Any, same: bool) -> dict[str, float | None]:
    """The figures of a system. same: whether it says what the first one says, whose p sacrebleu has as the least."""
    shares = {"value": found.score, "mean": found.mean, "spread": found.ci}
    p_value = None if found.p_value is None else 1.0 if same else float(found.p_value)
    return {**{name: float(one) / 100 for name, one in shares.items()}, "p": p_value}


def _metrics() -> dict[str, Any]:
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError:
        raise MissingExtraError("judging translations", "translation") from None

    class Plain(CHRF):  # type: ignore[misc]
        """chrF whose scores are all of one type: sacrebleu's mean fails where 0.0 stands among float32 of numpy."""

        def _compute_f_score(self, statistics: list[int]) -> float:
            return float(super()._compute_f_score(statistics))

    return {"chrf++": Plain(word_order=2), "bleu": BLEU()}


def _texts(
    examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]
) -> tuple[list[str], list[str]]:
    """What was said, and what should have been. Raises DataError where their counts differ, or a row has no target."""
    if len(examples) != len(predictions):
        raise DataError(f"{len(predictions):,} translations for {len(examples):,} references; one for each is needed")
    check_rows(examples, predictions)
    bare = [place + 1 for place, example in enumerate(examples) if not example.target]
    if bare:
        raise DataError(f"row {bare[0]} has no target to judge by ({len(bare)} of {len(examples)} rows have none)")
    return [str(one[outputs[0].name]) for one in predictions], [example.target for example in examples]


TRANSLATION = Translation()
