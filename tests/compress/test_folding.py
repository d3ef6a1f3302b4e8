import pytest
import torch

from pocketlm.compress.folding import fold, input_groups, plain_values, scaled_moments, shared_scales, source_of
from pocketlm.compress.walk import walk

# Inputs of how many groups of a block a layer before can take the scales of, in all blocks of two a stack.
FOLDED = {"bert": 2, "gpt2": 6, "llama": 8, "qwen3": 8, "t5": 16, "t5-gated": 20, "mixtral": 12, "qwen2_moe": 14}


def scale_everything(model, calibration):
    """Random scales for every group that can be folded; how many there were."""
    generator, count = torch.Generator().manual_seed(0), [0]

    def visit(view):
        for group in reversed(input_groups(view)):
            source = source_of(model.spec.model_type, view, group)
            if source is None:
                continue
            scales = torch.rand(len(group.moments.absmax), generator=generator) * 3 + 0.3
            scales = shared_scales(source, scales)
            fold(view.module, source, scales)
            for name in group.names:
                values = plain_values(model.module.get_submodule(name))
                values.data.mul_(scales)
            count[0] += 1

    walk(model, calibration, visit)
    return count[0]


@pytest.mark.parametrize("name", FOLDED)
def test_scales_that_are_folded_change_no_output(family, calibrated, name):
    model = family(name)
    calibration = calibrated(model)
    batch = calibration.batches[0]
    with torch.no_grad():
        before = model.module(**batch)[0]
        assert scale_everything(model, calibration) == FOLDED[name]
        after = model.module(**batch)[0]
    assert torch.allclose(before, after, atol=2e-5 * float(before.abs().max()), rtol=1e-4)


def test_value_heads_that_several_heads_read_get_one_scale(family, calibrated):
    model, found = family("llama"), []

    def visit(view):
        for group in input_groups(view):
            if group.names[0].endswith("o_proj"):
                found.append(source_of("llama", view, group))

    walk(model, calibrated(model), visit)
    assert [(one.path, one.repeats, one.head) for one in found] == [("self_attn.v_proj", 2, 8)] * 2
    scales = shared_scales(found[0], torch.arange(1.0, 33.0))
    heads = scales.view(2, 2, 8)
    assert torch.equal(heads[:, 0], heads[:, 1])
    assert torch.allclose(heads[0, 0, 0], torch.tensor(9.0).sqrt())  # columns 1 and 9


def test_moments_of_a_scaled_input_are_those_it_would_have_had(family, calibrated):
    inputs, scales = torch.randn(50, 6), torch.rand(6) + 0.5
    from pocketlm.compress.moments import Moments

    plain, divided = Moments.empty(6), Moments.empty(6)
    plain.add(inputs)
    divided.add(inputs / scales)
    found = scaled_moments(plain, scales)
    assert torch.allclose(found.s, divided.s, atol=1e-4) and found.tokens == divided.tokens
    assert torch.allclose(found.absmax, divided.absmax) and torch.allclose(found.abssum, divided.abssum)
