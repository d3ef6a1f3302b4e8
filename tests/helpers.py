"""What several tests need: a context with a small teacher that was really trained."""

from pathlib import Path

from pocketlm.job import Job
from pocketlm.model.encoder import load_pretrained
from pocketlm.outputs import texts_of
from pocketlm.pocket.work import WorkFolder
from pocketlm.progress import Deadline, Silent
from pocketlm.tasks.prepare import prepare
from pocketlm.train.context import FitContext
from pocketlm.train.embedder import prepare_embedder, sized, with_teachers_pairs
from pocketlm.train.lesson import lesson
from pocketlm.train.teach import ask_whole, predictions
from pocketlm.train.teacher import Classroom, prepare_teacher, taught_lesson


def make_context(data: Path, teacher: Path | None, work: Path, **job: str) -> FitContext:
    """A context on small data; with a teacher, fine-tuned and asked."""
    prepared = prepare(Job(str(data), **job))
    if teacher is None:
        return FitContext(prepared.task, prepared.outputs, lesson(prepared.train, prepared.outputs), prepared.dev, 32)
    pretrained = load_pretrained(str(teacher))
    vectors = prepared.outputs[0].kind == "vector"
    if vectors:
        prepared = with_teachers_pairs(sized(prepared, pretrained, 24), pretrained, 32, 0)
    room = Classroom(
        prepared.task,
        prepared.outputs,
        prepared.train,
        prepared.dev,
        "hash",
        32,
        0,
        WorkFolder(work),
        Silent(),
        Deadline(),
    )
    taught = (prepare_embedder if vectors else prepare_teacher)(room, pretrained)
    texts = texts_of(prepared.dev, prepared.outputs)
    return FitContext(
        prepared.task,
        prepared.outputs,
        taught_lesson(room, taught, room.train, [], 1, {}),
        prepared.dev,
        32,
        pretrained,
        taught.model,
        taught_dev=predictions(ask_whole(taught.model, texts), texts, prepared.outputs),
    )
