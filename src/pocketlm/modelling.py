"""The story of `fit` where text is modelled: text and a language model in, one measured Pocket that writes out.

Read it from top to bottom. The model itself in 8 and in 4 bits is tried first; where that costs more than the budget
allows, a shallower or narrower student is cut out of it, healed by distillation, and stored in 4 bits.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pocketlm import __version__
from pocketlm.budget import Verdict
from pocketlm.errors import DataError, ModelError, RecipeError, TeacherError
from pocketlm.job import Job
from pocketlm.measure.machine import describe
from pocketlm.model.pretrained import Model, fingerprint, load_model
from pocketlm.outputs import Example
from pocketlm.pocket.format import write_atomically
from pocketlm.pocket.work import WorkFolder, digest
from pocketlm.progress import Deadline, Progress
from pocketlm.runtime.likelihood import likelihoods
from pocketlm.runtime.load import load
from pocketlm.search.writers import Study, Tried, choose, joined, student, whole
from pocketlm.staging import staged
from pocketlm.tasks.answers import Predictions
from pocketlm.tasks.generation import compare
from pocketlm.tasks.prepare import SPLITS, Prepared
from pocketlm.tasks.scores import Scores
from pocketlm.train.likelihood import bare_tokenizer, context_of, foresee

# Change this when anything here changes what a student becomes: remembered ones are then made anew.
VERSION = 1


def fit_modeller(job: Job, prepared: Prepared, progress: Progress, deadline: Deadline) -> dict[str, Any]:
    """The result of the job as the report shows it; the Pocket is written where it meets the budget."""
    job = job.for_task(prepared.task.name)
    teacher = _teacher(job, progress)
    length = min(job.max_length or 0, context_of(teacher))
    prepared = _readable(prepared, teacher, length)
    key = {
        "version": VERSION, "pocketlm": __version__, "data": prepared.data_hash, "seed": job.seed, "length": length,
        "limit": job.time_limit or "", "teacher": _key(teacher),
    }  # fmt: skip
    work = WorkFolder(job.work_folder)
    with work.locked():
        study = Study(job, prepared, teacher, length, key, work, progress, deadline)
        theirs = study.figures(prepared.dev, _taught(study, prepared.dev, "dev"))
        tried = whole(study, theirs)
        if not any(one.measured and one.over("size", "latency", "memory") <= 1 for one in tried):
            tried += student(study, theirs, tried)
        chosen = choose(study, tried)
        if chosen is None:
            return _nothing(study, tried, theirs)
        progress.stage("reading the test text once")
        return _conclude(study, tried, chosen, theirs)


def _teacher(job: Job, progress: Progress) -> Model:
    """The causal language model that the job names. Raises RecipeError without one, and TeacherError for another."""
    if job.teacher is None:
        raise RecipeError(
            "generation needs --teacher: a causal language model (a folder or hub name of GPT-2, Llama or their like) "
            "that is stored in few bits, or that a smaller one is cut out of"
        )
    progress.stage(f"loading {job.teacher}")
    try:
        model = load_model(job.teacher)
    except ModelError as error:
        raise TeacherError(str(error).replace("model ", "teacher ", 1)) from None
    if model.spec.kind != "decoder" or model.spec.classifies or model.module.get_output_embeddings() is None:
        raise TeacherError(
            f"teacher {job.teacher}: is {model.spec.architecture}, which does not write on from a text; give a causal "
            "language model, such as GPT2LMHeadModel or LlamaForCausalLM"
        )
    if not getattr(model.tokenizer, "is_fast", False):
        raise TeacherError(f"teacher {job.teacher}: has no tokenizer that the runtime reads; a fast one is needed")
    return model


def _key(teacher: Model) -> str:
    """Hash of its weights and tokenizer, wherever it lies."""
    return digest([*(one.hex() for one in fingerprint(teacher)), bare_tokenizer(teacher).to_str()])


def _readable(prepared: Prepared, teacher: Model, length: int) -> Prepared:
    """The same without dev and test texts in which nothing can be foreseen.

    Raises DataError where a split has less than one window of text.
    """
    tokenizer = bare_tokenizer(teacher)
    for name in SPLITS:
        count = len(tokenizer.encode(joined(getattr(prepared, name))).ids)
        if count < length:
            raise DataError(
                f"{prepared.about['source']}: {name} has {count:,} tokens, fewer than one window of {length:,}; give "
                "more text, or a shorter window with --max-length"
            )

    def foreseen(examples: list[Example]) -> list[Example]:
        return [one for one in examples if len(tokenizer.encode(one.text).ids) > 1]

    return replace(prepared, dev=foreseen(prepared.dev), test=foreseen(prepared.test))


def _taught(study: Study, examples: list[Example], split: str) -> Predictions:
    """How the teacher foresees the texts."""

    def make(folder: Path) -> dict[str, Any]:
        study.progress.stage(f"the teacher reads {split}")
        began = time.monotonic()
        said = foresee(study.teacher, [one.text for one in examples], progress=study.progress.step)
        return {"said": said, "seconds": time.monotonic() - began}

    rows = {"split": split, "rows": study.prepared.about["splits"][split]["sha256"]}
    found: Predictions = study.remembered("teacher", rows, make)[1]["said"]
    return found


def _read(study: Study, path: Path) -> Predictions:
    """How the Pocket foresees the test texts, as the runtime reads them; once for each file."""

    def make(folder: Path) -> dict[str, Any]:
        return {"said": likelihoods(load(path).generator, [one.text for one in study.prepared.test])}

    about = {
        "pocket": hashlib.sha256(path.read_bytes()).hexdigest(),
        "rows": study.prepared.about["splits"]["test"]["sha256"],
    }
    found: Predictions = study.remembered("read", about, make)[1]["said"]
    return found


def _conclude(study: Study, tried: list[Tried], chosen: Tried, theirs: Mapping[str, float]) -> dict[str, Any]:
    """Read the test text once, write the Pocket if it may be, and gather the result."""
    assert chosen.path is not None and chosen.measured is not None and chosen.about is not None
    job, prepared = study.job, study.prepared
    said, taught = _read(study, chosen.path), _taught(study, prepared.test, "test")
    scores = prepared.task.score(prepared.test, said, prepared.outputs)
    teachers = study.figures(prepared.test, taught)
    name = Path(job.teacher or "").name
    whole = staged(
        chosen.path, job, prepared, f"{chosen.name}, made from {name}", {"name": name, "sha256": study.key["teacher"]},
        chosen.measured.quality, scores,
    )  # fmt: skip
    measured = replace(
        chosen.measured, quality={name: one.value for name, one in scores.metrics.items()},
        size_bytes=whole.stat().st_size, split="test",
    )  # fmt: skip
    verdict = study.check(measured, teachers)
    written = verdict.met or job.keep_best
    if written:
        write_atomically(Path(job.output), whole.read_bytes(), replace=job.force)
    details = {name: chosen.about[name] for name in ("bits", "passes", "difference", "notes") if name in chosen.about}
    return {
        **_head(study, tried, chosen, {"dev": dict(theirs), "test": teachers}),
        "pocket": job.output if written else None,
        "chosen": {
            "name": chosen.name, "measurement": {**chosen.about["costs"], "size_bytes": measured.size_bytes},
            "dev": dict(chosen.measured.quality), "test": scores.to_json(), **details,
            "against_teacher": compare(prepared.test, {"teacher": taught, "student": said}),
        },
        "status": "best" if not verdict.limits else "met" if verdict.met else "missed",
        "verdict": {**verdict.to_json(), "text": _sentence(chosen.name, verdict, scores, teachers)},
    }  # fmt: skip


def _nothing(study: Study, tried: list[Tried], theirs: Mapping[str, float]) -> dict[str, Any]:
    """The result where nothing is small enough: nothing was trained, and test was not read."""
    why = "; ".join(f"{one.name}: {one.why}" for one in tried)
    return {
        **_head(study, tried, None, {"dev": dict(theirs)}), "pocket": None, "chosen": None, "status": "missed",
        "verdict": {"met": False, "limits": [], "text": f"no candidate fits the budget: {why}"},
    }  # fmt: skip


def _head(study: Study, tried: list[Tried], chosen: Tried | None, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """What the result says whatever became of it."""
    job, prepared = study.job, study.prepared
    return {
        "schema": 1, "report": str(job.report), "task": prepared.task.name, "main_metric": prepared.task.main_metric,
        "budget": job.budget.to_json(), "data": prepared.about,
        "teacher": {
            "name": job.teacher, "size_bytes": 4 * study.teacher.parameters, "quality": theirs,
            "notes": ["as it was given, in float32; size: of its weights"],
        },
        "candidates": [one.to_json(one is chosen) for one in tried], "environment": describe(), "seed": job.seed,
    }  # fmt: skip


def _sentence(name: str, verdict: Verdict, scores: Scores, teacher: Mapping[str, float]) -> str:
    """The verdict in a sentence: what was reached on test beside the teacher."""
    figures = "; ".join(
        f"{key.replace('_', ' ')} {one.value:.4g} ({one.low:.4g} to {one.high:.4g}), teacher {teacher[key]:.4g}"
        for key, one in scores.metrics.items()
    )
    if not verdict.limits:
        return f"{name} is the best trade-off: {figures}; on test"
    return f"{name} {'meets the budget' if verdict.met else 'is the nearest miss'}: {verdict}; {figures}; on test"
