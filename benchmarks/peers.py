"""The peers: trained on the same rows, judged on the same test rows, timed by the same loop.

Each peer is one function that returns accuracy, bytes and a timing taken in a fresh process on one thread.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from significance import Right

from pocketlm.measure.fresh import ONE_THREAD
from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import Example
from pocketlm.tasks.prepare import Prepared
from pocketlm.train.teach import ask

# Times `predict(text)` of a pickled object in a fresh process, with the same loop as a Pocket's probe.
_TIMER = """
import json, pickle, sys
from pocketlm.measure.probe import peak_memory, summary, time_calls
sys.path.insert(0, sys.argv[3])
with open(sys.argv[1], "rb") as file:
    predict = pickle.load(file)
texts = [json.loads(line) for line in open(sys.argv[2], encoding="utf-8")]
print(json.dumps({**summary(time_calls(lambda batch: predict(batch[0]), texts)), "memory_bytes": peak_memory()}))
"""


@dataclass(frozen=True)
class System:
    """One line of the table. right: which test rows it gets right, None where it could not run.

    timer: takes its latency and memory now. about: what else is said of it.
    """

    name: str
    right: Right | None
    size_bytes: int = 0
    timer: Callable[[], dict[str, float]] | None = None
    about: dict[str, Any] = field(default_factory=dict)


def run_all(
    model: TaskModel, pretrained: str, prepared: Prepared, timed_texts: Sequence[str], folder: Path
) -> tuple[list[System], dict[str, float]]:
    """Every peer, and how the teacher's graphs agree with torch.

    model: the fine-tuned teacher. pretrained: the folder it came from. Peers learn from train and dev rows.
    """
    whole, test = prepared.train + prepared.dev, prepared.test
    labels = prepared.outputs[0].labels
    kinds: tuple[tuple[str, Callable[[], tuple[Right, int, Any]]], ...] = (
        ("TF-IDF (word 1–2, char 2–5) + logistic regression", lambda: tfidf(whole, test)),
        ("teacher, ONNX Runtime float32", lambda: onnx_teacher(model, labels, test, folder, False)),
        ("teacher, ONNX Runtime dynamic int8", lambda: onnx_teacher(model, labels, test, folder, True)),
        ("Model2Vec 256, fine-tuned", lambda: model2vec(pretrained, whole, test)),
    )
    systems = []
    for name, make in kinds:
        print(name, flush=True)
        try:
            right, size, predict = make()
        except ImportError as error:  # a peer that is not installed is said, not hidden
            systems.append(System(name, None, about={"not_run": str(error)[:100]}))
            continue
        systems.append(System(name, right, size, partial(timed, predict, timed_texts)))
    return systems, agreement(model, prepared)


def rights_of_torch(model: TaskModel, prepared: Prepared) -> Right:
    """Which test rows the teacher itself gets right."""
    labels = prepared.outputs[0].labels
    said = np.stack(list(ask(model, [one.text for one in prepared.test]).logits[prepared.outputs[0].name]))
    return np.array([labels[best] == one.labels[0] for best, one in zip(said.argmax(1), prepared.test, strict=True)])


def agreement(model: TaskModel, prepared: Prepared) -> dict[str, float]:
    """The teacher's graphs by PocketLM's own export, one test text at a time.

    float: share of rows on which the float32 graph prefers torch's label. int8_points: accuracy of the int8 graph
    less the float32 graph's, in points.
    """
    from pocketlm.export.int8 import dynamic_int8
    from pocketlm.export.onnx import store_tables, to_bytes, trace
    from pocketlm.runtime.graph import GraphModel

    output, texts = prepared.outputs[0], [one.text for one in prepared.test]
    gold = np.array([output.labels.index(one.labels[0]) for one in prepared.test])
    torch_said = np.stack(list(ask(model, texts).logits[output.name])).argmax(1)
    encoded = model.inputs.encode(texts)
    said = []
    for data in (to_bytes(trace(model)), to_bytes(dynamic_int8(store_tables(trace(model), 8)))):
        graph = GraphModel(data, prepared.outputs, 2)
        said.append(np.array([graph.run(model.inputs.collate([one]))[output.name][0].argmax() for one in encoded]))
    return {
        "float": float((said[0] == torch_said).mean()),
        "int8_points": 100 * float((said[1] == gold).mean() - (said[0] == gold).mean()),
    }


class SklearnPredict:
    """A scikit-learn pipeline on one text."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def __call__(self, text: str) -> str:
        return self.pipeline.predict([text])[0]


