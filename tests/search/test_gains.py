"""Held-out gains: parts that share no text, a method that must help, one that cannot, and what cannot be measured."""

from collections import Counter
from dataclasses import replace

import pytest

from pocketlm.augment.method import Made
from pocketlm.augment.mixup import Mixup
from pocketlm.augment.noise import Noise
from pocketlm.errors import DataError
from pocketlm.outputs import Example, Output
from pocketlm.progress import Silent
from pocketlm.search import gains as module
from pocketlm.search.gains import Trials, folds, gains
from pocketlm.tasks.table import TASKS
from pocketlm.train.context import FitContext
from pocketlm.train.lesson import lesson

EXAMPLES = [Example(f"word{place} {'red' if place % 2 else 'blue'}", ("ab"[place % 2],)) for place in range(24)]
TASK = TASKS["classification"]


def trials(**settings):
    return Trials(TASK, TASK.outputs(EXAMPLES), **{"seeds": 2, "folds": 2, **settings})


def test_folds_spread_labels_and_keep_equal_texts_together():
    rows = [*EXAMPLES, *(Example(one.text.upper(), one.labels) for one in EXAMPLES)]
    parts = folds(rows, 3, seed=0)
    assert parts == folds(rows, 3, seed=0) != folds(rows, 3, seed=1)
    assert parts[:24] == parts[24:]
    counts = Counter(zip(parts, (one.labels for one in rows), strict=True))
    assert set(counts.values()) == {8}


def test_the_same_trials_give_the_same_gains(quick_gains):
    first = gains([Noise()], EXAMPLES, trials(), Silent())
    assert first == gains([Noise()], EXAMPLES, trials(), Silent())
    without, (found,) = first
    assert found.with_it == pytest.approx(without + found.gain.value, abs=2e-6)
    assert found.gain.low <= found.gain.value <= found.gain.high
    assert found.helps is (found.gain.low > 0)
    assert 0 < found.new_rows <= 2


def test_new_rows_that_change_nothing_gain_nothing(quick_gains, monkeypatch):
    """Where no new row is kept, both students are the same one."""
    monkeypatch.setattr(Noise, "__call__", lambda self, example, random, material: [])
    without, (found,) = gains([Noise()], EXAMPLES, trials(), Silent())
    assert (found.gain.value, found.gain.low, found.gain.high) == (0, 0, 0)
    assert not found.helps and found.with_it == without


def test_rows_said_again_bring_the_student_no_new_feature():
    """Else a method would gain by copying alone."""
    outputs = TASK.outputs(EXAMPLES)
    context = FitContext(TASK, outputs, lesson(EXAMPLES, outputs), [], 64)
    again = replace(context, lesson=lesson(EXAMPLES * 3, outputs))
    once, thrice = (module.STUDENT(None, one).module.table.shape for one in (context, again))
    assert once == thrice


def test_held_out_texts_never_come_back_as_training_rows(quick_gains, monkeypatch):
    learnt = []
    real = module.trained_student

    def spy(task, outputs, examples, *rest):
        learnt.append({one.text for one in examples})
        return real(task, outputs, examples, *rest)

    class Leaking(Noise):
        def __call__(self, example, random, material):
            return [Made(Example(one.text, example.labels), "leaked") for one in EXAMPLES]

    monkeypatch.setattr(module, "trained_student", spy)
    _, (found,) = gains([Leaking()], EXAMPLES, trials(seeds=1), Silent())
    assert all(len(texts) == 12 for texts in learnt)
    assert found.dropped == {"in dev or test": 2 * 2 * 12 * 12, "not new": 2 * 2 * 12 * 12}


@pytest.mark.parametrize(
    ("kind", "said"), [("span", "name the methods"), ("vector", "name the methods"), ("text", "name the methods")]
)
def test_what_n_grams_cannot_say_is_not_measured(kind, said):
    with pytest.raises(DataError, match=said):
        gains([Noise()], EXAMPLES, Trials(TASK, (Output("x", kind, ()),)), Silent())


def test_too_few_rows_are_refused():
    with pytest.raises(DataError, match="3 training rows are too few"):
        gains([Noise()], EXAMPLES[:3], trials(), Silent())
    with pytest.raises(ValueError, match="folds at least 2"):
        trials(folds=1)


def test_what_mixup_gains_is_measured_without_rows(quick_gains):
    without, (found,) = gains([Mixup()], EXAMPLES, trials(), Silent())
    assert found.new_rows == 0 and found.method == "mixup"
    assert found.with_it == pytest.approx(without + found.gain.value, abs=2e-6)
