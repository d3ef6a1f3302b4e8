import numpy as np
import onnx
import pytest
import torch
from generators import make_marian

from pocketlm.compress.context import Context
from pocketlm.compress.ggml import GgmlQuantize
from pocketlm.compress.gptq import Gptq
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.errors import ModelError, OutputError, UserError
from pocketlm.export.cached import encoder_decoder, prove
from pocketlm.export.generator import Packing, export_generator
from pocketlm.pocket.format import read_pocket
from pocketlm.runtime.cached import WEIGHTS
from pocketlm.runtime.choose import Writing
from pocketlm.runtime.load import load

DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen2_moe", "qwen3_moe")
PAIRS = ("t5", "t5-gated", "Marian", "Bart")


def nodes(path, member="decoder.onnx"):
    return list(onnx.load_from_string(read_pocket(path).members[member]).graph.node)


def stored(path, member="decoder.onnx"):
    """Constants of a graph by name."""
    file = read_pocket(path)
    weights, found = file.members[WEIGHTS], {}
    for one in onnx.load_from_string(file.members[member]).graph.initializer:
        if one.external_data:
            where = {entry.key: entry.value for entry in one.external_data}
            begin = int(where["offset"])
            one.raw_data = weights[begin : begin + int(where["length"])]
            one.data_location = onnx.TensorProto.DEFAULT
        found[one.name] = onnx.numpy_helper.to_array(one)
    return found


@pytest.mark.parametrize("name", [*DECODERS, *PAIRS])
def test_every_family_writes_with_a_cache_what_torch_says_without(writer, name):
    _, generator, exported = writer(name)
    assert exported.difference.plain < 2e-5
    assert generator.translates == (name in PAIRS)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("name", ["gpt2", "llama", "mixtral", "Marian"])
def test_few_bits_stay_codes_in_the_file_and_answer_as_torch_with_these_weights(writer, name, bits):
    model, _, exported = writer(name, bits=bits, group_size=16)
    assert exported.difference.plain < 1e-4 < exported.difference.rounded < 0.2
    found = [one for one in nodes(exported.path) if one.op_type == "MatMulNBits"]
    assert len(found) > 8
    blocks = [one for one in found if next(a.i for a in one.attribute if a.name == "bits") == bits]
    assert len(found) - len(blocks) == (1 if bits == 4 else 0)  # the head's 6 bits beside blocks of 4, in codes of 8
    assert all(len(one.input) == 3 for one in blocks)  # symmetric: no zeros are stored
    # the caller's model is as it was
    assert not any(hasattr(one, "stored") for one in model.module.modules())


def test_codes_that_a_pass_made_are_those_in_the_file(family, calibrated, tmp_path):
    model = family("llama")
    model = Gptq(bits=4, group_size=16, symmetric=True)(model, Context(calibration=calibrated(model), fast=False))
    model = RoundToNearest(bits=8, group_size=16, symmetric=False, layers=("embeddings",))(model, Context())
    exported = export_generator(model, tmp_path / "a.pocket", Packing(bits=4, group_size=32))
    constants = stored(exported.path)
    packed = {one.input[1]: one for one in nodes(exported.path) if one.op_type == "MatMulNBits"}
    for name in ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"):
        weight = model.module.get_submodule(name).stored
        codes = weight.codes.numpy().reshape(len(weight.codes), -1, 16)
        mine = [n for n in packed if np.array_equal(constants[n], codes[..., ::2] | (codes[..., 1::2] << 4))]
        assert len(mine) == 1
        assert any(np.array_equal(one, weight.scales.numpy().reshape(-1)) for one in constants.values())
    # the embedding and the head that shares its 8 bits are stored once
    table = model.module.model.embed_tokens.stored
    same = [
        one
        for one in constants.values()
        if one.size == table.codes.numel() and np.array_equal(one.reshape(-1), table.codes.numpy().reshape(-1))
    ]
    assert len(same) == 1


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "Q4_1"])
def test_blocks_of_ggml_with_a_scale_alone_are_grids(family, calibrated, tmp_path, kind):
    model = family("llama")
    model = GgmlQuantize(type=kind)(model, Context(calibration=calibrated(model), fast=False))
    exported = export_generator(model, tmp_path / "a.pocket")
    count = sum(one.op_type == "MatMulNBits" for one in nodes(exported.path))
    assert exported.difference.plain < 1e-4 and (count > 0) == (kind != "Q4_1")


