"""What several tests need: a context with a small teacher that was really trained."""

from pathlib import Path

from pocketlm.augment.variants import variants
from pocketlm.export.pocket import Exported
from pocketlm.job import Job
from pocketlm.model.encoder import load_pretrained, question_inputs
from pocketlm.outputs import texts_of
from pocketlm.pocket.format import write_pocket
from pocketlm.pocket.work import WorkFolder
from pocketlm.progress import Deadline, Silent
from pocketlm.tasks.prepare import prepare
from pocketlm.train.context import FitContext
from pocketlm.train.embedder import prepare_embedder, sized, with_teachers_pairs
from pocketlm.train.lesson import in_windows, lesson
from pocketlm.train.teach import answers
from pocketlm.train.teacher import Classroom, prepare_teacher, taught_lesson


def write_exported(context: FitContext, exported: Exported, path: Path) -> Path:
    """A Pocket of an exported student, with nothing said of where it came from."""
    manifest = {
        "task": context.task.name, "outputs": [one.to_json() for one in context.outputs], "model": exported.about,
        "pocketlm": "0", "provenance": {},
    }  # fmt: skip
    write_pocket(path, manifest, exported.members, replace=True)
    return path


def make_context(data: Path, teacher: Path | None, work: Path, **job: str) -> FitContext:
    """A context on small data; with a teacher, fine-tuned and asked."""
    prepared = prepare(Job(str(data), **job))
    if teacher is None:
        return FitContext(prepared.task, prepared.outputs, lesson(prepared.train, prepared.outputs), prepared.dev, 32)
    pretrained = load_pretrained(str(teacher))
    vectors = prepared.outputs[0].kind == "vector"
    if vectors:
        prepared = with_teachers_pairs(sized(prepared, pretrained, 24), pretrained, 32, 0)
    train = prepared.train
    if prepared.task.name == "question-answering":
        train = in_windows(train, question_inputs(pretrained, 32), "train")
    room = Classroom(
        prepared.task,
        prepared.outputs,
        train,
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
        taught_lesson(room, taught, room.train, variants(lesson(room.train, prepared.outputs).texts, 1, 0)),
        prepared.dev,
        32,
        pretrained,
        taught.model,
        taught_dev=answers(taught.model, texts),
    )
