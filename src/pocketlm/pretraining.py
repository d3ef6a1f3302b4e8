"""The story of `pretrain`: plain text in, a small language model's folder out, measured beside what is cheap.

Read it from top to bottom. Without a base the model and its tokenizer are made from nothing; a base learns on, with its
own words or with those of the text.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pocketlm import __version__
from pocketlm.compress.transfer_vocabulary import TransferVocabulary
from pocketlm.compress.words import rules_of
from pocketlm.data.documents import plain_texts
from pocketlm.errors import OutputError, RecipeError
from pocketlm.export.transformers_folder import export_folder
from pocketlm.measure.byte_models import lzma_bits, ngram_bits
from pocketlm.measure.machine import describe
from pocketlm.model.folder import folder_bytes, put_in_place
from pocketlm.model.language_model import (
    CAUSAL,
    CONTEXT,
    KINDS,
    LanguageShape,
    new_language_model,
    pieces_for,
    shallower,
    shape_for,
    with_word_head,
)
from pocketlm.model.pretrained import Model, fingerprint, load_model
from pocketlm.model.rebuild import packed_layers
from pocketlm.model.subwords import learn_pieces
from pocketlm.outputs import Example
from pocketlm.pocket.work import Step, WorkFolder, digest
from pocketlm.progress import Deadline, Progress, Silent
from pocketlm.tasks.generation import GENERATION
from pocketlm.train.adapters import add_adapters, merge_adapters
from pocketlm.train.language_modelling import Language
from pocketlm.train.likelihood import foresee
from pocketlm.train.pretrain import ROUNDS, Plan, Pupil, Teaching, calm, learn, planned
from pocketlm.train.pseudo_likelihood import pseudo_likelihood
from pocketlm.units import parse_duration

# Change this when training changes what a model becomes.
VERSION = 1
ABOUT = "pretrain.json"
TRANSFER, KEEP = "transfer", "keep"
VOCABULARIES = (TRANSFER, KEEP)
# Peak rates of models from nothing and of pretrained ones, by kind, and of adapters.
RATES = {"new": {"causal": 4e-3, "masked": 2e-3}, "base": {"causal": 1e-3, "masked": 5e-4}}
ADAPTER_RATE = 2e-3
# Rounds in which a transferred vocabulary settles before the blocks learn.
TABLES_FIRST = 2
METRICS = {"causal": "bits per byte", "masked": "pseudo-likelihood bits per byte"}


@dataclass(frozen=True)
class Pretraining:
    """What `pretrain` is asked to do.

    text, dev: as `fit` reads text; column: of a table. kind: "causal" or "masked"; absent, the base's, or "causal".
    base: a model that learns on. vocabulary: of a base, "transfer" (learnt from the text) or "keep". adapter: the rank
    of low-rank adapters by which a base's blocks learn, 0 for all weights. blocks: so many of a base, or of a new
    model; width, pieces: of a new one. epochs: over the text at most. work: folder for what can be resumed.
    """

    text: str
    output: str
    kind: str | None = None
    base: str | None = None
    vocabulary: str = TRANSFER
    adapter: int = 0
    pieces: int | None = None
    width: int | None = None
    blocks: int | None = None
    dev: str | None = None
    column: str | None = None
    time_limit: str | None = "30m"
    epochs: float = 20.0
    rate: float | None = None
    seed: int = 0
    work: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in KINDS:
            raise RecipeError(f"kind is one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.vocabulary not in VOCABULARIES:
            raise RecipeError(f"vocabulary is one of {', '.join(VOCABULARIES)}, got {self.vocabulary!r}")
        if self.base is None and (self.adapter or self.vocabulary == KEEP):
            raise RecipeError("--adapter and --vocabulary keep need --base, a model that learns on")
        if self.base is not None and self.width is not None:
            raise RecipeError("--width is of a model from nothing; of a base, --blocks says how many are kept")
        if self.width is not None and (self.width < 32 or self.width % 32):
            raise RecipeError(f"width is a multiple of 32, got {self.width}")
        if self.adapter < 0 or self.epochs <= 0 or (self.blocks is not None and self.blocks < 1):
            raise RecipeError("adapter is at least 0, epochs are more than 0, blocks at least 1")
        _ = self.seconds  # a wrong duration is said at once

    @property
    def seconds(self) -> float | None:
        """The time limit in seconds."""
        return None if self.time_limit is None else parse_duration(self.time_limit)


def pretrain(wish: Pretraining, progress: Progress | None = None) -> dict[str, Any]:
    """What was made and how it reads dev, as plain data. Raises UserError for wrong input."""
    progress, folder = progress or Silent(), Path(wish.output)
    _check_output(folder, wish.force)
    progress.stage(f"reading {wish.text}")
    texts = plain_texts(wish.text, wish.dev, wish.column, wish.seed)
    train, dev = texts.splits["train"], texts.splits["dev"]
    base = _base(wish, progress)
    kind = _kind(wish, base)
    work = WorkFolder(Path(wish.work) if wish.work else folder.with_name(folder.name + ".work"))
    with work.locked():
        step = work.step("model", _key(wish, base, train, dev))
        done = step.result or _made(wish, kind, base, train, dev, step, progress)
        model = load_model(step.folder / "model")
        progress.stage("reading dev")
        report = {
            "schema": 1, "kind": kind, "metric": METRICS[kind], "output": str(folder), "base": wish.base,
            "data": {"text": wish.text, "train_bytes": _bytes(train), "dev_bytes": _bytes(dev), "notes": texts.notes},
            **done, "parameters": model.parameters, "dev": _figures(model, base, kind, train, dev, wish, progress),
            "settings": asdict(wish), "environment": describe(),
        }  # fmt: skip
        _write(step.folder / "model", folder, report)
    return {**report, "size_bytes": folder_bytes(folder)}


def bits_a_byte(model: Model, texts: Sequence[str], seed: int = 0) -> dict[str, float]:
    """{"value", "low", "high"}: bits a byte of the texts with its 95 % interval; of an encoder by pseudo-likelihood.

    A piece is foreseen from those before it in windows of at most CONTEXT pieces, whatever the model could read.
    """
    examples = [Example(text) for text in texts]
    if model.spec.kind == "decoder":
        said = foresee(model, list(texts), CONTEXT)
    else:
        examples, said = examples[:1], [{"windows": pseudo_likelihood(Language(model), texts, seed=seed)}]
    found = GENERATION.score(examples, said, GENERATION.outputs(examples)).metrics["bits_per_byte"]
    return {"value": found.value, "low": found.low, "high": found.high}


def _base(wish: Pretraining, progress: Progress) -> Model | None:
    """The model that learns on. Raises ModelError, RecipeError."""
    if wish.base is None:
        return None
    progress.stage(f"loading {wish.base}")
    model = load_model(wish.base)
    if model.spec.kind not in ("encoder", "decoder") or model.spec.classifies:
        raise RecipeError(
            f"base {wish.base}: is {model.spec.architecture}; plain text teaches encoders and causal language models"
        )
    if model.spec.kept or model.spec.attributes or packed_layers(model.module):
        raise RecipeError(f"base {wish.base}: is compressed; give the model as it was before, with plain weights")
    rules_of(model)
    return model


def _kind(wish: Pretraining, base: Model | None) -> str:
    if base is None:
        return wish.kind or CAUSAL
    own = CAUSAL if base.spec.kind == "decoder" else "masked"
    if wish.kind not in (None, own):
        raise RecipeError(f"base {wish.base}: is {own}, not {wish.kind}; leave --kind out")
    return own


def _key(wish: Pretraining, base: Model | None, train: Sequence[str], dev: Sequence[str]) -> dict[str, Any]:
    """What the model depends on."""
    without = ("text", "output", "dev", "base", "work", "force")
    return {
        "version": VERSION, "pocketlm": __version__, "train": digest(list(train)), "dev": digest(list(dev)),
        "base": base and [one.hex() for one in fingerprint(base)],
        **{name: value for name, value in asdict(wish).items() if name not in without},
    }  # fmt: skip


def _made(
    wish: Pretraining, kind: str, base: Model | None, train: Sequence[str], dev: Sequence[str], step: Step,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """Train the model and keep its folder in the step; what is worth saying of it. The limit is of all that it does."""
    began, deadline = time.monotonic(), Deadline.after(wish.seconds)
    progress.stage("learning a vocabulary" if base is None or wish.vocabulary == TRANSFER else "beginning")
    model, notes = _new(wish, kind, train) if base is None else _adapted(wish, base.copy(), train)
    for weight in model.module.parameters():
        weight.requires_grad_(True)
    if wish.adapter:
        add_adapters(model, wish.adapter)
    pupil = Pupil(model, train, dev, _teaching(wish, kind), wish.seed)
    if base is not None and (wish.blocks is not None or wish.vocabulary == TRANSFER):
        notes.append(f"first guesses scaled by {calm(pupil):.2g}")
    plan = _plan(pupil, step, deadline)
    progress.stage(f"training on {len(pupil.ids):,} pieces, {plan.pieces / len(pupil.ids):.1f} times over")
    history = learn(pupil, plan, step.folder / "training.checkpoint", progress, deadline)
    if wish.adapter:
        merge_adapters(model.module)
    model.module.requires_grad_(False)
    shutil.rmtree(step.folder / "model", ignore_errors=True)
    export_folder(model, step.folder / "model")
    done = {
        "notes": [*notes, f"best after round {history.best_epoch + 1} of {len(history.figures)}; {history.ended}"],
        "plan": plan.to_json(), "epochs": plan.pieces * len(history.figures) / ROUNDS / len(pupil.ids),
        "rounds": history.figures, "seconds": time.monotonic() - began, "pieces": len(model.tokenizer),
    }  # fmt: skip
    step.finish(done)
    (step.folder / "training.checkpoint").unlink(missing_ok=True)
    return done


def _new(wish: Pretraining, kind: str, train: Sequence[str]) -> tuple[Model, list[str]]:
    """A model and its tokenizer, made from nothing."""
    tokenizer = learn_pieces(train, wish.pieces or pieces_for(_bytes(train)), masked=kind != CAUSAL)
    pieces = len(tokenizer)
    own = shape_for(pieces, wish.seconds, _bytes(train) // 4)
    shape = LanguageShape(wish.width or own.width, wish.blocks or own.blocks)
    note = f"{shape.blocks} blocks of width {shape.width}, {pieces:,} pieces"
    return new_language_model(kind, shape, tokenizer, wish.seed), [note]


def _adapted(wish: Pretraining, model: Model, train: Sequence[str]) -> tuple[Model, list[str]]:
    """The base, cut and given the text's words as is wished; not trained yet."""
    notes = []
    if wish.blocks is not None:
        model = shallower(model, wish.blocks)
        notes.append(f"the base's first {wish.blocks} blocks")
    if wish.vocabulary == TRANSFER:
        transfer = TransferVocabulary(pieces=wish.pieces or pieces_for(_bytes(train)))
        model, composition = transfer.transferred(model, [line for text in train for line in text.splitlines(True)])
        notes.append(
            f"{len(composition.weights):,} pieces instead of {composition.old:,}; {composition.copied:,} copied"
        )
    return (with_word_head(model, wish.seed) if model.spec.kind == "encoder" else model), notes


