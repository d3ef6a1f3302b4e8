from dataclasses import replace

import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.depth import DropLayers
from pocketlm.compress.explain import Blame, Explanation, explain, explained
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.model.pretrained import load_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe

CONTEXT = Context(fast=False)


def test_the_layer_that_was_ruined_is_named(family, calibrated):
    dense = family("llama")
    bad = "model.layers.1.mlp.down_proj"
    made = RoundToNearest(bits={"*": 8, bad: 2})(dense.copy(), Context())
    before = {name: one.clone() for name, one in made.module.state_dict().items()}
    found = explain(dense, made, calibrated(dense), CONTEXT)
    assert found.layers[0].layer == bad and found.worst()[0].layer == bad
    assert found.layers[0].share > 0.8
    assert found.layers[0].regained == pytest.approx(found.rise, rel=0.3)
    assert found.layers[0].bytes_more > 0
    assert bad in found.text and "at 8 bits costs +" in found.text
    assert all(torch.equal(one, before[name]) for name, one in made.module.state_dict().items())


def test_a_tied_matrix_is_put_back_everywhere(family, calibrated):
    dense = family("llama")
    made = RoundToNearest(bits=2, layers=("embeddings",))(dense.copy(), Context())
    found = explain(dense, made, calibrated(dense), CONTEXT, put_back=1)
    assert found.layers[0].layer == "model.embed_tokens"
    assert found.layers[0].regained == pytest.approx(found.rise, rel=1e-3)
    assert made.module.lm_head.stored is made.module.model.embed_tokens.stored


def test_layers_keep_their_blame_after_blocks_are_dropped(teacher_folder, tmp_path, calibrated):
    from families import make_family
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(teacher_folder)
    dense = load_model(make_family("llama", tmp_path / "deep", tokenizer, num_hidden_layers=4))
    short = DropLayers(stack="model.layers", blocks=(1,))(dense.copy(), Context())
    made = RoundToNearest(bits={"*": 8, "model.layers.1.mlp.up_proj": 2})(short, Context())
    found = explain(dense, made, calibrated(dense), CONTEXT, put_back=1)
    assert found.layers[0].layer == "model.layers.2.mlp.up_proj"
    assert len(found.gone) == 7 and "7 layers were removed" in found.text


def test_a_collapse_leaves_a_note_in_the_record_and_a_small_loss_none(family, calibrated):
    dense = family("llama")
    made = compress(dense, Recipe([RoundToNearest(bits=2)]))
    noted = explained(dense, made, calibrated(dense), CONTEXT, limit=0.0)
    assert "make up" in noted.records[-1]["notes"][-1] and noted.records[-1]["collapse"]["rise"] > 0
    assert explained(dense, made, calibrated(dense), CONTEXT, limit=100.0).records == made.records
    assert explained(dense, replace(made, records=()), calibrated(dense), CONTEXT, limit=0.0).records == ()


def test_the_fewest_layers_are_named():
    layers = tuple(Blame(f"l{place}", share, share) for place, share in enumerate((0.5, 0.31, 0.1, 0.09)))
    found = Explanation(2.0, layers, ())
    assert [one.layer for one in found.worst()] == ["l0", "l1"]
    assert found.text.startswith("the loss rises by 2 nats a token on calibration; 2 of 4 layers make up 81%")
