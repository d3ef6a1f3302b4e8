"""Write the building blocks that a machine is timed with: blocks.py [--out FOLDER]

    python benchmarks/blocks.py

Each block is a Pocket of a student of one family and size as `fit` exports it, whose weights are a repeated pattern, so
that the file is small and its arithmetic is that of any other. blocks.json says how much work each is with each of the
texts, and what a unit of work costs on the machine that ran this, to which fits on others are tied.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from pocketlm.export.bag import bag_members
from pocketlm.export.int8 import dynamic_int8
from pocketlm.export.onnx import store_floats, store_tables, to_bytes, trace
from pocketlm.measure import calibrate
from pocketlm.measure.device import UNITS, fitted
from pocketlm.model.bag import BagModule
from pocketlm.model.task_model import TaskModel, TaskSpec
from pocketlm.model.transformer import Shape, SmallEncoder
from pocketlm.outputs import Output
from pocketlm.pocket.format import write_pocket
from pocketlm.recipe.recipe import Recipe
from pocketlm.runtime.inputs import BagInputs, PieceBagInputs, PieceInputs
from pocketlm.runtime.ngrams import Ngrams, ngram_words, text_bags
from pocketlm.search.facts import Facts
from pocketlm.search.work import TextSize, work_of
from pocketlm.students.convnet import SmallConvnet
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.static import StaticEmbeddings
from pocketlm.students.transformer import SmallTransformer

WORDS = ("the", "lamp", "kitchen", "is", "warmer", "please", "tomorrow", "of", "window", "temperature", "and", "garden")
# Words that pieces know whole; of others they know the letters.
WHOLE = ("the", "is", "of", "and", "lamp", "please", "window", "kitchen", "garden")
LENGTHS = (4, 12, 32, 100)
MOST_PIECES = 128
LABELS = 16
ROWS, PIECES = 20_000, 3_000
# Sizes of a teacher that transformers are cut out of.
WIDTH, HEADS = 384, 12

STUDENTS: dict[str, Any] = {
    "linear": HashedNgrams(2**18, 0, False, ROWS),
    "bag-32": HashedNgrams(2**18, 32, True, ROWS),
    "bag-96": HashedNgrams(2**18, 96, True, ROWS),
    "static-64": StaticEmbeddings(64),
    "static-256": StaticEmbeddings(256),
    "convnet-1x64": SmallConvnet(1, 64, 1, 32),
    "convnet-2x128": SmallConvnet(2, 128, 1, 64),
    "convnet-4x256": SmallConvnet(4, 256, 2, 96),
    "transformer-1": SmallTransformer(1, None, 2, 128, 64),
    "transformer-2": SmallTransformer(2, None, 6, 384, 96),
    "transformer-4": SmallTransformer(4, None, 4, 256, 96),
    "transformer-6": SmallTransformer(6, None, 12, 1536, 256),
}


def texts() -> list[str]:
    """One of each length."""
    return [" ".join(WORDS[(7 * place) % len(WORDS)] for place in range(count)) for count in LENGTHS]


def tokenizer() -> Tokenizer:
    """Whole words, letters, and pieces that fill the vocabulary."""
    letters = sorted({*"".join(WORDS)})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{one}" for one in letters), *sorted(WHOLE)]
    pieces += [f"##piece{number}" for number in range(PIECES - len(pieces))]
    made = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


@torch.no_grad()
def pattern(module: torch.nn.Module) -> None:
    """Every weight of a short period, so that files are small, and no text gives numbers out of range."""
    for name, weight in module.named_parameters():
        if "norm" in name:
            continue
        period = torch.arange(weight.numel()) % 16
        weight.copy_(((period - 7.5) / 100).reshape(weight.shape))


def model_of(student: Any, outputs: tuple[Output, ...]) -> TaskModel:
    """The student's architecture, untrained."""
    if isinstance(student, HashedNgrams):
        module = BagModule(outputs, ROWS, student.width or LABELS, hidden=student.hidden, window=0, dropout=0.0)
        lookup = np.full(student.buckets, -1, np.int32)
        # every thirteenth bucket has a row, as after pruning
        lookup[:: student.buckets // ROWS][:ROWS] = np.arange(ROWS)
        return TaskModel(module, BagInputs(student.ngrams(), False, 512, lookup), TaskSpec("bag", outputs))
    inputs = PieceInputs(tokenizer(), False, MOST_PIECES)
    if isinstance(student, StaticEmbeddings):
        module = BagModule(outputs, PIECES, student.width, hidden=True, window=0, dropout=0.0)
        return TaskModel(module, PieceBagInputs(inputs), TaskSpec("bag", outputs))
    if isinstance(student, SmallConvnet):
        shape = Shape(PIECES, student.rank, student.width, student.depth, MOST_PIECES, reach=student.reach)
        return TaskModel(SmallEncoder(shape, outputs, 0.0), inputs, TaskSpec("conv", outputs))
    shape = Shape(
        PIECES, student.rank, WIDTH, student.depth, MOST_PIECES, heads=student.heads, head_width=WIDTH // HEADS,
        ffn=student.ffn,
    )  # fmt: skip
    return TaskModel(SmallEncoder(shape, outputs, 0.0), inputs, TaskSpec("transformer", outputs))


def members_of(model: TaskModel) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest's model and the members, in int8."""
    model.spec.bits.update({"table": 8, "linear": 8})
    if isinstance(model.module, BagModule):
        return bag_members(model)
    graph = store_floats(dynamic_int8(store_tables(trace(model), 8)), 16)
    read = {"kind": "pieces", "tagging": False, "max_length": MOST_PIECES, "pad_id": 0}
    assert isinstance(model.inputs, PieceInputs)
    about = {"kind": "onnx", "inputs": read}
    return about, {"graph.onnx": to_bytes(graph), "tokenizer.json": model.inputs.tokenizer.to_str().encode()}


def works_of(student: Any) -> list[dict[str, float]]:
    """The work of the student with each text."""
    facts = Facts(1, LABELS, False, PIECES, WIDTH, 6, HEADS, 1536, max_length=MOST_PIECES, single=True)
    found = []
    for text in texts():
        words = ngram_words(text)
        grams = len(text_bags([words], Ngrams(2**18)).ids)
        cut = len(tokenizer().encode(text).ids)
        found.append(
            work_of(Recipe((student,)), facts, TextSize(len(words), grams / len(words), cut, min(cut, MOST_PIECES)))
        )
    return found


def write(folder: Path) -> None:
    """Every block, and what is to be known of them."""
    outputs = (Output("label", "single", tuple(f"label {number:02d}" for number in range(LABELS))),)
    blocks = []
    for name, student in STUDENTS.items():
        torch.manual_seed(0)
        model = model_of(student, outputs)
        pattern(model.module)
        model.module.eval()
        about, members = members_of(model)
        manifest = {
            "task": "classification", "outputs": [one.to_json() for one in outputs], "model": about,
            "pocketlm": "0", "provenance": {},
        }  # fmt: skip
        write_pocket(folder / f"{name}.pocket", manifest, members, replace=True)
        blocks.append({"pocket": f"{name}.pocket", "works": works_of(student)})
    about = {"texts": texts(), "blocks": blocks, "usual": dict.fromkeys(UNITS, 1.0)}
    (folder / "blocks.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(str(calibrate.BLOCKS)))
    parser.add_argument("--usual", action="store_true", help="only time the blocks anew, for the rates of this machine")
    given = parser.parse_args()
    if not given.usual:
        write(given.out)
    about = calibrate.described()
    measured = calibrate.in_fresh_process("pocketlm.measure.calibrate", [], "this machine", 1, 900.0)
    works = [work for block in about["blocks"] for work in block["works"]]
    times = [ms for block in measured["milliseconds"] for ms in block]
    # microseconds of one of each, as a first guess
    guess = {
        "call": 40.0, "word": 1.0, "gram": 0.3, "gathered": 5e-4, "hidden": 20.0, "piece": 1.7, "node": 0.7,
        "int8": 1e-5, "float32": 6e-5, "streamed": 3e-5,
    }  # fmt: skip
    guess = fitted(works, times, guess)
    about["usual"] = {unit: float(f"{rate:.3g}") for unit, rate in guess.items()}
    (given.out / "blocks.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    device = calibrate.device_of(measured, about)
    print(device.to_yaml())
    for block, row in zip(about["blocks"], measured["milliseconds"], strict=True):
        said = [f"{ms:.3f} ({device.milliseconds(work):.3f})" for ms, work in zip(row, block["works"], strict=True)]
        print(f"{block['pocket']:24}", "  ".join(said))


if __name__ == "__main__":
    main()
