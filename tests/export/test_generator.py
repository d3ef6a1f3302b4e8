import numpy as np
import onnx
import pytest
import torch
from generators import make_marian

from pocketlm.compress.context import Context
from pocketlm.compress.gptq import Gptq
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.errors import ModelError, OutputError, UserError
from pocketlm.export.generator import Packing, export_generator
from pocketlm.pocket.format import read_pocket
from pocketlm.runtime.load import load

DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen2_moe", "qwen3_moe")
PAIRS = ("t5", "t5-gated", "Marian", "Bart")


@pytest.mark.parametrize("name", [*DECODERS, *PAIRS])
def test_every_family_writes_with_a_cache_what_torch_says_without(writer, name):
    _, generator, exported = writer(name)
    assert exported.difference.plain < 2e-5
    assert generator.translates == (name in PAIRS)
