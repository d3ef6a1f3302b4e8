"""Which rows to label first: every strategy of `pocketlm label` replayed beside random rows.

    python benchmarks/active_learning.py --data FOLDER --out benchmarks/results/active_learning.json

Reads training rows alone (banking77/train.csv, masakhanews/yor/train.tsv); of each seed 30 % of them are held out and
judge. --teacher ENCODER uses its vectors in place of dimensions made of n-grams.
"""

from __future__ import annotations

import argparse
import datetime
import time
from pathlib import Path
from typing import Any

from low_resource import keep

from pocketlm.cli.label import replayed_lines
from pocketlm.labelling.simulate import Replay, replay
from pocketlm.labelling.start import Wish, labelled_features
from pocketlm.labelling.strategies import STRATEGIES
from pocketlm.measure.machine import describe

# name: (file, columns of text and label, labelled rows at the end, rows a batch, seeds)
SETS = {
    "banking77": ("banking77/train.csv", "text", "category", 500, 25, 3),
    "masakhanews-yor": ("masakhanews/yor/train.tsv", "headline,text", "category", 300, 10, 5),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--teacher")
    parser.add_argument("--rows", type=int, help="labelled rows at the end, in place of the set's own")
    parser.add_argument("--seeds", type=int)
    given = parser.parse_args(arguments)
    sets: dict[str, Any] = {}
    for name in given.sets.split(","):
        file, text, label, most, batch, seeds = SETS[name]
        began = time.process_time()
        wish = Wish(str(given.data / file), teacher=given.teacher, text=text, label=label)
        texts, labels, known = labelled_features(wish)
        how = Replay(tuple(given.strategies.split(",")), given.rows or most, batch, given.seeds or seeds)
        sets[name] = replay(texts, labels, known, how) | {"seeds": how.seeds, "teacher": given.teacher is not None}
        sets[name]["cpu_seconds"] = round(time.process_time() - began, 1)
        print(f"{name}: {sets[name]['rows']:,} rows, {how.seeds} seeds, {sets[name]['cpu_seconds']} s of CPU")
        print("\n".join(replayed_lines(sets[name])), flush=True)
    if given.out is not None:
        keep({"machine": describe(), "date": datetime.date.today().isoformat(), "sets": sets}, given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
