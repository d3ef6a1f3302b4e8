"""Positions of Marian are a constant that no file holds, wherever its models come from."""

import torch
from families import outputs
from safetensors import safe_open
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

from pocketlm.model.layers import SinusoidTable
from pocketlm.model.pretrained import WEIGHTS, save_model


def test_places_are_marians_own():
    for width in (8, 32):
        own, theirs = SinusoidTable(40, width), MarianSinusoidalPositionalEmbedding(40, width)
        theirs.weight.data = theirs.create_weight()
        assert torch.equal(own(torch.Size((2, 7)), 3), theirs(torch.Size((2, 7)), 3))
        places = torch.tensor([5, 0, 39])
        assert torch.equal(own(torch.Size((1, 3)), position_ids=places), theirs(None, position_ids=places))


def test_places_are_in_no_file(family, tmp_path):
    model = family("marian")
    save_model(model, tmp_path / "kept")
    with safe_open(tmp_path / "kept" / WEIGHTS, "pt") as file:
        assert not [key for key in file.keys() if "embed_positions" in key]  # noqa: SIM118
    assert outputs(model).isfinite().all()
