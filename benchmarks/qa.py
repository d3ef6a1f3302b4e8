"""A MiniLM reader fine-tuned on QAMR and its PocketLM student of an eighth of the bytes, beside ONNX Runtime's int8.

    python benchmarks/qa.py --data FOLDER --models FOLDER --out results/qa.json [--train-rows N --test-rows N ...]

FOLDER of --data holds qamr/ (filtered/dev.tsv teaches, filtered/test.tsv judges) and xquad/xquad.en.json; of --models,
minilm/. All systems are Pockets: sizes are whole files, answers and times come from the same runtime, one question at a
time on one thread. `fit` reads the test rows once for its verdict; then each system answers them once, and XQuAD.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import re
import string
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import pocketlm
from pocketlm.data.columns import detect
from pocketlm.data.examples import examples
from pocketlm.data.read import read_rows
from pocketlm.data.source import write_rows
from pocketlm.errors import BudgetMissed
from pocketlm.export.int8 import count_integer_products
from pocketlm.export.onnx import to_bytes, trace
from pocketlm.job import Job
from pocketlm.measure.fresh import measure_pocket
from pocketlm.measure.machine import describe
from pocketlm.measure.quality import texts_for
from pocketlm.model.encoder import load_pretrained, question_inputs
from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import Example, Output
from pocketlm.pocket.format import read_pocket, write_pocket
from pocketlm.pocket.work import WorkFolder
from pocketlm.progress import Deadline, Silent
from pocketlm.runtime.question import Question
from pocketlm.runtime.windows import Reading
from pocketlm.tasks.prepare import prepare
from pocketlm.tasks.question_answering import QUESTION_ANSWERING, gold_of, judge_texts
from pocketlm.train.lesson import in_windows
from pocketlm.train.teacher import Classroom, prepare_teacher

OUTPUTS = (Output("answer", "span", ("start", "end")),)
SMALLER, SHARE, SLOWEST_MS, PIECES = 8, 0.97, 10.0, 384
TIMING_ROUNDS = 3
# The same Pocket told to read the part of a context that is most like its question.
FOCUS = 64
FOCUSED = f"PocketLM, {FOCUS} pieces in focus"
SEED = 0


def main() -> int:
    """Train, fit, judge and time, and write the figures."""
    asked = _arguments()
    asked.work.mkdir(parents=True, exist_ok=True)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    files = {
        "train": _cut(asked.data / "qamr" / "filtered" / "dev.tsv", asked.train_rows, asked.work),
        "test": _cut(asked.data / "qamr" / "filtered" / "test.tsv", asked.test_rows, asked.work),
        "xquad.en": _cut(asked.data / "xquad" / "xquad.en.json", asked.xquad_rows, asked.work),
    }
    teacher = asked.models / "minilm"
    limit = asked.max_size or f"{_float_bytes(teacher) // SMALLER}B"
    job = Job(
        str(files["train"]), test=str(files["test"]), teacher=str(teacher), max_size=limit, max_length=asked.max_length,
        min_quality=str(SHARE), output=str(asked.work / "qamr.pocket"), seed=SEED, time_limit=asked.time_limit,
        keep_best=True, force=True, refit=False,
    )  # fmt: skip
    reader = tuned_teacher(job)
    result = _fit(job)
    small = Path(result.pocket)
    pockets = {
        "PocketLM": small,
        FOCUSED: focused(small, asked.work / "focused.pocket"),
        "teacher, ONNX Runtime float32": _as_pocket(reader, None, asked.work / "float32.pocket"),
        "teacher, ONNX Runtime dynamic int8": _as_pocket(reader, "int8", asked.work / "int8.pocket"),
    }
    sets = {name: _examples(files[name]) for name in ("test", "xquad.en")}
    systems = {name: _judged(path, sets) for name, path in pockets.items()}
    _time(systems, pockets, full_questions(sets["xquad.en"], teacher, asked.max_length))
    found = {
        "bars": _bars(systems), "systems": systems, "limit": limit,
        "rows": {name: len(own) for name, own in sets.items()}, "chosen": result.data["chosen"]["name"],
        **{name: result.data[name] for name in ("verdict", "candidates", "seconds")},
        "teacher": {**result.data["teacher"], "name": teacher.name},
        "cut": {"train": asked.train_rows, "test": asked.test_rows, "xquad": asked.xquad_rows},
        "seed": SEED, "machine": describe(), "date": datetime.date.today().isoformat(),
    }  # fmt: skip
    asked.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(table(systems))
    for name, bar in found["bars"].items():
        print(f"{name}: {bar['value']:.4g} (bar {bar['bar']:g}): {'reached' if bar['reached'] else 'missed'}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with qamr/ and xquad/")
    parser.add_argument("--models", type=Path, required=True, help="folder with minilm/")
    parser.add_argument("--out", type=Path, default=Path("results/qa.json"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "pocketlm-qa")
    parser.add_argument("--max-size", help="of the Pocket; without, an eighth of the reader's float32 weights")
    parser.add_argument("--max-length", type=int, default=PIECES)
    parser.add_argument("--time-limit", help='bound on the fit, such as "10m"')
    parser.add_argument("--train-rows", type=int, help="for trial runs; these cut rows")
    parser.add_argument("--test-rows", type=int)
    parser.add_argument("--xquad-rows", type=int)
    return parser.parse_args()


def _cut(path: Path, most: int | None, work: Path) -> Path:
    """The file, or as many of its rows as asked for, of contexts chosen at random."""
    if most is None:
        return path
    groups: dict[str, list[Any]] = {}
    for row in read_rows(path):
        groups.setdefault(row["context"], []).append(row)
    order = list(groups)
    random.Random(SEED).shuffle(order)
    rows = [row for context in order for row in groups[context]][:most]
    target = work / f"{path.parent.name}-{path.stem}-{most}.jsonl"
    write_rows(rows, target, replace=True)
    return target


def _float_bytes(teacher: Path) -> int:
    """Bytes of the reader's float32 weights."""
    return 4 * sum(weight.numel() for weight in load_pretrained(str(teacher)).backbone.parameters())


