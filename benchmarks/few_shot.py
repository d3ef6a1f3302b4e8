"""Few labelled rows, macro F1 on dev: plain fine-tuning, the contrastive start, and all ways with self-training.

    python benchmarks/few_shot.py --train train.tsv --dev dev.tsv --label category --teacher FOLDER --rows 50 100

The rows of train beyond the labelled ones are the unlabelled text. Dev chooses epochs and ways and is what they are
judged on, so that figures are a little too good, and the more so the more ways there are.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pocketlm.job import FEW_SHOT, Job
from pocketlm.model.encoder import load_pretrained, teacher_model
from pocketlm.outputs import Example
from pocketlm.pocket.work import WorkFolder
from pocketlm.progress import Deadline, Silent
from pocketlm.tasks.prepare import Prepared, prepare
from pocketlm.train.contrastive import contrastive_start
from pocketlm.train.few_shot import CONTRAST, school
from pocketlm.train.teach import judge
from pocketlm.train.teacher import Classroom

WAYS = ("fine-tuning", "contrastive", "all")


def figures(given: argparse.Namespace, prepared: Prepared, way: str, rows: int, seed: int) -> dict[str, Any]:
    """What one way came to: figures on dev, processor seconds, and notes."""
    every = list(prepared.train)
    random.Random(seed).shuffle(every)
    few, others = every[:rows], [one.text for one in every[rows:]]
    outputs = prepared.task.outputs(few)
    dev: Sequence[Example] = [one for one in prepared.dev if one.labels[0] in outputs[0].labels]
    torch.manual_seed(seed)
    model = teacher_model(load_pretrained(given.teacher), outputs, given.max_length)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        room = Classroom(
            prepared.task, outputs, few, dev, "", given.max_length, seed, WorkFolder(Path(folder)), Silent(), Deadline()
        )
        if way == "contrastive":
            notes = [contrastive_start(model, few, CONTRAST, seed=seed)]
        else:
            ways = FEW_SHOT if way == "all" else ()
            notes = school(replace(room, ways=ways, unlabelled=others), model, Path(folder), Deadline())
    found = {"way": way, "rows": rows, "seed": seed, "dev": len(dev), "notes": notes}
    return {**found, **judge(model, dev, prepared.task), "seconds": round(time.process_time() - began)}


def main() -> None:
    """Every way at every number of rows, one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("train", "dev", "teacher"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--text")
    parser.add_argument("--label")
    parser.add_argument("--rows", type=int, nargs="+", default=[50, 100])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    prepared = prepare(Job(given.train, dev=given.dev, text=given.text, label=given.label))
    done = []
    for rows in given.rows:
        for seed in range(given.seeds):
            for way in WAYS:
                one = figures(given, prepared, way, rows, seed)
                done.append(one)
                print(
                    f"{rows} rows, seed {seed}, {way}: macro F1 {one['f1_macro']:.4f}, {one['seconds']} s", flush=True
                )
                print("".join(f"    {note}\n" for note in one["notes"]), end="", flush=True)
    if given.out:
        given.out.write_text(json.dumps(done, indent=1, ensure_ascii=False), "utf-8")


if __name__ == "__main__":
    main()
