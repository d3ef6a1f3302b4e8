"""Drift of a layer's inputs and of the stream it writes to: against least squares, and as found in whole models."""

import pytest
import torch

from pocketlm.compress.calibration import Calibration
from pocketlm.compress.stages import Plans, run_in_stages, stages_of, waves
from pocketlm.compress.targets import pack_layer
from pocketlm.compress.upstream import Drift, Upstream, run_block
from pocketlm.compress.walk import walk
from pocketlm.model.weights import DenseWeight


def test_the_target_is_that_of_least_squares():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 8, generator=generator)
    given, dense = torch.randn(64, 8, generator=generator), torch.randn(64, 8, generator=generator)
    lost = torch.randn(64, 5, generator=generator)
    drift = Drift((dense - given).t() @ given, lost.t() @ given)
    found = drift.target(weight, given.t() @ given, 1.0, 0.0)
    expected = torch.linalg.lstsq(given, dense @ weight.t() + lost).solution.t()
    assert torch.allclose(found, expected, atol=1e-4)
    assert torch.allclose(drift.target(weight, given.t() @ given, 0.5, 0.0), (weight + expected) / 2, atol=1e-4)


WRITERS = {
    "llama": {"self_attn.o_proj": "", "mlp.down_proj": "post_attention_layernorm"},
    "bert": {"attention.output.dense": "", "output.dense": "intermediate.dense"},
}


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_layers_that_write_to_a_stream_are_found(name, family, calibrated):
    model, found = family(name).copy(), []
    for layer in model.layers[::2]:  # packed or plain
        if layer.block:
            pack_layer(model.module, layer.name)

    def visit(view):
        upstream = Upstream()
        upstream.enter(view, stages_of(view, False), False)
        found.append({key.removeprefix(f"{view.name}."): value for key, value in upstream.sources.items()})

    walk(model, calibrated(model), visit, statistics=False)
    assert len(found) == 2
    for sources in found:
        assert sources == WRITERS[name]


def test_drift_is_the_sum_over_tokens_of_what_both_models_have_there(family, calibrated):
    model, calibration = family("llama").copy(), calibrated(family("llama"))
    first, name = "model.layers.0.mlp.up_proj", "model.layers.1.mlp.down_proj"
    for layer in model.layers:
        if layer.block:
            pack_layer(model.module, layer.name)
    dense, upstream, found = family("llama").module, Upstream(), {}

    def visit(view):
        stages = stages_of(view, False)
        upstream.enter(view, stages, False)

        def change(stage):
            if first in stage.names:  # what comes after reads another stream than the dense model's
                layer = model.module.get_submodule(first)
                layer.stored = DenseWeight(layer.stored.matrix() * 0.5)

        run_in_stages(
            view, stages, False, change, lambda *heard: upstream.compare(view, *heard), upstream.sources.values()
        )
        found.update(upstream.drift)

    walk(model, calibration, visit, statistics=False)
    inputs, streams = 0.0, 0.0
    for batch in calibration.batches:
        reads = []
        for module in (dense, model.module):
            heard, kept = [], batch["attention_mask"].bool()
            handles = [
                module.get_submodule(path).register_forward_pre_hook(lambda _, args, to=heard: to.append(args[0]))
                for path in ("model.layers.1.post_attention_layernorm", name)
            ]
            module(**batch)
            [handle.remove() for handle in handles]
            reads.append([one[kept] for one in heard])
        (stream, x), (stream_now, x_now) = reads
        inputs, streams = inputs + (x - x_now).t() @ x_now, streams + (stream - stream_now).t() @ x_now
    assert float(inputs.abs().max()) > 1e-3
    assert torch.allclose(found[name].inputs, inputs, rtol=1e-3, atol=1e-4)
    assert torch.allclose(found[name].stream, streams, rtol=1e-3, atol=1e-4)


def test_padding_of_encoder_and_decoder_is_not_mixed_where_their_shapes_are_one(family):
    model = family("t5").copy()
    ids = torch.randint(5, 100, (2, 6), generator=torch.Generator().manual_seed(0))
    long, short = torch.ones_like(ids), torch.ones_like(ids)
    short[:, 2:] = 0
    batch = {"input_ids": ids, "attention_mask": long, "decoder_input_ids": ids, "decoder_attention_mask": short}
    upstream, plans, found, tokens = Upstream(), Plans(), {}, {}

    def visit(view):
        def change(stage):
            found[stage.names[0]], tokens[stage.names[0]] = upstream.drift[stage.names[0]], stage.moments.tokens

        run_block(view, plans, False, change, upstream)

    walk(model, Calibration((batch,)), visit, statistics=False)
    assert tokens["decoder.block.1.layer.1.EncDecAttention.q"] == 4
    assert tokens["decoder.block.1.layer.1.EncDecAttention.k"] == 12
    assert all(float(one.inputs.abs().max()) < 1e-4 for one in found.values())  # nothing was changed


