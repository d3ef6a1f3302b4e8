"""New training rows, and what they gain on rows held out: python examples/11_augment_rows.py FOLDER

The same on the command line: pocketlm augment commands.jsonl --try slot-substitution,noise -o more.jsonl
"""

import json
import sys
from pathlib import Path

from pocketlm.augmenting import Augmentation, augment
from pocketlm.job import Job

folder = Path(sys.argv[1])
rooms, things = ("kitchen", "bedroom", "hall", "living room"), ("lamp", "fan", "heater", "radio")
rows = []
for place, room in enumerate(rooms):
    for other, (verb, intent) in enumerate((("switch on", "TurnOn"), ("turn off", "TurnOff"), ("dim", "Dim"))):
        thing = things[(place + other) % len(things)]
        tokens = [*verb.split(), "the", *room.split(), thing]
        slots = [*["O"] * len(verb.split()), "O", "B-room", *["I-room"] * (len(room.split()) - 1), "B-device"]
        rows.append({"tokens": tokens, "slots": slots, "intent": intent})
data = folder / "commands.jsonl"
data.write_text("".join(json.dumps(row) + "\n" for row in rows * 2), "utf-8")

job = Job(str(data), seed=1)
result = augment(Augmentation(job, ("slot-substitution", "noise"), measure=True, seeds=2, folds=2))
print(f"{result['metric']} {result['without']:.2f} on {result['rows']} rows held out in turn")
for one in result["gains"]:
    gain = one["gain"]
    print(f"{one['method']} {gain['value']:+.2f} ({gain['low']:+.2f} to {gain['high']:+.2f})")

augment(Augmentation(job, ("slot-substitution",), output=str(folder / "more.jsonl")))
made = [json.loads(line) for line in (folder / "more.jsonl").read_text("utf-8").splitlines()]
print(next(row["augmented"] for row in made if row["augmented"]))
