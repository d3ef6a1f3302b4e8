import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.rates import filled_rates, output_gradients, owl_rates


def mean(rates, sizes):
    return sum(rates[name] * sizes[name] for name in rates) / sum(sizes.values())


def test_owl_spares_blocks_with_outliers_and_keeps_the_mean():
    outliers, sizes = {"a": 0.01, "b": 0.03, "c": 0.02}, {"a": 100, "b": 200, "c": 100}
    rates = owl_rates(outliers, sizes, 0.7, 0.08)
    assert rates["b"] < rates["c"] < rates["a"]
    assert mean(rates, sizes) == pytest.approx(0.7)
    assert rates["a"] - rates["b"] == pytest.approx(0.16)


def test_blocks_alike_have_rates_alike():
    assert owl_rates({"a": 0.01, "b": 0.01}, {"a": 1, "b": 1}, 0.5, 0.1) == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.8])
def test_one_threshold_fills_every_layer_to_its_level(sparsity):
    generator = torch.Generator().manual_seed(0)
    costs = {
        name: (torch.rand(1000, generator=generator) * scale).sort().values
        for name, scale in zip("abc", (1, 2, 4), strict=True)
    }
    sizes = {"a": 1000, "b": 3000, "c": 2000}
    rates = filled_rates(costs, sizes, sparsity, 1.0)
    assert mean(rates, sizes) == pytest.approx(sparsity, abs=1e-6)
    edges = [float(one[min(999, int(rates[name] * 1000))]) for name, one in costs.items() if rates[name] < 0.97]
    assert max(edges) < 1.05 * min(edges)


def test_rates_stay_near_the_mean_where_asked():
    costs = {"a": torch.linspace(1, 2, 100), "b": torch.linspace(100, 200, 100)}
    rates = filled_rates(costs, {"a": 10, "b": 10}, 0.5, 0.1)
    assert rates["a"] == pytest.approx(0.6, abs=0.01)
    assert rates["b"] == pytest.approx(0.4, abs=0.01)


def test_gradients_are_those_of_the_loss_with_drawn_tokens(family, calibrated):
    model = family("llama")
    names = ["model.layers.0.mlp.down_proj", "lm_head"]
    found = output_gradients(model, calibrated(model), names, Context(fast=False))
    # of cross entropy with drawn tokens the gradient at logits has the mean square p (1 - p)
    with torch.no_grad():
        logits = torch.cat([model.module(**batch).logits.flatten(0, 1) for batch in calibrated(model).batches])
    share = logits.softmax(-1)
    expected = (share * (1 - share)).mean(0)
    assert torch.allclose(found["lm_head"].sum(), expected.sum(), rtol=0.1)
    assert (found["model.layers.0.mlp.down_proj"] > 0).all()


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_models_without_a_head_have_gradients_too(family, calibrated, name):
    model = family(name)
    chosen = [one.name for one in model.layers if one.block and one.kind == "linear"]
    found = output_gradients(model, calibrated(model), chosen, Context())
    assert set(found) == set(chosen)
    assert all(one.isfinite().all() and one.any() for one in found.values())
    assert not any(weight.requires_grad for weight in model.module.parameters())
