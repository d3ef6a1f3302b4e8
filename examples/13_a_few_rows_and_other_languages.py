"""Fifty rows of one language beside the rows of others: python examples/13_a_few_rows_and_other_languages.py FOLDER

A language may have fifty labelled commands where others have thousands. These are learnt from together, the few heard
more often than they are many; only the fifty's language is judged.
"""

import sys
from pathlib import Path

import pocketlm

folder = Path(sys.argv[1])
settings = {"shots": 50, "max_size": "60kB", "time_limit": "1m", "refit": False}
alone = pocketlm.fit("smart-home:af", output=str(folder / "alone.pocket"), **settings)
both = pocketlm.fit("smart-home:af", also=("smart-home:lb",), output=str(folder / "both.pocket"), **settings)
for name, done in (("50 rows alone", alone), ("with Luxembourgish", both)):
    figure = done.data["chosen"]["test"]["metrics"]["frame_accuracy"]
    print(f"{name}: {figure['value']:.1%} of {done.data['chosen']['test']['n']} test sentences wholly right")
for note in both.data["data"]["notes"]:
    if "mixed" in note or "left out" in note:
        print(note)