def _fit(job: Job) -> Any:
    try:
        return pocketlm.fit(job, progress=_Lines())
    except BudgetMissed as missed:
        return missed.result


class _Lines(Silent):
    """Says what is being done."""

    def stage(self, name: str) -> None:
        print(f"{datetime.datetime.now():%H:%M:%S} {name}", flush=True)


def tuned_teacher(job: Job) -> TaskModel:
    """The reader, fine-tuned as the fit of this job would do it, which finds it in the work folder."""
    prepared, pretrained = prepare(job), load_pretrained(str(job.teacher))
    train = in_windows(prepared.train, question_inputs(pretrained, job.max_length), "train")
    work = WorkFolder(job.work_folder)
    with work.locked():
        room = Classroom(
            prepared.task, prepared.outputs, train, prepared.dev, prepared.data_hash, job.max_length, job.seed, work,
            _Lines(), Deadline(),
        )  # fmt: skip
        return prepare_teacher(room, pretrained).model


def focused(pocket: Path, path: Path) -> Path:
    """The Pocket with a focus, as `--focus` sets it; its weights are the same."""
    file = read_pocket(pocket)
    model = file.manifest["model"]
    reading = {**model["inputs"]["reading"], "focus": FOCUS}
    manifest = {**file.manifest, "model": {**model, "inputs": {**model["inputs"], "reading": reading}}}
    write_pocket(path, manifest, file.members, replace=True)
    return path


def _as_pocket(reader: TaskModel, kind: str | None, path: Path) -> Path:
    """The reader's graph as it is, or by onnxruntime's own dynamic quantization, in a Pocket of its own."""
    graph = to_bytes(trace(reader))
    if kind == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
            source.write_bytes(graph)
            quantize_dynamic(str(source), str(target), per_channel=True, weight_type=QuantType.QInt8)
            graph = target.read_bytes()
    inputs: Any = reader.inputs
    about = {
        "kind": "questions", "reading": Reading(types=inputs.reading.types).to_json(),
        "max_length": inputs.max_length, "pad_id": inputs.pad_id,
    }  # fmt: skip
    manifest = {
        "task": QUESTION_ANSWERING.name, "outputs": [one.to_json() for one in OUTPUTS],
        "model": {"kind": "onnx", "inputs": about}, "pocketlm": pocketlm.__version__, "provenance": {},
    }  # fmt: skip
    members = {"graph.onnx": graph, "tokenizer.json": inputs.tokenizer.to_str().encode()}
    write_pocket(path, manifest, members, replace=True)
    return path


def _examples(path: Path) -> list[Example]:
    rows = read_rows(path)
    return examples(rows, detect(rows), str(path))


