"""`fit`: labelled text and a budget in, one measured Pocket and a report out. Read it from top to bottom."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pocketlm import __version__
from pocketlm.data.splits import normal_text
from pocketlm.errors import BudgetMissed, MissingExtraError, RecipeError
from pocketlm.floors import FIDELITY
from pocketlm.job import Job
from pocketlm.job import Result as Result
from pocketlm.measure.calibrate import this_machine
from pocketlm.measure.device import Device, read_device
from pocketlm.pocket.format import check_output
from pocketlm.pocket.work import WorkFolder, digest
from pocketlm.progress import Deadline, Progress, Silent
from pocketlm.report.html import write_report
from pocketlm.runtime.inputs import plain_text
from pocketlm.tasks.prepare import Prepared

try:
    from pocketlm.augmenting import NONE, with_new_rows
    from pocketlm.conclude import conclude
    from pocketlm.fleet import Fleet, OnFleet, fleet
    from pocketlm.hearing import Hearing, covers, hearing
    from pocketlm.model.encoder import Pretrained, find_teacher, load_pretrained
    from pocketlm.modelling import fit_modeller
    from pocketlm.opening import to_learn_from, ways_of, with_data, with_vectors
    from pocketlm.recipe.recipe import Recipe
    from pocketlm.recipe.run import FURTHER_VERSION, TRAINED, Prefixes
    from pocketlm.search.allocator import LARGEST, allocator
    from pocketlm.search.asked import Asked, asked_on_dev, check_floors, share_of_none
    from pocketlm.search.attempt import Crew, Here
    from pocketlm.search.facts import Facts
    from pocketlm.search.forecast import Forecast, with_room_of
    from pocketlm.search.judge import Judge, Outcome
    from pocketlm.search.opened import NOTHING_TO_RESUME, STUDY_VERSION, Plan
    from pocketlm.search.runner import Runner
    from pocketlm.search.space import Space, check_in_space, check_settings, fast_enough, given_recipe
    from pocketlm.search.storage import check_storage
    from pocketlm.search.study import Exploration
    from pocketlm.search.trial import Trial
    from pocketlm.search.untrained import hopelessness, slowness, untrained
    from pocketlm.search.warm import described
    from pocketlm.search.work import TextSize
    from pocketlm.students.lexicon import LEXICON_VERSION
    from pocketlm.students.pieces import student_pieces
    from pocketlm.train.context import FitContext
    from pocketlm.train.embedder import prepare_embedder, with_teachers_pairs
    from pocketlm.train.few_shot import DECISIVE_ROWS, FROZEN
    from pocketlm.train.frozen import SEEN_VERSION, Seen
    from pocketlm.train.keras_teacher import is_keras
    from pocketlm.train.lesson import join, lesson
    from pocketlm.train.teacher import (
        Classroom,
        Teacher,
        prepare_teacher,
        trained_teacher,
        word_neighbours,
    )
    from pocketlm.writing import fit_writer
except ModuleNotFoundError as error:
    raise MissingExtraError(f"fit (the package {error.name})", "build") from None

logger = logging.getLogger(__name__)

# Settings of what a search asks for, which a recipe alone has not, and of a study, which models that write have not.
ASKING = ("trials", "add_trials", "resume", "set", "compete", "sampler")
STUDIES = (*ASKING, "storage", "ray", "workers")


def fit(job: Job | str, *, progress: Progress | None = None, **settings: Any) -> Result:
    """The Pocket that meets the job's budget, written with its report.

    job: a Job, or what its `data` is with the other settings as keywords: fit("train.csv", max_size="1MB").
    Raises UserError for wrong input, and BudgetMissed (with `result`) where nothing meets the budget; its
    report is written all the same.
    """
    job = Job(job, **settings) if isinstance(job, str) else replace(job, **settings)
    began, progress, deadline = time.monotonic(), progress or Silent(), Deadline.after(job.seconds)
    there, own, rivals = _checked(job)
    job, prepared = with_data(job, progress)
    rows = prepared.rows_learnt
    if job.augment != NONE:
        prepared = with_new_rows(job, prepared, progress)
    assert job.max_length is not None and job.variants is not None  # `for_task` has set them
    asked = asked_on_dev(job.budget, prepared)
    if any(output.kind == "text" for output in prepared.outputs):
        return finished(_story(job, prepared, own)(job, prepared, progress, deadline), job, began)
    trained = job.teacher if job.teacher and is_keras(job.teacher) else None
    pretrained = load_pretrained(job.teacher) if job.teacher and not trained else None
    if pretrained is not None and not covers(pretrained, prepared, job, progress):
        pretrained = None
    vectors = any(output.kind == "vector" for output in prepared.outputs)
    ways = ways_of(job, prepared, pretrained)
    prepared = with_vectors(job, prepared, pretrained)
    if vectors and pretrained is not None:
        prepared = with_teachers_pairs(prepared, pretrained, job.max_length, job.seed)
    if job.data_parallel > 1 and (vectors or pretrained is None or ways == (FROZEN,)):
        prepared.about["notes"].append("data-parallel: no teacher is fine-tuned on several processes here")
    mixup = float(prepared.about.get("augmentation", {}).get("mixup", 0.0))
    learnt, learnt_dev = to_learn_from(job, prepared, pretrained)
    work = WorkFolder(job.work_folder)
    with work.locked(), fleet(job.ray, job.workers, job.data_parallel) as helpers:
        room = Classroom(
            prepared.task, prepared.outputs, learnt, prepared.dev, prepared.data_hash, job.max_length,
            job.seed, work, progress, deadline, ways, _without_test(prepared), prepared.parallel,
            keep_words=bool(job.also), mixup=mixup, helpers=helpers,
        )  # fmt: skip
        _check_taught(job, prepared, bool(pretrained or trained))
        # before the teacher is fine-tuned, which changes the encoder
        near = word_neighbours(room, pretrained) if pretrained and job.variants and not room.frozen else {}
        teacher = (prepare_embedder if vectors else prepare_teacher)(room, pretrained) if pretrained else None
        teacher = trained_teacher(room, trained) if trained else teacher
        context = FitContext(
            prepared.task, prepared.outputs, lesson(learnt, prepared.outputs), prepared.dev, job.max_length,
            pretrained, teacher.model if teacher else None, job.seed, progress=progress, deadline=deadline,
            focus=job.focus, mixup=mixup, frozen=room.frozen, seen=_seen(room, pretrained),
        )  # fmt: skip
        more = lesson(learnt_dev, prepared.outputs)
        alone = Hearing(room, teacher, near) if teacher else None
        heard = hearing(alone, context, prepared, rows) if alone else None
        if heard is not None:
            # as many variants as without new rows and repeats, which are variants themselves or have their own
            variants = 0 if room.frozen else job.variants
            rounds = max(min(1, variants), round(variants * rows / len(prepared.train)))
            taught = heard.lesson(learnt, rounds, prepared.unlabelled, seen=True)
            # a teacher that stays as it is has said nothing that students learnt: they are not to be like it
            said = None if room.frozen else heard.answers(context)
            context = replace(context, lesson=taught, taught_dev=said)
            more = heard.lesson(learnt_dev, variants)
        prefixes, asked = Prefixes(), _beside(asked, heard or alone, context)
        run = _runner(job, prepared, teacher, context, work, prefixes, asked)
        competing = [own] if own else rivals
        outcomes, judged, forecast, told = _search(job, prepared, teacher, run, there, competing, helpers)
        prepared.about["notes"] += [told.unsearched] if told.unsearched else []
        chosen = judged.choose(outcomes)
        final = None if chosen is None else chosen.trial
        if final is not None and job.refit and not deadline.passed:
            progress.stage("training the chosen recipe again on train and dev")
            left = final.pocket.with_name(TRAINED)
            whole = replace(
                context, lesson=join(context.lesson, more), searched=context, timed=True,
                trained=left if left.is_file() else None,
            )  # fmt: skip
            again = _runner(job, prepared, teacher, whole, work, prefixes, replace(asked, floors=()), ("train", "dev"))
            final = _refit(final, again, judged, forecast)
        if chosen is not None:
            progress.stage("measuring the chosen Pocket")
        asked = _beside(
            Asked.of(job.budget.floors, prepared, "test"), heard or alone,
            replace(context, dev=prepared.test, taught_dev=None),
        )  # fmt: skip
        result = conclude(job, prepared, teacher, outcomes, judged, chosen, final, asked, forecast, told.space)
        result["search"] = told.story(None if chosen is None else chosen.recipe)
    return finished(result, job, began)


def _check_taught(job: Job, prepared: Prepared, taught: bool) -> None:
    """Raise BudgetError for a floor that there is no teacher for; note what a share of none is read as."""
    check_floors(job.budget.floors, prepared, taught)
    prepared.about["notes"] += [] if taught else share_of_none(job.budget, prepared.task.main_metric)


def _beside(asked: Asked, teacher: Hearing | None, context: FitContext) -> Asked:
    """With the answers that a floor of fidelity is held against: what students hear, or else the teacher's own."""
    if teacher is None or all(one.metric != FIDELITY for one in asked.floors):
        return asked
    return replace(asked, heard=teacher.answers(context) if context.taught_dev is None else context.taught_dev)


