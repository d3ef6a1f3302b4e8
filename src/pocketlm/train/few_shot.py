"""A teacher of few labelled rows: several ways to train it, of which the one that is best on dev stays.

A regression on the encoder's vectors as they are; plain fine-tuning; the contrastive start of `train.contrastive`; and,
where there is unlabelled text, rounds in which the best way so far is gone again with texts that the teacher itself is
sure of (`train.self_training`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pocketlm.data.splits import normal_text
from pocketlm.errors import RecipeError
from pocketlm.job import FEW_SHOT
from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import Example, Output, texts_of
from pocketlm.progress import Deadline
from pocketlm.runtime.unsure import single_output
from pocketlm.tasks.confidence import fit_temperature, shares
from pocketlm.train.contrastive import Contrast, contrastive_start
from pocketlm.train.heads import FEW_ROWS, fit_head
from pocketlm.train.lesson import lesson
from pocketlm.train.loop import train
from pocketlm.train.losses import Objective
from pocketlm.train.self_training import joining
from pocketlm.train.teach import DevFigure, ask, fine_tune, judge, teacher_schedule

if TYPE_CHECKING:
    from pocketlm.train.teacher import Classroom

PLAIN, (FROZEN, CONTRASTIVE, SELF_TRAINING) = "fine-tuning", FEW_SHOT
WAYS = (FROZEN, PLAIN, CONTRASTIVE, SELF_TRAINING)
# Rows of all classes together, up to which the encoder is also tried as it is.
FROZEN_ROWS = 2_500
# Fewer dev rows cannot tell which epoch or which way is best where ways differ by some points: unless rows are so few
# that ways differ by far more, the encoder then stays as it is, and its regression chooses by rows of its own.
DECISIVE_ROWS = 200
# Strengths of the regression on its vectors, as C of scikit-learn.
STRENGTHS = (1.0, 4.0, 16.0, 64.0)
# The least share of a sure answer in each round of self-training.
ROUNDS = (0.9, 0.8)
# Texts asked about in a round, and texts that fine-tuning sees in all when sure ones have joined.
MOST_ASKED, TEXTS_SEEN = 5_000, 6_000
FEWEST_EPOCHS = 3
CONTRAST = Contrast()


def ways_for(
    asked: str, examples: Sequence[Example], outputs: Sequence[Output], unlabelled: int, dev: int
) -> tuple[str, ...]:
    """The ways that `asked` ("auto", "none" or names) comes to for these rows; () is plain fine-tuning alone.

    unlabelled, dev: how many there are. Raises RecipeError where a way that was named cannot be gone.
    """
    if asked == "none":
        return ()
    kinds = {output.kind for output in outputs}
    reasons = {}
    if "single" not in kinds or not kinds <= {"single", "tags"}:
        reasons = dict.fromkeys(FEW_SHOT, "is for texts with one label each")
    elif kinds != {"single"}:
        reasons |= dict.fromkeys((FROZEN, SELF_TRAINING), "is for labels of whole texts, not of words")
    if not unlabelled:
        reasons.setdefault(SELF_TRAINING, "needs --unlabelled, a file with more text")
    if asked == "auto":
        few = len(examples) <= FEW_ROWS * sum(len(output.labels) for output in outputs if output.kind == "single")
        fit = {FROZEN: len(examples) <= FROZEN_ROWS, CONTRASTIVE: few, SELF_TRAINING: few}
        found = tuple(way for way in FEW_SHOT if fit[way] and way not in reasons)
        return found if found == (FROZEN,) and dev < DECISIVE_ROWS else _beside_plain(found)
    named = [way.strip() for way in asked.split(",")]
    for way in named:
        if way in reasons:
            raise RecipeError(f"few-shot: {way} {reasons[way]}")
    return _beside_plain(named)


def _beside_plain(ways: Sequence[str]) -> tuple[str, ...]:
    """These ways and plain fine-tuning in the order they are tried, or () where there are none."""
    return tuple(way for way in WAYS if way == PLAIN or way in ways) if ways else ()


@dataclass
class _Best:
    """The best way so far: its figure on dev and its weights."""

    way: str
    figure: float
    weights: dict[str, Tensor]


def school(room: Classroom, model: TaskModel, folder: Path, deadline: Deadline) -> list[str]:
    """Train the model in place by the room's ways, leave it as it was best on dev, and say what was found.

    Checkpoints are written into `folder`.
    """
    if not room.ways:
        return [_fine_tuned(room, model, room.train, folder / "training.checkpoint", deadline)]
    start, metric = _copy(model), room.task.main_metric
    told: dict[str, Callable[[Sequence[Example], Path | None], str]] = {
        FROZEN: lambda rows, path: _as_it_is(room, model, rows),
        PLAIN: lambda rows, path: _fine_tuned(room, model, rows, path, deadline.share(0.5)),
        CONTRASTIVE: lambda rows, path: _contrastive(room, model, rows, path, deadline),
    }
    notes, best = [], None
    for way in (FROZEN, PLAIN, CONTRASTIVE):
        if way not in room.ways or (best is not None and deadline.passed):
            continue
        room.progress.stage(f"teaching by {way}")
        model.module.load_state_dict(start)
        said = told[way](room.train, folder / "training.checkpoint" if way == PLAIN else None)
        figure = judge(model, room.dev, room.task)[metric]
        notes.append(f"{said}: {metric} {figure:.4f} on dev")
        if best is None or figure > best.figure:
            best = _Best(way, figure, _copy(model))
    assert best is not None
    model.module.load_state_dict(best.weights)
    if SELF_TRAINING in room.ways:
        notes += _rounds(room, model, start, best, told[best.way], deadline)
    model.module.load_state_dict(best.weights)
    model.module.eval()
    return [*notes, f"best on dev, and kept: {best.way}"]


def _rounds(
    room: Classroom, model: TaskModel, start: dict[str, Tensor], best: _Best,
    again: Callable[[Sequence[Example], Path | None], str], deadline: Deadline,
) -> list[str]:  # fmt: skip
    """Rounds of self-training, as long as each is better on dev than what it came from."""
    known = {normal_text(one.text) for one in (*room.train, *room.dev)}
    texts = [text for text in dict.fromkeys(room.unlabelled) if normal_text(text) not in known]
    texts = texts[:: max(1, -(-len(texts) // MOST_ASKED))]
    output, metric, notes = single_output(room.outputs), room.task.main_metric, []
    assert output is not None, "self-training is for texts with one label each"
    for number, base in enumerate(ROUNDS, 1):
        if deadline.passed or not texts:
            break
        room.progress.stage(f"self-training, round {number}: asking about {len(texts):,} texts")
        logits = np.stack(list(ask(model, texts, progress=room.progress).logits[output.name]))
        temperature = dev_temperature(model, room.dev, output)
        joined = joining(texts, shares(logits, temperature), output.labels, base)
        if not joined.examples:
            notes.append(f"self-training, round {number}: no text is sure enough")
            break
        model.module.load_state_dict(start)
        again([*room.train, *joined.examples], None)
        figure = judge(model, room.dev, room.task)[metric]
        kept = figure > best.figure
        notes.append(
            f"self-training, round {number}: {joined}, at temperature {temperature:.2f}: {metric} {figure:.4f} on dev "
            f"({figure - best.figure:+.4f}), {'kept' if kept else 'left out'}"
        )
        if not kept:
            break
        best.way = f"{best.way.partition(' with ')[0]} with {len(joined.examples)} rows of self-training"
        best.figure, best.weights = figure, _copy(model)
    return notes


def dev_temperature(model: TaskModel, dev: Sequence[Example], output: Output) -> float:
    """The temperature that fits the model's answers on dev."""
    logits = np.stack(list(ask(model, texts_of(dev, model.spec.outputs)).logits[output.name]))
    return fit_temperature(logits, np.array(lesson(dev, model.spec.outputs).labels[output.name], np.int64))


