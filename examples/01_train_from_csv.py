"""From a CSV to a Pocket that predicts, without a teacher: python examples/01_train_from_csv.py FOLDER"""

import csv
import sys
from pathlib import Path

import pocketlm

folder = Path(sys.argv[1])
rows = [
    (f"{start} {what} {end}".strip(), label)
    for what, label in (("the lights", "light"), ("the heating", "heat"), ("some music", "music"))
    for start in ("please turn on", "switch off", "start", "stop", "i want", "could you give me")
    for end in ("", "now", "in the kitchen", "in the bedroom", "tonight")
]
with (folder / "commands.csv").open("w", newline="", encoding="utf-8") as file:
    csv.writer(file).writerows([("text", "label"), *rows])

result = pocketlm.fit(str(folder / "commands.csv"), max_size="30kB", output=str(folder / "commands.pocket"))
print(result.data["verdict"]["text"])

model = pocketlm.load(result.pocket)
print(model.predict("switch on the heating"))
for answer in model.predict(["stop the music", "lights please"]):
    print(answer["label"], answer["score"])