def _teaching(wish: Pretraining, kind: str) -> Teaching:
    if wish.base is None:
        return Teaching(wish.rate or RATES["new"][kind], muon=True, epochs=wish.epochs)
    rate = wish.rate or (ADAPTER_RATE if wish.adapter else RATES["base"][kind])
    first = TABLES_FIRST if wish.vocabulary == TRANSFER else 0
    return Teaching(rate, decay=0.01, tables_first=first, epochs=wish.epochs)


def _plan(pupil: Pupil, step: Step, deadline: Deadline) -> Plan:
    """The plan of this training: made once, so that it is the same when it goes on."""
    path = step.folder / "plan.json"
    if not path.is_file():
        plan = planned(pupil, None if deadline.at is None else max(1.0, deadline.left))
        path.write_text(json.dumps(plan.to_json()), "utf-8")
    made = json.loads(path.read_text("utf-8"))
    return Plan(made["steps"], made["batch"], tuple((begin, length) for begin, length in made["lengths"]))


def _figures(
    model: Model, base: Model | None, kind: str, train: Sequence[str], dev: Sequence[str], wish: Pretraining,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """How dev is read by the model, by its base where that has words to say, and by what only counts bytes."""
    found: dict[str, Any] = {"model": bits_a_byte(model, dev, wish.seed)}
    if base is not None and any(layer.kind == "head" for layer in base.layers):
        progress.stage("the base reads dev")
        found["base"] = bits_a_byte(base, dev, wish.seed)
    if kind == CAUSAL:
        progress.stage("counting bytes")
        read, said = ("\n".join(one).encode() for one in (train, dev))
        found["byte n-grams"] = {"value": ngram_bits(read, said)}
        found["lzma"] = {"value": lzma_bits(read, said)}
    return found


def _bytes(texts: Sequence[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def _check_output(folder: Path, force: bool) -> None:
    """Raises OutputError where the folder exists, unless `force` is set and `pretrain` wrote it."""
    if folder.exists() and not (folder / ABOUT).is_file():
        raise OutputError(f"{folder}: exists and is no folder that pretrain wrote")
    if folder.exists() and not force:
        raise OutputError(f"{folder}: exists already; --force replaces it")


def _write(made: Path, folder: Path, report: Mapping[str, Any]) -> None:
    with put_in_place(folder.resolve()) as new:
        shutil.copytree(made, new, dirs_exist_ok=True)
        (new / ABOUT).write_text(json.dumps(report, ensure_ascii=False, indent=1), "utf-8")
