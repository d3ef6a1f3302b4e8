"""GGUF files: every tensor decodes, by the `gguf` package, to what torch runs; fields say what the model is."""

import os

import gguf
import numpy as np
import pytest
import torch
from families import make_family

from pocketlm.compress.context import Context
from pocketlm.compress.ggml import GgmlQuantize
from pocketlm.compress.int8 import Int8
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.compress.structure import PruneUnits
from pocketlm.errors import ModelError
from pocketlm.export.gguf import export_gguf
from pocketlm.export.gguf_shape import shape_of
from pocketlm.model.pretrained import load_model, save_model

WIDE = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(byte_tokenizer, tmp_path_factory):
    """made("llama", …) is a fresh tiny model of the family whose tokenizer llama.cpp has."""

    def make(family, tokenizer=None, **changes):
        folder = make_family(family, tmp_path_factory.mktemp(family), tokenizer or byte_tokenizer, **changes)
        return load_model(folder)

    return make


def read(path):
    """Decoded tensors and plain fields of a file."""
    reader = gguf.GGUFReader(path)
    values = {
        one.name: torch.from_numpy(gguf.dequantize(one.data, one.tensor_type).astype(np.float32))
        for one in reader.tensors
    }
    return values, {one.name: one.tensor_type.name for one in reader.tensors}, {
        name: field.contents() for name, field in reader.fields.items()
    }  # fmt: skip


def halves(rows, heads):
    """Rows with the features of a head in halves again."""
    return rows.view(heads, -1, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def loaded(values, model):
    """The weights of a file in a plain copy of the model, which had none of them before."""
    import transformers

    config = model.module.config
    fresh = getattr(transformers, model.spec.architecture)(config).eval()
    arch = gguf.MODEL_ARCH.QWEN2 if model.spec.model_type == "qwen2" else gguf.MODEL_ARCH.LLAMA
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    with torch.no_grad():
        for name, weight in fresh.named_parameters():
            stored = values[names.get_name(name, try_suffixes=(".weight", ".bias"))]
            if arch == gguf.MODEL_ARCH.LLAMA and ("q_proj" in name or "k_proj" in name):
                heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
                stored = halves(stored, heads)
            weight.copy_(stored)
    return fresh


def logits(module, words=90):
    with torch.no_grad():
        return module(torch.arange(4, words).view(2, -1)).logits


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_a_plain_model_is_whole_in_the_file(made, tmp_path, family):
    model = made(family)
    found = export_gguf(model, tmp_path / "a.gguf")
    values, types, fields = read(found.path)
    assert found.size_bytes == (tmp_path / "a.gguf").stat().st_size
    assert {kind for name, kind in types.items() if values[name].dim() == 2} == {"F16"}
    assert {kind for name, kind in types.items() if values[name].dim() == 1} == {"F32"}
    assert ("output.weight" in values) == (family != "llama")  # whose head is the embedding
    assert torch.equal(logits(loaded(values, model)), logits(model.module))
    arch = fields["general.architecture"]
    assert arch == ("qwen2" if family == "qwen2" else "llama")
    config = model.module.config
    assert fields[f"{arch}.block_count"] == 2 and fields[f"{arch}.embedding_length"] == 32
    assert fields[f"{arch}.attention.head_count"] == 4 and fields[f"{arch}.attention.head_count_kv"] == 2
    assert fields[f"{arch}.rope.dimension_count"] == 8 and fields[f"{arch}.vocab_size"] == config.vocab_size
    assert fields[f"{arch}.rope.freq_base"] == config.rope_parameters["rope_theta"]
    window = getattr(config, "sliding_window", None)
    assert fields[f"{arch}.context_length"] == (window or config.max_position_embeddings)


@pytest.mark.parametrize("kinds", [("Q4_K", "Q6_K"), ("Q2_K", "IQ4_XS"), ("Q3_K", "Q5_K"), ("Q4_1", "Q8_0")])
def test_blocks_of_every_kind_go_in_as_they_are(made, calibrated, tmp_path, kinds):
    model = made("llama", **WIDE)
    step = GgmlQuantize(type={"*": kinds[0], "*embed*": kinds[1], "lm_head": kinds[1]}, refine=0, correct=0.0)
    small = step(model, Context(calibration=calibrated(model, windows=4, length=12), fast=False))
    save_model(small, tmp_path / "small")
    values, types, fields = read(export_gguf(load_model(tmp_path / "small"), tmp_path / "a.gguf").path)
    assert types["token_embd.weight"] == kinds[1]
    assert {types[name] for name in types if name.startswith("blk") and values[name].dim() == 2} == {kinds[0]}
    assert gguf.LlamaFileType(fields["general.file_type"]).name.startswith(f"MOSTLY_{kinds[0]}")
    plain = loaded(values, small)
    for name, weight in plain.named_parameters():
        if weight.dim() == 2:
            assert torch.equal(weight, small.module.get_submodule(name.removesuffix(".weight")).weight), name
    torch.testing.assert_close(logits(plain), logits(small.module))


def test_what_float16_cannot_hold_is_kept_as_it_is(made, tmp_path):
    model = made("llama")
    names = ["model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"]
    with torch.no_grad():
        model.module.get_submodule(names[0]).weight[0, 0] = 2.0**40  # as bfloat16 holds it
        model.module.get_submodule(names[0]).weight.copy_(model.module.get_submodule(names[0]).weight.bfloat16())
        model.module.get_submodule(names[1]).weight[0, 0] = 1 + 2.0**-20
    values, types, _ = read(export_gguf(model, tmp_path / "a.gguf").path)
    assert (types["blk.0.ffn_up.weight"], types["blk.1.ffn_up.weight"]) == ("BF16", "F32")
    assert float(values["blk.1.ffn_up.weight"][0, 0]) == 1 + 2.0**-20
    assert float(values["blk.0.ffn_up.weight"][0, 0]) == 2.0**40


def test_rotating_neighbours_of_the_files_rows_is_rotating_halves_of_the_models(made):
    shape = shape_of(made("llama"))
    rows = torch.randn(2, 32)  # a query, and a key for it, of four heads
    angles = 3 * 10000.0 ** -(torch.arange(4) / 4)
    both = torch.cat([angles, angles])
    turned = rows.view(2, 4, 8)
    turned = turned * both.cos() + torch.cat([-turned[..., 4:], turned[..., :4]], -1) * both.sin()
    moved = rows[:, shape.row_order("q_proj")].view(2, 4, 4, 2)
    even, odd = moved.unbind(-1)
    neighbours = torch.stack([even * angles.cos() - odd * angles.sin(), odd * angles.cos() + even * angles.sin()], -1)
    torch.testing.assert_close((neighbours[0] * neighbours[1]).sum((1, 2)), (turned[0] * turned[1]).sum(1))
    torch.testing.assert_close(neighbours.flatten(1), turned.flatten(1)[:, shape.row_order("q_proj")])
    assert shape.row_order("v_proj") is None and shape.row_order("model.layers.0.self_attn.k_proj").shape == (16,)


def test_stretched_positions_are_told(made, tmp_path):
    _, _, fields = read(
        export_gguf(
            made("qwen2", rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}),
            tmp_path / "a.gguf",
        ).path
    )
    assert fields["qwen2.rope.scaling.type"] == "linear" and fields["qwen2.rope.scaling.factor"] == 4.0
    model = made("llama", rope_parameters=LLAMA3, max_position_embeddings=256)
    values, _, fields = read(export_gguf(model, tmp_path / "b.gguf").path)
    factors = values["rope_freqs.weight"]
    plain = 500000.0 ** -(torch.arange(0, 8, 2) / 8)
    torch.testing.assert_close(plain / factors, model.module.model.rotary_emb.inv_freq)
    assert float(factors[0]) == pytest.approx(1, abs=1e-6) and float(factors[-1]) == pytest.approx(8, rel=1e-5)
    assert fields["llama.context_length"] == 256


