"""How a fit ends: the test rows read once for the chosen student, the Pocket written, and the result gathered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pocketlm.budget import Measurement, Verdict
from pocketlm.job import Job
from pocketlm.measure.fresh import measure_pocket
from pocketlm.measure.machine import describe
from pocketlm.measure.quality import texts_for
from pocketlm.measure.sureness import fit_sureness, sureness
from pocketlm.outputs import texts_of
from pocketlm.pocket.format import read_pocket, write_pocket
from pocketlm.pocket.work import digest
from pocketlm.recipe.recipe import told_apart
from pocketlm.report.commands import sample_words
from pocketlm.runtime.load import Pocket, load
from pocketlm.search.asked import Asked
from pocketlm.search.forecast import Forecast
from pocketlm.search.judge import TEST_FIGURES_BYTES, TRADE_OFF, Judge, Outcome
from pocketlm.search.space import Space
from pocketlm.search.trial import Trial
from pocketlm.tasks.lost import lost_examples
from pocketlm.tasks.prepare import Prepared
from pocketlm.train.teach import answers
from pocketlm.train.teacher import Teacher, teacher_latency
from pocketlm.train.translations import said_of_translations
from pocketlm.units import format_size


def conclude(
    job: Job, prepared: Prepared, teacher: Teacher | None, outcomes: list[Outcome], judged: Judge,
    chosen: Outcome | None, final: Trial | None, asked: Asked, forecast: Forecast | None, space: Space,
) -> dict[str, Any]:  # fmt: skip
    """Read the test split once for the final student, write the Pocket if it may be, and gather the result.

    asked: what floors ask on test. forecast: what was expected of the candidates' latencies, if anything. space: that
    candidates are of.
    """
    test_texts, front = texts_of(prepared.test, prepared.outputs), set(map(id, judged.front(outcomes)))
    said = answers(teacher.model, test_texts) if teacher else None
    teacher_test = prepared.task.figures(prepared.test, said, prepared.outputs) if said else None
    if said and prepared.parallel:  # what students were taught of translations, which the teacher may not know
        said = said_of_translations(said)
    names = told_apart([one.recipe for one in outcomes])
    result: dict[str, Any] = {
        "schema": 1, "pocket": None, "report": str(job.report), "task": prepared.task.name,
        "main_metric": prepared.task.main_metric, "budget": job.budget.to_json(), "data": prepared.about,
        "teacher": _teacher_json(teacher, teacher_test, test_texts), "chosen": None,
        "candidates": [
            {**_candidate_json(one, one is chosen, id(one) in front), "name": name}
            for one, name in zip(outcomes, names, strict=True)
        ],
        "environment": describe(), "seed": job.seed, "effort": job.effort,
    }  # fmt: skip
    if forecast is not None:
        result["forecast"] = forecast.to_json()
    if chosen is None or final is None:
        text = "no candidate fits the budget: " + (outcomes[0].why if outcomes else _nothing(space))
        return {**result, "status": "missed", "verdict": {"met": False, "limits": [], "text": text}}
    staged, sure = final.pocket.with_name("chosen.pocket"), _sureness(job, prepared, chosen)
    measured, verdict, details = _final(prepared, final, sure, staged, asked, judged, teacher_test, forecast, said)
    result["chosen"] = {"name": chosen.recipe.name, "recipe": chosen.recipe.to_json(), **details}
    best = judged.passed_over(chosen, outcomes)
    prepared.about["notes"] += [] if best is None else [_why(chosen, best, outcomes, names, judged)]
    met = verdict.met
    free = not verdict.limits
    result["status"] = "best" if free else "met" if met else "missed"
    result["verdict"] = {**verdict.to_json(), "text": _sentence(chosen, verdict, measured, judged, len(outcomes))}
    if met or job.keep_best:
        file = read_pocket(staged)
        write_pocket(Path(job.output), file.manifest, file.members, replace=job.force)
        result["pocket"] = job.output
    return result


def _why(
    chosen: Outcome, best: Outcome, outcomes: Sequence[Outcome], names: Sequence[str], judged: Judge
) -> str:  # fmt: skip
    """Why a student was chosen though another did better on dev. names: of the outcomes."""
    own, other = (
        f"{names[next(place for place, each in enumerate(outcomes) if each is one)]} {judged.quality(one):.4f}"
        for one in (chosen, best)
    )
    told = f"chosen by {judged.metric} on dev: {own}, though {other}: "
    if judged.taught:
        return f"{told}within a standard error of the best, likeness to the teacher's answers counts as much"
    return (
        f"{told}of many recipes tried on {judged.dev_rows:,} rows one seems better by chance, so that a rule of thumb, "
        "or a recipe that was given, is taken within half a standard error of the best"
    )


def _nothing(space: Space) -> str:
    """Why nothing was tried, and what could be."""
    least = space.smallest(TEST_FIGURES_BYTES)
    from_ = "" if least is None else f"; the smallest files of these data take about {format_size(least)}"
    return f"nothing has room in it{from_}"


def _sureness(job: Job, prepared: Prepared, chosen: Outcome) -> dict[str, Any]:
    """What the manifest says of how sure the Pocket is, by the student that has not learnt from dev; it is noted."""
    assert chosen.trial is not None
    found = fit_sureness(load(chosen.trial.pocket), prepared.dev, job.error, job.out_of_scope)
    if found is None:
        return {}
    prepared.about["notes"] += found.notes
    return found.to_json()


def _final(
    prepared: Prepared, trial: Trial, sure: Mapping[str, Any], staged: Path, asked: Asked, judged: Judge,
    teacher_test: Mapping[str, float] | None, forecast: Forecast | None, teacher_said: list[dict[str, Any]] | None,
) -> tuple[Measurement, Verdict, dict[str, Any]]:  # fmt: skip
    """The chosen Pocket with its test figures inside, measured again as the file that will be written."""
    file = read_pocket(trial.pocket)
    pocket = Pocket({**file.manifest, **sure}, file.members, file.size_bytes, threads=0)
    texts = texts_for(pocket, prepared.test)
    said = pocket.answering(None).predict(texts, batch_size=1)
    scores = prepared.task.score(prepared.test, said, prepared.outputs, seed=0)
    scores = replace(scores, sureness=sureness(pocket, prepared.test, said))
    figures = {name: vars(figure) for name, figure in scores.metrics.items()}
    quality = {"dev": trial.measurement.quality, "test": {"n": scores.n, "metrics": figures}}
    members = {**file.members, "CARD.md": _card(pocket, prepared, figures).encode()}
    manifest = {**pocket.manifest, "quality": quality, "budget": judged.budget.to_json()}
    write_pocket(staged, manifest, members, replace=True)
    taken = measure_pocket(staged, texts, allowed=None if forecast and forecast.there else judged.budget.max_latency)
    measured = Measurement.of({name: figure.value for name, figure in scores.metrics.items()}, taken, "test")
    measured = replace(measured, extra={**measured.extra, **asked.figures(pocket, said, fitted=True)})
    if forecast is not None:
        measured = forecast.moved(trial.recipe, measured)
    details = {
        **trial.details,
        "measurement": taken,
        **({"estimated": measured.to_json()} if measured.device else {}),
        "dev": dict(trial.measurement.quality),
        "test": scores.to_json(),
        "lost_examples": lost_examples(prepared.test, said, teacher_said, prepared.outputs),
    }
    return measured, judged.allowed.check(measured, judged.metric, teacher_test), details


def _sentence(chosen: Outcome, verdict: Verdict, measured: Measurement, judged: Judge, count: int) -> str:
    """The verdict in a sentence."""
    figure = f"{judged.metric} {measured.quality[judged.metric]:.4f} on test"
    if not verdict.limits:
        reason = f"the smallest of {count} within {TRADE_OFF:.0%} of the best dev quality"
        return f"{chosen.recipe.name} is the best trade-off: {reason}; {figure}"
    word = "meets the budget" if verdict.met else "is the nearest miss"
    return f"{chosen.recipe.name} {word}: {verdict}; {figure}"


def _card(pocket: Pocket, prepared: Prepared, figures: Mapping[str, Mapping[str, float]]) -> str:
    """A page for people who find the file without its report."""
    lines = [f"# A PocketLM model: {prepared.task.name}", "", f"Trained on {Path(prepared.about['source']).name}.", ""]
    lines += [f"- {name}: {one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f})" for name, one in figures.items()]
    if pocket.unsure is not None:
        lines += ["", f"Of a text that it is unsure of (a score below {pocket.unsure.below:g}), the label is null."]
    lines += ["", "Test figures with 95 % intervals. Run it: `pip install pocketlm`, then", ""]
    lines += [f"    pocketlm run FILE.pocket {sample_words(prepared.task.name)}", ""]
    return "\n".join(lines)


def _teacher_json(teacher: Teacher | None, test: Mapping[str, float] | None, texts: list[Any]) -> dict[str, Any] | None:
    if teacher is None:
        return None
    return {
        "name": teacher.name,
        "quality": {"dev": teacher.quality, "test": dict(test or {})},
        "size_bytes": 4 * teacher.model.parameters,
        "latency_p50_ms": teacher_latency(teacher.model, texts),
        "seconds": teacher.seconds,
        "notes": [*teacher.notes, "size: float32 weights; latency: torch, one text on one thread"],
    }


def _candidate_json(outcome: Outcome, chosen: bool, front: bool) -> dict[str, Any]:
    about: dict[str, Any] = {
        "name": outcome.recipe.name, "family": outcome.recipe.family, "status": outcome.status, "why": outcome.why,
        "met": outcome.met, "chosen": chosen, "recipe": outcome.recipe.to_json(),
        "key": digest(outcome.recipe.to_json()),
    }  # fmt: skip
    if outcome.trial is not None:
        measured = outcome.trial.measurement
        about |= {**measured.to_json(), "front": front}
        about |= {"seconds": outcome.trial.details["seconds"], "fidelity": measured.extra.get("fidelity")}
    return about
