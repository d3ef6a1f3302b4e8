"""Every matrix of every family is found, in the one form passes know, in the block where it is."""

import pytest
import torch
import transformers
from families import CONFIGS, MIXTURES, outputs, seen

from pocketlm.errors import ModelError
from pocketlm.model.anatomy import SUPPORTED, is_embedding, is_linear, keep_blocks, kind_of, layers, stacks, unfuse

STACKS = {
    "bert": ["encoder.layer"],
    "bert-words": ["bert.encoder.layer"],
    "distilbert": ["distilbert.transformer.layer"],
    "gpt2": ["transformer.h"],
    "llama": ["model.layers"],
    "t5": ["encoder.block", "decoder.block"],
    "mixtral": ["model.layers"],
    "whisper": ["model.encoder.layers", "model.decoder.layers"],
    "marian": ["model.encoder.layers", "model.decoder.layers"],
}
# Linear layers in a block, by hand: attention, cross-attention, feed-forward.
COUNTS = {"bert": 6, "distilbert": 6, "roberta": 6, "gpt2": 4, "llama": 7, "mixtral": 4, "qwen3_moe": 4}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_form_passes_know_computes_what_transformers_does(name, family, family_folder):
    model = family(name)
    kind = getattr(transformers, model.spec.architecture)
    module = kind.from_pretrained(family_folder(name), dtype=torch.float32).eval()
    if name in ("t5-gated", "t5"):
        module.config = model.module.config
    with torch.no_grad():
        torch.testing.assert_close(outputs(model), module(**seen(model))[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_no_matrix_is_outside_the_layers(name, family):
    model = family(name)
    listed = {f"{one.name}.weight" for one in model.layers}
    matrices = {key for key, one in model.module.named_parameters(remove_duplicate=False) if one.dim() > 1}
    others = {key for key in matrices - listed if "conv" not in key}
    assert others == set()
    for one in model.layers:
        owner = model.module.get_submodule(one.name)
        assert is_linear(owner) or is_embedding(owner)
        assert one.shape == tuple(owner.weight.shape)
        assert one.parameters == owner.weight.numel()
        assert one.name == f"{one.block}.{one.role}".lstrip(".")


@pytest.mark.parametrize("name", STACKS)
def test_stacks_in_the_order_they_run(name, family):
    found = stacks(family(name).module)
    assert found == [[f"{stack}.{place}" for place in (0, 1)] for stack in STACKS[name]]


@pytest.mark.parametrize("name", COUNTS)
def test_linear_layers_of_a_block(name, family):
    found = [one for one in family(name).layers if one.block and one.kind == "linear"]
    assert len(found) == 2 * COUNTS[name]


def test_gpt2s_layers_are_linear_with_their_matrix_transposed(family, family_folder):
    model = family("gpt2")
    module = transformers.AutoModelForCausalLM.from_pretrained(family_folder("gpt2"), dtype=torch.float32)
    own, other = model.module.transformer.h[0].attn.c_attn, module.transformer.h[0].attn.c_attn
    assert isinstance(own, torch.nn.Linear)
    assert torch.equal(own.weight, other.weight.t())
    assert torch.equal(own.bias, other.bias)


def test_heads_are_named(family):
    heads = {
        name: [one.name for one in family(name).layers if one.kind == "head"] for name in ("llama", "bert-words", "t5")
    }
    assert heads == {"llama": ["lm_head"], "bert-words": ["cls.predictions.decoder"], "t5": ["lm_head"]}
    assert not [one for one in family("bert").layers if one.kind == "head"]


def test_unfusing_twice_changes_nothing_more(family):
    for name in ("gpt2", "whisper", *MIXTURES):
        model = family(name)
        before = [key for key, _ in model.module.named_modules()]
        unfuse(model.module)
        assert [key for key, _ in model.module.named_modules()] == before


def test_whispers_positions_are_looked_up_by_place(family):
    table = family("whisper").module.model.decoder.embed_positions
    ids = torch.zeros(2, 3, dtype=torch.long)
    assert torch.equal(table(ids, past_key_values_length=4), table.table.weight[4:7])
    assert torch.equal(table(ids, position_ids=torch.tensor([[5, 1, 0]])), table.table.weight[[5, 1, 0]][None])


def test_kept_blocks_are_numbered_anew(family):
    module = family("llama").module
    last = module.model.layers[1]
    keep_blocks(module, "model.layers", [1])
    assert list(module.model.layers) == [last]
    assert last.self_attn.layer_idx == 0
    assert len(layers(module)) == 9


def test_kinds_of_models():
    assert {kind_of(one) for one in SUPPORTED} == {"encoder", "decoder", "encoder-decoder", "speech"}
    with pytest.raises(ModelError, match="'rwkv' is not supported; there is bert"):
        kind_of("rwkv")
