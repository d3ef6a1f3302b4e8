import pytest
import torch

from pocketlm.compress import survey as surveying
from pocketlm.compress.context import Context
from pocketlm.compress.costs import Metric, draw, options_of
from pocketlm.compress.rise import reference_of
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.compress.structure import PruneUnits
from pocketlm.compress.survey import survey, tensor_bytes
from pocketlm.errors import ModelError
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.pocket.work import cache_folder

CONTEXT = Context(fast=False)


def bits_of(layer, bits, kind="grid"):
    return next(one for one in layer.options if one.kind == kind and one.settings["bits"] == bits)


def test_a_sample_of_all_rows_costs_exactly_what_the_formula_says():
    torch.manual_seed(0)
    matrix, lost = torch.randn(40, 16), torch.randn(40, 16)
    energy, inputs = torch.rand(40), torch.randn(16, 30)
    metric = Metric(energy, inputs @ inputs.t() / 30)
    plain = sum(0.5 * energy[i] * (lost[i] @ inputs).square().mean() for i in range(40))
    assert draw(matrix, [metric], 40).loss(lost) == pytest.approx(float(plain), rel=1e-4)
    half = [draw(matrix, [metric], 20), draw(matrix, [metric], 20, alike=True)]
    assert all(len(one.matrix) <= 20 for one in half)


def test_rows_drawn_by_their_weight_stand_for_all():
    torch.manual_seed(0)
    matrix = torch.randn(4000, 16)
    metric = Metric(torch.rand(4000).pow(6), torch.rand(16))  # few rows hold most of the weight
    exact, drawn = (options_of(matrix, [metric], 2, ("grid",), rows=rows) for rows in (4000, 200))
    for whole, part in zip(exact, drawn, strict=True):
        assert part.loss() == pytest.approx(whole.loss(), rel=0.15)
        assert part.bytes == pytest.approx(whole.bytes, rel=0.1)


def test_every_matrix_is_there_once_and_bytes_are_the_folders(family, calibrated, tmp_path):
    model = family("llama")
    table = survey(model, calibrated(model), CONTEXT, cache=tmp_path)
    names = [name for one in table.layers for name in one.names]
    assert sorted(names) == sorted({name for one in model.layers for name in (one.name, "lm_head")})
    assert table.layers[0].names == ("model.embed_tokens", "lm_head")
    assert table.bytes == model.size_bytes
    for layer in table.layers:
        losses = [bits_of(layer, bits).loss() for bits in (2, 4, 8)]
        assert losses[0] > 4 * losses[1] > 40 * losses[2] > 0
        sizes = [bits_of(layer, bits).bytes for bits in (2, 4, 8)]
        assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_predicted_losses_are_of_the_size_of_measured_ones(family, calibrated, tmp_path, name):
    model = family(name)
    calibration = calibrated(model, windows=16)
    table = survey(model, calibration, CONTEXT, kinds=("grid",), cache=tmp_path)
    reference = reference_of(model, calibration)
    assert reference.rise(model) < 1e-5
    for layers in (("blocks",), ("embeddings",)):
        made = RoundToNearest(bits=3, layers=layers)(model.copy(), Context())
        inner = layers == ("blocks",)
        predicted = sum(bits_of(one, 3).loss() for one in table.layers if one.options and bool(one.block) == inner)
        assert predicted / 3 < reference.rise(made) < predicted * 3


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bert"])
def test_feed_forwards_may_lose_units_at_a_price_of_the_size_of_the_measured_one(family, calibrated, tmp_path, name):
    model = family(name)
    context = Context(fast=False)
    calibration = calibrated(model)
    found = survey(model, calibration, context, kinds=("width",), cache=tmp_path)
    assert found == survey(model, calibration, context, kinds=("width",), cache=tmp_path)  # read back
    layers = {one.name for one in found.layers}
    assert found.widths and all({*one.members} <= layers and one.name in one.members for one in found.widths)
    for one in found.widths:
        shares, losses = zip(*one.steps, strict=True)
        assert shares == (0.125, 0.25, 0.5) and list(losses) == sorted(losses) and losses[0] >= 0
    share, predicted = found.widths[-1].steps[-1]
    if name != "bert":  # which without a head has no loss to rise
        made = PruneUnits({found.widths[-1].name: share}, layers=(found.widths[-1].name,))(
            model.copy(), Context(calibration, fast=False)
        )
        measured = reference_of(model, calibration).rise(made)
        assert measured / 4 - 1e-3 < predicted < 4 * measured + 1e-3, (predicted, measured)


def test_a_table_is_measured_once(family, calibrated, tmp_path, monkeypatch):
    model = family("llama")
    first = survey(model, calibrated(model), CONTEXT, kinds=("grid",), cache=tmp_path)
    monkeypatch.setattr(surveying, "_Work", None)  # whoever measures again fails
    assert survey(model, calibrated(model), CONTEXT, kinds=("grid",), cache=tmp_path) == first
    with torch.no_grad():
        model.module.model.norm.weight.mul_(2)
    with pytest.raises(TypeError):
        survey(model, calibrated(model), CONTEXT, kinds=("grid",), cache=tmp_path)


def test_the_cache_is_where_the_user_has_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "pocketlm"


def test_without_calibration_errors_are_of_the_weights(family, tmp_path):
    model = family("gpt2")
    before = {name: one.clone() for name, one in model.module.state_dict().items()}
    table = survey(model, kinds=("grid", "low-rank", "prune"), cache=tmp_path)
    assert table.unit == "relative error"
    layer = next(one for one in table.layers if one.block)
    weight = model.module.get_submodule(layer.name).weight
    made = RoundToNearest(bits=4, layers=(layer.name,))(model.copy(), Context())
    lost = made.module.get_submodule(layer.name).weight - weight
    assert bits_of(layer, 4).loss() == pytest.approx(float(lost.square().sum() / weight.square().sum()), rel=0.02)
    assert {one.kind for one in layer.options} == {"grid", "low-rank", "prune"}
    assert all(torch.equal(one, before[name]) for name, one in model.module.state_dict().items())


def test_experts_routers_and_blocks_are_surveyed(family, calibrated, tmp_path):
    model = family("mixtral")
    table = survey(model, calibrated(model), CONTEXT, kinds=("grid", "drop"), cache=tmp_path)
    kinds = {one.kind: one for one in table.layers}
    assert kinds["expert"].options and not kinds["router"].options
    assert table.drops == {}  # of two blocks, the first and the last stay


def test_bytes_of_a_compressed_folder_are_those_of_its_file(family, tmp_path):
    made = RoundToNearest(bits=4)(family("llama"), Context())
    save_model(made, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert tensor_bytes(again, tmp_path / "model") == tensor_bytes(again)
    table = survey(again, folder=tmp_path / "model", cache=tmp_path)
    assert [bool(one.options) for one in table.layers] == [not one.block for one in table.layers]


def test_what_is_not_finite_is_named(family, tmp_path):
    model = family("llama")
    with torch.no_grad():
        model.module.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match="layers.1.mlp.up_proj: 1 of its weights"):
        survey(model, cache=tmp_path)