def _story(
    job: Job, prepared: Prepared, own: Recipe | None
) -> Callable[[Job, Prepared, Progress, Deadline], dict[str, Any]]:
    """How a model that writes is made. Raises RecipeError where a recipe or another machine is given."""
    if job.device != "host":
        raise RecipeError(f"device: models for {prepared.task.name} are measured on this machine alone")
    for flag in _given(job, STUDIES):
        raise RecipeError(f"{flag}: models for {prepared.task.name} are made without a study of recipes")
    if job.effort != 1:
        raise RecipeError(f"effort: models for {prepared.task.name} are no students; --time-limit bounds them")
    if own is not None:
        raise RecipeError(f"recipe: models for {prepared.task.name} are not made by recipes of students")
    return fit_modeller if prepared.task.name == "generation" else fit_writer


def _given(job: Job, names: Sequence[str]) -> list[str]:
    """Those of these settings that are not as they are by default, as the command line writes them."""
    usual = {one.name: one.default for one in fields(Job)}
    return [name.replace("_", "-") for name in names if getattr(job, name) != usual[name]]


def finished(result: dict[str, Any], job: Job, began: float) -> Result:
    """The result with its report written. Raises BudgetMissed where nothing met the budget."""
    result["seconds"] = time.monotonic() - began
    write_report(result, job.report, replace=job.force)
    done = Result(Path(result["pocket"]) if result["pocket"] else None, job.report, result)
    if not done.met:
        raise BudgetMissed(result["verdict"]["text"], done)
    return done


