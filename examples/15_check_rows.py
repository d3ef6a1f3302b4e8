"""What is wrong with rows, before anything is trained on them: python examples/15_check_rows.py FOLDER"""

import csv
import sys
from pathlib import Path

from pocketlm.check.check import check
from pocketlm.check.mend import mended
from pocketlm.job import Job

folder = Path(sys.argv[1])
rooms = ("kitchen", "hall", "garden", "cellar", "attic", "porch", "garage", "bedroom")
things = ("lamp", "heater", "fan", "radio", "blind", "oven")
rows = [(f"Switch the {thing} in the {room} on, please.", "on") for thing in things for room in rooms]
rows += [(f"No more {thing} in the {room}!", "off") for thing in things for room in rooms]
rows[5] = (rows[5][0], "off")  # a wrong label
rows[7] = (rows[7][0], "On")  # another spelling
test = [(text.lower().replace(",", "").rstrip(".!"), label) for text, label in rows[::4]]  # another form, and known

for name, part in (("train", rows), ("test", test)):
    with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *part])

checked = check(Job(str(folder / "train.csv"), test=str(folder / "test.csv")))
for finding in checked.findings:
    rows_named = ", ".join(f"{one.split} row {one.row}" for one in finding.examples[:2])
    print(f"{finding.grade}: {finding.said}" + (f" ({rows_named})" if rows_named else ""))
kept, done = mended(checked.rows)
print(len(kept), "rows left;", done)
