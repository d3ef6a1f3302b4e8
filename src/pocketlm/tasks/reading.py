"""Which columns of a job's rows are read, for which task, and the examples that they make."""

from __future__ import annotations

from collections.abc import Sequence

from pocketlm.data.columns import Columns, detect, pair_columns
from pocketlm.data.examples import examples
from pocketlm.data.pairs import TASKS_OF_PAIRS, Asked, PairColumns, detect_pairs, has_pairs, pair_examples
from pocketlm.data.questions import context_column, has_questions
from pocketlm.data.read import Row
from pocketlm.errors import DataError
from pocketlm.job import Job
from pocketlm.outputs import Example
from pocketlm.tasks.table import TASKS


def columns_of(rows: Sequence[Row], job: Job) -> Columns | PairColumns:
    """The columns of the job's task. Raises DataError where they are for another task than the one asked for."""
    labelled = job.slots or job.tags or job.multi_label or job.context or job.answer
    if job.task is not None:
        TASKS[job.task]  # an unknown name is said before anything else
    if job.task in TASKS_OF_PAIRS or job.pair or job.score:
        if labelled:
            raise DataError(
                "slots, tags, several labels and answers are not for similarity; give pairs, scores or one label"
            )
        return detect_pairs(rows, Asked(job.text, job.pair, job.score, job.label, job.source, job.target))
    guessed = not (job.task or labelled or job.label or has_questions(rows))
    if guessed and has_pairs(rows):
        return detect_pairs(rows, Asked(job.text))
    if job.source or job.target or job.task == "translation" or (guessed and not job.text):
        found = pair_columns(rows, job.source, job.target, sure=job.task == "translation")
        if found is not None:
            return found
    context = job.context or (context_column(rows) if job.task == "question-answering" else None)
    try:
        columns = detect(rows, job.text, job.label, job.slots, job.multi_label, job.tags, context, job.answer)
    except DataError as error:
        raise DataError(f"{job.data}: {error}") from None
    if job.task not in (None, columns.task):
        raise DataError(
            f"{job.data}: holds {columns.task} rows ({columns.chosen}), not {job.task} rows; name the columns meant"
        )
    return columns


def examples_of(rows: Sequence[Row], columns: Columns | PairColumns, where: str) -> list[Example]:
    """The rows as examples. where: the file or split, for messages. Raises DataError for rows that lack something."""
    return pair_examples(rows, columns, where) if isinstance(columns, PairColumns) else examples(rows, columns, where)
