"""The default fit beside TF-IDF with a linear SVM in low-resource languages: low_resource.py --data FOLDER --out FILE

FOLDER holds masakhanews/, sib200/ and afrisenti/, in each a folder a language with train.tsv, dev.tsv and test.tsv.
Both systems learn from the same rows in the same run: the SVM from train and dev together, fit from train, with dev to
choose by and to learn from at the end. With --also fit learns from training rows of other languages of the set, too;
none of their dev or test rows is read. With --unlabelled N fit is given N sentences of the language from training
splits of the other sets and from plain text, and every fourth training row of all other languages of the set, without
labels. What is done is kept in FILE, and the same command goes on after it.
--dev never opens test.tsv: train and dev rows are put together, and seed s is judged on the s-th fifth of them.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pocketlm
from pocketlm.errors import BudgetMissed
from pocketlm.measure.machine import describe
from pocketlm.tasks.metrics import macro, single_counts

RESAMPLES = 1000
PARTS = 5
Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Set:
    """How a set's files are read, and its figure. text: the columns joined. quoted: whether cells may be quoted."""

    languages: tuple[str, ...]
    text: tuple[str, ...]
    label: str
    quoted: bool
    figure: str


SIB = ("swh_Latn", "hau_Latn", "yor_Latn", "ibo_Latn", "amh_Ethi", "som_Latn", "khm_Khmr", "quy_Latn", "lug_Latn",
       "wol_Latn", "eng_Latn")  # fmt: skip
SETS = {
    "masakhanews": Set(("yor", "ibo", "lug", "som"), ("headline", "text"), "category", True, "f1_weighted"),
    "sib200": Set(SIB, ("text",), "category", False, "accuracy"),
    "afrisenti": Set(("hau", "amh", "swa", "pcm", "twi"), ("tweet",), "label", False, "f1_weighted"),
}


# Where there is more text of a language: a set and its folder there, or a file of plain text.
MORE = {
    "swh": ("afrisenti/swa", "swahili-text/train.txt"), "swa": ("sib200/swh_Latn", "swahili-text/train.txt"),
    "yor": ("sib200/yor_Latn", "masakhanews/yor"), "ibo": ("sib200/ibo_Latn", "masakhanews/ibo"),
    "lug": ("sib200/lug_Latn", "masakhanews/lug"), "som": ("sib200/som_Latn", "masakhanews/som"),
    "hau": ("sib200/hau_Latn", "afrisenti/hau"), "amh": ("sib200/amh_Ethi", "afrisenti/amh"),
    "eng": ("wikitext2/valid.raw.txt",), "khm": (), "quy": (), "wol": (), "pcm": (), "twi": (), "npi": (),
}  # fmt: skip
# Words of a sentence that is taken from a longer text.
FEWEST, MOST = 6, 40


def read(folder: Path, about: Set, split: str) -> Rows:
    """(text, label) of each row of a split."""
    csv.field_size_limit(10**9)
    quoting = csv.QUOTE_MINIMAL if about.quoted else csv.QUOTE_NONE
    with (folder / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=quoting))
    return [(" ".join(row[name] or "" for name in about.text), row[about.label]) for row in rows]


def own_sentences(data: Path, name: str, language: str, count: int, seed: int) -> list[str]:
    """At most `count` sentences of the language from elsewhere."""
    own = data / name / language
    found: list[str] = []
    for place in MORE[language[:3]]:
        if (data / place) == own:
            continue
        if place.endswith(".txt"):
            long = (data / place).read_text("utf-8").splitlines()
        else:
            long = [text for text, _ in read(data / place, SETS[place.partition("/")[0]], "train")]
        cut = (" ".join(part.split()[:MOST]) for text in long for part in re.split(r"(?<=[.!?።])\s+|\n", text))
        found += [one for one in cut if len(one.split()) >= FEWEST]
    found = list(dict.fromkeys(found))
    np.random.default_rng(seed).shuffle(found)
    return found[:count]


def unlabelled(data: Path, name: str, language: str, count: int, seed: int, dev: bool) -> list[str]:
    """At most `count` sentences of the language from elsewhere, then some training texts of the set's others."""
    found = own_sentences(data, name, language, count, seed)
    others = (one.name for one in sorted((data / name).iterdir()) if one.is_dir() and one.name != language)
    return found + [text for one in others for text, _ in learnt_rows(data / name / one, SETS[name], seed, dev)[::4]]


