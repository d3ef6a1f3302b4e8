"""Vectors of a sentence encoder's students beside their teacher and peers: similarity.py --data D --models M --out FILE

Two sets. banking77: another test text of the label must be near (recall, MRR). smart-home: pairs of test texts scored
3 (one template, other words in its slots), 2 (one intent), 1 (intents that begin alike, such as HassTurnOn and
HassTurnOff) or 0 are to be put in order (Spearman). Students hear their teacher on the training texts alone, and test
rows are read once a system. Peers: the encoder as an ONNX graph in float32 and by onnxruntime's dynamic int8, Model2Vec
distilled from it, and TF-IDF fitted on the same training texts.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pickle
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from encoders import Model2VecEncode, OnnxEncode, TfidfEncode
from peers import timed

import pocketlm
from pocketlm.data.smart_home import smart_home
from pocketlm.errors import BudgetMissed
from pocketlm.export.onnx import to_bytes, trace
from pocketlm.job import Job
from pocketlm.measure.fresh import measure_pocket, spread
from pocketlm.measure.machine import describe
from pocketlm.model.encoder import load_pretrained
from pocketlm.outputs import Example, texts_of
from pocketlm.tasks.prepare import prepare, read_labelled
from pocketlm.tasks.similarity import SIMILARITY, VECTOR
from pocketlm.train.embedder import encoder_as_it_is

Encode = Callable[[Sequence[str]], np.ndarray]
SIZES = ("6MB", "1MB", "250kB")
TIMED = 200


def teacher_graphs(model: Any, folder: Path) -> list[tuple[str, int, Any]]:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole, small = folder / "teacher.onnx", folder / "teacher.int8.onnx"
    whole.write_bytes(to_bytes(trace(model)))
    quantize_dynamic(str(whole), str(small), per_channel=True, weight_type=QuantType.QInt8)
    tokenizer = model.inputs.tokenizer.to_str()
    return [
        (
            f"teacher, ONNX Runtime {kind}",
            graph.stat().st_size + len(tokenizer.encode()),
            OnnxEncode(str(graph), tokenizer, 64),
        )
        for kind, graph in (("float32", whole), ("dynamic int8", small))
    ]


def model2vec(folder: str) -> tuple[str, int, Any]:
    from model2vec.distill import distill

    static = distill(model_name=folder, pca_dims=256)
    with tempfile.TemporaryDirectory() as place:
        static.save_pretrained(place)
        size = sum(file.stat().st_size for file in Path(place).rglob("*") if file.is_file())
    return "Model2Vec 256", size, Model2VecEncode(static)


def tfidf(texts: Sequence[str]) -> tuple[str, int, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    chars = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2)
    union = make_union(words, chars).fit(list(texts))
    return "TF-IDF (word 1–2, char 2–5)", len(pickle.dumps(union)), TfidfEncode(union)


def judged(examples: Sequence[Example], encode: Encode) -> dict[str, Any]:
    """Every figure with its interval."""
    texts = [str(text) for text in texts_of(examples, SIMILARITY.outputs([]))]
    known = list(dict.fromkeys(texts))
    vectors = dict(zip(known, encode(known), strict=True))
    scores = SIMILARITY.score(examples, [{VECTOR: vectors[text]} for text in texts], (), seed=0)
    return {name: vars(figure) for name, figure in scores.metrics.items()}


def smart_home_pairs(seed: int = 0, each: int = 400) -> list[Example]:
    """Pairs of test sentences, as many of each score as there are, up to `each`."""
    rows, random = smart_home("en").splits["test"], np.random.default_rng(seed)
    found: dict[int, dict[tuple[int, int], None]] = {score: {} for score in range(4)}

    def score_of(one: dict[str, Any], other: dict[str, Any]) -> int:
        if one["template"] == other["template"]:
            return 3
        if one["intent"] == other["intent"]:
            return 2
        return int(one["intent"][:7] == other["intent"][:7])

    for _ in range(400_000):
        first, second = sorted(random.integers(len(rows), size=2).tolist())
        kept = found[score_of(rows[first], rows[second])]
        if first != second and rows[first]["text"] != rows[second]["text"] and len(kept) < each:
            kept[first, second] = None
    return [
        Example(rows[a]["text"], pair=rows[b]["text"], score=float(score))
        for score, pairs in found.items()
        for a, b in pairs
    ]


def students(
    data: dict[str, str], teacher: str, folder: Path, limit: str, sizes: Sequence[str]
) -> list[tuple[str, Path]]:
    """A Pocket a size, of one work folder."""
    made = []
    for size in sizes:
        output = folder / f"{size}.pocket"
        job = Job(
            **data, task="similarity", teacher=teacher, max_size=size, output=str(output), force=True, variants=2,
            work=str(folder / "work"), time_limit=limit, refit=False,
        )  # fmt: skip
        print(f"fitting {size} of {data['data']}", flush=True)
        try:
            pocketlm.fit(job)
        except BudgetMissed as missed:
            print(f"  {missed}", flush=True)
            continue
        made.append((f"PocketLM ≤ {size}", output))
    return made


def run_set(
    data: dict[str, str], examples: Sequence[Example], teacher: str, folder: Path, limit: str, sizes: Sequence[str]
) -> list[dict[str, Any]]:
    """Every system's bytes, p50 on one thread, and figures on the set's test rows."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [str(text) for text in dict.fromkeys(texts_of(examples, SIMILARITY.outputs([])))]
    prepared = prepare(Job(**data, task="similarity"))
    peers = [
        *teacher_graphs(encoder_as_it_is(load_pretrained(teacher), 64), folder),
        model2vec(teacher),
        tfidf([one.text for one in prepared.train + prepared.dev]),
    ]
    rows = []
    for name, size, encode in peers:
        print(name, flush=True)
        many = getattr(encode, "many", None)
        figures = judged(examples, many or (lambda own, one=encode: np.stack([one(text) for text in own])))
        if isinstance(encode, OnnxEncode):
            encode.session = encode.read = None
        taken = timed(encode, spread(texts, TIMED))
        rows.append({"name": name, "size_bytes": size, "latency_p50_ms": taken["latency_p50_ms"], "metrics": figures})
    for name, path in students(data, teacher, folder, limit, sizes):
        model = pocketlm.load(path, threads=1)
        figures = judged(examples, lambda own, model=model: model.vectors(own, batch_size=1))
        taken = measure_pocket(path, spread(texts, TIMED))
        chosen = model.manifest["provenance"]["recipe"][0]
        rows.append(
            {"name": name, "size_bytes": taken["size_bytes"], "latency_p50_ms": taken["latency_p50_ms"],
             "metrics": figures, "student": chosen, "width": model.outputs[0].width}
        )  # fmt: skip
    for row in rows:
        row["of_teacher"] = {
            name: round(one["value"] / rows[0]["metrics"][name]["value"], 4) for name, one in row["metrics"].items()
        }
        shown = ", ".join(
            f"{name} {one['value']:.4f} ({row['of_teacher'][name]:.1%})" for name, one in row["metrics"].items()
        )
        print(f"{row['name']}: {row['size_bytes']:,} bytes, p50 {row['latency_p50_ms']:.3f} ms, {shown}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with banking77/train.csv and test.csv")
    parser.add_argument("--models", type=Path, required=True, help="folder with minilm/")
    parser.add_argument("--work", type=Path, default=None, help="folder for unfinished and measured work")
    parser.add_argument("--sets", default="banking77,smart-home", help="which of the two sets")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), help="of the students")
    parser.add_argument("--time-limit", default="10m", help="of one fit")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    teacher = str(asked.models / "minilm")
    with tempfile.TemporaryDirectory() as place:
        folder = asked.work or Path(place)
        banking = {name: str(asked.data / "banking77" / f"{name}.csv") for name in ("train", "test")}
        sets = {
            "banking77": (
                {"data": banking["train"], "test": banking["test"]},
                lambda: read_labelled(banking["test"], "retrieval", None, None),
            ),
            "smart-home": ({"data": "smart-home:en"}, smart_home_pairs),
        }
        found = {}
        for name in asked.sets.split(","):
            data, examples = sets[name]
            found[name] = run_set(data, examples(), teacher, folder / name, asked.time_limit, asked.sizes)
    whole = {"machine": describe(), "date": datetime.date.today().isoformat(), "sets": found}
    asked.out.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
