"""Which rows to label first: every strategy of `pocketlm label` replayed beside random rows.

    python benchmarks/active_learning.py --data FOLDER --out benchmarks/results/active_learning.json

Reads training rows alone (banking77/train.csv, masakhanews/yor/train.tsv); of each seed 30 % of them are held out and
judge. --teacher ENCODER uses its vectors in place of dimensions made of n-grams.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from pocketlm.cli.label import replayed_lines
from pocketlm.labelling.simulate import Replay, replay
from pocketlm.labelling.start import Wish, labelled_features
from pocketlm.labelling.strategies import STRATEGIES

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
    results = {}
    for name in given.sets.split(","):
        file, text, label, most, batch, seeds = SETS[name]
        began = time.process_time()
        wish = Wish(str(given.data / file), teacher=given.teacher, text=text, label=label)
        texts, labels, known = labelled_features(wish)
        how = Replay(tuple(given.strategies.split(",")), given.rows or most, batch, given.seeds or seeds)
        results[name] = replay(texts, labels, known, how)
        results[name] |= {"teacher": given.teacher is not None, "cpu_seconds": round(time.process_time() - began, 1)}
        print(f"{name}: {results[name]['rows']:,} rows, {how.seeds} seeds, {results[name]['cpu_seconds']} s of CPU")
        print("\n".join(replayed_lines(results[name])), flush=True)
    if given.out is not None:
        given.out.write_text(json.dumps(results, ensure_ascii=False) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
