"""A translator from pairs alone: teacher, student with and without sequence-level distillation, and its Pocket.

    python benchmarks/translation.py --data FOLDER --source en --target swa --out results/translation.json

FOLDER holds train, dev and test files of both languages, line by line (train.en, train.swa, …), as published with
MAFAND-MT (Adelani et al. 2022, CC BY-NC). Test rows are read once, at the end. Interrupted, the same command goes on
where it stopped.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pocketlm.cli.show import Bars
from pocketlm.export.generator import Packing, export_generator
from pocketlm.job import PIECES_READ, Job
from pocketlm.measure.machine import describe
from pocketlm.model.translator import STUDENTS, TranslatorShape
from pocketlm.pocket.format import read_pocket, write_pocket
from pocketlm.pocket.work import WorkFolder
from pocketlm.progress import Deadline, Progress
from pocketlm.runtime.load import load
from pocketlm.runtime.shortlist import MEMBER
from pocketlm.tasks.prepare import Prepared, prepare
from pocketlm.tasks.translation import OUTPUT, compare
from pocketlm.train.alignment import make_shortlist
from pocketlm.train.pairs import Pairs, piece_ids
from pocketlm.train.translator import Desk, Translator, dictated, train_student, train_teacher
from pocketlm.train.write import write
from pocketlm.units import parse_duration
from pocketlm.writing import pairs_of

# Sentences that speed is taken over, one at a time.
TIMED = 200


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    prepared = prepare(Job(given.data, source=given.source, target=given.target, task="translation"))
    if given.rows:
        prepared = shortened(prepared, given.rows)
    with Bars() as bars:
        result = run(prepared, given, bars)
    path = Path(given.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with train, dev and test in two languages")
    parser.add_argument("--source", help="the source's column: the ending of its files")
    parser.add_argument("--target", help="the target's column")
    parser.add_argument("--out", default="results/translation.json")
    parser.add_argument("--work", default="translation.work", help="folder of unfinished and finished parts")
    parser.add_argument("--teacher-time", default="3h", help="bound on the teacher's training")
    parser.add_argument("--writing-time", default="45m", help="bound on what the teacher writes for the student")
    parser.add_argument("--student-time", default="2h", help="bound on the training of each student")
    parser.add_argument(
        "--teacher-shape", type=sizes, help="width,encoder layers,decoder layers,ffn,heads; absent: as `fit` has it"
    )
    parser.add_argument("--teacher-dropout", type=float, default=0.3, help="lower where time allows few epochs")
    parser.add_argument("--student", type=int, default=0, help="which of the students' shapes, the largest first")
    parser.add_argument("--sentences-only", action="store_true", help="a student without word-level distillation too")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of training")
    parser.add_argument("--rows", type=int, default=0, help="training rows, and a tenth of each other split; 0: all")
    return parser.parse_args()


def sizes(text: str) -> TranslatorShape:
    width, encoder, decoder, ffn, heads = map(int, text.split(","))
    return TranslatorShape(0, width, encoder, decoder, ffn, heads)


def shortened(prepared: Prepared, rows: int) -> Prepared:
    few = max(10, rows // 10)
    return replace(prepared, train=prepared.train[:rows], dev=prepared.dev[:few], test=prepared.test[:few])


def run(prepared: Prepared, given: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    pairs = pairs_of(prepared.train)
    data_hash, longest = prepared.data_hash + str(given.rows), PIECES_READ["translation"]
    whole = Desk(pairs_of(prepared.dev), data_hash, longest, 0, WorkFolder(Path(given.work)), progress, Deadline())

    def desk(limit: str) -> Desk:
        return replace(whole, deadline=Deadline.after(parse_duration(limit)), limit=limit)

    teacher = train_teacher(desk(given.teacher_time), pairs, given.teacher_shape, given.teacher_dropout)
    heard = dictated(desk(given.writing_time), teacher, pairs.sources)
    tokenizer = teacher.model.tokenizer
    shape = replace(STUDENTS[given.student], pieces=len(tokenizer))
    lessons: dict[str, tuple[Pairs, Translator | None]] = {
        "student": (pairs + heard, teacher),
        "student without distillation": (pairs, None),
    }
    if given.sentences_only:
        lessons["student, sentences only"] = (pairs + heard, None)
    models = {"teacher": teacher}
    for name, (lesson, taught) in lessons.items():
        step = name.replace(", ", "-").replace(" ", "-")
        models[name] = train_student(desk(given.student_time), shape, tokenizer, lesson, taught, step)
    progress.stage("writing and measuring Pockets")
    pockets = make_pockets(models["student"], pairs, Path(given.work))
    progress.stage("reading the test rows once")
    return report(prepared, models, pockets, len(heard))


def make_pockets(student: Translator, pairs: Pairs, work: Path) -> dict[str, Path]:
    """The student's Pockets: floats, 8 bits, and 8 bits with a shortlist."""
    paths = {name: work / f"{name.replace(' ', '-')}.pocket" for name in ("float", "8 bits", "8 bits with shortlist")}
    for name, bits in (("float", 32), ("8 bits", 8)):
        export_generator(student.model, paths[name], Packing(bits), task="translation", force=True)
    rows = [piece_ids(student.model.tokenizer, side) for side in (pairs.sources, pairs.targets)]
    shortlist = make_shortlist(rows[0], rows[1], len(student.model.tokenizer))
    file = read_pocket(paths["8 bits"])
    members = {**file.members, MEMBER: shortlist.to_bytes()}
    write_pocket(paths["8 bits with shortlist"], file.manifest, members, replace=True)
    return paths


