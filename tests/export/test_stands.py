"""Experts in a graph: each reads the tokens routed to it, in any form of its weights, and may be left without any."""

import onnx
import pytest
import torch
from families import make_family

from pocketlm.compress.context import Context
from pocketlm.compress.int8 import Int8
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.compress.targets import pack_layer
from pocketlm.errors import ModelError
from pocketlm.export import compressed
from pocketlm.export.compressed import export_onnx, run_graph, sample_inputs
from pocketlm.export.stands import stood_in
from pocketlm.model.experts import moe_blocks
from pocketlm.model.layers import PackedLinear
from pocketlm.model.pretrained import load_model
from pocketlm.model.weights import DenseWeight, ProductWeight, ScaledWeight, SumWeight

pytestmark = pytest.mark.usefixtures("traced_once")


@pytest.fixture(scope="module")
def mixture(byte_tokenizer, tmp_path_factory):
    """mixture() is a fresh Qwen3 of one block with eight experts, of which two read a token."""
    folder = make_family("qwen3_moe", tmp_path_factory.mktemp("moe"), byte_tokenizer, num_hidden_layers=1)
    return lambda: load_model(folder)


def reshaped(model, name, make):
    """Another form for one layer's weight, made from its matrix."""
    owner = pack_layer(model.module, name)
    owner.stored = make(owner.weight)


def product(matrix):
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return ProductWeight(DenseWeight(u[:, :4] * s[:4]), DenseWeight(v[:4]))


def test_experts_of_every_form_answer_as_torch_on_the_tokens_routed_to_them(mixture, tmp_path):
    model, path = mixture(), tmp_path / "model.onnx"
    experts = "model.layers.0.mlp.experts"
    reshaped(model, f"{experts}.0.up_proj", product)
    reshaped(model, f"{experts}.1.gate_proj", lambda one: SumWeight(DenseWeight(one * 0.5), product(one * 0.5)))
    reshaped(model, f"{experts}.2.down_proj", lambda one: ScaledWeight(DenseWeight(one / 2), torch.full((16,), 2.0)))
    for bits, number in ((4, 3), (8, 4), (2, 5)):
        model = RoundToNearest(bits=bits, group_size=16, layers=(f"{experts}.{number}.*",))(model, Context())
    # two routes lead to one expert, and to the second expert none
    model.module.get_submodule(experts).mapping = [0, 1, 1, 3, 4, 5, 6, 7]
    assert export_onnx(model, path).difference < 1e-4
    nodes = [node.op_type for node in onnx.load(path).graph.node]
    assert nodes.count("MatMulNBits") == 2 * 3
    assert nodes.count("ScatterND") == 8
    # two tokens reach at most four of the eight experts: the others are given none
    inputs = sample_inputs(model, 1, 2, seed=5)
    with torch.no_grad():
        wanted = model.module(**inputs).logits
    torch.testing.assert_close(torch.from_numpy(run_graph(path, inputs)), wanted, rtol=1e-3, atol=1e-4)
    # and the mapping is what the graph goes by
    model.module.get_submodule(experts).mapping = [7, 6, 5, 4, 3, 2, 1, 0]
    assert compressed.difference(model, path) > 1e-2


def test_experts_in_whole_numbers_answer_as_their_emulation(mixture, calibrated, tmp_path):
    model, path = mixture(), tmp_path / "model.onnx"
    model = Int8()(model, Context(calibration=calibrated(model), fast=False))
    found = export_onnx(model, path, allow_no_effect=True)
    rounded = [one for one in model.module.modules() if isinstance(one, PackedLinear) and one.rounding is not None]
    assert found.integer_products == len(rounded) > 4 + 3 * 6
    assert found.difference < 0.03
    inputs = sample_inputs(model, 1, 2, seed=5)
    with torch.no_grad():
        wanted = model.module(**inputs).logits
    apart = torch.from_numpy(run_graph(path, inputs)) - wanted
    assert apart.norm() < 0.03 * wanted.norm()


def test_experts_with_an_activation_that_is_not_known_are_refused_by_name(family):
    model = family("mixtral")
    block = next(iter(moe_blocks(model.module)))
    model.module.get_submodule(f"{block}.experts.0").act_fn = torch.nn.Tanh()
    with pytest.raises(ModelError, match=r"layers\.0\.mlp\.experts: experts with the activation Tanh .* SiLU"):
        stood_in(model)
