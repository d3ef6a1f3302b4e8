"""Rows labelled one after the other, those first that teach most: python examples/14_label_rows.py FOLDER

The same in a terminal: pocketlm label texts.txt --labels light,heat,music
"""

import sys
from pathlib import Path

from pocketlm.labelling.session import Plan
from pocketlm.labelling.start import Wish, open_session

folder = Path(sys.argv[1])
things = {
    "light": ("lamp", "bulb", "spotlight"),
    "heat": ("heater", "radiator", "boiler"),
    "music": ("radio", "speaker"),
}
verbs = ("turn on", "switch off", "what about", "please check", "who left on", "set", "stop", "I want")
rooms = ("kitchen", "bedroom", "hall", "attic", "cellar", "office")
gold = {f"{verb} the {thing} in the {room}": label for label, own in things.items() for thing in own
        for verb in verbs for room in rooms}  # fmt: skip
(folder / "texts.txt").write_text("\n".join(gold), "utf-8")

wish = Wish(str(folder / "texts.txt"), str(folder / "labels.jsonl"), labels=tuple(things), plan=Plan(seed=1))
session = open_session(wish)
for _ in range(100):  # a person would answer here
    row = session.next()
    if row is None:
        break
    session.answer(gold[row.text])
session.close()
session.next()
if session.curve is not None:
    last = session.curve.figures[-1]
    print(f"{session.curve.held} held-out rows: {last.value:.2f} ({last.low:.2f} to {last.high:.2f})")
print(session.counts())
