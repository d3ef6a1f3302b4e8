"""MiniLM on Banking77, compressed 4, 8 and 16 times: accuracy on test against the float32 teacher and a peer.

    python benchmarks/compress_minilm.py --data FOLDER --models FOLDER [--out minilm.json] [--only 16x] [--dev]

FOLDER of --data holds train.csv and test.csv; of --models, minilm/ and, once made, banking77-minilm/. Sizes are of
whole folders, tokenizer included. Every system reads the test rows once; recipes were chosen on dev, a tenth of train.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from minilm_teacher import Texts, fine_tuned, read, right, split

from pocketlm.compress.calibration import calibration_from_rows
from pocketlm.compress.context import Context
from pocketlm.measure.machine import describe
from pocketlm.model.pretrained import Model, folder_bytes, load_model, save_model
from pocketlm.recipe.compress import compress, read_recipe
from pocketlm.recipe.recipe import Recipe

RECIPES = Path(__file__).parent / "recipes"
# Of each recipe: how many times smaller it is to be, at which share of the teacher's accuracy.
BARS = {"4x": (4, 0.995), "8x": (8, 0.99), "16x": (16, 0.97)}
# Training rows, drawn at random when dev was, that weights are measured and trained on.
ROWS = 2500
SEED = 0
PEER = "onnxruntime dynamic int8"


def main() -> None:
    """Run what is asked for and write the figures."""
    asked = _arguments()
    folder = fine_tuned(asked.data, asked.models)
    train, dev = split(read(asked.data / "train.csv"))
    judged = dev if asked.dev else read(asked.data / "test.csv")
    teacher = load_model(folder)
    whole = {"name": "teacher, float32", "bytes": folder_bytes(folder), "right": sum(right(teacher, judged))}
    figures: list[dict[str, Any]] = [whole]
    for name in asked.only or [*BARS, PEER]:
        made = peer(teacher, judged) if name == PEER else compressed(name, teacher, train, judged, asked.keep)
        figures.append({"name": name, **made})
        print(line(figures[-1], whole, len(judged.texts)), flush=True)
    about = {"rows": len(judged.texts), "split": "dev" if asked.dev else "test", "seed": SEED, "machine": describe()}
    taken = {**about, "date": datetime.date.today().isoformat(), "systems": figures}
    asked.out.write_text(json.dumps(taken, indent=1) + "\n", "utf-8")
    print(table(figures, len(judged.texts)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("minilm.json"))
    parser.add_argument("--keep", type=Path, help="a folder for the compressed models")
    parser.add_argument("--only", action="append", choices=[*BARS, PEER])
    parser.add_argument("--dev", action="store_true", help="judge by dev rows: for choosing recipes")
    return parser.parse_args()


def compressed(name: str, teacher: Model, train: Texts, judged: Texts, keep: Path | None) -> dict[str, Any]:
    """The teacher by a recipe of this name: saved, opened again and judged. keep: where it may be from before."""
    with tempfile.TemporaryDirectory() as place:
        folder = (keep or Path(place)) / f"minilm-{name}-{_digest(name, teacher)}"
        if not folder.is_dir():
            save_model(_by_recipe(name, teacher, train), folder)
        made = load_model(folder)
        found, size = sum(right(made, judged)), folder_bytes(folder)
    passes = [{key: one[key] for key in ("pass", "seconds", "notes")} for one in made.records]
    seconds = round(sum(one["seconds"] for one in passes), 1)
    return {"bytes": size, "right": found, "seconds": seconds, "passes": passes}


def _by_recipe(name: str, teacher: Model, train: Texts) -> Model:
    """Passes that look at words see every training row, those after them as many as ROWS."""
    made, steps = teacher, read_recipe(RECIPES / f"minilm-{name}.yaml").steps
    words = [step for step in steps if step.name == "prune-vocabulary"]
    for own, rows in ((words, len(train.texts)), ([step for step in steps if step not in words], ROWS)):
        if own:
            calibration, labels = calibration_from_rows(list(train.texts[:rows]), list(train.labels[:rows]), teacher)
            made = compress(made, Recipe(own), Context(calibration, teacher, labels, seed=SEED))
    return made


def _digest(name: str, teacher: Model) -> str:
    """Changes with the recipe and with the teacher."""
    made = hashlib.sha256((RECIPES / f"minilm-{name}.yaml").read_bytes())
    made.update(teacher.module.classifier.weight.numpy().tobytes())
    return made.hexdigest()[:8]


def peer(teacher: Model, judged: Texts) -> dict[str, Any]:
    """The teacher's ONNX graph with weights and inputs in 8 bits, by onnxruntime, per channel."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as place:
        graph, small, began = Path(place, "float.onnx"), Path(place, "int8.onnx"), time.monotonic()
        _export(teacher, graph)
        quantize_dynamic(str(graph), str(small), per_channel=True, weight_type=QuantType.QInt8)
        seconds = round(time.monotonic() - began, 1)
        session = onnxruntime.InferenceSession(str(small))
        teacher.tokenizer.save_pretrained(place)
        graph.unlink()
        size = folder_bytes(Path(place))
        found = sum(_right_of_graph(lambda feeds: session.run(None, feeds)[0], teacher, judged))
    return {"bytes": size, "right": found, "seconds": seconds}


def _export(teacher: Model, path: Path) -> None:
    """The float32 graph of token ids and mask to logits."""
    example = teacher.tokenizer(["a text", "another one"], return_tensors="pt", padding=True)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "texts", 1: "tokens"} for name in names}
    torch.onnx.export(
        _Logits(teacher.module), tuple(example[name] for name in names), str(path), input_names=names,
        output_names=["logits"], dynamic_axes=axes, dynamo=False,
    )  # fmt: skip


class _Logits(torch.nn.Module):
    """The module with tensors in and out."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        logits: torch.Tensor = self.module(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
        return logits


def _right_of_graph(run: Callable[[dict[str, Any]], Any], teacher: Model, judged: Texts) -> Sequence[bool]:
    """Which rows a graph labels right, one at a time, as inputs are rounded by the range of a batch."""
    names, found = teacher.module.config.id2label, []
    for text, label in zip(judged.texts, judged.labels, strict=True):
        feeds = {key: np.array([value], np.int64) for key, value in teacher.tokenizer(text).items()}
        found.append(names[int(run(feeds)[0].argmax())] == label)
    return found


def line(one: dict[str, Any], whole: dict[str, Any], rows: int) -> str:
    """One system in a line."""
    times, share = whole["bytes"] / one["bytes"], one["right"] / whole["right"]
    bar = ""
    if one["name"] in BARS:
        least, most = BARS[one["name"]]
        reached = times >= least and share >= most
        bar = f" (bar {least}x at {most:.1%}: {'reached' if reached else 'missed'})"
    return f"{one['name']}: {one['bytes']:,} bytes, {times:.1f}x smaller, {one['right'] / rows:.2%}, {share:.2%}{bar}"


def table(figures: Sequence[dict[str, Any]], rows: int) -> str:
    """All systems as a table of Markdown."""
    head = "| system | bytes | smaller | accuracy | of the teacher's | seconds |\n|---|---|---|---|---|---|"
    whole = figures[0]
    lines = [
        f"| {one['name']} | {one['bytes']:,} | {whole['bytes'] / one['bytes']:.1f}x | {one['right'] / rows:.2%} "
        f"| {one['right'] / whole['right']:.2%} | {one.get('seconds', '')} |"
        for one in figures
    ]
    return "\n".join([head, *lines])


if __name__ == "__main__":
    main()
