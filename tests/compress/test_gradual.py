import pytest

from pocketlm.compress.alps import Alps
from pocketlm.compress.context import Context
from pocketlm.compress.gradual import GradualPrune, scheduled
from pocketlm.compress.journal import Journal, broken
from pocketlm.compress.passes import PASSES
from pocketlm.errors import RecipeError
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json

HEAL = {"pass": "distill", "epochs": 1}


def test_the_schedule_rises_ever_more_slowly_to_the_end():
    rates = [scheduled(0.8, step, 5) for step in range(6)]
    assert rates[0] == 0
    assert rates[-1] == 0.8
    rises = [after - before for before, after in zip(rates, rates[1:], strict=False)]
    assert rises == sorted(rises, reverse=True)
    assert scheduled({"*": 0.5}, 2, 2) == {"*": 0.5}


def test_neighbours_go_one_after_the_other():
    stages = GradualPrune(prune={"pass": "prune", "pattern": {"keep": 2, "of": 4}}, heal=HEAL, steps=4).stages()
    assert [(one.pattern["keep"], one.sparsity) for one in stages] == [(3, 0.25), (2, 0.5)]


def test_a_model_is_pruned_in_steps_and_healed(family, calibrated):
    model = family("llama")
    step = GradualPrune(prune={"pass": "prune", "sparsity": 0.6}, heal=HEAL, steps=2)
    made = compress(model, Recipe([step]), Context(fast=False, calibration=calibrated(model)))
    record = made.records[0]
    assert sum(one["done"] == "pruned" for one in record["layers"]) == 14
    assert [text.split(":")[0] for text in record["notes"] if text.startswith("step")] == ["step 1 of 2", "step 2 of 2"]
    weight = made.module.model.layers[0].mlp.up_proj.weight
    assert int((weight == 0).sum()) >= len(weight) * 19


def test_settings_survive_as_data():
    step = GradualPrune(prune={"pass": "alps", "sparsity": 0.7}, heal=HEAL, steps=3)
    assert pass_from_json(pass_to_json(step), PASSES) == step


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps is a whole number"),
        ({"heal": {"pass": "round-to-nearest"}}, "heal is a pass that heals"),
        ({"prune": {"pass": "round-to-nearest"}}, "prune is a pass with a sparsity"),
        ({"prune": {"pass": "alps", "sparsity": 2}}, "sparsity is a share"),
        ({"prune": {"pass": "alps", "sparsities": 0.5}}, "Did you mean 'sparsity'"),
    ],
)
def test_wrong_settings_are_refused_in_a_line(wrong, message):
    with pytest.raises(RecipeError, match=message):
        pass_from_json({"pass": "gradual-prune", **wrong}, PASSES)


def test_a_pass_that_fills_zeros_cannot_heal(family, calibrated, monkeypatch):
    from pocketlm.compress.distill import Distill

    def fill(self, model, context):
        model.module.model.layers[0].mlp.up_proj.stored.values.data.fill_(1.0)
        return model

    monkeypatch.setattr(Distill, "__call__", fill)
    model = family("llama")
    with pytest.raises(RecipeError, match="distill filled zeros of model.layers.0.mlp.up_proj"):
        GradualPrune(prune={"pass": "prune"}, heal=HEAL)(model, Context(fast=False, calibration=calibrated(model)))


def test_what_is_promised_is_what_the_last_step_reached(family, calibrated):
    model, journal = family("llama"), Journal()
    step = GradualPrune(prune={"pass": "alps", "pattern": {"keep": 2, "of": 4}}, heal=HEAL, steps=2)
    made = step(model, Context(fast=False, calibration=calibrated(model), teacher=model.copy(), journal=journal))
    assert not broken(made, journal.promises)
    assert {one.value for one in journal.promises if one.kind == "pattern"} == {(2, 4)}
    assert isinstance(step.stages()[-1], Alps)
