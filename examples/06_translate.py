"""A translator from pairs of texts alone, in under a minute: python examples/06_translate.py FOLDER

Real languages need tens of thousands of pairs and hours; this one has twenty words. `pocketlm.fit("train.en,train.sw")`
reads two files line by line, and TMX is read too.
"""

import sys
from itertools import product
from pathlib import Path

import pocketlm

folder = Path(sys.argv[1])
english = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
swahili = ("sifuri", "moja", "mbili", "tatu", "nne", "tano", "sita", "saba", "nane", "tisa")
numbers = [*product(range(10), repeat=2), *list(product(range(10), repeat=3))[::2]]
lines = ["en\tsw"]
for digits in numbers:
    lines.append("\t".join(" ".join(words[digit] for digit in digits) for words in (english, swahili)))
(folder / "numbers.tsv").write_text("\n".join(lines), "utf-8")

result = pocketlm.fit(
    str(folder / "numbers.tsv"), max_size="2MB", time_limit="50s", output=str(folder / "numbers.pocket")
)
print(result.data["verdict"]["text"])
print(pocketlm.load(result.pocket).predict("seven two nine")["translation"])
