"""Whether a job's teacher is used: it has to cover the language, and what it learnt has to beat n-grams.

Asked before it is fine-tuned (`covers`) and after (`worth_hearing`); what was found is among the report's notes.
"""

from __future__ import annotations

from pocketlm.job import Job
from pocketlm.model.encoder import Pretrained
from pocketlm.outputs import Example
from pocketlm.progress import Progress
from pocketlm.students.distill import Distill
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.tasks.prepare import Prepared
from pocketlm.train.context import FitContext
from pocketlm.train.coverage import coverage
from pocketlm.train.teacher import Teacher

# Texts that the n-grams see with which a teacher is compared.
BASELINE_TEXTS = 60_000
# Texts of the language, at least, for its coverage to be measured.
FEWEST_TEXTS = 10


def covers(pretrained: Pretrained, prepared: Prepared, job: Job, progress: Progress) -> bool:
    """Whether the teacher, as it was pretrained, covers the language of the data that is judged; it is noted.

    Where a task has no students without a teacher, and where the job insists, it is used in any case.
    """
    examples = [*prepared.judged] or [Example(text) for text in prepared.unlabelled]
    notes = prepared.about["notes"]
    if len(examples) < FEWEST_TEXTS:
        notes.append(
            f"whether {pretrained.name} covers the language was not measured: {len(examples)} texts of it are too few "
            "(--unlabelled gives more)"
        )
        return True
    progress.stage(f"asking whether {pretrained.name} covers the language")
    found = coverage(pretrained, examples, job.seed)
    prepared.about["coverage"] = found.to_json()
    if not found.against:
        notes.append(f"{pretrained.name} covers the language: {found.found}")
        return True
    needed = any(output.kind in ("span", "vector") for output in prepared.outputs)
    notes.append(
        f"{pretrained.name} does not cover the language: {found.against} ({found.found}); "
        + (
            "it is used as it has to be"
            if needed
            else "it is used as asked"
            if job.teacher_anyway
            else "trained without it (--teacher-anyway uses it)"
        )
    )
    return needed or job.teacher_anyway


def worth_hearing(teacher: Teacher, context: FitContext, prepared: Prepared) -> bool:
    """Whether the teacher does better on dev than n-grams that learnt from the labels alone; if not, it is noted.

    A teacher that does not know the language or saw too few rows would teach its own errors.
    """
    if context.asking or context.vectors:
        return True  # n-grams do not say where an answer is, and no label says what a vector should be
    if prepared.zero_shot:
        return True  # dev is of languages that n-grams learn from and the one judged is not
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