def test_a_calibration_fits_codes_by_feedback(family, calibrated, tmp_path):
    model = family("llama")
    text = calibrated(model)
    losses = []
    for given in (None, text):
        path = tmp_path / f"{given is None}.pocket"
        export_generator(model, path, Packing(bits=4, group_size=16, calibration=given))
        run = load(path, threads=1).generator.decoder.begin(1, 16)
        ids = text.batches[0]["input_ids"][:1].numpy()
        found = run.read(ids, picks=np.arange(ids.shape[1]))
        with torch.no_grad():
            wanted = model.module(text.batches[0]["input_ids"][:1]).logits[0].numpy()
        losses.append(float(((found - wanted) ** 2).mean()))
    assert losses[1] < losses[0]


def test_a_table_that_both_sides_share_is_in_the_file_once(writer):
    model, _, exported = writer("Marian")
    weights = len(read_pocket(exported.path).members[WEIGHTS])
    floats = 4 * model.parameters
    assert weights < 1.1 * floats  # the encoder, the decoder twice, and the shortlist's columns read the same bytes


def test_weights_of_sixteen_bits_take_half_of_the_file(writer):
    whole, half = writer("Marian")[2], writer("Marian", bits=16)[2]
    assert half.size_bytes < 0.7 * whole.size_bytes and half.difference.plain < 2e-5


def test_what_a_pocket_says_of_itself(writer):
    model, generator, exported = writer("llama")
    file = read_pocket(exported.path)
    about = file.manifest["model"]
    assert file.manifest["task"] == "generation" and about["kind"] == "generator" and about["form"] == "decoder"
    assert about["caches"] == [[2, 8], [2, 8]] and about["ends"] == [3] and about["context"] == 2048
    assert exported.bits_per_weight == pytest.approx(8 * file.size_bytes / model.parameters)
    assert generator.cache_bytes == 2 * 2 * 2 * 8 * 4
    assert set(file.members) == {"decoder.onnx", WEIGHTS, "tokenizer.json", "CARD.md"}
    again = export_generator(model, exported.path.with_name("again.pocket"))
    assert again.path.read_bytes() == exported.path.read_bytes()


def test_what_differs_from_torch_is_no_success(family, tmp_path, monkeypatch):
    monkeypatch.setattr(prove, "_relative", lambda found, wanted: 0.5)
    with pytest.raises(ModelError, match="differs from torch by 0.5 of its logits"):
        export_generator(family("llama"), tmp_path / "a.pocket")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_refused_by_name(family, tmp_path):
    with pytest.raises(ModelError, match="model type 'bert' cannot be drawn with a cache; there is gpt2, llama"):
        export_generator(family("bert"), tmp_path / "a.pocket")
    with pytest.raises(UserError, match="bits are one of 4, 8, 16, 32, got 3"):
        Packing(bits=3)
    with pytest.raises(UserError, match="group_size is 16, 32"):
        Packing(bits=4, group_size=48)
    (tmp_path / "b.pocket").touch()
    with pytest.raises(OutputError, match="exists already"):
        export_generator(family("llama"), tmp_path / "b.pocket")
    model = family("llama")
    model.module.config.rope_parameters["rope_type"] = "dynamic"
    with pytest.raises(ModelError, match="rotated as 'dynamic'"):
        export_generator(model, tmp_path / "a.pocket")


def test_tokens_that_must_not_be_written_are_not(teacher_folder, tmp_path):
    from transformers import AutoTokenizer

    model = make_marian("Marian", AutoTokenizer.from_pretrained(teacher_folder))
    free = export_generator(model, tmp_path / "free.pocket")
    how = Writing(max_tokens=6)
    first = load(free.path).generator.write(["turn on"], how)[0].ids
    model.module.generation_config.bad_words_ids = [[first[0]]]
    found = load(export_generator(model, tmp_path / "kept.pocket").path).generator
    for beams in (1, 3):
        assert first[0] not in found.write(["turn on"], Writing(max_tokens=6, beams=beams))[0].ids


def test_a_graph_for_chosen_tokens_that_differs_is_no_success(writer, tmp_path, monkeypatch):
    drawn = encoder_decoder._columns

    def shifted(body, graph):
        body.head_bias = 1 - body.head_bias
        return drawn(body, graph)

    monkeypatch.setattr(encoder_decoder, "_columns", shifted)
    with pytest.raises(ModelError, match="differs from torch"):
        export_generator(writer("Marian")[0], tmp_path / "a.pocket")


def test_what_a_generation_config_asks_for_is_kept_or_named(family, tmp_path):
    model = family("llama")
    said = model.module.generation_config
    said.repetition_penalty, said.no_repeat_ngram_size, said.bad_words_ids = 1.3, 3, [[5], [6, 7]]
    exported = export_generator(model, tmp_path / "a.pocket")
    about = read_pocket(exported.path).manifest["model"]
    assert about["writing"]["repetition_penalty"] == 1.3 and about["never"] == [5]
    assert exported.facts["ignored"] == ["no_repeat_ngram_size", "bad_words_ids of several tokens"]
