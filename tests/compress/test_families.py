"""The recipes on the page of families run on a small model of each family, and what is left reloads bit by bit."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from families import CONFIGS, outputs, seen

from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.passes import PASSES
from pocketlm.model.anatomy import SUPPORTED
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe

PAGE = (Path(__file__).parents[2] / "docs" / "families.md").read_text("utf-8")
SECTIONS = {
    "Encoders": ("bert-words", "bert-classes", "roberta", "distilbert"),
    "GPT-2": ("gpt2",),
    "Llama-like": ("llama", "mistral", "qwen2", "qwen3"),
    "T5": ("t5", "t5-gated"),
    "Marian": ("marian",),
    "Mixtures of experts": ("mixtral", "qwen2_moe", "qwen3_moe"),
    "Whisper": ("whisper",),
}


def recipes(title):
    """The recipes under a heading of the page."""
    text = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return [yaml.safe_load(code) for code in re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)]


CASES = [
    pytest.param(name, steps, id=f"{name}-{place}")
    for title, names in SECTIONS.items()
    for place, steps in enumerate(recipes(title))
    for name in names
]


def test_the_page_names_every_model_type():
    table = PAGE.split("| --- | --- | --- |\n")[1].split("\n\n")[0]
    assert set(re.findall(r"`([\w-]+)`", table)) == set(SUPPORTED)
    assert {*CONFIGS} - {name for names in SECTIONS.values() for name in names} <= {"bert"}


@pytest.mark.parametrize(("name", "steps"), CASES)
def test_the_recipe_of_a_family_makes_it_smaller_and_reloads_bit_by_bit(name, steps, family, tmp_path):
    model = family(name)
    context = Context(calibration=Calibration(tuple(seen(model, seed) for seed in (1, 2))), fast=False)
    small = compress(model, Recipe.from_json(steps, PASSES), context)
    assert len(small.records) == len(steps)
    assert small.records[-1]["size_bytes"][1] < 0.6 * small.records[0]["size_bytes"][0]
    for record in small.records:
        recorded = {one["name"].split("/")[0] for one in record["layers"]}
        if record is small.records[-1]:
            assert recorded >= {one.name for one in small.layers}
    save_model(small, tmp_path / "small")
    again = load_model(tmp_path / "small")
    assert torch.equal(outputs(again), outputs(small))
    assert outputs(small).isfinite().all()
