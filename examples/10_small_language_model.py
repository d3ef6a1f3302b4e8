"""A smaller student of a language model: python examples/10_small_language_model.py TEXT MODEL FOLDER SIZE

TEXT is a UTF-8 file, MODEL a folder of transformers (GPT-2- or Llama-like), SIZE such as 60MB. Where the model in 4
bits is larger, a student is cut out of it, learns from it, and is judged on text that neither was fitted to.
"""

import sys

import pocketlm

text, model, folder, size = sys.argv[1:5]
result = pocketlm.fit(
    text, task="generation", teacher=model, max_size=size, max_length=32, time_limit="20s",
    output=f"{folder}/small.pocket",
)  # fmt: skip
print(result.data["verdict"]["text"])
apart = result.data["chosen"]["against_teacher"]["systems"]["student"]["bits_per_byte"]
print(f"{apart['difference']:+.3f} bits a byte from the teacher ({apart['low']:+.3f} to {apart['high']:+.3f})")
print(pocketlm.load(result.pocket).predict("turn on the")["generated"])
