"""Peak memory of a compression: what grows with depth is the weights; what is foreseen is what is taken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.distill import Distill
from pocketlm.compress.entropy import EntropyCoded
from pocketlm.compress.gptq import Gptq
from pocketlm.compress.gradual import GradualPrune
from pocketlm.compress.low_rank import LowRank
from pocketlm.compress.memory import SEARCH, Work, available, foresee, needed, work_of
from pocketlm.errors import ModelError
from pocketlm.model.pretrained import Model, encode_module, load_model
from pocketlm.model.spec import ModelSpec
from pocketlm.recipe.compress import read_recipe
from pocketlm.units import format_size

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
WIDTH, FEED, WORDS = 256, 704, 512

# Makes nothing but the peak: loading, calibration of random tokens, the pass, and the figures on stdout.
RUN = """
import json, sys, torch
from pathlib import Path
from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.memory import needed, work_of
from pocketlm.compress.passes import PASSES
from pocketlm.measure.probe import peak_memory
from pocketlm.model.pretrained import load_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json

torch.set_num_threads(1)
folder, step, disk, batches = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], int(sys.argv[4])
model = load_model(folder)
ids = torch.randint(5, 500, (batches, 4, 128), generator=torch.Generator().manual_seed(0))
calibration = Calibration(tuple({"input_ids": one, "attention_mask": torch.ones_like(one)} for one in ids))
foreseen = needed(model, calibration.tokens, bool(disk), work_of([pass_from_json(step, PASSES)], 128))
own = sum(one.numel() * one.element_size() for one in model.module.parameters())
context = Context(calibration, fast=False, disk=Path(disk) if disk else None, allow_no_effect=True)
before = peak_memory()
made = compress(model, Recipe([pass_from_json(step, PASSES)]), context)
tensors = [*made.module.parameters(), *made.module.buffers()]
known = {one.data_ptr() for one in model.module.parameters()}
new = sum(one.numel() * one.element_size() for one in tensors if one.data_ptr() not in known)
print(json.dumps({"peak": peak_memory(), "before": before, "own": own, "new": new, "foreseen": foreseen.total,
                  "weights": foreseen.weights}))