def test_blocks_with_fewer_units_are_told_and_uneven_ones_refused(made, calibrated, tmp_path):
    model = made("llama")
    context = Context(calibration=calibrated(model, windows=4, length=12), fast=False)
    small = PruneUnits(share=0.5, sequences=4)(model.copy(), context)
    widths = {small.module.get_submodule(f"model.layers.{one}.mlp.gate_proj").out_features for one in (0, 1)}
    if len(widths) == 1:
        _, _, fields = read(export_gguf(small, tmp_path / "a.gguf").path)
        assert fields["llama.feed_forward_length"] == widths.pop()
    layer = small.module.model.layers[0].mlp.gate_proj
    layer.out_features = layer.out_features + 1
    with pytest.raises(ModelError, match="GGUF export needs blocks of one shape, got .* units"):
        export_gguf(small, tmp_path / "b.gguf")
    assert not (tmp_path / "b.gguf").exists()


def test_what_cannot_be_exported_is_named_with_what_can(made, family, calibrated, tmp_path):
    path = tmp_path / "a.gguf"
    for name, why in (
        ("gpt2", "GPT2LMHeadModel: GGUF export is for language models of type llama, mistral, qwen2"),
        ("bert", "BertModel: GGUF export is for"),
        ("mixtral", "MixtralForCausalLM: GGUF export is for"),
    ):
        with pytest.raises(ModelError, match=why):
            export_gguf(family(name), path)
    with pytest.raises(ModelError, match="is of type WordPiece; GGUF export is for BPE"):
        export_gguf(family("llama"), path)
    with pytest.raises(ModelError, match=r"held in the form 'grid', which a GGUF has not; use the pass ggml-quantize"):
        export_gguf(RoundToNearest(bits=4)(made("llama"), Context()), path)
    model = made("llama")
    with pytest.raises(ModelError, match="reads inputs of 8 bits"):
        export_gguf(Int8()(model, Context(calibration=calibrated(model, windows=4, length=12), fast=False)), path)
    with pytest.raises(ModelError, match="needs the activation silu, got gelu"):
        export_gguf(made("llama", hidden_act="gelu"), path)
    with pytest.raises(ModelError, match="rotates positions as 'dynamic'"):
        export_gguf(made("llama", rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}), path)
    assert os.listdir(tmp_path) == []


def test_a_file_that_decodes_otherwise_is_not_left(made, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf, "dequantize", lambda data, kind: np.zeros(data.shape, np.float32))
    with pytest.raises(ModelError, match="decodes to other values than the model's; no file is left"):
        export_gguf(made("llama"), tmp_path / "a.gguf")
    assert os.listdir(tmp_path) == []


def test_a_head_of_its_own_may_be_quantized_where_the_embedding_is_not(made, calibrated, tmp_path):
    model = made("llama", tie_word_embeddings=False)
    context = Context(calibration=calibrated(model, windows=4, length=12), fast=False)
    model = GgmlQuantize(type="Q8_0", layers=("head",), correct=0.0, refine=0)(model, context)
    values, types, _ = read(export_gguf(model, tmp_path / "head.gguf").path)
    assert (types["output.weight"], types["token_embd.weight"]) == ("Q8_0", "F16")
    assert torch.equal(values["output.weight"], model.module.lm_head.weight)
