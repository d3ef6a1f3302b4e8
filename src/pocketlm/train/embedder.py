"""The teacher of vectors: a sentence encoder used as it is, or fine-tuned where training pairs have scores.

Its vectors are turned (a rotation leaves every cosine as it was) so that their first dimensions hold the most of the
training texts: a student of fewer dimensions learns those.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pocketlm.errors import RecipeError
from pocketlm.model.encoder import EncoderModule, Pretrained, teacher_model
from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import Example, Output, texts_of
from pocketlm.pocket.work import digest
from pocketlm.runtime.vectors import Floats, unit
from pocketlm.tasks.prepare import Prepared
from pocketlm.train.heal import HealSchedule, RateGroup, endless_batches, heal
from pocketlm.train.lesson import lesson, tensors
from pocketlm.train.loop import gains_from_bf16
from pocketlm.train.losses import rank_loss
from pocketlm.train.teach import ask, judge
from pocketlm.train.teacher import TIME_SHARE, Classroom, Teacher
from pocketlm.train.translations import sources

# Change this when what a teacher of vectors becomes changes.
VERSION = 1
# Fine-tuning on scored pairs: gentle, since the encoder knows more than they say.
RATE, BATCH, MOST_STEPS, EPOCHS = 2e-5, 32, 1_500, 4
# Texts that the turn of the vectors is found on.
TURNED_ON = 10_000
# Texts of a split that are compared with each other, where rows say nothing of which are alike.
MOST_COMPARED = 2_000


def sized(prepared: Prepared, pretrained: Pretrained, width: int | None) -> Prepared:
    """The job's data with vectors of `width` dimensions, or as many as are usual and the teacher has.

    Raises RecipeError where the teacher has fewer.
    """
    most = int(pretrained.config.hidden_size)
    if width is not None and width > most:
        raise RecipeError(f"width {width} is more than the {most} dimensions of the teacher {pretrained.name}")
    outputs = tuple(replace(one, width=width or min(one.width, most)) for one in prepared.outputs)
    return replace(prepared, outputs=outputs)


def with_teachers_pairs(prepared: Prepared, pretrained: Pretrained, max_length: int, seed: int) -> Prepared:
    """Data whose dev and test are pairs scored by the teacher's cosine, where rows say nothing of which are alike.

    A text is paired with the one nearest to it in its split, and with one drawn at random.
    """
    if any(one.pair or one.labels for one in prepared.test):
        return prepared
    model = encoder_as_it_is(pretrained, max_length)
    dev, test = (_pairs(split, model, seed) for split in (prepared.dev, prepared.test))
    note = (
        f"rows say nothing of which texts are alike: figures are the agreement with the teacher's cosines on "
        f"{len(dev):,} pairs of dev and {len(test):,} of test, each text with its nearest and a random one"
    )
    prepared.about["notes"].append(note)
    return replace(prepared, dev=dev, test=test)


def _pairs(examples: Sequence[Example], model: TaskModel, seed: int) -> list[Example]:
    examples = examples[:: max(1, len(examples) // MOST_COMPARED)]
    vectors = _vectors(model, examples)
    near = vectors @ vectors.T
    np.fill_diagonal(near, -np.inf)
    random = np.random.default_rng((seed, len(examples)))
    places: dict[tuple[int, int], None] = {}
    for own in range(len(examples)):
        for other in (int(near[own].argmax()), int(random.integers(len(examples)))):
            if other != own:
                places[min(own, other), max(own, other)] = None
    return [
        Example(examples[own].text, pair=examples[other].text, score=float(near[own, other])) for own, other in places
    ]


def prepare_embedder(room: Classroom, pretrained: Pretrained) -> Teacher:
    """The encoder with its own pooling and turned vectors, fine-tuned where scored pairs make it better on dev."""
    scored = [one for one in room.train if one.score is not None]
    key: dict[str, Any] = {
        "version": VERSION, "kind": "vectors", "model": pretrained.digest, "data": room.data_hash, "seed": room.seed,
        "max_length": room.max_length, "pairs": len(scored), "pooling": pretrained.pooling,
        **({"parallel": True} if room.parallel else {}),
    }  # fmt: skip
    step = room.work.step("teacher", key)
    stored = step.folder / "teacher.pt"
    model = encoder_as_it_is(pretrained, room.max_length)
    done = step.result
    if done is None or not stored.is_file():
        room.progress.stage(f"preparing the vectors of {pretrained.name}")
        began, deadline = time.monotonic(), room.deadline.share(TIME_SHARE)
        quality = _figures(model, room)
        notes = [f"vectors as the encoder makes them ({pretrained.pooling} of its states)"]
        tuned = False
        if scored:
            tuned, quality, note = _tune(model, scored, quality, room)
            notes.append(note)
        read = sources(room.train) if room.parallel else map(str, lesson(room.train, room.outputs).texts)
        _turn(model, list(read))
        done = {"quality": quality, "seconds": time.monotonic() - began, "notes": notes}
        if deadline.passed:
            key = {**key, "cut": quality}
        else:
            state = model.module.state_dict()
            kept = state if tuned else {name: one for name, one in state.items() if name.startswith("readout.")}
            torch.save(kept, stored)
            step.finish(done)
    else:
        model.module.load_state_dict(torch.load(stored, weights_only=True), strict=False)
    model.module.eval()
    about = (done["quality"], digest(key), done["seconds"], tuple(done["notes"]))
    return Teacher(pretrained.name, pretrained.digest, model, *about)


def encoder_as_it_is(pretrained: Pretrained, max_length: int) -> TaskModel:
    """The encoder whose output is its pooled states, unchanged."""
    width = int(pretrained.config.hidden_size)
    model = teacher_model(pretrained, (Output("vector", "vector", (), width),), max_length)
    _set_head(model, torch.eye(width))
    model.module.eval()
    return model


def _set_head(model: TaskModel, matrix: Tensor) -> None:
    assert isinstance(model.module, EncoderModule)
    head = model.module.readout.heads["vector"]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.copy_(matrix)
        head.bias.zero_()


def _vectors(model: TaskModel, examples: Sequence[Example]) -> Floats:
    return unit(np.stack(list(ask(model, texts_of(examples, model.spec.outputs)).logits["vector"])))


def _figures(model: TaskModel, room: Classroom) -> dict[str, float]:
    return judge(model, room.dev, room.task)


def _tune(
    model: TaskModel, pairs: Sequence[Example], before: dict[str, float], room: Classroom
) -> tuple[bool, dict[str, float], str]:
    """Fine-tune on scored pairs, and undo it where dev is no better: (whether it stays, figures on dev, a note)."""
    room.progress.stage(f"fine-tuning {room.task.name} on {len(pairs):,} scored pairs")
    assert isinstance(model.module, EncoderModule)
    backbone: Any = model.module.backbone
    kept = {name: weight.detach().clone() for name, weight in backbone.state_dict().items()}
    _learn_order(model, pairs, room)
    after = _figures(model, room)
    metric = room.task.main_metric
    said = f"fine-tuned on {len(pairs):,} scored pairs: {metric} {before[metric]:.4f} before, {after[metric]:.4f} after"
    if after[metric] > before[metric]:
        return True, after, said
    backbone.load_state_dict(kept)
    return False, before, f"{said}, and therefore left as it was"


def _learn_order(model: TaskModel, pairs: Sequence[Example], room: Classroom) -> None:
    """Train the encoder in place to order pairs as their scores do."""
    module: Any = model.module
    encoded = model.inputs.encode([text for one in pairs for text in (one.text, one.pair)])
    scores = torch.tensor([one.score for one in pairs], dtype=torch.float32)
    lengths = [first.length + second.length for first, second in zip(encoded[0::2], encoded[1::2], strict=True)]

    def loss(places: list[int]) -> Tensor:
        own = [encoded[2 * place + side] for place in places for side in (0, 1)]
        vectors = module(**tensors(model.inputs.collate(own)))["vector"].float()
        return rank_loss(F.cosine_similarity(vectors[0::2], vectors[1::2]), scores[places])

    steps = min(MOST_STEPS, EPOCHS * -(-len(pairs) // BATCH))
    torch.manual_seed(room.seed)
    module.train()
    heal(
        [RateGroup(list(module.backbone.parameters()), RATE, 0.01)], loss, endless_batches(lengths, BATCH, room.seed),
        HealSchedule(steps, fast=gains_from_bf16()), progress=room.progress.step,
        deadline=room.deadline.share(TIME_SHARE),
    )  # fmt: skip
    module.eval()


def _turn(model: TaskModel, texts: Sequence[str]) -> None:
    """Turn the vectors onto the principal directions of those of the texts (not centred), the largest first."""
    said = ask(model, texts[:: max(1, len(texts) // TURNED_ON)])
    vectors: NDArray[np.float64] = unit(np.stack(list(said.logits["vector"]))).astype(np.float64)
    _, directions = np.linalg.eigh(vectors.T @ vectors)
    _set_head(model, torch.from_numpy(directions[:, ::-1].T.copy()).float())
