import pytest
from families import deep  # noqa: F401

from pocketlm.compress.context import Context
from pocketlm.compress.depth import DropLayers
from pocketlm.errors import RecipeError
from pocketlm.progress import Deadline
from pocketlm.recipe import shrink
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.recipe.shrink import best_cut, healed
from pocketlm.train.likelihood import foresee


@pytest.fixture
def judge(understanding_rows):
    text = "\n".join(row["text"] for row in understanding_rows[:20])

    def nats(model):
        return sum(one["nats"] for one in foresee(model, [text], 32)[0]["windows"])

    return nats


def ways():
    return [Recipe([DropLayers(blocks=(place,))], f"without {place}") for place in (1, 2)]


def test_the_cut_that_loses_least_is_taken_and_the_others_are_told(deep, calibrated, judge):  # noqa: F811
    model = deep()
    found = best_cut(model, ways(), judge, Context(calibrated(model)))
    losses = {way.name: judge(compress(model, way, Context(calibrated(model)))) for way in ways()}
    assert found.loss == min(losses.values()) == losses[found.recipe.name]
    assert found.others == {name: one for name, one in losses.items() if name != found.recipe.name}


def test_time_ends_the_trying_but_one_is_made(deep, calibrated, judge):  # noqa: F811
    model = deep()
    found = best_cut(model, ways(), judge, Context(calibrated(model), deadline=Deadline.after(0)))
    assert found.recipe.name == "without 1" and found.others == {"without 2": "not tried: time was up"}


def test_cuts_that_cannot_be_made_are_told(deep, calibrated, judge):  # noqa: F811
    model = deep()
    with pytest.raises(RecipeError, match="nothing could be cut.*cannot drop 4"):
        best_cut(model, [Recipe([DropLayers(4)], "none")], judge, Context(calibrated(model)))


def test_healing_lowers_the_loss_and_keeps_what_was_better(deep, calibrated, judge, monkeypatch):  # noqa: F811
    monkeypatch.setattr(shrink, "LEAST_STEPS", 12)
    monkeypatch.setattr(shrink, "ROUNDS", 2)
    teacher = deep()
    context = Context(calibrated(teacher, windows=40), teacher)
    cut = best_cut(teacher, ways()[:1], judge, context).model
    model, notes = healed(cut, judge, context)
    assert judge(model) < judge(cut)
    assert 1 <= len(notes) <= 2 and "held-out loss" in notes[0]
    worse, notes = healed(cut, lambda one: float(one is not cut), context)
    assert worse is cut and len(notes) == 1
    late, notes = healed(cut, judge, Context(calibrated(teacher), teacher, deadline=Deadline.after(0)))
    assert late is cut and notes == []