def _without_test(prepared: Prepared) -> list[str]:
    """The unlabelled texts that are no test row's: what a teacher takes for its own rows is not to be judged by."""
    test = {normal_text(one.text) for one in prepared.test}
    return [text for text in prepared.unlabelled if normal_text(text) not in test]


def _seen(room: Classroom, pretrained: Pretrained | None) -> Seen:
    """Vectors by the encoder as it was pretrained, kept from run to run."""
    if pretrained is None:
        return Seen()
    key = {"version": SEEN_VERSION, "model": pretrained.digest, "max_length": room.max_length}
    return Seen(room.work.step("seen", key).folder / "seen.npz")


def _search(
    job: Job, prepared: Prepared, teacher: Teacher | None, run: Runner, there: Device | None, rivals: list[Recipe],
    helpers: Fleet | None,
) -> tuple[list[Outcome], Judge, Forecast | None, Exploration]:  # fmt: skip
    """Every candidate's outcome, the judge who compares them, what was expected of them, and the study itself.

    there: the machine that the Pocket will run on, None where it is this one. rivals: recipes that someone gave.
    helpers: a cluster that tries recipes, or None.
    """
    budget, context = job.budget, run.context
    counts = {one.name: run.asked.count(one) for one in budget.floors}
    judged = Judge(budget, prepared.task.main_metric, teacher.quality if teacher else None, len(prepared.dev), counts,
                   with_room_of(budget, there), context.taught_dev is not None)  # fmt: skip
    pieces = student_pieces(context, None)
    facts, text = Facts.of(context, len(pieces.counts), job.effort), TextSize.of(context, pieces)
    check_in_space(job.set, facts)
    forecast = None
    limited = budget.max_latency is not None or budget.max_memory is not None
    if limited or there is not None:
        forecast = Forecast(this_machine(context.progress.stage), facts, text, there)
    device = there or (forecast.here if forecast is not None else None)
    timed = None if forecast is None else untrained(run, forecast)
    room = None if forecast is None else forecast.room(judged.allowed.max_memory)
    facts = replace(facts, decisive=not prepared.zero_shot and len(prepared.dev) >= DECISIVE_ROWS)
    facts = replace(facts, allocator=allocator(context, pieces, facts, budget, device, text, timed), graph_room=room)
    space = Space(facts, budget, job.set)

    def after(trial: Trial) -> Trial:
        if forecast is None:
            return trial
        forecast.note(trial.recipe, trial.measurement)
        return replace(trial, measurement=forecast.moved(trial.recipe, trial.measurement))

    slower = slowness(budget, forecast, timed)
    plan = _plan(job, run, there, described(facts, budget, prepared.task.name))
    crew: Crew = (
        OnFleet(helpers, run, after)
        if helpers is not None
        else Here(lambda recipe, pace: after(run(recipe, pace)), run.remembers, job.workers or 1)
    )
    explored = Exploration(
        space, lambda: fast_enough(space.starts, lambda recipe: slower(recipe, LARGEST)),
        crew, hopelessness(judged.allowed, forecast, slower), judged, plan, rivals,
    )  # fmt: skip
    return explored.outcomes_of(context.progress, context.deadline), judged, forecast, explored