class OnnxText:
    """A tokenizer and an ONNX graph on one text, one thread; the session is made in the process that uses it."""

    def __init__(self, graph: str, tokenizer: str, max_length: int) -> None:
        self.graph, self.tokenizer, self.max_length = graph, tokenizer, max_length
        self.session: Any = None

    def first(self, text: str) -> np.ndarray:
        """The graph's first output of the text."""
        if self.session is None:
            import onnxruntime
            from tokenizers import Tokenizer

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(self.graph, options)
            self.read = Tokenizer.from_str(self.tokenizer)
            self.read.no_padding()
            self.read.enable_truncation(self.max_length)
        ids = np.array([self.read.encode(text).ids], np.int64)
        return self.session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]


class OnnxPredict(OnnxText):
    """The likeliest label of one text."""

    def __call__(self, text: str) -> int:
        return int(self.first(text).argmax())


class Model2VecPredict:
    """A Model2Vec pipeline on one text."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def __call__(self, text: str) -> str:
        return self.pipeline.predict([text])[0]


def timed(predict: Any, texts: Sequence[str]) -> dict[str, float]:
    """p50, p95 and peak memory of one text at a time in a fresh process on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        pickled, lines = Path(folder, "predict.pickle"), Path(folder, "texts.jsonl")
        pickled.write_bytes(pickle.dumps(predict))
        lines.write_text("".join(json.dumps(text) + "\n" for text in texts), "utf-8")
        done = subprocess.run(
            [sys.executable, "-c", _TIMER, str(pickled), str(lines), str(Path(__file__).parent)],
            env={**os.environ, **ONE_THREAD},
            capture_output=True,
            text=True,
            check=True,
        )
    return json.loads(done.stdout)


def tfidf(train: Sequence[Example], test: Sequence[Example]) -> tuple[np.ndarray, int, Any]:
    """Word 1-2 and char_wb 2-5 TF-IDF with logistic regression: (right, bytes, predict)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    chars = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2)
    pipeline = make_pipeline(make_union(words, chars), LogisticRegression(C=10, max_iter=200))
    pipeline.fit([one.text for one in train], [one.labels[0] for one in train])
    said = pipeline.predict([one.text for one in test])
    right = np.array([label == one.labels[0] for label, one in zip(said, test, strict=True)])
    return right, len(pickle.dumps(pipeline)), SklearnPredict(pipeline)


def onnx_teacher(
    model: Any, labels: Sequence[str], test: Sequence[Example], folder: Path, int8: bool
) -> tuple[np.ndarray, int, Any]:
    """The fine-tuned teacher as an ONNX graph, float32 or dynamic int8 per channel: (right, bytes, predict)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from pocketlm.export.onnx import to_bytes, trace

    graph = folder / "teacher.onnx"
    if not graph.is_file():
        graph.write_bytes(to_bytes(trace(model)))
    if int8:
        small = folder / "teacher.int8.onnx"
        quantize_dynamic(str(graph), str(small), per_channel=True, weight_type=QuantType.QInt8)
        graph = small
    tokenizer = model.inputs.tokenizer.to_str()
    predict = OnnxPredict(str(graph), tokenizer, model.inputs.max_length)
    right = np.array([labels[predict(one.text)] == one.labels[0] for one in test])
    predict.session = predict.read = None
    return right, graph.stat().st_size + len(tokenizer.encode()), predict


def model2vec(folder: str, train: Sequence[Example], test: Sequence[Example]) -> tuple[np.ndarray, int, Any]:
    """Model2Vec distilled from the pretrained encoder (256 dimensions) and fine-tuned: (right, bytes, predict)."""
    from model2vec.distill import distill
    from model2vec.train import StaticModelForClassification

    static = distill(model_name=folder, pca_dims=256)
    classifier = StaticModelForClassification.from_static_model(model=static)
    classifier.fit([one.text for one in train], [one.labels[0] for one in train])
    pipeline = classifier.to_pipeline()
    said = pipeline.predict([one.text for one in test])
    right = np.array([label == one.labels[0] for label, one in zip(said, test, strict=True)])
    with tempfile.TemporaryDirectory() as place:
        pipeline.save_pretrained(place)
        size = sum(file.stat().st_size for file in Path(place).rglob("*") if file.is_file())
    return right, size, Model2VecPredict(pipeline)
