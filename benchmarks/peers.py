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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pocketlm.measure.fresh import ONE_THREAD
from pocketlm.outputs import Example

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


class SklearnPredict:
    """A scikit-learn pipeline on one text."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def __call__(self, text: str) -> str:
        return self.pipeline.predict([text])[0]


class OnnxPredict:
    """A tokenizer and an ONNX graph on one text, one thread; the session is made in the process that uses it."""

    def __init__(self, graph: str, tokenizer: str, max_length: int) -> None:
        self.graph, self.tokenizer, self.max_length = graph, tokenizer, max_length
        self.session: Any = None

    def __call__(self, text: str) -> int:
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
        return int(self.session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0].argmax())


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
