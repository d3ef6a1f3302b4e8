"""Fewer experts: what is dropped adds least, what is merged is alike, and the model that is left says so."""

import pytest
import torch
from families import MIXTURES, outputs, seen

from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.expert_bits import ExpertBits
from pocketlm.compress.experts import (
    DropExperts,
    MergeExperts,
    clusters,
    kept_experts,
    merged_expert,
    output_products,
    unit_order,
)
from pocketlm.compress.gptq import Gptq
from pocketlm.compress.passes import PASSES
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.compress.routing import experts_at, observe_all
from pocketlm.errors import RecipeError
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json

PATHS = ["model.layers.0.mlp", "model.layers.1.mlp"]


def context_of(model, **changes):
    return Context(calibration=Calibration(tuple(seen(model, seed) for seed in (1, 2))), fast=False, **changes)


def twin(model, path, first, second):
    """Make the second expert the first with its units in another order."""
    experts = experts_at(model, path)
    one, other = experts[first], experts[second]
    order = torch.randperm(one.up_proj.out_features, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        other.gate_proj.weight.copy_(one.gate_proj.weight[order])
        other.up_proj.weight.copy_(one.up_proj.weight[order])
        other.down_proj.weight.copy_(one.down_proj.weight[:, order])
    return order


@pytest.mark.parametrize("name", MIXTURES)
def test_router_statistics_are_their_definition_on_tokens_that_are_no_padding(name, family):
    model = family(name)
    context, heard = context_of(model), {}

    def hook(path):
        def listen(module, given, out):
            heard.setdefault(path, []).append((given[0].reshape(-1, 32), out[1], out[2]))

        return listen

    handles = [model.module.get_submodule(path).gate.register_forward_hook(hook(path)) for path in PATHS]
    with torch.no_grad():
        for batch in context.calibration.batches:
            model.module(**batch)
    for handle in handles:
        handle.remove()
    found = observe_all(model, context, PATHS, "drop-experts")
    mask = torch.cat([batch["attention_mask"].reshape(-1) for batch in context.calibration.batches]).bool()
    for path in PATHS:
        hidden, weights, chosen = (torch.cat(one)[mask] for one in zip(*heard[path], strict=True))
        assert int(found[path].tokens.sum()) == 2 * int(mask.sum())
        for number, expert in enumerate(experts_at(model, path)):
            taken = chosen == number
            tokens = taken.any(-1)
            with torch.no_grad():
                each = (weights * taken).sum(-1)[tokens] * expert(hidden[tokens]).norm(dim=-1)
            assert int(found[path].tokens[number]) == int(tokens.sum())
            if tokens.any():
                assert float(found[path].saliency[number]) == pytest.approx(float(each.mean()), rel=1e-4)
                assert float(found[path].energy[number]) == pytest.approx(float(each.square().sum()), rel=1e-4)


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("by", ["saliency", "tokens", "weight"])
def test_dropped_experts_are_those_that_add_least_and_are_gone_from_the_folder(name, by, family, tmp_path):
    model = family(name)
    context = context_of(model)
    scores = observe_all(model, context, PATHS, "drop-experts")
    small = compress(model, Recipe([DropExperts(share=0.5, by=by)]), context)
    for path in PATHS:
        count = len(experts_at(model, path))
        kept = sorted(getattr(scores[path], by).argsort(descending=True, stable=True)[: count // 2].tolist())
        assert len(experts_at(small, path)) == count // 2
        for new, old in enumerate(kept):
            assert torch.equal(experts_at(small, path)[new].up_proj.weight, experts_at(model, path)[old].up_proj.weight)
        router = small.module.get_submodule(path).gate.proj.weight
        assert torch.equal(router, model.module.get_submodule(path).gate.proj.weight[kept])
        assert len(experts_at(model, path)) == count
    save_model(small, tmp_path / "small")
    assert torch.equal(outputs(load_model(tmp_path / "small")), outputs(small))
    record = {one["name"]: one for one in small.records[0]["layers"]}
    assert record["model.layers.0.mlp.gate.proj"]["tokens"] == scores[PATHS[0]].tokens.int().tolist()
    assert sum(one["done"] == "dropped" for one in record.values()) == count


def test_an_expert_that_nothing_is_routed_to_is_dropped_without_a_trace_in_normalized_weights(family):
    model = family("mixtral")
    with torch.no_grad():
        for path in PATHS:
            router = model.module.get_submodule(path).gate.proj.weight
            router[2] = -router[[0, 1, 3]].sum(0) / 3 - router[3]
    context = context_of(model)
    unreached = observe_all(model, context, PATHS, "drop-experts")
    small = compress(model, Recipe([DropExperts(share=0.25, by="tokens")]), context)
    if all(one.unreached for one in unreached.values()):
        torch.testing.assert_close(outputs(small), outputs(model))
        assert any("no calibration token was routed to" in one for one in small.records[0]["notes"])


def test_as_many_stay_as_a_token_is_routed_to(family):
    model = family("mixtral")
    small = compress(model, Recipe([DropExperts(share=0.9)]), context_of(model))
    assert [len(experts_at(small, path)) for path in PATHS] == [2, 2]
    assert small.module(**seen(model)).logits.isfinite().all()


def test_kept_experts_even_and_global():
    scores = [torch.tensor([1.0, 4.0, 2.0, 3.0]), torch.tensor([10.0, 10.0, 1.0, 1.5])]
    assert kept_experts(scores, 0.5, [1, 1], "even") == [[1, 3], [0, 1]]
    assert kept_experts(scores, 0.25, [1, 1], "global") == [[0, 1, 2, 3], [0, 1]]
    assert kept_experts(scores, 0.99, [2, 3], "global") == [[1, 3], [0, 1, 3]]
    assert kept_experts(scores, 0.99, [2, 3], "even") == [[1, 3], [0, 1, 3]]


@pytest.mark.parametrize("name", MIXTURES)
def test_twins_merge_without_loss(name, family, tmp_path):
    model = family(name)
    share = 1 / len(experts_at(model, PATHS[0]))
    for path in PATHS:
        twin(model, path, 1, 3)
    small = compress(model, Recipe([MergeExperts(share=share)]), context_of(model))
    assert small.parameters < model.parameters
    for path in PATHS:
        assert small.spec.attributes[f"{path}.experts"]["mapping"][1:4:2] in ([1, 1], [2, 2])
    torch.testing.assert_close(outputs(small), outputs(model), rtol=1e-3, atol=2e-3)
    save_model(small, tmp_path / "small")
    assert torch.equal(outputs(load_model(tmp_path / "small")), outputs(small))


def test_without_order_twins_do_not_merge_well(family):
    model = family("mixtral")
    for path in PATHS:
        twin(model, path, 1, 3)
    lost = {}
    for align in (True, False):
        small = compress(model, Recipe([MergeExperts(share=0.25, align=align)]), context_of(model))
        lost[align] = float((outputs(small) - outputs(model)).square().mean())
    assert lost[True] < 1e-3 * lost[False]


def test_the_order_of_units_is_found_and_averaging_twins_is_the_expert_itself(family):
    model = family("mixtral")
    order = twin(model, PATHS[0], 0, 1)
    experts = experts_at(model, PATHS[0])
    found = unit_order(experts[0], experts[1])
    assert torch.equal(found, order.argsort())
    before = experts[0].down_proj.weight.clone()
    assert merged_expert([experts[0], experts[1]], torch.tensor([3.0, 1.0])) is experts[0]
    torch.testing.assert_close(experts[0].down_proj.weight, before)


def slow_clusters(outputs, shares, count):
    """Join the two groups whose joint mean is nearest to their outputs, by trying all pairs."""
    groups = [[number] for number in range(len(shares))]

    def spread(group):
        weights = shares[group] / shares[group].sum()
        mean = (weights[:, None] * outputs[group]).sum(0)
        return float((shares[group] * (outputs[group] - mean).square().sum(-1)).sum())

    while len(groups) > count:
        pairs = [
            (spread(groups[i] + groups[j]) - spread(groups[i]) - spread(groups[j]), i, j)
            for i in range(len(groups))
            for j in range(i + 1, len(groups))
        ]
        _, i, j = min(pairs)
        groups[i] = sorted(groups[i] + groups.pop(j))
    return groups


@pytest.mark.parametrize("count", [1, 3, 5, 8])
def test_clusters_are_those_that_move_outputs_least(count):
    generator = torch.Generator().manual_seed(count)
    outputs_ = torch.randn(8, 12, generator=generator, dtype=torch.float64)
    shares = torch.rand(8, generator=generator, dtype=torch.float64) + 0.1
    assert clusters(outputs_ @ outputs_.t(), shares, count) == slow_clusters(outputs_, shares, count)


def test_output_products(family):
    experts = experts_at(family("mixtral"), PATHS[0])
    sample = torch.randn(70, 32)
    with torch.no_grad():
        each = torch.stack([one(sample).reshape(-1) for one in experts]).double()
    torch.testing.assert_close(output_products(experts, sample), each @ each.t() / 70, rtol=1e-4, atol=1e-8)


def test_merge_then_drop_then_quantize(family, tmp_path):
    model = family("qwen3_moe")
    steps = [MergeExperts(share=0.25), DropExperts(share=0.5), Gptq(bits=4, group_size=16)]
    small = compress(model, Recipe(steps), context_of(model))
    assert [len(experts_at(small, path)) for path in PATHS] == [3, 3]
    save_model(small, tmp_path / "small")
    assert torch.equal(outputs(load_model(tmp_path / "small")), outputs(small))
    sizes = [size for record in small.records for size in record["size_bytes"]]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("step", [DropExperts(share=0.5), MergeExperts(share=0.5)])
def test_the_same_twice(step, family):
    model = family("qwen2_moe")
    one, other = (compress(model, Recipe([step]), context_of(model)) for _ in range(2))
    assert torch.equal(outputs(one), outputs(other))
    assert one.records[0]["layers"] == other.records[0]["layers"]
    assert pass_from_json(pass_to_json(step), PASSES) == step


@pytest.mark.parametrize("step", [DropExperts(), MergeExperts(), ExpertBits(by="round-to-nearest", group_size=16)])
def test_hidden_states_are_on_disk_where_a_folder_is_given(step, family, tmp_path):
    model = family("mixtral")
    found = [outputs(step(model.copy(), context_of(model, disk=disk))) for disk in (None, tmp_path)]
    assert list(tmp_path.glob("hidden-*.pt"))
    assert torch.equal(*found)


def test_only_the_mixtures_that_layers_takes_change(family):
    model = family("mixtral")
    small = compress(model, Recipe([DropExperts(share=0.5, layers=("model.layers.1.*",))]), context_of(model))
    assert [len(experts_at(small, path)) for path in PATHS] == [4, 2]


@pytest.mark.parametrize("step", [DropExperts(), MergeExperts()])
def test_what_has_no_experts_is_refused(step, family):
    model = family("llama")
    with pytest.raises(RecipeError, match="llama has no experts"):
        compress(model, Recipe([step]), context_of(model))
    with pytest.raises(RecipeError, match="needs calibration"):
        compress(family("mixtral"), Recipe([step]))
    with pytest.raises(RecipeError, match="after round-to-nearest"):
        compress(family("mixtral"), Recipe([RoundToNearest(), step]), context_of(model))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(DropExperts, {"share": 0}), (DropExperts, {"share": 1}), (DropExperts, {"by": "luck"}),
     (DropExperts, {"spread": "wide"}), (MergeExperts, {"share": 1.5}), (MergeExperts, {"sample": 0})],
)  # fmt: skip
def test_wrong_settings(kind, settings):
    with pytest.raises(ValueError, match=r"share is|by is|spread is|sample is"):
        kind(**settings)


def test_experts_that_no_token_reached_are_rounded_and_named(family):
    step = Gptq(bits=3, group_size=16)
    model = family("mixtral")
    batch = {"input_ids": torch.tensor([[7, 0]]), "attention_mask": torch.tensor([[1, 0]])}
    small = compress(model, Recipe([step]), Context(calibration=Calibration((batch,)), fast=False))
    plain = compress(model, Recipe([RoundToNearest(bits=3, group_size=16)]))
    notes = " ".join(small.records[0]["notes"])
    context = Context(calibration=Calibration((batch,)), fast=False)
    found = observe_all(model, context, PATHS[:1], "gptq")[PATHS[0]].unreached
    assert len(found) == 2
    for number in found:
        assert f"{PATHS[0]}.experts.{number}" in notes
        for name in ("gate_proj", "up_proj", "down_proj"):
            one, other = (getattr(experts_at(each, PATHS[0])[number], name).weight for each in (small, plain))
            torch.testing.assert_close(one, other)
