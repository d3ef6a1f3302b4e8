"""Macro F1 by labelled rows, of each way to learn from few: few_shot.py --data FOLDER --teacher FOLDER --out FILE

    python benchmarks/few_shot.py --data data --teacher models/me5-small --rows 10 50 100 500 --out few_shot.json

FOLDER of --data holds sib200/ and masakhanews/ as low_resource.py reads them. Of a language's training rows so many are
drawn (the same for all ways); the others are its text without labels, in the ways that use some. Dev rows choose epochs
and ways, and no way learns from their labels; test rows are read once by each. What is done is kept in FILE, and the
same command goes on after it.

Ways: a linear SVM on TF-IDF of words and characters; fine-tuning of the encoder, the peer of all others; its vectors as
they are; the contrastive start; self-training, from the best of these; fine-tuning on rows that aeda made, too; on
all training rows of another language of the set, too (English, or Yoruba where there is none); and the Pocket of the
default fit, which is given these as well, within --max-size and --max-latency.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from low_resource import SETS, Rows, keep, peer, read

import pocketlm
from pocketlm.augmenting import with_new_rows
from pocketlm.errors import BudgetMissed
from pocketlm.job import Job
from pocketlm.measure.machine import describe
from pocketlm.model.encoder import load_pretrained, teacher_model
from pocketlm.model.task_model import TaskModel
from pocketlm.pocket.work import WorkFolder
from pocketlm.progress import Deadline, Silent
from pocketlm.tasks.metrics import macro, single_counts
from pocketlm.tasks.prepare import Prepared, prepare
from pocketlm.train.contrastive import contrastive_start
from pocketlm.train.few_shot import CONTRAST, STRENGTHS, school
from pocketlm.train.few_shot import WAYS as ALL
from pocketlm.train.heads import fit_head
from pocketlm.train.teach import answers, fine_tune
from pocketlm.train.teacher import Classroom

LANGUAGES = ("sib200/swh_Latn", "sib200/hau_Latn", "sib200/yor_Latn", "masakhanews/ibo", "masakhanews/som")
PEER = "fine-tuning"
SOURCES = {"sib200": "eng_Latn", "masakhanews": "yor"}


@dataclass(frozen=True)
class Lot:
    """What one run has. others: texts of training rows that were not drawn. source: rows of another language."""

    train: Rows
    dev: Rows
    test: Rows
    others: list[str]
    source: Rows
    teacher: str
    length: int
    seed: int
    folder: Path
    limits: dict[str, str]

    def job(self, **settings: Any) -> dict[str, Any]:
        """Files of the rows, and settings of a job on them; dev without labels that none of them teaches."""
        taught = {label for _, label in (*self.train, *(self.source if settings.get("also") else ()))}
        dev = [(text, label) for text, label in self.dev if label in taught]
        for name, rows in (("train", self.train), ("dev", dev), ("source", self.source)):
            lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
            (self.folder / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines), "utf-8")
        (self.folder / "others.txt").write_text("".join(" ".join(one.split()) + "\n" for one in self.others), "utf-8")
        files = {"text": "text", "label": "label", "dev": str(self.folder / "dev.jsonl")}
        return {"data": str(self.folder / "train.jsonl"), **files, "seed": self.seed, **settings}

    def prepared(self, **settings: Any) -> Prepared:
        """The rows as `fit` learns from them."""
        return prepare(Job(**self.job(**settings)))

    def encoder(self, prepared: Prepared) -> TaskModel:
        """The teacher with a head for the rows' labels."""
        torch.manual_seed(self.seed)
        return teacher_model(load_pretrained(self.teacher), prepared.outputs, self.length)

    def said(self, model: TaskModel) -> list[str]:
        """Its labels of the test rows."""
        return [one["label"] for one in answers(model, [text for text, _ in self.test])]


def linear(lot: Lot) -> list[str]:
    """The SVM; of rows of one label that label."""
    if len({label for _, label in lot.train}) == 1:
        return [lot.train[0][1]] * len(lot.test)
    return peer(lot.train, [text for text, _ in lot.test])[0]


def tuned(lot: Lot, prepared: Prepared) -> list[str]:
    """Plain fine-tuning on these rows."""
    model = lot.encoder(prepared)
    fine_tune(model, prepared.train, prepared.dev, prepared.task, seed=lot.seed)
    return lot.said(model)


def frozen(lot: Lot) -> list[str]:
    """A head alone."""
    prepared = lot.prepared()
    model = lot.encoder(prepared)
    fit_head(model, prepared.train, STRENGTHS, seed=lot.seed)
    return lot.said(model)


def contrastive(lot: Lot) -> list[str]:
    """The contrastive start."""
    prepared = lot.prepared()
    model = lot.encoder(prepared)
    contrastive_start(model, prepared.train, CONTRAST, seed=lot.seed)
    return lot.said(model)


def self_training(lot: Lot) -> list[str]:
    """The ways of fit's teacher, all of them, then rounds on the texts without labels."""
    prepared = lot.prepared()
    model = lot.encoder(prepared)
    room = Classroom(
        prepared.task, prepared.outputs, prepared.train, prepared.dev, "", lot.length, lot.seed,
        WorkFolder(lot.folder / "work"), Silent(), Deadline(), ALL, lot.others,
    )  # fmt: skip
    school(room, model, lot.folder, Deadline())
    return lot.said(model)