def _checked(job: Job) -> tuple[Device | None, Recipe | None, list[Recipe]]:
    """The device and the recipes of files that the job names. Raises UserError for what is wrong before any work."""
    _ = job.budget, job.error
    there = None if job.device == "host" else read_device(Path(job.device))
    for path in (Path(job.output), job.report):
        check_output(path, replace=job.force)
    if job.teacher:
        find_teacher(job.teacher)
    own = given_recipe(job.recipe) if job.recipe else None
    for flag in _given(job, ASKING) if own is not None else ():
        raise RecipeError(f"{flag}: --recipe is tried alone; leave one of them out, or let it --compete")
    if own is not None and job.effort != 1:
        raise RecipeError("effort: --recipe says how long it is trained; leave one of them out")
    rivals = [given_recipe(one) for one in job.compete]
    check_settings(job.set)
    if job.storage:
        check_storage(job.storage)
    elif job.resume and not _study_file(job).is_file():
        raise RecipeError(NOTHING_TO_RESUME)
    return there, own, rivals


def _study_file(job: Job) -> Path:
    """Where a study is kept that nobody named a storage for."""
    return job.work_folder.resolve() / "study.db"


def _plan(job: Job, run: Runner, there: Device | None, about: Mapping[str, Any]) -> Plan:
    """What the study is called, where it is kept, and how many trials it wants. about: see `search.warm`."""
    # all that its trials depend on, but not how many there are
    depends = {**run.depends, "budget": job.budget.to_json(), "set": job.set, "alone": bool(job.recipe)}
    depends["study"] = STUDY_VERSION
    depends |= {"sampler": job.sampler} if job.sampler != "gp" else {}
    depends |= {"effort": job.effort} if job.effort != 1 else {}
    name = digest({**depends, **({"device": vars(there)} if there else {})})[:16]
    storage = job.storage or f"sqlite:///{_study_file(job)}"
    return Plan(
        0 if job.recipe else job.trials, job.add_trials, storage, name, job.seed,
        "random" if job.sampler == "random" else "gp", about, job.resume,
        run.work.path.resolve() if job.storage else None,
    )  # fmt: skip


