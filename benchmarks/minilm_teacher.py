"""The model that `compress_minilm` compresses: MiniLM fine-tuned on Banking77, a plain folder of `transformers`."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pocketlm.compress.calibration import calibration_from_rows
from pocketlm.compress.rows import collate, rows_of
from pocketlm.model.pretrained import Model, load_model
from pocketlm.train.heal import HealSchedule, RateGroup, endless_batches, heal
from pocketlm.train.loop import gains_from_bf16

DEV_SHARE = 0.1
# Epochs and peak rate of each round; a round starts from the one before.
ROUNDS = ((6, 1e-4), (2, 1e-4))


@dataclass(frozen=True)
class Texts:
    """Texts and the label of each."""

    texts: Sequence[str]
    labels: Sequence[str]


def read(path: Path) -> Texts:
    """The rows of a Banking77 file."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return Texts([row["text"] for row in rows], [row["category"] for row in rows])


def split(whole: Texts, seed: int = 0) -> tuple[Texts, Texts]:
    """Rows to train on and a tenth apart as dev."""
    order = torch.randperm(len(whole.texts), generator=torch.Generator().manual_seed(seed)).tolist()
    apart = round(DEV_SHARE * len(order))
    made = [
        Texts([whole.texts[p] for p in own], [whole.labels[p] for p in own]) for own in (order[apart:], order[:apart])
    ]
    return made[0], made[1]


def fine_tuned(data: Path, models: Path, minutes: float = 9.5) -> Path:
    """The folder of the fine-tuned model: as trained before, or trained now, round after round, each kept."""
    folder = models / "banking77-minilm"
    train, dev = split(read(data / "train.csv"))
    for number, (epochs, rate) in enumerate(ROUNDS, start=1):
        made = folder if number == len(ROUNDS) else folder.with_name(f"{folder.name}-round-{number}")
        if (made / "model.safetensors").is_file():
            model = load_model(made)
            continue
        model = _classifier(models / "minilm", sorted(set(train.labels)), folder) if number == 1 else model
        about = _train(model, train, epochs, rate, minutes)
        about["dev_accuracy"] = accuracy(model, dev)
        print(about, flush=True)
        model.module.save_pretrained(made)
        model.tokenizer.save_pretrained(made)
        made.with_name(made.name + ".json").write_text(json.dumps(about))
    return folder


def _train(model: Model, train: Texts, epochs: int, rate: float, minutes: float) -> dict[str, Any]:
    """One round of training, in place; what it took."""
    calibration, labels = calibration_from_rows(train.texts, train.labels, model)
    rows = rows_of(calibration, labels)
    module = model.module.train().requires_grad_(True)
    heads = [weight for name, weight in module.named_parameters() if name.startswith("classifier")]
    body = [weight for name, weight in module.named_parameters() if not name.startswith("classifier")]

    def loss(places: list[int]) -> torch.Tensor:
        own = [rows[place] for place in places]
        target = torch.tensor([row.label for row in own])
        return torch.nn.functional.cross_entropy(module(**collate(own)).logits.float(), target)

    torch.manual_seed(0)
    began = time.monotonic()
    schedule = HealSchedule(epochs * len(rows) // 32, minutes * 60, fast=gains_from_bf16())
    groups = [RateGroup(body, rate, 0.01), RateGroup(heads, 10 * rate, 0.01)]
    done = heal(groups, loss, endless_batches([row.length for row in rows], 32, 0), schedule, progress=show)
    module.eval().requires_grad_(False)
    return {"seconds": time.monotonic() - began, "ended": done.ended}


def show(done: int, total: int, note: str) -> None:
    """Says where training is, now and then."""
    if done % 200 == 0:
        print(f"{done} of {total}: {note}", flush=True)


def _classifier(base: Path, names: Sequence[str], folder: Path) -> Model:
    """MiniLM with a fresh head for these classes."""
    from transformers import AutoTokenizer, BertForSequenceClassification

    torch.manual_seed(0)
    module = BertForSequenceClassification.from_pretrained(
        base, num_labels=len(names), id2label=dict(enumerate(names)), label2id={one: at for at, one in enumerate(names)}
    )
    folder.parent.mkdir(exist_ok=True)
    unready = folder.with_name(folder.name + "-fresh")
    module.save_pretrained(unready)
    AutoTokenizer.from_pretrained(base).save_pretrained(unready)
    return load_model(unready)


@torch.no_grad()
def right(model: Model, texts: Texts) -> list[bool]:
    """Which of the texts the model labels as they are labelled."""
    calibration, labels = calibration_from_rows(list(texts.texts), texts.labels, model, batch_size=64)
    said = [
        model.module(**batch).logits.argmax(-1) == own for batch, own in zip(calibration.batches, labels, strict=True)
    ]
    return torch.cat(said).tolist()


def accuracy(model: Model, texts: Texts) -> float:
    """Share of the texts that are labelled right."""
    found = right(model, texts)
    return sum(found) / len(found)