"""


def measured(folder, step, disk="", batches=4):
    """Figures of a fresh process, whose heap keeps no tensor's place once it is free: such gaps differ by machine."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder), json.dumps(step), str(disk), str(batches)],
        capture_output=True, text=True, check=False, env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def deep(teacher_folder, tmp_path_factory):
    """deep(12) is the folder of a random Llama of 12 blocks."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    made = {}

    def folder(blocks):
        if blocks not in made:
            config = LlamaConfig(
                vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=FEED, num_hidden_layers=blocks,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
            )  # fmt: skip
            torch.manual_seed(0)
            made[blocks] = tmp_path_factory.mktemp(f"deep-{blocks}")
            LlamaForCausalLM(config).half().save_pretrained(made[blocks])
            AutoTokenizer.from_pretrained(teacher_folder).save_pretrained(made[blocks])
        return made[blocks]

    return folder


@pytest.mark.parametrize(
    ("name", "settings"), [("llama", {"correct": 0.0}), ("llama", {"correct": 0.5}), ("mixtral", {"correct": 0.5})]
)
def test_hidden_states_on_disk_give_the_same_bits(family, calibrated, tmp_path, name, settings):
    model, found = family(name), []
    for disk in (None, tmp_path):
        made = Gptq(bits=3, group_size=16, **settings)(model.copy(), Context(calibrated(model), fast=False, disk=disk))
        found.append(encode_module(made))
    names = {one.name.rpartition("-")[0] for one in tmp_path.iterdir()}  # those of the uncompressed model, too
    assert names >= ({"hidden", "dense", "read-0", "stream"} if settings["correct"] else {"hidden"})
    assert all((found[0][name].data == found[1][name].data).all() for name in found[0])


def test_what_is_foreseen_of_a_llama_is_its_arithmetic(deep):
    model = load_model(deep(2))
    found = needed(model, tokens=1000)
    weights = 2 * WORDS * WIDTH + 2 * (2 * WIDTH * WIDTH + 2 * WIDTH * WIDTH // 2 + 3 * WIDTH * FEED)
    assert found.weights == 2 * 4 * weights
    assert found.moments == 4 * (3 * WIDTH**2 + FEED**2) + 6 * 4 * FEED**2  # q k v, o, gate and up; down
    assert found.hidden == 4 * 1000 * (3 * WIDTH + FEED)
    assert needed(model, 1000, on_disk=True).hidden == 0
    assert found.total > needed(model, 1000, on_disk=True).total > found.weights + found.moments


@pytest.mark.parametrize(
    ("blocks", "width", "feed", "shared", "figures"),
    [
        (32, 4096, 11008, 32, ("64.5", "58.4", "73.8", "58.4")),
        (80, 8192, 28672, 8, ("590.5", "576.5", "610.9", "576.5")),
    ],
)
def test_the_documented_figures_of_7b_and_70b_are_those_foreseen(blocks, width, feed, shared, figures):
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = width // 128
    config = LlamaConfig(
        num_hidden_layers=blocks, hidden_size=width, intermediate_size=feed, num_attention_heads=heads,
        num_key_value_heads=shared, vocab_size=32_000,
    )  # fmt: skip
    with torch.device("meta"):
        model = Model(LlamaForCausalLM(config), None, ModelSpec("-", "LlamaForCausalLM", "llama", "float16"))
    page = (Path(__file__).parents[2] / "docs/memory.md").read_text("utf-8")
    ways = ((False, False), (True, False), (False, True), (True, True))
    for figure, (on_disk, paired) in zip(figures, ways, strict=True):
        assert f"{needed(model, 65_536, on_disk, Work(paired)).total / 1e9:.1f}" == figure
        assert f"**{figure} GB**" in page


def test_too_little_memory_is_refused_with_the_number_and_what_would_do(deep):
    model = load_model(deep(2))
    whole = needed(model, 100_000)
    enough = whole.total - whole.weights // 2  # the model itself is there already
    assert foresee(model, 100_000, limit=enough) == whole
    number = format_size(enough)
    with pytest.raises(ModelError, match=rf"needs about {number} more memory .*--disk FOLDER or fewer --windows"):
        foresee(model, 100_000, limit=enough - 1)
    with pytest.raises(ModelError, match="800 MB are free; fewer --windows, or a larger machine"):
        foresee(model, 100_000, on_disk=True, limit=800_000_000)
    assert available() is None or available() > 0


def test_what_a_recipe_does_besides_is_read_off_its_passes():
    assert work_of([], 512) == work_of([Gptq(bits=3, correct=0.0)], 512) == Work()
    assert work_of([Gptq(bits=3)], 512) == Work(paired=True)
    assert work_of([LowRank(share=0.2)], 512) == Work(paired=LowRank(share=0.2).update == "sequential")
    kronecker = LowRank(share=0.2, method="kronecker", allocation="loss", update="sequential")
    assert work_of([kronecker], 512) == SEARCH
    assert work_of([EntropyCoded(correct=0.0)], 512) == Work(backward=1024)
    healed = [Gptq(bits=3), Distill(batch=4, train="scales")]
    assert work_of(healed, 512) == Work(paired=True, backward=4096, trained=8)
    assert work_of([GradualPrune(heal={"pass": "distill", "batch": 2})], 100).trained == 12


def test_what_is_foreseen_is_at_least_what_the_benchmark_took():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        num_hidden_layers=30, hidden_size=576, intermediate_size=1536, num_attention_heads=9, num_key_value_heads=3,
        vocab_size=49_152, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("meta"):
        model = Model(LlamaForCausalLM(config), None, ModelSpec("-", "LlamaForCausalLM", "llama", "float16"))
    rows = json.loads((BENCHMARKS / "results/compression.json").read_text("utf-8"))["ours"]
    assert len(rows) > 10
    for name, row in rows.items():
        work = work_of(read_recipe(BENCHMARKS / "recipes" / f"{name}.yaml").steps, row["length"])
        foreseen = needed(model, row["windows"] * row["length"], work=work).total
        assert row["peak_memory_bytes"] <= foreseen <= 1.8 * row["peak_memory_bytes"], name


@pytest.mark.slow
@pytest.mark.parametrize("correct", [0.0, 0.5])
def test_peak_memory_beyond_the_weights_does_not_grow_with_depth(deep, correct):
    step = {"pass": "gptq", "bits": 4, "clip": False, "refine": 1, "correct": correct}
    few, many = (measured(deep(blocks), step) for blocks in (12, 48))
    beyond = [one["peak"] - one["own"] - one["new"] for one in (few, many)]
    assert beyond[1] <= 1.1 * beyond[0], (few, many)
    for one in (few, many):
        assert one["weights"] == pytest.approx(2 * one["own"], rel=0.01)
        assert one["new"] < 0.4 * one["own"]  # what a pass leaves alone is not held twice
        assert 0.4 * one["foreseen"] < one["peak"] <= one["foreseen"]