def _fine_tuned(
    room: Classroom, model: TaskModel, rows: Sequence[Example], checkpoint: Path | None, deadline: Deadline
) -> str:
    """Fine-tune on the rows, for fewer epochs where texts have joined that are no rows of the job."""
    given: dict[str, Any] = {
        "seed": room.seed, "checkpoint": checkpoint, "progress": room.progress, "deadline": deadline,
    }  # fmt: skip
    if len(rows) == len(room.train) and checkpoint is not None and room.helpers is not None and room.together > 1:
        room.progress.stage(f"fine-tuning on {room.together} processes")
        history = room.helpers.fine_tune(
            model, rows, room.dev, room.task, room.seed, room.mixup, deadline, checkpoint.parent
        )
    elif len(rows) == len(room.train):
        history = fine_tune(model, rows, room.dev, room.task, mixup=room.mixup, **given)
    else:
        plain = teacher_schedule(len(rows), room.outputs)
        schedule = replace(plain, epochs=max(FEWEST_EPOCHS, min(plain.epochs, TEXTS_SEEN // len(rows))))
        figure = DevFigure(room.task, room.dev)
        history = train(model, lesson(rows, room.outputs), Objective(mixup=room.mixup), schedule, figure, **given)
    return f"fine-tuned for {len(history.figures)} epochs, best after {history.best_epoch + 1}; {history.ended}"


def _as_it_is(room: Classroom, model: TaskModel, rows: Sequence[Example]) -> str:
    strength = fit_head(model, rows, STRENGTHS, seed=room.seed)
    return f"frozen: a regression of strength {strength:g} on the encoder's vectors as they are"


def _contrastive(
    room: Classroom, model: TaskModel, rows: Sequence[Example], checkpoint: Path | None, deadline: Deadline
) -> str:
    """Tune by contrast and fit the head; where words are tagged too, that is learnt from there by fine-tuning."""
    said = contrastive_start(model, rows, CONTRAST, seed=room.seed, progress=room.progress, deadline=deadline)
    if all(output.kind == "single" for output in room.outputs):
        return said
    return f"{said}, then {_fine_tuned(room, model, rows, checkpoint, deadline)}"


def _copy(model: TaskModel) -> dict[str, Tensor]:
    with torch.no_grad():
        return {name: weight.clone() for name, weight in model.module.state_dict().items()}