def _judged(path: Path, sets: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    """Bytes of a Pocket, its figures on each set, and whether the official script would give the same."""
    pocket = pocketlm.load(path, threads=1)
    found: dict[str, Any] = {"size_bytes": pocket.size_bytes}
    for name, own in sets.items():
        said = pocket.predict(texts_for(pocket, own), batch_size=1)
        scores = QUESTION_ANSWERING.score(own, said, OUTPUTS)
        answers, gold = [one["answer"] for one in said], [gold_of(one) for one in own]
        theirs, ours = official(answers, gold), np.array(judge_texts(answers, gold))
        assert all(one["answer"] == row.pair[one["start"] : one["end"]] for one, row in zip(said, own, strict=True))
        found[name] = {
            "metrics": {metric: vars(figure) for metric, figure in scores.metrics.items()},
            "official": {"exact_match": float(theirs[:, 0].mean()), "f1": float(theirs[:, 1].mean())},
            "largest_difference": float(np.abs(theirs - ours).max()),
        }
        print(f"{path.name} on {name}: F1 {scores.metrics['f1'].value:.4f}", flush=True)
    return found


def official(said: Sequence[str], gold: Sequence[Sequence[str]]) -> np.ndarray:
    """(rows, 2) exact match and F1 as the script of SQuAD 1.1 defines them, written anew from its paper and rules."""

    def normal(text: str) -> str:
        bare = "".join(char for char in text.lower() if char not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())

    def f1(answer: str, accepted: str) -> float:
        words, others = normal(answer).split(), normal(accepted).split()
        same = sum((Counter(words) & Counter(others)).values())
        if not same:
            return 0.0
        precision, recall = same / len(words), same / len(others)
        return 2 * precision * recall / (precision + recall)

    return np.array(
        [
            [max(float(normal(answer) == normal(one)) for one in own), max(f1(answer, one) for one in own)]
            for answer, own in zip(said, gold, strict=True)
        ]
    )


def full_questions(rows: Sequence[Example], teacher: Path, max_length: int, most: int = 50) -> list[Question]:
    """Questions whose contexts are joined and cut so that the reader's window is full, or lacks part of a word."""
    inputs = question_inputs(load_pretrained(str(teacher)), max_length)
    contexts = list(dict.fromkeys(one.pair for one in rows))
    full = []
    for place, one in enumerate(rows[:: max(1, len(rows) // most)][:most]):
        start = contexts.index(one.pair)
        long = " ".join(contexts[(start + step) % len(contexts)] for step in range(6))
        windows = inputs.windows([Question(one.text, " ".join([long] * (1 + place % 2)))])[0]
        part, encoded = windows[0]
        if encoded.length > max_length - 16:
            full.append(Question(part.text, part.context))
    return full


def _time(systems: Mapping[str, dict[str, Any]], pockets: Mapping[str, Path], full: Sequence[Question]) -> None:
    """p50 and p95 of full windows in fresh processes on one thread: medians of rounds in which all take turns."""
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in pockets}
    for _ in range(TIMING_ROUNDS):
        for name, path in pockets.items():
            taken[name].append(measure_pocket(path, full))
    for name, rounds in taken.items():
        keys = ("latency_p50_ms", "latency_p95_ms", "latency_min_ms", "memory_bytes", "load_ms")
        systems[name] |= {key: float(np.median([one[key] for one in rounds])) for key in keys}
        graph = read_pocket(pockets[name]).members["graph.onnx"]
        systems[name]["integer_products"] = count_integer_products(graph)


def _bars(systems: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What was asked for, of the Pocket with and without focus, and whether it was reached."""
    whole, bars = systems["teacher, ONNX Runtime float32"], {}
    for name in ("PocketLM", FOCUSED):
        own = systems[name]
        smaller, taken = whole["size_bytes"] / own["size_bytes"], own["latency_p50_ms"]
        bars[f"{name}: times smaller"] = {"value": smaller, "bar": SMALLER, "reached": smaller >= SMALLER}
        for rows in ("test", "xquad.en"):
            share = own[rows]["metrics"]["f1"]["value"] / max(1e-9, whole[rows]["metrics"]["f1"]["value"])
            bars[f"{name}: share of the reader's F1, {rows}"] = {
                "value": share, "bar": SHARE, "reached": share >= SHARE,
            }  # fmt: skip
        bars[f"{name}: p50 of {PIECES} pieces in ms"] = {
            "value": taken, "bar": SLOWEST_MS, "reached": taken <= SLOWEST_MS,
        }  # fmt: skip
    parity = max(one[rows]["largest_difference"] for one in systems.values() for rows in ("test", "xquad.en"))
    bars["difference from the official script"] = {"value": parity, "bar": 0.0, "reached": parity < 1e-12}
    return bars


def table(systems: Mapping[str, Mapping[str, Any]]) -> str:
    """All systems as a table of Markdown."""
    lines = ["| system | size | F1 QAMR | EM QAMR | F1 XQuAD en | p50, full window |", "|---|---|---|---|---|---|"]
    for name, one in systems.items():
        f1, exact = (one["test"]["metrics"][metric] for metric in ("f1", "exact_match"))
        other = one["xquad.en"]["metrics"]["f1"]["value"]
        lines.append(
            f"| {name} | {one['size_bytes'] / 1e6:.2f} MB | {f1['value']:.2%} [{f1['low']:.1%}, {f1['high']:.1%}] "
            f"| {exact['value']:.2%} | {other:.2%} | {one['latency_p50_ms']:.1f} ms |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
