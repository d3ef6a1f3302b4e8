"""A language model from plain text alone, and an encoder: python examples/17_pretrain.py TEXT FOLDER

TEXT is a UTF-8 file. Both are judged on a part of it that they did not learn from; the first writes on from a text.
"""

import sys

import torch

from pocketlm import Pretraining, load_model, pretrain

text, folder = sys.argv[1:3]
small = {"width": 64, "blocks": 1, "pieces": 400, "time_limit": None, "epochs": 5}
report = pretrain(Pretraining(text, f"{folder}/writer", **small))
for name, one in sorted(report["dev"].items(), key=lambda item: item[1]["value"]):
    print(f"{name}: {one['value']:.3f} bits a byte")

model = load_model(f"{folder}/writer")
given = model.tokenizer("turn on the", return_tensors="pt").input_ids
with torch.no_grad():
    written = model.module.generate(given, max_new_tokens=8, do_sample=False)
print(model.tokenizer.decode(written[0]))

report = pretrain(Pretraining(text, f"{folder}/encoder", kind="masked", **small))
print(f"encoder: {report['dev']['model']['value']:.3f} {report['metric']}")
