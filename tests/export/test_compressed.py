import numpy as np
import onnx
import pytest
import torch
from families import make_family

from pocketlm.compress.codebook import Codebook
from pocketlm.compress.context import Context
from pocketlm.compress.int8 import Int8
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.compress.targets import pack_layer, share_ties
from pocketlm.errors import ModelError, NoEffect
from pocketlm.export import compressed
from pocketlm.export.compressed import export_onnx, run_graph, sample_inputs
from pocketlm.model.code_weights import StepWeight
from pocketlm.model.layers import InputRounding
from pocketlm.model.pretrained import load_model
from pocketlm.model.weights import DenseWeight, ProductWeight, ScaledWeight, SumWeight

pytestmark = pytest.mark.usefixtures("traced_once")


def kinds(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def set_form(model, name, make):
    """Another form for one layer's weight, made from its matrix."""
    owner = pack_layer(model.module, name)
    owner.stored = make(owner.weight)


def product(matrix, rank=8):
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return ProductWeight(DenseWeight(u[:, :rank] * s[:rank]), DenseWeight(v[:rank]))


def uneven_ffn(model, first, second, units):
    """One block's feed-forward with fewer units than the others'."""
    one, two = (model.module.get_submodule(name) for name in (first, second))
    set_form(model, first, lambda _: DenseWeight(one.weight.detach()[:units]))
    if one.bias is not None:
        model.module.get_submodule(first).bias.data = one.bias.detach()[:units]
    set_form(model, second, lambda _: DenseWeight(two.weight.detach()[:, :units]))


UNEVEN = {
    "bert": ("encoder.layer.1.intermediate.dense", "encoder.layer.1.output.dense", "encoder.layer.0.output.dense"),
    "gpt2": ("transformer.h.1.mlp.c_fc", "transformer.h.1.mlp.c_proj", "transformer.h.0.mlp.c_fc"),
    "llama": (None, None, "model.layers.0.mlp.down_proj"),
}


@pytest.mark.parametrize("name", UNEVEN)
def test_uneven_shapes_products_and_codes_in_one_graph(family, name, tmp_path):
    model = family(name)
    first, second, factored = UNEVEN[name]
    if first:
        uneven_ffn(model, first, second, 40)
    else:
        for layer, units in (("gate_proj", 40), ("up_proj", 40)):
            set_form(
                model, f"model.layers.1.mlp.{layer}", lambda matrix, units=units: DenseWeight(matrix[:units].detach())
            )
        set_form(model, "model.layers.1.mlp.down_proj", lambda matrix: DenseWeight(matrix[:, :40].detach()))
    set_form(model, factored, product)
    context = Context()
    model = RoundToNearest(bits=4, group_size=16, layers=("*",), exclude=(factored,))(model, context)
    found = export_onnx(model, tmp_path / "model.onnx")
    assert found.difference < 1e-4 and found.time_ratio is None
    assert kinds(tmp_path / "model.onnx").count("MatMulNBits") >= 7
    # sizes that were not traced
    inputs = sample_inputs(model, 5, 21, seed=9)
    arrays = run_graph(tmp_path / "model.onnx", inputs)
    with torch.no_grad():
        wanted = model.module(**inputs)[0]
    mask = inputs["attention_mask"].bool().numpy()
    assert np.allclose(arrays[mask], wanted.numpy()[mask], atol=1e-3 * float(wanted.abs().max()))


def test_every_form_of_a_weight_in_one_graph(family, calibrated, tmp_path):
    model = family("llama")
    block = "model.layers.0"
    generator = torch.Generator().manual_seed(0)

    def steps(matrix):
        rows, columns = (torch.rand(one, generator=generator).half() * 0.01 + 0.01 for one in matrix.shape)
        codes = (matrix / rows.float()[:, None] / columns.float()).round().clamp(-900, 900).to(torch.int16)
        return StepWeight(codes, rows, columns)

    set_form(model, f"{block}.self_attn.q_proj", steps)
    set_form(model, f"{block}.self_attn.k_proj", lambda one: SumWeight(DenseWeight(one * 0.5), product(one * 0.5, 4)))
    set_form(
        model,
        f"{block}.self_attn.v_proj",
        lambda one: ScaledWeight(DenseWeight(one / 2), torch.full((32,), 2.0).half()),
    )
    for bits, size, layers in (
        (3, 12, "*.o_proj"),
        (8, 0, "*.gate_proj"),
        (2, -1, "*.1.mlp.up_proj"),
        (3, 0, "*embed*"),
    ):
        model = RoundToNearest(bits=bits, group_size=size, layers=(layers,))(model, Context())
    model = Codebook(bits=3, group_size=24, layers=("*.down_proj",))(model, Context())
    model = Codebook(bits=2, scope="row", layers=("*.0.mlp.up_proj",))(model, Context())
    share_ties(model)
    assert export_onnx(model, tmp_path / "model.onnx").difference < 1e-4


@pytest.mark.parametrize("activations", ["dynamic", "static"])
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_integer_products_answer_as_their_emulation(family, calibrated, tmp_path, name, activations):
    model = family(name)
    model = Int8(activations=activations)(model, Context(calibration=calibrated(model), fast=False))
    found = export_onnx(model, tmp_path / "model.onnx", allow_no_effect=True)
    assert found.integer_products == {"bert": 12, "llama": 14}[name] and found.time_ratio > 0
    assert found.difference < 0.03
    nodes = kinds(tmp_path / "model.onnx")
    assert nodes.count("MatMulInteger" if activations == "dynamic" else "QuantizeLinear") > 0
    if activations == "dynamic":  # query, key and value share the rounding of their input
        assert nodes.count("DynamicQuantizeLinear") == 8


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("settings", [{"group_size": 16}, {"symmetric": False}, {"bits": 4, "group_size": 16}])
def test_rounded_inputs_of_weights_with_groups_or_zeros_stay_rounded(family, tmp_path, static, settings):
    model = family("llama")
    name = "model.layers.1.mlp.up_proj"
    model = RoundToNearest(**{"bits": 7, "layers": (name,), **settings})(model, Context())
    layer = model.module.get_submodule(name)
    layer.rounding = InputRounding(static, 0.3, 128)  # coarse: without it answers differ far more than is allowed
    found = export_onnx(model, tmp_path / "model.onnx")
    assert found.integer_products == 0 and found.difference < 1e-3
    kept, layer.rounding = layer.rounding, None
    assert compressed.difference(model, tmp_path / "model.onnx") > (1e-3 if static else 1e-4)
    layer.rounding = kept


def test_integer_products_that_are_slower_are_refused_and_leave_no_file(family, calibrated, tmp_path, monkeypatch):
    model = family("bert")
    model = Int8()(model, Context(calibration=calibrated(model), fast=False))
    monkeypatch.setattr(compressed, "time_ratio", lambda *given: 1.3)
    with pytest.raises(NoEffect, match=r"12 8-bit layers take 1\.30 times"):
        export_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
    assert export_onnx(model, tmp_path / "model.onnx", allow_no_effect=True).time_ratio == 1.3


def test_large_constants_lie_in_a_file_beside_and_both_are_replaced(family, tmp_path, monkeypatch):
    model, path = family("llama"), tmp_path / "model.onnx"
    monkeypatch.setattr(compressed, "LARGEST_FILE", 1000)
    sizes = [export_onnx(model, path).size_bytes for _ in range(2)]
    assert sizes[0] == sizes[1] == sum(one.stat().st_size for one in tmp_path.iterdir())
    assert sorted(one.name for one in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert compressed.difference(model, path) < 1e-4  # found where the graph says it is
    monkeypatch.setattr(compressed, "difference", lambda model, path: 1.0)
    with pytest.raises(ModelError, match="differs"):
        export_onnx(model, tmp_path / "other.onnx")
    monkeypatch.undo()
    export_onnx(model, path)
    assert [one.name for one in tmp_path.iterdir()] == ["model.onnx"]


def test_an_encoder_decoder_has_lengths_of_its_own(family, tmp_path):
    tokenizer = family("bert").tokenizer
    model = load_model(make_family("t5", tmp_path / "t5", tokenizer, num_layers=1, num_decoder_layers=1))
    model = RoundToNearest(bits=4, group_size=16)(model, Context())
    found = export_onnx(model, tmp_path / "model.onnx")
    assert found.difference < 1e-4
    inputs = sample_inputs(model, 2, 19)
    inputs["decoder_input_ids"] = inputs["decoder_input_ids"][:, :4]
    assert run_graph(tmp_path / "model.onnx", inputs).shape == (2, 4, 111)


def test_what_differs_from_torch_is_no_success(family, tmp_path, monkeypatch):
    model = family("bert")
    right = compressed.fill

    def wrong(traced, parts, plain):
        parts[3].stored.values.data.mul_(1.5)
        graph = right(traced, parts, plain)
        parts[3].stored.values.data.div_(1.5)
        return graph

    monkeypatch.setattr(compressed, "fill", wrong)
    with pytest.raises(ModelError, match="differs from torch by"):
        export_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_sound_is_refused_by_name(family, tmp_path):
    with pytest.raises(ModelError, match="is of kind speech; ONNX export is for encoder, decoder"):
        export_onnx(family("whisper"), tmp_path / "model.onnx")
