"""Drift of a layer's inputs and of the stream it writes to: against least squares, and as found in whole models."""

import pytest
import torch

from pocketlm.compress.stages import run_in_stages, stages_of
from pocketlm.compress.targets import pack_layer
from pocketlm.compress.upstream import Drift, Upstream
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
    for sources in found:
        assert sources.keys() == WRITERS[name].keys()


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
