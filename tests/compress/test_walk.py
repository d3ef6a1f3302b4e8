"""The walk reaches every layer of every family and sees what the model itself sees, padding left out."""

import pytest
import torch
from families import CONFIGS, MIXTURES, seen

from pocketlm.compress.calibration import Calibration
from pocketlm.compress.moments import Moments
from pocketlm.compress.walk import first_tensor, walk
from pocketlm.errors import ModelError
from pocketlm.model.anatomy import is_linear, stacks

DECODERS = ("t5", "t5-gated", "whisper", "marian")


def batch_of(model):
    """Two batches of padded sequences, of both sides where the model has two."""
    batches = []
    for seed in (1, 2):
        batch = seen(model, seed)
        if "decoder_input_ids" in batch:
            mask = torch.ones_like(batch["decoder_input_ids"])
            mask[0, 3:] = 0
            batch["decoder_attention_mask"] = mask
        batches.append(batch)
    return Calibration(tuple(batches))


def heard(model, calibration):
    """Every linear layer's inputs and every block's outputs, by hooks on the whole model; a list of tensors each."""
    found, handles = {}, []
    blocks = {path for stack in stacks(model.module) for path in stack}
    for name, child in model.module.named_modules():
        if is_linear(child):
            handles.append(child.register_forward_pre_hook(lambda _, given, name=name: add(found, name, given[0])))
        elif name in blocks:
            handles.append(child.register_forward_hook(lambda _, __, out, name=name: add(found, name, out)))
    with torch.no_grad():
        for batch in calibration.batches:
            model.module(**batch)
    for handle in handles:
        handle.remove()
    return found


def add(found, name, value):
    found.setdefault(name, []).append(first_tensor(value).detach().clone())


def real(name, inputs, batch):
    """The rows of a layer's inputs that are no padding."""
    encoder = batch.get("attention_mask", torch.ones(3, 9))
    if "input_features" in batch:
        encoder = torch.ones(3, 50)
    cross = ".encoder_attn.k" in name or ".encoder_attn.v" in name or "EncDecAttention.k" in name
    cross = cross or "EncDecAttention.v" in name
    mask = batch["decoder_attention_mask"] if "decoder." in name and not cross else encoder
    return inputs.reshape(-1, inputs.shape[-1])[mask.reshape(-1).bool()]


