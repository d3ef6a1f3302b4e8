"""Whether a job's teacher is used: it has to cover the language, and what it learnt has to beat n-grams.

Asked before it is fine-tuned (`covers`) and after (`hearing`); what was found is among the report's notes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pocketlm.augment.variants import variants
from pocketlm.job import Job
from pocketlm.model.encoder import Pretrained
from pocketlm.outputs import Example, texts_of
from pocketlm.progress import Progress
from pocketlm.runtime.decode import Prediction
from pocketlm.students.distill import Distill
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.stacked import Stack, linear_ngrams, stacked
from pocketlm.tasks.prepare import Prepared
from pocketlm.train.context import FitContext
from pocketlm.train.coverage import coverage
from pocketlm.train.lesson import Lesson, lesson
from pocketlm.train.teach import answers
from pocketlm.train.teacher import Classroom, Teacher, taught_lesson
from pocketlm.train.translations import as_translations, said_of_translations, sources

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


@dataclass(frozen=True)
class Hearing:
    """How students hear a teacher. near: words of like meaning. stack: n-grams that teach beside it, or None."""

    room: Classroom
    teacher: Teacher
    near: Mapping[str, list[str]]
    stack: Stack | None = None

    def lesson(
        self, examples: Sequence[Example], rounds: int, unlabelled: Sequence[str] = (), *, seen: bool = False
    ) -> Lesson:
        """Examples, unlabelled texts and `rounds` variants of each, with what is said of them.

        Of translations it is what the teacher says of what they translate. seen: the n-grams learnt from the examples.
        """
        room = self.room
        texts = sources(examples) if room.parallel else lesson(examples, room.outputs).texts
        varied = variants(texts, rounds, room.seed, self.near)
        taught = taught_lesson(room, self.teacher, examples, [*unlabelled, *varied])
        if room.parallel:
            return as_translations(taught, examples)
        return taught if self.stack is None else self.stack.taught(taught, seen=seen)

    def answers(self, context: FitContext) -> list[Prediction]:
        """What is said of the dev texts."""
        if self.stack is not None:
            return self.stack.answers(context)
        said = answers(self.teacher.model, texts_of(context.dev, context.outputs))
        return said_of_translations(said) if self.room.parallel else said


def hearing(alone: Hearing, context: FitContext, prepared: Prepared, rows: int) -> Hearing | None:
    """How the teacher is heard: alone, beside n-grams where both together know dev better, or not at all (None).

    A teacher that does not know the language or saw too few rows would teach its own errors: it must do better on dev
    than n-grams that learnt from the labels alone, or make them better. What was found is noted. rows: of the data
    before repeats and new rows, without which n-grams can say what they would of each row without it.
    """
    if context.asking or context.vectors:
        return alone  # n-grams do not say where an answer is, and no label says what a vector should be
    if prepared.zero_shot:
        return alone  # dev is of languages that n-grams learn from and the one judged is not
    if context.frozen:
        return alone  # students learn its vectors and the labels; how much the vectors tell, `solve` finds
    context.progress.stage("checking that the teacher beats plain n-grams")
    metric, notes, teacher = prepared.task.main_metric, prepared.about["notes"], alone.teacher
    if all(output.kind == "single" for output in context.outputs):
        ngrams, held_out = linear_ngrams(context)
        stack = None
        if held_out is not None and rows == len(prepared.train):
            stack = stacked(teacher.model, ngrams, held_out, context)
        if stack is not None and stack.better:
            encoder, other, both = stack.losses
            notes.append(
                f"students learn from the teacher and n-grams together: their cross-entropy on dev is {both:.3f}, the "
                f"teacher's {encoder:.3f}, that of n-grams {other:.3f}"
            )
            return replace(alone, stack=stack)
    else:
        epochs = max(5, min(60, BASELINE_TEXTS // len(context.lesson)))
        ngrams = Distill(epochs, alpha=0.0, patience=epochs)(HashedNgrams(rows=20_000)(None, context), context)
    plain, taught = context.figure(ngrams), teacher.quality[metric]
    if taught < plain:
        notes.append(
            f"the teacher's {metric} on dev ({taught:.4f}) is below that of n-grams learnt from the labels alone "
            f"({plain:.4f}): students learn from the labels, not from it"
        )
    return alone if taught >= plain else None
