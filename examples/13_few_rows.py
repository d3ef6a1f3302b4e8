"""A Pocket that says when it does not know: python examples/13_few_rows.py FOLDER

The same on the command line: pocketlm fit orders.csv --abstain 10% --out-of-scope other -o orders.pocket
"""

import csv
import itertools
import sys
from pathlib import Path

import pocketlm

folder = Path(sys.argv[1])
things = ("lamp", "fan", "heater", "radio", "oven", "screen", "door", "blind")
rooms = ("kitchen", "bedroom", "hall", "office", "attic", "garage")
orders = {
    "on": "switch on the {0} in the {1}",
    "off": "turn off the {0} in the {1}",
    "dim": "make the {0} in the {1} dim",
}
small_talk = ("what a {0} you have in the {1}", "who sold you that {0} for the {1}", "is the {1} nicer than the {0}")
rows = [(form.format(*pair), label) for pair in itertools.product(things, rooms) for label, form in orders.items()]
rows += [(form.format(*pair), "other") for pair in itertools.product(things, rooms) for form in small_talk]
data = folder / "orders.csv"
with data.open("w", newline="", encoding="utf-8") as file:
    csv.writer(file).writerows([("text", "label"), *rows])

made = pocketlm.fit(
    str(data), abstain="10%", out_of_scope="other", max_size="25kB", output=str(folder / "orders.pocket"), force=True
)
model = pocketlm.load(made.pocket)
for text in ("switch on the lamp in the office", "who sold you that radio for the hall"):
    print(text, "->", model.predict(text)["label"])
sure = made.data["chosen"]["test"]["sureness"]
print(f"answered {sure['coverage']['value']:.0%} of test, {sure['answered_accuracy']['value']:.0%} of that right")
