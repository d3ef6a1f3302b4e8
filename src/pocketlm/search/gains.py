"""What augmentation methods gain on held-out rows, each by itself, by the cheapest student.

Hashed n-grams learn from a part of the training rows with and without a method's new rows, and say the labels of the
rest: every row is held out once a seed, whatever comes from it with it. Both train for as many steps. The gain's
interval is a paired bootstrap over rows and over seeds at once (Efron and Tibshirani 1993; Bouthillier et al. 2021,
arXiv:2103.03098, on why seeds count).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from pocketlm.augment.apply import augmented
from pocketlm.augment.method import Material, Method, Neighbours
from pocketlm.augment.mixup import alpha_of
from pocketlm.augment.sift import Sieve
from pocketlm.data.splits import normal_text
from pocketlm.errors import DataError
from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import Example, Output, texts_of
from pocketlm.progress import Progress
from pocketlm.runtime.decode import Prediction
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.tasks.scores import Figure
from pocketlm.tasks.table import Task
from pocketlm.train.context import FitContext
from pocketlm.train.lesson import lesson
from pocketlm.train.loop import Schedule, train
from pocketlm.train.losses import Objective
from pocketlm.train.teach import answers

# Every n-gram counts, however rare: where some were left out for being in few texts, mere copies of rows would bring
# them back, and any method would seem to gain.
STUDENT = HashedNgrams(rows=60_000, min_texts=1)
# Texts that the student sees in all, within so many epochs of the rows without new ones.
TEXTS_SEEN, FEWEST_EPOCHS, MOST_EPOCHS = 60_000, 5, 60
RATE = 5e-3
RESAMPLES = 300

Said = dict[str, list[list[Prediction]]]


@dataclass(frozen=True)
class Trials:
    """How gains are measured. copies: times that a method goes over the rows. confidence: as `Sieve` has it.

    near: words of like meaning; None for words used alike in the rows learnt from.
    """

    task: Task
    outputs: tuple[Output, ...]
    language: str = ""
    near: Neighbours | None = None
    copies: int = 2
    confidence: float = 0.5
    seeds: int = 3
    folds: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seeds < 1 or self.folds < 2 or self.copies < 1:
            raise ValueError("seeds and copies are at least 1, folds at least 2")


@dataclass(frozen=True)
class Gain:
    """What a method came to. with_it: the metric on held-out rows. gain: over nothing, with its 95 % interval.

    new_rows: for each row learnt from, after the sieve. dropped: new rows by reason, over all trials.
    """

    method: str
    with_it: float
    gain: Figure
    new_rows: float
    dropped: dict[str, int]

    @property
    def helps(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.gain.low > 0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "helps": self.helps}


@dataclass
class _Tally:
    """What is gathered of a method over all trials."""

    new: int = 0
    learnt: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


def gains(
    methods: Sequence[Method], examples: Sequence[Example], trials: Trials, progress: Progress
) -> tuple[float, list[Gain]]:
    """The metric without any method, and what each of them gains. Raises DataError for too few rows."""
    refuse(trials.outputs)
    if len(examples) < 2 * trials.folds:
        raise DataError(f"{len(examples)} training rows are too few to hold {trials.folds} parts of them out in turn")
    said: Said = {name: [] for name in ("", *(method.name for method in methods))}
    tallies = {method.name: _Tally() for method in methods}
    total = trials.seeds * trials.folds * len(said)
    done = count(1)
    for seed in range(trials.seed, trials.seed + trials.seeds):
        fold_of = folds(examples, trials.folds, seed)
        for own in said.values():
            own.append([{}] * len(examples))
        for fold in range(trials.folds):
            learnt = [one for one, place in zip(examples, fold_of, strict=True) if place != fold]
            held = [place for place, own in enumerate(fold_of) if own == fold]
            for name, predicted in _trial(methods, learnt, [examples[place] for place in held], trials, seed, tallies):
                progress.step(next(done), total, name)
                for place, one in zip(held, predicted, strict=True):
                    said[name][-1][place] = one
    return _judged(examples, said, tallies, trials)


def refuse(outputs: Sequence[Output]) -> None:
    """Raise DataError where n-grams cannot say what the task asks for."""
    kinds = {output.kind for output in outputs}
    if not kinds <= {"single", "multi", "tags"}:
        raise DataError(
            "gains are measured where texts or words have labels; for other data name the methods that are wanted"
        )


def folds(examples: Sequence[Example], parts: int, seed: int) -> list[int]:
    """Which part each row is held out with: labels spread over the parts, equal texts kept together."""
    keys = [normal_text(example.text) for example in examples]
    first = {key: example.labels for key, example in zip(reversed(keys), reversed(examples), strict=True)}
    order = sorted(first, key=lambda key: (first[key], hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()))
    part = {key: place % parts for place, key in enumerate(order)}
    return [part[key] for key in keys]


def _trial(
    methods: Sequence[Method], learnt: Sequence[Example], held: Sequence[Example], trials: Trials, seed: int,
    tallies: dict[str, _Tally],
) -> Any:  # fmt: skip
    """(method's name, what the student says of the held-out rows), the one without new rows first."""
    texts = texts_of(held, trials.outputs)
    plain = trained_student(trials.task, trials.outputs, learnt, seed)
    yield "", answers(plain, texts)
    material = Material(tuple(learnt), trials.language, trials.near)
    sieve = Sieve(held, partial(answers, plain), trials.outputs, trials.confidence)
    for method in methods:
        blended = alpha_of([method])
        new, dropped = sieve(augmented([method], material, seed=seed, copies=trials.copies), learnt)
        tally = tallies[method.name]
        tally.new, tally.learnt = tally.new + len(new), tally.learnt + len(learnt)
        tally.dropped.update(dropped)
        more = [*learnt, *(row.example for row in new)]
        made = trained_student(trials.task, trials.outputs, more, seed, len(learnt), blended)
        yield method.name, answers(made, texts)


def trained_student(
    task: Task, outputs: tuple[Output, ...], examples: Sequence[Example], seed: int, rows: int | None = None,
    mixup: float = 0.0,
) -> TaskModel:  # fmt: skip
    """The cheap student after its last epoch; no held-out row chooses one.

    rows: as if there were so many, for the number of steps. mixup: as `Objective` has it.
    """
    context = FitContext(task, outputs, lesson(examples, outputs), [], max_length=64, seed=seed)
    model = STUDENT(None, context)
    rows = rows or len(examples)
    seen = rows * max(FEWEST_EPOCHS, min(MOST_EPOCHS, TEXTS_SEEN // rows))
    epochs = max(2, round(seen / len(examples)))
    batch = 32 if rows < 2_000 else 128
    later = count()
    train(
        model, context.lesson, Objective(mixup=mixup), Schedule(epochs, RATE, batch, warmup=0.05, second_moment=0.99),
        lambda _: float(next(later)), seed=seed,
    )  # fmt: skip
    return model


def _judged(
    examples: Sequence[Example], said: Said, tallies: dict[str, _Tally], trials: Trials
) -> tuple[float, list[Gain]]:
    """The figure without any method, and each one's with the gain's interval."""
    every = np.arange(len(examples))
    seeds = list(range(trials.seeds))
    exact = {name: _figure(examples, said[name], every, seeds, trials) for name in said}
    random = np.random.default_rng(trials.seed)
    drawn: dict[str, list[float]] = {name: [] for name in tallies}
    for _ in range(RESAMPLES):
        rows, own = random.integers(len(every), size=len(every)), random.integers(len(seeds), size=len(seeds)).tolist()
        plain = _figure(examples, said[""], rows, own, trials)
        for name, values in drawn.items():
            values.append(_figure(examples, said[name], rows, own, trials) - plain)
    found = []
    for name, tally in tallies.items():
        low, high = np.quantile(drawn[name], [0.025, 0.975])
        gain = Figure(round(exact[name] - exact[""], 6), round(float(low), 6), round(float(high), 6))
        share = round(tally.new / max(1, tally.learnt), 3)
        found.append(Gain(name, round(exact[name], 6), gain, share, dict(tally.dropped)))
    return round(exact[""], 6), found


def _figure(
    examples: Sequence[Example], said: Sequence[Sequence[Prediction]], rows: np.ndarray, seeds: Sequence[int],
    trials: Trials,
) -> float:  # fmt: skip
    """The task's main metric on the rows, the mean over the seeds, each as often as it occurs."""
    own = [examples[place] for place in rows]
    times = Counter(seeds)
    figures = {
        seed: trials.task.figures(own, [said[seed][place] for place in rows], trials.outputs)[trials.task.main_metric]
        for seed in times
    }
    return sum(figures[seed] * often for seed, often in times.items()) / len(seeds)
