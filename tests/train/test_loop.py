"""Training learns, repeats itself, and resumes as if it had not stopped."""

from dataclasses import replace

import pytest
import torch
from helpers import make_context

from pocketlm.progress import Deadline
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.transformer import SmallTransformer
from pocketlm.train.loop import Course, Paused, Schedule, _Run, gains_from_bf16, train
from pocketlm.train.losses import Objective

SCHEDULE = Schedule(epochs=4, rate=5e-3, batch_size=16, patience=9)


@pytest.fixture(scope="module")
def context(jsonl_file, tmp_path_factory):
    return make_context(jsonl_file, None, tmp_path_factory.mktemp("work"))


def fresh(context):
    return HashedNgrams(buckets=2**12, width=16, min_texts=1)(None, context)


def run(model, context, **options):
    return train(model, context.lesson, Objective(), options.pop("schedule", SCHEDULE), context.figure, **options)


def state(model):
    return {name: weight.clone() for name, weight in model.module.state_dict().items()}


def assert_same(left, right):
    for name, weight in left.items():
        assert torch.equal(weight, right[name]), name


@pytest.mark.parametrize(("has", "gains"), [({"amx_bf16": True}, True), ({"avx512_bf16": True}, False), ({}, False)])
def test_bfloat16_is_for_processors_with_tiles_of_it(has, gains, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    assert gains_from_bf16() == gains


def test_it_learns(context):
    model = fresh(context)
    before = context.figure(model)
    history = run(model, context, schedule=replace(SCHEDULE, epochs=15, rate=1e-2))
    assert history.best > before + 0.5
    assert context.figure(model) == history.best


@pytest.mark.parametrize("student", [None, SmallTransformer(depth=1, width=16, heads=2, ffn=16, rank=8)])
def test_a_resumed_run_ends_with_the_same_weights(context, tmp_path, student):
    build = (lambda: student(None, context)) if student else (lambda: fresh(context))
    whole = build()
    run(whole, context, seed=3)

    class Stop(Exception):
        pass

    calls = []

    def stopping(model):
        calls.append(1)
        if len(calls) == 3:
            raise Stop
        return context.figure(model)

    checkpoint = tmp_path / "c.checkpoint"
    with pytest.raises(Stop):
        train(
            build(),
            context.lesson,
            Objective(),
            SCHEDULE,
            stopping,
            seed=3,
            checkpoint=checkpoint,
            checkpoint_seconds=0,
        )
    resumed = build()
    history = run(resumed, context, seed=3, checkpoint=checkpoint)
    assert len(history.figures) == SCHEDULE.epochs
    assert_same(state(whole), state(resumed))


def test_a_resumed_run_is_looked_at_where_it_would_have_been(context, tmp_path):
    kept = {"checkpoint": tmp_path / "c.checkpoint", "checkpoint_seconds": 0}
    history = run(fresh(context), context, **kept)  # as far as any kill may come
    asked = []

    def pace(epoch, epochs, best):
        asked.append((epoch, epochs, best))
        return epoch < 2

    with pytest.raises(Paused) as left:
        run(fresh(context), context, pace=pace, **kept)
    assert asked == [(1, 4, history.figures[0]), (2, 4, max(history.figures[:2]))]
    assert left.value.figure == max(history.figures[:2])


def test_the_best_epoch_is_kept(context):
    figures = iter([0.1, 0.9, 0.2, 0.3])
    kept = []
    model = fresh(context)

    def evaluate(one):
        kept.append(state(one))
        return next(figures)

    history = train(model, context.lesson, Objective(), SCHEDULE, evaluate)
    assert history.best_epoch == 1
    assert_same(kept[1], state(model))


def test_patience_ends_training(context):
    history = run(fresh(context), context, schedule=replace(SCHEDULE, epochs=30, rate=1e-9, patience=2))
    assert len(history.figures) <= 4
    assert "no better" in history.ended


def test_a_deadline_ends_training(context):
    history = run(fresh(context), context, deadline=Deadline.after(0))
    assert len(history.figures) == 1
    assert history.ended == "time was up"


def test_what_a_deadline_cut_short_is_not_a_place_to_go_on_from(context, tmp_path):
    checkpoint = tmp_path / "c.checkpoint"
    run(fresh(context), context, deadline=Deadline.after(0), checkpoint=checkpoint, checkpoint_seconds=0)
    assert not checkpoint.exists()


def test_a_run_that_had_lost_patience_does_not_go_on_when_resumed(context, tmp_path):
    checkpoint, schedule = tmp_path / "c.checkpoint", replace(SCHEDULE, epochs=9, patience=2)
    figures = iter([0.5, 0.4, 0.3, 0.9, 0.9])
    kept = {"checkpoint": checkpoint, "checkpoint_seconds": 0}
    seen = [
        train(fresh(context), context.lesson, Objective(), schedule, lambda one: next(figures), **kept).figures
        for _ in range(2)
    ]
    assert seen == [[0.5, 0.4, 0.3]] * 2


def test_time_spent_before_a_break_counts(context, tmp_path):
    module = fresh(context).module
    course = Course(module, 1, lambda epoch: [], lambda batch: torch.zeros(()), lambda: 0.0)
    schedule = replace(SCHEDULE, to_deadline=True)
    _Run(course, schedule, Deadline.after(100.0)).save(tmp_path / "checkpoint")
    run = _Run(course, schedule, Deadline.after(1e6))
    run.load(tmp_path / "checkpoint")
    assert 0 < run.deadline.left <= 100 and run.given <= 100
    other = _Run(course, schedule, Deadline.after(1e6))
    other.load(tmp_path / "checkpoint", spent_counts=False)
    assert other.deadline.left > 100
    without = _Run(course, schedule, Deadline.after(50.0))
    without.load(tmp_path / "checkpoint")
    assert without.deadline.left <= 50