def augmented(lot: Lot) -> list[str]:
    """Fine-tuning on the rows and those that aeda makes of them."""
    job = Job(**lot.job(augment="aeda"))
    return tuned(lot, with_new_rows(job, lot.prepared(), Silent()))


def transferred(lot: Lot) -> list[str]:
    """Fine-tuning on the rows beside those of the other language."""
    return tuned(lot, lot.prepared(also=(str(lot.folder / "source.jsonl"),)))


def default(lot: Lot) -> list[str]:
    """The Pocket of a fit; dev, of which the other ways do not learn either, only chooses."""
    job = lot.job(
        teacher=lot.teacher, unlabelled=str(lot.folder / "others.txt"), output=str(lot.folder / "student.pocket"),
        also=(str(lot.folder / "source.jsonl"),), max_length=lot.length, keep_best=True, force=True, refit=False,
        **lot.limits,
    )  # fmt: skip
    data = job.pop("data")
    try:
        result = pocketlm.fit(data, **job)
    except BudgetMissed as missed:
        result = missed.result
    print("   ", result.data["chosen"]["name"], *(result.data["teacher"] or {"notes": ()})["notes"], sep="\n    ")
    return [one["label"] for one in pocketlm.load(result.pocket).predict([text for text, _ in lot.test])]


WAYS: dict[str, Callable[[Lot], list[str]]] = {
    "linear": linear, PEER: lambda lot: tuned(lot, lot.prepared()), "frozen": frozen, "contrastive": contrastive,
    "self-training": self_training, "augmentation": augmented, "transfer": transferred, "default fit": default,
}  # fmt: skip


def macro_f1(gold: Sequence[str], said: Sequence[str]) -> float:
    """Over the labels of the test rows."""
    labels = sorted({*gold, *said})
    numbers = [np.array([labels.index(one) for one in side]) for side in (gold, said)]
    counts = single_counts(*numbers, len(labels), np.ones((1, len(gold))))
    return float(macro(counts, weighted=False)[2][0])


def table(runs: Sequence[dict[str, Any]]) -> str:
    """A line a number of rows: mean macro F1 of each way over what it was run on, and how many runs that is."""
    lines = ["rows | " + " | ".join(WAYS), "--- | " * len(WAYS) + "---"]
    for rows in sorted({one["rows"] for one in runs}):
        cells = []
        for way in WAYS:
            own = [one["f1_macro"] for one in runs if one["rows"] == rows and one["way"] == way]
            cells.append(f"{100 * np.mean(own):.1f} ({len(own)})" if own else "")
        lines.append(f"{rows} | " + " | ".join(cells))
    return "\n".join(lines)


def main() -> None:
    """Every way at every number of rows of every language that is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--languages", nargs="+", default=LANGUAGES)
    parser.add_argument("--rows", type=int, nargs="+", default=[10, 50, 100, 500])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--max-size", default="5MB")
    parser.add_argument("--max-latency", default="1ms")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    limits = {"max_size": given.max_size, "max_latency": given.max_latency}
    settings = {**limits, "teacher": Path(given.teacher).name, "max_length": given.max_length}
    done: dict[str, Any] = {"settings": settings, "machine": describe(), "runs": []}
    done = json.loads(given.out.read_text("utf-8")) if given.out.is_file() else done
    if done["settings"] != settings:
        parser.error(f"{given.out} holds figures of other settings; name another file")
    for rows in given.rows:
        for seed in range(given.seeds):
            for language in given.languages:
                run_ways(given, done, limits, language, rows, seed)
    print(table(done["runs"]))


def run_ways(
    given: argparse.Namespace, done: dict[str, Any], limits: dict[str, str], language: str, rows: int, seed: int
) -> None:
    """The ways that are not done yet, of one draw of rows."""
    name, _, own = language.partition("/")
    train, dev, test = (read(given.data / language, SETS[name], split) for split in ("train", "dev", "test"))
    order = np.random.default_rng(seed).permutation(len(train))
    if rows > len(train):
        return
    source = read(given.data / name / SOURCES[name], SETS[name], "train")
    if own == SOURCES[name]:
        raise SystemExit(f"{language} is what the others are transferred from")
    for way in given.ways:
        key = {"language": language, "rows": rows, "seed": seed, "way": way}
        if any(all(one[part] == value for part, value in key.items()) for one in done["runs"]):
            continue
        with tempfile.TemporaryDirectory() as folder:
            lot = Lot(
                [train[place] for place in order[:rows]], dev, test, [train[place][0] for place in order[rows:]],
                source, given.teacher, given.max_length, seed, Path(folder), limits,
            )  # fmt: skip
            began = time.monotonic()
            lot.job()  # the files are there, whatever the way
            figure = macro_f1([label for _, label in test], WAYS[way](lot))
        run = {**key, "f1_macro": figure, "test_rows": len(test), "seconds": round(time.monotonic() - began)}
        done["runs"].append({**run, "date": datetime.date.today().isoformat()})
        print(f"{language}, {rows} rows, seed {seed}, {way}: {100 * figure:.1f}, {run['seconds']} s", flush=True)
        keep(done, given.out)


if __name__ == "__main__":
    main()
