"""What the benchmark reads back of a GGUF is what was written into it."""

import pytest
import torch
from gguf_lm import types_of
from lm_gguf import read_gguf
from transformers import AutoModelForCausalLM

from pocketlm.export.gguf import export_gguf
from pocketlm.model.pretrained import load_model


def test_a_file_is_read_back_into_the_model_it_was_made_of(byte_tokenizer, tmp_path):
    pytest.importorskip("gguf")
    from families import make_family

    folder = make_family("llama", tmp_path / "llama", byte_tokenizer)
    export_gguf(load_model(folder), tmp_path / "whole.gguf")
    wanted = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for weight in model.parameters():
        weight.data.zero_()
    read_gguf(tmp_path / "whole.gguf", folder, model)
    for one, other in zip(model.parameters(), wanted.parameters(), strict=True):
        assert torch.equal(one, other)


def test_types_of_a_file_are_found_by_the_names_of_layers(byte_tokenizer, tmp_path):
    pytest.importorskip("gguf")
    from families import make_family

    folder = make_family("llama", tmp_path / "llama", byte_tokenizer)
    model = load_model(folder)
    export_gguf(model, tmp_path / "whole.gguf")
    assert types_of(tmp_path / "whole.gguf", model) == dict.fromkeys((one.name for one in model.layers), "F16")