@pytest.mark.parametrize("fast", [False, True])
def test_an_error_in_a_blocks_forward_comes_out_and_nothing_stays_as_it_was_set(family, calibrated, fast):
    model = family("llama").copy()
    mlp = model.module.model.layers[1].mlp
    passes = []

    def broken(module, args):
        passes.append(1)
        if len(passes) == 3:
            raise RuntimeError("on purpose")

    mlp.register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="on purpose"):
        walk(
            model, calibrated(model), lambda view: run_block(view, Plans(), fast, lambda stage: None, Upstream()),
            fast=fast, statistics=False,
        )  # fmt: skip
    assert not torch.is_autocast_enabled("cpu")
    assert torch.is_grad_enabled()


def test_a_batch_that_waits_inside_other_precision_leaves_the_others_in_theirs(family, calibrated):
    model = family("llama").copy()
    seen = []
    for block in model.module.model.layers:
        forward = block.mlp.forward

        def apart(hidden, forward=forward):
            with torch.autocast("cpu", enabled=False):
                return forward(hidden)

        block.mlp.forward = apart
        block.self_attn.q_proj.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
        block.mlp.down_proj.register_forward_hook(lambda *_: seen.append(not torch.is_autocast_enabled("cpu")))
    walk(
        model, calibrated(model), lambda view: run_block(view, Plans(), True, lambda stage: None),
        fast=True, statistics=False,
    )  # fmt: skip
    assert all(seen)
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("name", ["mixtral", "qwen2_moe"])
def test_stages_of_experts_measure_what_one_run_over_the_block_does(name, family, calibrated):
    model, calibration, staged, whole = family(name).copy(), calibrated(family(name)), {}, {}

    def visit(view):
        stages = stages_of(view, False)
        assert sorted(layer for names in stages for layer in names) == sorted(view.linears())
        run_block(view, Plans(), False, lambda stage: staged.update(dict.fromkeys(stage.names, stage.moments)))

    walk(model, calibration, visit, statistics=False)
    walk(model, calibration, lambda view: whole.update(view.statistics.moments))
    reached = {name for name, one in whole.items() if one.tokens}
    assert staged.keys() == reached
    for layer in reached:
        assert staged[layer].tokens == whole[layer].tokens
        assert torch.allclose(staged[layer].s, whole[layer].s, rtol=1e-3, atol=1e-4)


def test_an_expert_that_a_batch_does_not_reach_is_waited_for_by_none(family, calibrated):
    model, calibration = family("qwen3_moe").copy(), calibrated(family("qwen3_moe"), windows=3, length=2)
    batches = tuple({key: one[row : row + 1] for key, one in calibration.batches[0].items()} for row in range(3))
    order = []

    def visit(view):
        heard = run_block(view, Plans(), False, lambda stage: order.append(stage.names[0]), Upstream())
        missed = [layer for layer in view.linears() if layer not in heard]
        assert missed and set(missed) <= view.unreached  # two tokens reach at most four of eight experts
        assert not [layer for layer in missed if view.statistics.moments[layer].tokens]

    walk(model, Calibration(batches), visit, statistics=False)
    numbers = [int(name.split(".")[5]) for name in order if ".layers.0.mlp.experts." in name]
    assert numbers == sorted(numbers) and len(set(numbers)) >= 2


def test_drift_of_an_expert_is_over_the_tokens_that_both_models_route_to_it(family, calibrated):
    model, dense = family("mixtral").copy(), family("mixtral").module
    calibration, found = calibrated(model), {}
    first, block = "model.layers.0.self_attn.o_proj", "model.layers.1.mlp.experts"
    held = Upstream()
    pack_layer(model.module, first)

    def change(stage):
        found.update({name: held.drift[name] for name in stage.names if name in held.drift})
        if first in stage.names:
            layer = model.module.get_submodule(first)
            layer.stored = DenseWeight(layer.stored.matrix() * 0.5)

    walk(model, calibration, lambda view: run_block(view, Plans(), False, change, held), statistics=False)
    expected, common, apart = {}, 0, 0
    for batch in calibration.batches:
        reads = []
        for module in (dense, model.module):
            heard = {}

            def listen(mixture, given, heard=heard):
                hidden, routes, weights = given
                heard.update(
                    {number: (tokens, hidden[tokens]) for number, tokens, _ in mixture.routed(routes, weights)}
                )

            handle = module.get_submodule(block).register_forward_pre_hook(listen)
            module(**batch)
            handle.remove()
            reads.append(heard)
        for number, (tokens, now) in reads[1].items():
            theirs = (
                dict(zip(reads[0][number][0].tolist(), reads[0][number][1], strict=True)) if number in reads[0] else {}
            )
            for place, token in enumerate(tokens.tolist()):
                common, apart = common + (token in theirs), apart + (token not in theirs)
                if token in theirs:
                    product = torch.outer(theirs[token] - now[place], now[place])
                    expected[number] = expected.get(number, 0) + product
    assert common > 50 and apart > 0
    for number, product in expected.items():
        assert torch.allclose(found[f"{block}.{number}.gate_proj"].inputs, product, rtol=1e-3, atol=1e-4)
    assert max(float(one.abs().max()) for one in expected.values()) > 1e-3


def test_one_run_over_a_block_measures_the_same_stage_of_all_experts():
    experts = [f"m.experts.{number}.{name}" for number in range(2) for name in ("gate_proj", "down_proj")]
    assert waves(["q_proj", "o_proj", *experts, "m.shared_expert.up_proj"]) == [[0], [1], [2, 4], [3, 5], [6]]