def _runner(
    job: Job, prepared: Prepared, teacher: Teacher | None, context: FitContext, work: WorkFolder,
    prefixes: Prefixes, asked: Asked, trained_on: tuple[str, ...] = ("train",),
) -> Runner:  # fmt: skip
    """What runs recipes in this context."""
    head = _manifest_head(job, prepared, teacher, trained_on)
    depends = {
        "teacher": teacher.key if teacher else None, "data": prepared.data_hash, "seed": job.seed,
        "texts": digest([plain_text(text) for text in context.lesson.texts]),
        "taught": context.lesson.taught is not None, **({"parallel": True} if prepared.parallel else {}),
        "max_length": job.max_length, "frozen": context.frozen, "lexicon": LEXICON_VERSION,
        "focus": job.focus, "pocketlm": __version__, "head": head,
        **({"further": FURTHER_VERSION} if context.trained else {}),
        **({"states": True} if context.lesson.taught is not None and context.lesson.taught.hidden else {}),
    }  # fmt: skip

    allowed = job.budget.max_latency if job.device == "host" else None
    return Runner(context, work, depends, head, prefixes, asked, allowed)


def _refit(chosen: Trial, run: Runner, judged: Judge, forecast: Forecast | None) -> Trial:
    """The chosen recipe trained on dev as well, where it still keeps the limits; no row helps to choose any more.

    Its dev figures stay those of the student that had not seen dev: where time is up before it has learnt as much, that
    student stays, too.
    """
    again = run(chosen.settled)
    if run.context.deadline.passed:
        return chosen
    told = {one.name: chosen.measurement.extra[one.name] for one in judged.budget.floors}
    both = zip(chosen.details["passes"], again.details["passes"], strict=True)
    passes = [{**one, "latency_ms": timed["latency_ms"]} for one, timed in both]
    costs = again.measurement if forecast is None else forecast.moved(again.recipe, again.measurement)
    trial = replace(
        again,
        measurement=replace(costs, quality=chosen.measurement.quality, extra={**costs.extra, **told}),
        details={
            **chosen.details,
            "passes": passes,
            "refit": {
                "seconds": again.details["seconds"],
                "int8": again.details["int8"],
                "further": run.context.trained is not None,
            },
        },
    )
    kept = judged.verdict(trial).met or not judged.verdict(chosen).met
    return trial if kept else chosen


def _manifest_head(
    job: Job, prepared: Prepared, teacher: Teacher | None, trained_on: tuple[str, ...]
) -> dict[str, Any]:
    """What the manifest says whatever the candidate and the budget, and nothing of when and where it was made."""
    made, also = prepared.about.get("augmentation"), prepared.about.get("also")
    return {
        "provenance": {
            # the file's name and not its folder: the same data gives the same bytes wherever it lies
            "data": {"source": Path(prepared.about["source"]).name, "splits": prepared.about["splits"]},
            "teacher": {"name": teacher.name, "sha256": teacher.sha256} if teacher else None,
            "trained_on": list(trained_on),
            "seed": job.seed,
            **({"augmentation": made["methods"]} if made else {}),
            **({"also": _sources(also)} if also else {}),
        },
    }


def _sources(also: dict[str, Any]) -> dict[str, Any]:
    """What a Pocket tells of the sources it learnt from: by their files' names, not their folders."""
    mixed = [{**one, "source": Path(one["source"]).name} for one in also["sources"]]
    return {"temperature": also["temperature"], "sources": mixed}