def rows_of(folder: Path, about: Set, seed: int, dev: bool) -> tuple[Rows, Rows, Rows]:
    """Training, dev and judged rows; without test where `dev`: then dev is empty, and fit takes its own."""
    train, choose = read(folder, about, "train"), read(folder, about, "dev")
    if not dev:
        return train, choose, read(folder, about, "test")
    pool = train + choose
    part = np.random.default_rng(0).permutation(len(pool)) % PARTS
    held = part == seed % PARTS
    kept = [row for row, out in zip(pool, held, strict=True) if not out]
    return kept, [], [row for row, out in zip(pool, held, strict=True) if out]


def learnt_rows(folder: Path, about: Set, seed: int, dev: bool) -> Rows:
    """Training rows alone; test is not opened."""
    return rows_of(folder, about, seed, dev)[0] if dev else read(folder, about, "train")


def peer(train: Rows, texts: Sequence[str]) -> tuple[list[str], float]:
    """Labels by word 1-2 and char_wb 2-5 TF-IDF with a linear SVM, and the seconds to train it."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    began = time.monotonic()
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    chars = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    pipeline = make_pipeline(make_union(words, chars), LinearSVC())
    pipeline.fit([text for text, _ in train], [label for _, label in train])
    seconds = time.monotonic() - began
    return [str(label) for label in pipeline.predict(list(texts))], seconds


def ours(
    train: Rows, dev: Rows, others: dict[str, Rows], more: Sequence[str], texts: Sequence[str],
    settings: dict[str, Any], work: Path,
) -> dict[str, Any]:  # fmt: skip
    """What a fit came to: its labels of `texts`, size, latency, seconds and the candidate chosen.

    work: where the sizes of one seed share what the teacher learnt.
    """
    work.mkdir(parents=True, exist_ok=True)

    def written(name: str, rows: Rows) -> str:
        lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows]
        (work / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines), "utf-8")
        return str(work / f"{name}.jsonl")

    job: dict[str, Any] = {"job": written("train", train), "text": "text", "label": "label"}
    job |= {"output": str(work / "student.pocket"), "also": tuple(written(*other) for other in others.items())}
    if dev:
        job["dev"] = written("dev", dev)
    if more:
        (work / "more.txt").write_text("".join(" ".join(text.split()) + "\n" for text in more), "utf-8")
        job["unlabelled"] = str(work / "more.txt")
    try:
        result = pocketlm.fit(**job, **settings, keep_best=True, force=True)
    except BudgetMissed as missed:
        result = missed.result
    said = pocketlm.load(result.pocket).predict(list(texts))
    chosen = result.data["chosen"]
    return {
        "said": [one["label"] for one in said], "chosen": chosen["name"], "status": result.data["status"],
        "size_bytes": chosen["measurement"]["size_bytes"], "p50_ms": chosen["measurement"]["latency_p50_ms"],
        "seconds": result.data["seconds"],
    }  # fmt: skip


def figure(name: str, gold: NDArray[np.int64], said: NDArray[np.int64], labels: int, times: NDArray[Any]) -> Any:
    """The figure under each weighting of the rows. times: (weightings, rows). Returns (weightings,)."""
    if name == "accuracy":
        return times @ (gold == said) / times.sum(1)
    return macro(single_counts(gold, said, labels, times), weighted=True)[2]


def judged(about: Set, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean figures of both over runs, and of their difference, with 95 % bootstrap intervals over rows.

    Runs judged on the same rows are resampled together, others each by itself. (Efron and Tibshirani 1993)
    """
    drawn: dict[tuple[str, ...], NDArray[Any]] = {}
    random, found = np.random.default_rng(0), []
    for run in runs:
        gold, count = run["gold"], len(run["gold"])
        times = drawn.setdefault(tuple(gold), random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES))
        times = np.concatenate((np.ones((1, count)), times))
        labels = sorted({*gold, *run["peer"], *run["said"]})
        numbers = [np.array([labels.index(one) for one in run[key]]) for key in ("gold", "said", "peer")]
        found.append([figure(about.figure, numbers[0], one, len(labels), times) for one in numbers[1:]])
    own, other = np.mean(found, axis=0)
    return {"ours": _spread(own), "peer": _spread(other), "gain": _spread(own - other)}


def _spread(values: NDArray[Any]) -> list[float]:
    """[value, low, high] in points; the first value is that of the rows as they are."""
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return [round(100 * float(one), 2) for one in (values[0], low, high)]


