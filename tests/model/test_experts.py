"""Experts of their own compute what the fused ones did, and nothing of them is hidden from hooks and records."""

import pytest
import torch
import transformers
from families import CONFIGS, MIXTURES, outputs, seen

from pocketlm.model.anatomy import unfuse
from pocketlm.model.experts import Expert, RoutedExperts, Router, moe_blocks
from pocketlm.model.pretrained import load_model, save_model


def fused(name):
    """A module as transformers makes it, with weights that matter, not brought to one form."""
    architecture, config, settings = CONFIGS[name]
    torch.manual_seed(0)
    module = getattr(transformers, architecture)(
        getattr(transformers, config)(**{**settings, "vocab_size": 100})
    ).eval()
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim() > 1:
                weight.mul_(4)
    return module


@pytest.mark.parametrize("name", MIXTURES)
def test_the_sum_of_routed_experts_is_what_it_was(name, family):
    module, batch = fused(name), seen(family(name))
    with torch.no_grad():
        before = module(**batch).logits
        after = unfuse(module)(**batch).logits
    torch.testing.assert_close(after, before, rtol=1e-5, atol=2e-6)
    assert before.abs().max() > 0.3


@pytest.mark.parametrize("name", MIXTURES)
def test_every_matrix_of_every_expert_is_a_layer_and_the_fused_ones_are_gone(name):
    module = fused(name)
    count = sum(one.numel() for one in module.parameters())
    width, units = module.config.hidden_size, module.model.layers[0].mlp.experts.intermediate_dim
    experts = module.model.layers[0].mlp.experts.num_experts
    old = module.model.layers[0].mlp.experts
    unfuse(module)
    assert sum(one.numel() for one in module.parameters()) == count
    assert not list(old.parameters())
    assert list(moe_blocks(module)) == ["model.layers.0.mlp", "model.layers.1.mlp"]
    mixture = module.model.layers[1].mlp
    assert isinstance(mixture.gate, Router)
    assert len(mixture.experts) == experts
    shapes = {key: tuple(one.shape) for key, one in mixture.experts[experts - 1].named_parameters()}
    up = (units, width)
    assert shapes == {"gate_proj.weight": up, "up_proj.weight": up, "down_proj.weight": up[::-1]}


@pytest.mark.parametrize("name", MIXTURES)
def test_layers_say_which_are_experts_and_which_are_routers(name, family):
    model = family(name)
    kinds = {one.name: one.kind for one in model.layers}
    experts = len(model.module.model.layers[0].mlp.experts)
    assert sum(kind == "expert" for kind in kinds.values()) == 2 * 3 * experts
    routers = {key for key, kind in kinds.items() if kind == "router"}
    shared = {f"model.layers.{block}.mlp.shared_expert_gate" for block in (0, 1)} if name == "qwen2_moe" else set()
    assert routers == {f"model.layers.{block}.mlp.gate.proj" for block in (0, 1)} | shared
    if shared:
        assert kinds["model.layers.0.mlp.shared_expert.up_proj"] == "linear"


@pytest.mark.parametrize("name", MIXTURES)
def test_loaded_and_unfused_it_is_the_transformers_model(name, family, family_folder):
    model = family(name)
    with torch.no_grad():
        module = transformers.AutoModelForCausalLM.from_pretrained(family_folder(name), dtype=torch.float32).eval()
        torch.testing.assert_close(outputs(model), module(**seen(model)).logits, rtol=1e-5, atol=2e-6)


def test_generation_with_a_key_cache_is_that_without(family):
    module = family("qwen3_moe").module
    ids = torch.tensor([[7, 8, 9]])
    made = [
        module.generate(ids, max_new_tokens=5, do_sample=False, use_cache=one, pad_token_id=0) for one in (True, False)
    ]
    assert torch.equal(*made)


def plain(experts, hidden, routes, weights):
    """The definition, token by token."""
    total = torch.zeros_like(hidden)
    for token in range(len(hidden)):
        for route, weight in zip(routes[token].tolist(), weights[token], strict=True):
            number = route if experts.mapping is None else experts.mapping[route]
            total[token] += weight * experts[number](hidden[token : token + 1])[0]
    return total


def random_experts(count, width=6, units=10):
    torch.manual_seed(0)
    shapes = ((width, units), (width, units), (units, width))
    return RoutedExperts(
        [Expert(*(torch.nn.Linear(*shape, bias=False) for shape in shapes), torch.nn.SiLU()) for _ in range(count)]
    )


@pytest.mark.parametrize("mapping", [None, [0, 1, 1, 2, 0]])
def test_routed_experts_are_their_definition(mapping):
    experts = random_experts(5 if mapping is None else 3)
    experts.mapping = mapping
    hidden = torch.randn(20, 6)
    weights, routes = torch.rand(20, 5).topk(2, dim=-1)
    with torch.no_grad():
        torch.testing.assert_close(experts(hidden, routes, weights), plain(experts, hidden, routes, weights))


def test_an_expert_runs_once_on_a_token_that_two_routes_lead_to_it():
    experts = random_experts(1)
    experts.mapping, calls = [0, 0], []
    experts[0].register_forward_hook(lambda _, given, out: calls.append(len(given[0])))
    experts(torch.randn(4, 6), torch.tensor([[0, 1]] * 4), torch.full((4, 2), 0.5))
    assert calls == [4]


@pytest.mark.parametrize("normalize", [True, False])
def test_router_weights(normalize):
    torch.manual_seed(0)
    router = Router(torch.nn.Linear(6, 5, bias=False), 2, normalize)
    logits, weights, chosen = router(torch.randn(3, 4, 6))
    assert logits.shape == (12, 5)
    share = logits.softmax(-1)
    picked = share.gather(1, chosen)
    assert torch.equal(chosen, share.topk(2).indices)
    torch.testing.assert_close(weights, picked / picked.sum(-1, keepdim=True) if normalize else picked)


def test_a_mapping_is_kept_in_a_folder(family, tmp_path):
    from pocketlm.compress.experts import keep_experts
    from pocketlm.compress.removal import set_attributes

    model = family("mixtral")
    path = "model.layers.0.mlp"
    model = set_attributes(model, f"{path}.experts", {"mapping": [0, 1, 2, 2]})
    model = keep_experts(model, path, [0, 2])
    assert model.module.model.layers[0].mlp.experts.mapping == [0, 1, 1]
    assert model.module.model.layers[0].mlp.gate.proj.weight.shape == (3, 32)
    save_model(model, tmp_path / "kept")
    assert torch.equal(outputs(load_model(tmp_path / "kept")), outputs(model))
