"""Every pass in the table on a whole small model: what all passes owe, whatever they do.

A pass that is missing from SETTINGS fails the suite: give it small settings, and a model in MODELS where a decoder of
plain blocks is not what it is for.
"""

import json

import pytest
import torch
from families import outputs

from pocketlm.compress.context import Context
from pocketlm.compress.journal import broken
from pocketlm.compress.passes import PASSES
from pocketlm.errors import RecipeError
from pocketlm.model.pretrained import encode_module, load_model, save_model
from pocketlm.recipe import compress as runner
from pocketlm.recipe.compress import ORDER, compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json

HEAL = {"steps": 4, "batch": 4, "rate": 1e-3, "hidden": 1.0, "held_out": 0.25}
SETTINGS = {
    "alps": {"sparsity": 0.5, "steps": 5, "refits": 2},
    "awq": {"bits": 4, "group_size": 16, "steps": 2},
    "codebook": {"bits": 3},
    "distill": HEAL,
    "drop-experts": {"share": 0.25},
    "drop-layers": {"count": 1, "protect": 0, "sequences": 2},
    "entropy-coded": {"bits": 3.0, "gradients": 1},
    "expert-bits": {"average": 3.0, "group_size": 16},
    "factor-embeddings": {"share": 0.3},
    "ggml-quantize": {"type": {"*": "Q4_0", "*.1.*": "Q5_1"}, "refine": 1},
    "gptq": {"bits": 4, "group_size": 16},
    "gradual-prune": {"prune": {"pass": "prune"}, "heal": {"pass": "distill", **HEAL}, "steps": 2},
    "hqq": {"bits": 4, "group_size": 16, "iterations": 3},
    "int8": {},
    "learned-rounding": {"bits": 4, "group_size": 16, "steps": 2, "sequences": 2},
    "low-rank": {"share": 0.3},
    "low-rank-correction": {"rank": 4},
    "merge-experts": {"share": 0.25, "sample": 32},
    "prune": {"sparsity": 0.5},
    "prune-ffn": {"share": 0.25, "sequences": 4},
    "prune-heads": {"share": 0.5, "sequences": 4},
    "prune-structure": {"share": 0.2, "rounds": 1, "sequences": 4},
    "prune-vocabulary": {},
    "prune-width": {"share": 0.25, "sequences": 4},
    "qat": {"bits": 4, **HEAL},
    "round-to-nearest": {"bits": 4, "group_size": 16},
    "smooth": {},
    "sparsegpt": {"sparsity": 0.5},
    "transfer-vocabulary": {"pieces": 90, "steps": 2, "batch": 2, "length": 16, "held_out": 0.25},
    "trim-vocabulary": {},
}
MODELS = {
    **dict.fromkeys(("drop-experts", "merge-experts", "expert-bits"), ("mixtral",)),
    "prune-vocabulary": ("bert",),  # its embedding shares its matrix with nothing
}
# What has to run before.
BEFORE = {
    "distill": [{"pass": "prune", "criterion": "magnitude", "sparsity": 0.6}],
    "low-rank-correction": [{"pass": "round-to-nearest", "bits": 2, "group_size": 16}],
}
# Its bits are a mean that no single layer is held to.
NO_PROMISE = {"entropy-coded"}
CASES = [(name, model) for name in SETTINGS for model in MODELS.get(name, ("llama", "bert"))]
KINDS = {"quantize", "prune", "structure", "low-rank", "heal", "other"}


def step_of(name):
    return pass_from_json({"pass": name, **SETTINGS[name]}, PASSES)


def coded(model):
    return {name: (json.dumps(one.header), one.data.tobytes()) for name, one in encode_module(model).items()}


@pytest.fixture(scope="module")
def ran(family, calibrated):
    """ran("gptq", "llama"): the model, its weights before, what it became in two runs, and what was promised."""
    done = {}

    def run(name, kind):
        if (name, kind) not in done:
            model = family(kind)
            before = {key: value.clone() for key, value in model.module.state_dict().items()}
            recipe = Recipe([*(pass_from_json(one, PASSES) for one in BEFORE.get(name, [])), step_of(name)])
            promises, check = [], runner.broken
            runner.broken = lambda made, given: promises.extend(given) or check(made, given)
            try:
                made = [
                    compress(model, recipe, Context(calibrated(model, windows=4, length=12), fast=False))
                    for _ in range(2)
                ]
            finally:
                runner.broken = check
            done[name, kind] = model, before, made, promises
        return done[name, kind]

    return run


def test_every_pass_is_in_this_suite():
    assert set(PASSES) == set(SETTINGS)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_input_is_untouched_and_the_result_the_same_twice_and_finite(ran, name, kind):
    model, before, (first, second), _ = ran(name, kind)
    for key, value in model.module.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert not model.records
    assert coded(first) == coded(second)
    assert torch.isfinite(outputs(first)).all()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_layer_is_in_the_record_with_a_reason_where_it_was_left(ran, name, kind):
    made = ran(name, kind)[2][0]
    record = json.loads(json.dumps(made.records[-1]))
    assert record["pass"] == name
    assert pass_from_json({"pass": name, **record["settings"]}, PASSES) == step_of(name)
    assert record["size_bytes"][1] == made.size_bytes and record["parameters"][1] == made.parameters
    names = {one["name"].partition("/")[0] for one in record["layers"]}
    for layer in made.layers:
        assert layer.name in names, layer.name
    for one in record["layers"]:
        assert (one["done"] == "left") == ("why" in one), one


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_promises_hold_in_what_is_loaded_again(ran, name, kind, tmp_path):
    made, promises = ran(name, kind)[2][0], ran(name, kind)[3]
    save_model(made, tmp_path / "kept")
    again = load_model(tmp_path / "kept")
    assert torch.equal(outputs(made), outputs(again))
    assert promises or PASSES[name].kind not in ("prune", "low-rank", "quantize") or name in NO_PROMISE
    assert PASSES[name].kind != "structure" or again.parameters < ran(name, kind)[0].parameters
    assert not broken(again, promises)


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_round_trip_and_unknown_ones_name_the_nearest(name):
    step = step_of(name)
    assert step.name == name and step.kind in KINDS
    assert pass_from_json(json.loads(json.dumps(pass_to_json(step))), PASSES) == step
    for setting in list(pass_to_json(step))[1:]:
        with pytest.raises(RecipeError, match=f"'{setting}x'.*Did you mean '{setting}'"):
            pass_from_json({"pass": name, f"{setting}x": 1}, PASSES)


def test_order_rules_name_kinds_that_passes_have():
    assert {PASSES[name].kind for name in PASSES} <= KINDS
    assert {kind for first, second, _ in ORDER for kind in (first, second)} <= KINDS
