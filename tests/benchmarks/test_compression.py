"""Recipes of the compression benchmark are read, and its page says what a run found."""

from pathlib import Path

import compress_lm
import pytest
from compression_page import page

from pocketlm.recipe.compress import check_order, read_recipe

SLOW = {"cpu": "a processor", "vectors": "AVX2", "cores": 2, "python": "3.11"}
FAST = {"cpu": "another", "cores": 4, "python": "3.12"}
CLASSIFIER = {
    "split": "test", "rows": 3080, "seed": 0, "date": "2026-01-01",
    "machine": {"cpu": "a processor", "cores": 2, "python": "3.11", "versions": {"torch": "2"}},
    "systems": [{"name": "teacher, float32", "bytes": 90_000_000, "right": 2800},
                {"name": "8x", "bytes": 10_000_000, "right": 2786, "seconds": 100.0}],
}  # fmt: skip
RECIPES = sorted(compress_lm.RECIPES.glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_read_and_in_order(path):
    check_order(read_recipe(path))


def test_calibration_is_what_the_recipe_says(tmp_path):
    recipe = tmp_path / "x.yaml"
    recipe.write_text("# about\n# after: size-45mb\n# windows: 64\n- pass: gptq\n", "utf-8")
    assert compress_lm.said(recipe, "windows") == "64"
    assert compress_lm.said(recipe, "after") == "size-45mb"
    assert compress_lm.said(recipe, "length") is None


def test_the_page_shows_every_row_in_its_group_the_best_first():
    peer = {"name": "llama.cpp Q4_0", "file_bytes": 90_000_000, "perplexity": 24.871, "seconds": 1.2}
    mine = {
        "name": "size-45mb", "split": "test", "file_bytes": 44_600_000, "perplexity": 28.456, "seconds": 250.0,
        "peak_memory_bytes": 2_100_000_000, "load": 1.9, "machine": SLOW,
    }  # fmt: skip
    found = {
        "seed": 0, "versions": {"torch": "2"},
        "evaluation": {"tokens": 32768, "text": "WikiText-2 test", "context": 1024}, 
        "ours": {"size-45mb": mine, "unusual": {**mine, "name": "unusual"},
                 "structured-25": {**mine, "name": "structured-25", "tokens_per_second": {"reading": [1300.0, 1000.0]}},
                 "size-45mb-trained": {**mine, "name": "size-45mb-trained", "after": "size-45mb", "seconds": 600.0}},
        "peers": {"a": {"rows": [peer], "taken": {"versions": {"peer": "1"}, "machine": FAST}},
                  "b": {"left_out": "no module"}},
    }  # fmt: skip
    text = page(found, CLASSIFIER)
    assert (
        text.index("Whole files") < text.index("llama.cpp Q4_0") < text.index("size-45mb") < text.index("3 and 2 bits")
    )
    assert text.index("## Others") < text.index("unusual")
    assert "44.6 MB | 28.46 | 250 | 2.10 GB | 1.9 | 2 |" in text
    assert (
        "(1) another of unrecorded vector width, 4 cores, Python 3.12; (2) a processor with AVX2, 2 cores, Python 3.11;"
        in text
    )
    assert text.count("same source as the test text") == 1
    assert "| 250 + 600 |" in text
    assert "structured-25, by torch in float32: reading 1,300 tokens a second (1.30x the original's 1,000)." in text
    assert "b is left out: no module." in text
    assert Path(compress_lm.RECIPES / "size-45mb.yaml").is_file()
    assert "| 8x | 10,000,000 | 9.0x | 90.45% | 99.50% | 100.0 |" in text
    with pytest.raises(ValueError, match="dev split"):
        page(found, {**CLASSIFIER, "split": "dev"})
    mine["split"] = "dev"
    with pytest.raises(ValueError, match="size-45mb: figures of the dev split"):
        page(found, CLASSIFIER)
