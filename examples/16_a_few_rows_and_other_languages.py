"""Fifty rows of one language beside the rows of another: python examples/16_a_few_rows_and_other_languages.py FOLDER

A language may have fifty labelled commands where its neighbour has thousands. They are learnt from together, the few
heard more often than they are many; only the language of the fifty is judged.
"""

import sys
from pathlib import Path

import pocketlm
from pocketlm.data.smart_home import smart_home
from pocketlm.data.source import write_rows

folder = Path(sys.argv[1])
dutch = folder / "dutch.jsonl"
write_rows(smart_home("nl").splits["train"][::6], dutch, replace=True)
settings = {"shots": 50, "max_size": "60kB", "refit": False}
alone = pocketlm.fit("smart-home:af", output=str(folder / "alone.pocket"), **settings)
both = pocketlm.fit("smart-home:af", also=(str(dutch),), output=str(folder / "both.pocket"), **settings)
for name, done in (("50 rows alone", alone), ("beside Dutch", both)):
    figure = done.data["chosen"]["test"]["metrics"]["frame_accuracy"]
    print(f"{name}: {figure['value']:.1%} of {done.data['chosen']['test']['n']} test sentences wholly right")
for note in both.data["data"]["notes"]:
    if "mixed" in note or "left out" in note:
        print(note)