@pytest.mark.parametrize("name", [one for one in CONFIGS if one not in MIXTURES])
def test_moments_are_those_of_the_tokens_that_are_no_padding(name, family):
    model = family(name)
    calibration = batch_of(model)
    direct = heard(model, calibration)
    reached = {}
    walk(model, calibration, lambda view: reached.update({one: view.statistics[one] for one in view.linears()}))
    assert set(reached) == {one.name for one in model.layers if one.block and one.kind == "linear"}
    for layer, moments in reached.items():
        rows = torch.cat(
            [real(layer, x, batch) for x, batch in zip(direct[layer], calibration.batches, strict=True)]
        ).double()
        assert moments.tokens == len(rows)
        torch.testing.assert_close(moments.s.double(), rows.T @ rows, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(moments.absmax.double(), rows.abs().amax(0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(moments.abssum.double(), rows.abs().sum(0), rtol=1e-4, atol=1e-3)
    assert calibration.unreached == set()


@pytest.mark.parametrize("name", CONFIGS)
def test_hidden_states_are_the_models_own(name, family):
    model = family(name)
    calibration = batch_of(model)
    direct = heard(model, calibration)
    order = []

    def visit(view):
        order.append(view.name)
        assert (view.index, view.total) == (len(order) - 1, sum(map(len, stacks(model.module))))
        with torch.no_grad():
            for place, own in enumerate(direct[view.name]):
                torch.testing.assert_close(view.run(place), own, rtol=1e-5, atol=1e-5)

    walk(model, calibration, visit, statistics=False)
    assert order == [path for stack in stacks(model.module) for path in stack]


def test_equal_shapes_of_encoder_and_decoder_do_not_mix_their_masks(family):
    model = family("t5")
    ids = torch.randint(5, 100, (2, 6), generator=torch.Generator().manual_seed(0))
    long, short = torch.ones_like(ids), torch.ones_like(ids)
    short[:, 2:] = 0
    batch = {
        "input_ids": ids,
        "attention_mask": long,
        "decoder_input_ids": ids,
        "decoder_attention_mask": short,
    }
    tokens = {}
    walk(
        model,
        Calibration((batch,)),
        lambda view: tokens.update({one: view.statistics[one].tokens for one in view.linears()}),
    )
    assert tokens["encoder.block.1.layer.0.SelfAttention.q"] == 12
    assert tokens["decoder.block.1.layer.0.SelfAttention.q"] == 4
    assert tokens["decoder.block.1.layer.1.EncDecAttention.q"] == 4
    assert tokens["decoder.block.1.layer.1.EncDecAttention.k"] == 12


@pytest.mark.parametrize("name", MIXTURES)
def test_an_expert_sees_the_tokens_routed_to_it_without_padding(name, family):
    model = family(name)
    calibration = batch_of(model)
    routes, hidden, handles = {}, {}, []
    for path, child in model.module.named_modules():
        if path.endswith(".gate"):
            hook = lambda _, given, out, path=path: keep(routes, hidden, path, given[0], out)  # noqa: E731
            handles.append(child.register_forward_hook(hook))
    with torch.no_grad():
        for batch in calibration.batches:
            model.module(**batch)
    for handle in handles:
        handle.remove()
    reached = {}
    walk(model, calibration, lambda view: reached.update(view.statistics.moments))
    mask = torch.cat([batch["attention_mask"].reshape(-1) for batch in calibration.batches]).bool()
    for path in routes:
        chosen, inputs = torch.cat(routes[path]), torch.cat(hidden[path]).double()
        block = path.removesuffix(".gate")
        assert reached[f"{path}.proj"].tokens == int(mask.sum())
        for number in range(len(model.module.get_submodule(f"{block}.experts"))):
            rows = inputs[mask & (chosen == number).any(-1)]
            for layer in ("gate_proj", "up_proj", "down_proj"):
                moments = reached[f"{block}.experts.{number}.{layer}"]
                assert moments.tokens == len(rows)
                assert (f"{block}.experts.{number}.{layer}" in calibration.unreached) == (not len(rows))
            if len(rows):
                found = reached[f"{block}.experts.{number}.up_proj"].s.double()
                torch.testing.assert_close(found, rows.T @ rows, rtol=1e-4, atol=1e-4)


def keep(routes, hidden, path, inputs, out):
    hidden.setdefault(path, []).append(inputs.detach().reshape(-1, inputs.shape[-1]))
    routes.setdefault(path, []).append(out[2])


def test_an_expert_that_nothing_reaches_has_moments_that_say_nothing(family):
    model, found = family("mixtral"), {}
    calibration = Calibration(({"input_ids": torch.tensor([[7, 0]]), "attention_mask": torch.tensor([[1, 0]])},))
    walk(model, calibration, lambda view: found.update(view.statistics.moments))
    assert len(calibration.unreached) == 2 * 2 * 3  # of four experts in two blocks, two read the one token
    for name in calibration.unreached:
        wide = found[name].s.shape[0]
        assert torch.equal(found[name].s, Moments.unknown(wide).s)
        assert found[name].tokens == 0


@pytest.mark.parametrize("name", ["llama", "t5", "mixtral"])
def test_later_blocks_see_what_was_changed_before_them(name, family):
    model, changed = family(name), family(name)
    calibration = batch_of(model)

    def zero(view):
        if view.index == 0:
            with torch.no_grad():
                for layer in view.linears().values():
                    layer.weight.zero_()

    seen_by = []
    walk(changed, calibration, lambda view: (zero(view), seen_by.append(view.inputs[0])))
    direct = heard(changed, calibration)
    torch.testing.assert_close(seen_by[1], direct[stacks(model.module)[0][0]][0])


def test_hidden_states_on_disk_are_the_same(family, tmp_path):
    model = family("llama")
    calibration = batch_of(model)
    found = []
    for folder in (None, tmp_path):
        kept = {}
        walk(model, calibration, lambda view, kept=kept: kept.update(view.statistics.moments), disk=folder)
        found.append(kept)
    assert list(tmp_path.iterdir())
    for name, moments in found[0].items():
        assert torch.equal(moments.s, found[1][name].s)


def test_progress_is_told_and_a_model_without_blocks_is_refused(family):
    model = family("bert")
    told = []
    walk(model, batch_of(model), lambda view: None, statistics=False, progress=lambda *one: told.append(one[:2]))
    assert told == [(1, 2), (2, 2)]
    del model.module.encoder.layer[:]
    with pytest.raises(ModelError, match="no stack of blocks"):
        walk(model, batch_of(model), lambda view: None)