def report(
    prepared: Prepared, models: Mapping[str, Translator], pockets: Mapping[str, Path], heard: int
) -> dict[str, Any]:
    texts, references = [one.text for one in prepared.test], [one.target for one in prepared.test]
    said: dict[str, list[str]] = {}
    for name, one in models.items():
        for beams in (1, 4):
            said[f"{name}, {beams} beam{'s' * (beams > 1)}"] = write(one.model, texts, beams=beams)
    for name, path in pockets.items():
        said[f"Pocket, {name}"] = [str(one[OUTPUT]) for one in load(path, threads=1).predict(texts, batch_size=1)]
    scores = {
        name: prepared.task.score(prepared.test, [{OUTPUT: text} for text in one], prepared.outputs).to_json()
        for name, one in said.items()
    }
    first = "student, 1 beam"
    order = {first: said[first], **{name: one for name, one in said.items() if name != first}}
    return {
        "data": named(prepared.about), "n": len(texts), "heard": heard, "scores": scores,
        "beside the student (paired bootstrap)": compare(references, order),
        "models": {
            name: {
                "parameters": one.model.parameters, "dev_loss": one.dev_loss, "seconds": one.seconds,
                "notes": list(one.notes), "sha256": one.key,
            }
            for name, one in models.items()
        },
        "speed": speeds(models["student"], pockets, texts),
        "shortlist": {"same as without": same(said["Pocket, 8 bits"], said["Pocket, 8 bits with shortlist"])},
        "machine": describe(), "date": datetime.date.today().isoformat(),
    }  # fmt: skip


def named(about: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of the data, by its folder's name and not by where that lies."""
    source = str(about["source"])
    return json.loads(json.dumps(about, ensure_ascii=False).replace(source, Path(source).name))


def same(left: Sequence[str], right: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(left, right, strict=True)) / len(left)


def speeds(student: Translator, pockets: Mapping[str, Path], texts: Sequence[str]) -> dict[str, Any]:
    """Words written a second, one text at a time, greedily, on one thread."""
    some = list(texts[:TIMED])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {"torch, float": words_per_second(lambda text: write(student.model, [text])[0], some)}
    torch.set_num_threads(threads)
    for name, path in pockets.items():
        pocket = load(path, threads=1)
        one = words_per_second(lambda text, pocket=pocket: str(pocket.predict(text)[OUTPUT]), some)
        found[f"Pocket, {name}"] = {**one, "size_bytes": pocket.size_bytes}
    return found


def words_per_second(say: Callable[[str], str], texts: Sequence[str]) -> dict[str, float]:
    for text in texts[:5]:
        say(text)
    began, words = time.perf_counter(), 0
    for text in texts:
        words += len(say(text).split())
    seconds = time.perf_counter() - began
    return {"words_per_s": words / seconds, "ms_per_text": 1e3 * seconds / len(texts)}


if __name__ == "__main__":
    main()
