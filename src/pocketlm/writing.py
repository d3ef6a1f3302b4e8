"""The story of `fit` where a text is written: pairs of texts in, a teacher, a student, one measured Pocket out.

Read it from top to bottom. `build.fit` tells the story of models that say labels, and sends jobs here that write.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pocketlm.budget import Measurement, Verdict
from pocketlm.export.generator import Packing, export_generator
from pocketlm.job import Job
from pocketlm.measure.fresh import measure_pocket
from pocketlm.measure.machine import describe
from pocketlm.measure.quality import written
from pocketlm.model.subwords import learn_subwords, pieces_for
from pocketlm.model.translator import POSITIONS, STUDENTS, student_shape
from pocketlm.outputs import Example
from pocketlm.pocket.format import read_pocket, write_pocket
from pocketlm.pocket.work import WorkFolder
from pocketlm.progress import Deadline, Progress
from pocketlm.runtime.choose import Writing
from pocketlm.runtime.load import load
from pocketlm.runtime.shortlist import MEMBER
from pocketlm.tasks.prepare import Prepared
from pocketlm.tasks.translation import OUTPUT, compare
from pocketlm.train.alignment import make_shortlist
from pocketlm.train.pairs import Pairs, pair_ids, piece_ids
from pocketlm.train.translator import Desk, Translator, dictated, fine_tune_teacher, train_student, train_teacher
from pocketlm.train.write import write

# Parts of the time left that the teacher, and then what it writes, may take.
TEACHER_SHARE, DICTATION_SHARE = 0.45, 0.4
BITS = 8
# The manifest, graphs without their weights, and the page for people, compressed.
FRAME_BYTES = 40_000
# A shortlist is kept where so large a share of dev comes out the same without it.
SAME = 0.98


@dataclass(frozen=True)
class Exported:
    """A student as a Pocket. measured: on dev. costs: all that measuring in a fresh process said. details: the rest."""

    path: Path
    measured: Measurement
    costs: dict[str, Any]
    details: dict[str, Any]


def fit_writer(job: Job, prepared: Prepared, progress: Progress, deadline: Deadline) -> dict[str, Any]:
    """The result of the job as the report shows it; the Pocket is written where it meets the budget."""
    job = job.for_task(prepared.task.name)
    assert job.max_length is not None  # `for_task` has set it
    work = WorkFolder(job.work_folder)
    pairs, dev = (pairs_of(rows) for rows in (prepared.train, prepared.dev))
    with work.locked():
        desk = Desk(
            dev, prepared.data_hash, job.max_length, job.seed, work, progress, deadline, job.time_limit or "",
        )  # fmt: skip
        teacher = _teacher(replace(desk, deadline=deadline.share(TEACHER_SHARE)), job, pairs)
        sources = (*pairs.sources, *prepared.unlabelled)
        heard = dictated(replace(desk, deadline=deadline.share(DICTATION_SHARE)), teacher, sources)
        student = _student(desk, job, teacher, pairs, pairs + heard)
        exported = _exported(desk, prepared, student, pairs, work)
        progress.stage("reading the test rows once")
        return _conclude(job, prepared, teacher, student, exported)


def pairs_of(rows: Sequence[Example]) -> Pairs:
    """Sources and targets of examples."""
    return Pairs(tuple(one.text for one in rows), tuple(one.target for one in rows))


def _teacher(desk: Desk, job: Job, pairs: Pairs) -> Translator:
    """The given model fine-tuned on the pairs, or one made of them alone."""
    desk.progress.stage(f"training the teacher{f' {job.teacher}' if job.teacher else ''}")
    return fine_tune_teacher(desk, job.teacher, pairs) if job.teacher else train_teacher(desk, pairs)


def _student(desk: Desk, job: Job, teacher: Translator, pairs: Pairs, lesson: Pairs) -> Translator:
    """The largest deep-encoder, shallow-decoder student that the size allows, taught by sentences and by words.

    It has the teacher's vocabulary where the teacher was made here, and then its shares of words too.
    """
    own = job.teacher is None
    tokenizer = teacher.model.tokenizer
    if not own:
        tokenizer = learn_subwords([*pairs.sources, *pairs.targets], pieces_for(len(pairs)))
    room = None
    if job.budget.max_size is not None:
        room = job.budget.max_size - FRAME_BYTES - len(zlib.compress(tokenizer.backend_tokenizer.to_str().encode()))
    # where nothing fits the smallest is made, so that the miss can be told
    shape = student_shape(len(tokenizer), room) or replace(STUDENTS[-1], pieces=len(tokenizer))
    desk.progress.stage(f"training a student of {shape.parameters:,} weights")
    return train_student(desk, shape, tokenizer, lesson, teacher if own else None)


def _exported(desk: Desk, prepared: Prepared, student: Translator, pairs: Pairs, work: WorkFolder) -> Exported:
    """The student as a Pocket of 8 bits, with a shortlist where that changes next to nothing, measured on dev."""
    desk.progress.stage("writing and measuring the Pocket")
    path = work.path / "student.pocket"
    rows = pair_ids(student.model.tokenizer, pairs)
    # a model that never ends a text is stopped soon after the longest it has seen
    how = Writing(max_tokens=min(POSITIONS - 1, 8 + int(1.5 * max(map(len, rows[1])))))
    made = export_generator(student.model, path, Packing(BITS), how, prepared.task.name, force=True)
    texts = [one.text for one in prepared.dev]
    said = written(load(path), texts, 32)
    shortlist = make_shortlist(rows[0], rows[1], len(student.model.tokenizer))
    file = read_pocket(path)
    short = path.with_name("short.pocket")
    write_pocket(short, file.manifest, {**file.members, MEMBER: shortlist.to_bytes()}, replace=True)
    # one text at a time, as it will be used: of several at once, each may have the others' pieces too
    again = written(load(short), texts)
    same = sum(a[OUTPUT] == b[OUTPUT] for a, b in zip(said, again, strict=True)) / len(texts)
    if same >= SAME:
        path, said = short, again
    read = piece_ids(student.model.tokenizer, texts)
    costs = measure_pocket(path, [text for text, row in zip(texts, read, strict=True) if len(row) <= POSITIONS])
    quality = prepared.task.figures(prepared.dev, said, prepared.outputs)
    measured = Measurement(
        quality, costs["size_bytes"], costs["latency_p50_ms"], costs["latency_p95_ms"], costs["memory_bytes"]
    )
    sizes = [len(shortlist.allowed(row)) for row in rows[0][:500]]
    details = {
        "shortlist": {"used": same >= SAME, "same": same, "mean_pieces": sum(sizes) / len(sizes)},
        "difference": {key: float(value) for key, value in vars(made.difference).items()}, "bits": BITS,
    }  # fmt: skip
    return Exported(path, measured, costs, details)


def _conclude(
    job: Job, prepared: Prepared, teacher: Translator, student: Translator, exported: Exported
) -> dict[str, Any]:
    """Read the test rows once, write the Pocket if it may be, and gather the result."""
    texts = [one.text for one in prepared.test]
    said = written(load(exported.path), texts)
    taught = [{OUTPUT: text} for text in write(teacher.model, texts, beams=4)]
    scores = prepared.task.score(prepared.test, said, prepared.outputs)
    theirs = prepared.task.figures(prepared.test, taught, prepared.outputs)
    quality = {name: figure.value for name, figure in scores.metrics.items()}
    measured = replace(exported.measured, quality=quality, split="test")
    verdict = job.budget.check(measured, prepared.task.main_metric, theirs)
    name = f"{student.model.module.config.encoder_layers}+{student.model.module.config.decoder_layers} layers"
    kept = verdict.met or job.keep_best
    if kept:
        _write(job, prepared, teacher, exported, {key: vars(one) for key, one in scores.metrics.items()})
    dev_texts = [{OUTPUT: text} for text in write(teacher.model, [one.text for one in prepared.dev], beams=4)]
    return {
        "schema": 1, "pocket": job.output if kept else None, "report": str(job.report), "task": prepared.task.name,
        "main_metric": prepared.task.main_metric, "budget": job.budget.to_json(), "data": prepared.about,
        "teacher": {
            "name": job.teacher or "made from the pairs", "size_bytes": 4 * teacher.model.parameters,
            "quality": {"dev": prepared.task.figures(prepared.dev, dev_texts, prepared.outputs), "test": theirs},
            "seconds": teacher.seconds, "notes": [*teacher.notes, "size: float32 weights; figures: 4 beams"],
        },
        "candidates": [_candidate(name, verdict, exported, student)],
        "chosen": {
            "name": name, "measurement": exported.costs, "dev": dict(exported.measured.quality),
            "test": scores.to_json(), **exported.details, "notes": list(student.notes),
            "against_teacher": compare(
                [one.target for one in prepared.test],
                {"teacher": [one[OUTPUT] for one in taught], "student": [str(one[OUTPUT]) for one in said]},
            ),
        },
        "status": "best" if not verdict.limits else "met" if verdict.met else "missed",
        "verdict": {**verdict.to_json(), "text": _sentence(name, verdict, scores.metrics, theirs)},
        "environment": describe(), "seed": job.seed,
    }  # fmt: skip


def _candidate(name: str, verdict: Verdict, exported: Exported, student: Translator) -> dict[str, Any]:
    return {
        "name": name, "family": "encoder-decoder", "status": "measured", "why": "", "met": verdict.met, "chosen": True,
        **exported.measured.to_json(), "seconds": student.seconds,
    }  # fmt: skip


def _sentence(name: str, verdict: Verdict, metrics: Any, teacher: dict[str, float]) -> str:
    """The verdict in a sentence: what was reached on test beside the teacher."""
    figures = "; ".join(
        f"{key} {100 * one.value:.1f} ({100 * one.low:.1f} to {100 * one.high:.1f}), teacher {100 * teacher[key]:.1f}"
        for key, one in metrics.items()
    )
    if not verdict.limits:
        return f"the student of {name}: {figures}; on test"
    return f"the student of {name} {'meets the budget' if verdict.met else 'misses'}: {verdict}; {figures}; on test"


def _write(job: Job, prepared: Prepared, teacher: Translator, exported: Exported, figures: dict[str, Any]) -> None:
    """The Pocket with where it came from and its figures inside."""
    file = read_pocket(exported.path)
    metrics = {"dev": dict(exported.measured.quality), "test": {"n": len(prepared.test), "metrics": figures}}
    about = {
        **file.manifest["provenance"],
        "data": {"source": Path(prepared.about["source"]).name, "splits": prepared.about["splits"]},
        "teacher": {"name": job.teacher or "made from the pairs", "sha256": teacher.key},
        "trained_on": ["train"], "seed": job.seed,
    }  # fmt: skip
    manifest = {**file.manifest, "provenance": about, "quality": metrics, "budget": job.budget.to_json()}
    write_pocket(Path(job.output), manifest, file.members, replace=job.force)
