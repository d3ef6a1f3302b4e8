"""Intents and slots from a few sentences, without a teacher: python examples/02_intents_and_slots.py FOLDER

For a real set, `pocketlm.fit("smart-home:sw", …)` takes one of 65 languages in place of the file.
"""

import json
import sys
from itertools import product
from pathlib import Path

import pocketlm

folder = Path(sys.argv[1])
rooms = ("kitchen", "bedroom", "hall", "garage", "living room", "dining room", "guest room")
things = ("lamp", "fan", "heater", "radio", "speaker")
verbs = (("switch on", "TurnOn"), ("turn on", "TurnOn"), ("switch off", "TurnOff"), ("turn off", "TurnOff"))
rows = []
for room, thing, (verb, intent) in product(rooms, things, verbs):
    tokens = [*verb.split(), "the", *room.split(), thing]
    slots = ["O", "O", "O", "B-room", *["I-room"] * (len(room.split()) - 1), "B-device"]
    rows.append({"tokens": tokens, "slots": slots, "intent": intent})
with (folder / "rooms.jsonl").open("w", encoding="utf-8") as file:
    file.writelines(json.dumps(row) + "\n" for row in rows)

result = pocketlm.fit(str(folder / "rooms.jsonl"), max_size="40kB", output=str(folder / "rooms.pocket"))
print(result.data["verdict"]["text"])

answer = pocketlm.load(result.pocket).predict("turn off the living room fan")
print(answer["intent"])
for entity in answer["entities"]:
    print(entity["slot"], repr(entity["value"]), entity["start"], entity["end"])
