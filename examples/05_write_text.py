"""A language model as one file that writes without torch: python examples/05_write_text.py MODEL FOLDER PROMPT

MODEL is a folder of transformers (GPT-2- or Llama-like), or one that pocketlm compress wrote.
"""

import sys
from pathlib import Path

from pocketlm import export_generator, load, load_model
from pocketlm.export.generator import Packing
from pocketlm.runtime.choose import Writing

model, folder, prompt = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
made = export_generator(load_model(model), folder / "model.pocket", Packing(bits=8))
print(f"{made.size_bytes / 1e6:.2f} MB, {made.bits_per_weight:.1f} bits a weight")

# from here on, nothing needs torch
writer = load(made.path).generator
print(writer.write([prompt], Writing(max_tokens=20))[0].text)
for piece in writer.stream(prompt, Writing(max_tokens=20, temperature=0.8, top_p=0.95, seed=1)):
    print(piece, end="", flush=True)
print()