def table(done: dict[str, Any]) -> str:
    """One line a language and size, and the mean gain of each set."""
    lines = ["set | language | size | ours | peer | gain (95 %) | kB | p50 µs | fit s", "--- | " * 8 + "---"]
    gains: dict[tuple[str, str], list[float]] = {}
    for key, one in done["languages"].items():
        name, language, size = key.split("/")
        found = judged(SETS[name], one)
        gain, low, high = found["gain"]
        gains.setdefault((name, size), []).append(gain)
        middle = [float(np.median([run[part] for run in one])) for part in ("size_bytes", "p50_ms", "seconds")]
        lines.append(
            f"{name} | {language} | {size} | {found['ours'][0]:.1f} | {found['peer'][0]:.1f} | {gain:+.1f} ({low:+.1f} "
            f"to {high:+.1f}) | {middle[0] / 1e3:.0f} | {1e3 * middle[1]:.0f} | {middle[2]:.0f}"
        )
    lines += [
        f"{name} | mean of {len(own)} | {size} | | | {np.mean(own):+.2f} | | |" for (name, size), own in gains.items()
    ]
    return "\n".join(lines)


def main() -> int:
    """Go on until every language is done, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--languages", nargs="+", help="of all sets; without it every language")
    parser.add_argument("--sizes", nargs="+", default=["5MB", "300kB"])
    parser.add_argument("--latency", default="1ms")
    parser.add_argument("--teacher", help="a pretrained encoder; without it students learn from the labels alone")
    parser.add_argument("--also", nargs="+", default=[], metavar="LANG", help="folders of the set to learn from, too")
    parser.add_argument(
        "--unlabelled", type=int, default=0, metavar="N", help="sentences of the language to learn from"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dev", action="store_true", help="judge on held-out training rows; test is never read")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    done: dict[str, Any] = json.loads(given.out.read_text("utf-8")) if given.out.is_file() else {}
    kind = {"dev": given.dev, "teacher": given.teacher and Path(given.teacher).name, "also": given.also}
    kind |= {"unlabelled": given.unlabelled, "latency": given.latency}
    done = done or {**kind, "machine": describe(), "languages": {}}
    if any(done.get(name, 0) != value for name, value in kind.items()):
        parser.error(f"{given.out} holds figures of another kind of run; name another file")
    for name in given.sets:
        for language in SETS[name].languages if given.languages is None else given.languages:
            if language in SETS[name].languages:
                run_language(given, done, name, language, lambda: keep(done, given.out))
    print(table(done))
    return 0


def run_language(
    given: argparse.Namespace, done: dict[str, Any], name: str, language: str, save: Callable[[], None]
) -> None:
    """Every seed and size of one language that is not done yet."""
    about, folder = SETS[name], given.data / name / language
    for seed in range(given.seeds):
        keys = {size: f"{name}/{language}/{size}" for size in given.sizes}
        left = [
            size for size in given.sizes if all(run["seed"] != seed for run in done["languages"].get(keys[size], []))
        ]
        if not left:
            continue
        # with --dev what is held out of one language is held out of all: rows may be translations of each other
        others = {
            one: learnt_rows(given.data / name / one, about, seed, given.dev) for one in given.also if one != language
        }
        more = unlabelled(given.data, name, language, given.unlabelled, seed, given.dev) if given.unlabelled else []
        own_count = len(own_sentences(given.data, name, language, given.unlabelled, seed)) if more else 0
        train, dev, held = rows_of(folder, about, seed, given.dev)
        texts, gold = [text for text, _ in held], [label for _, label in held]
        said = peer(train + dev, texts)
        # one that was stopped in the middle goes on in its folder
        work = given.out.with_suffix(".work") / f"{name}-{language}-{seed}"
        for size in left:
            settings = {"max_size": size, "max_latency": given.latency, "teacher": given.teacher, "seed": seed}
            own = ours(train, dev, others, more, texts, settings, work)
            today = datetime.date.today().isoformat()
            own |= {"own_sentences": own_count, "others_texts": len(more) - own_count}
            runs = done["languages"].setdefault(keys[size], [])
            runs.append({"seed": seed, "date": today, "gold": gold, "peer": said[0], "peer_seconds": said[1], **own})
            found = judged(about, runs[-1:])
            print(name, language, size, seed, own["chosen"], f"{own['seconds']:.0f} s", found, flush=True)
            save()
        shutil.rmtree(work)


def keep(done: dict[str, Any], path: Path) -> None:
    """Write what is done, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(done, ensure_ascii=False), "utf-8")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
