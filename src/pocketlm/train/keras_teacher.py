"""A Keras model as a teacher: asked as it was trained, its classes matched with the job's labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from pocketlm.errors import TeacherError
from pocketlm.model.keras_file import SUFFIX, VOCABULARY
from pocketlm.model.pretrained import Model, fingerprint, load_model
from pocketlm.model.task_model import TaskModel, TaskSpec
from pocketlm.model.text_graph import TextGraph
from pocketlm.model.vectorizer import Vectorizer
from pocketlm.outputs import Output
from pocketlm.runtime.inputs import Arrays, Encoded, Text, plain_text


class WordInputs:
    """Texts as a Keras model reads them. Arrays: input_ids and attention_mask (texts, ids)."""

    tagging = False

    def __init__(self, words: Vectorizer) -> None:
        self.words = words

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """Each text's ids, without padding."""
        read = self.words.backend.encode_batch_fast([plain_text(text) for text in texts])
        return [Encoded((np.array(one.ids[: self.words.length], np.int64),), 0, len(one.ids)) for one in read]

    def collate(self, batch: Sequence[Encoded]) -> Arrays:
        """Ids of one batch, filled up with 0."""
        width = self.words.length or max(1, *(len(one.arrays[0]) for one in batch))
        ids = np.zeros((len(batch), width), np.int64)
        for row, one in enumerate(batch):
            ids[row, : len(one.arrays[0])] = one.arrays[0]
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


class Answers(nn.Module):
    """A graph whose classes come in the order of an output's labels."""

    def __init__(self, graph: TextGraph, output: Output, order: list[int]) -> None:
        super().__init__()
        self.graph, self.output, self.order = graph, output, order

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """{output name: logits}."""
        return {self.output.name: self.graph(input_ids).logits[:, self.order]}


def is_keras(name: str) -> bool:
    """Whether a teacher's name is that of a .keras file, or of a folder compressed from one."""
    if name.endswith(SUFFIX):
        return True
    config = Path(name) / "config.json"
    try:
        return bool(json.loads(config.read_text("utf-8"))["model_type"] == "keras")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def keras_teacher(name: str, outputs: Sequence[Output]) -> tuple[TaskModel, str, str]:
    """The model, a hash of its weights and words, and a note on its classes.

    A class without a name is the label in its place, in order (numbers by value). Raises TeacherError where the model
    has no words, is of something else than classes of texts, or has others than the labels.
    """
    model = load_model(name)
    graph, words = model.module, model.tokenizer
    assert isinstance(graph, TextGraph)
    if words is None:
        beside = Path(name).with_suffix("").name + VOCABULARY
        raise TeacherError(f"teacher {name}: reads ids; put its words in {beside} beside it, one to a line, in order")
    if len(outputs) != 1 or outputs[0].kind == "tags":
        raise TeacherError(f"teacher {name}: says classes of whole texts, and the data ask for more")
    output, config = outputs[0], graph.config
    if config.classes != len(output.labels):
        raise TeacherError(f"teacher {name}: has {config.classes} classes, and the data {len(output.labels)} labels")
    if (output.kind == "multi") != (config.final == "sigmoid" and not config.binary):
        raise TeacherError(f"teacher {name}: ends in {config.final}, which is not for {output.kind} labels")
    named = config.labels or tuple(sorted(output.labels, key=_place))
    if set(named) != set(output.labels):
        odd = sorted(set(named) ^ set(output.labels))[0]
        raise TeacherError(f"teacher {name}: label {odd!r} is only in one of its classes and the data's labels")
    order = [named.index(label) for label in output.labels]
    module = Answers(graph, output, order).eval()
    how = "as named" if config.labels else "taken to be in the order of their labels"
    note = f"a Keras model, asked as it was trained; its {config.classes} classes {how}"
    spec = TaskSpec("keras", tuple(outputs), settings={"name": name})
    return TaskModel(module, WordInputs(words), spec), _digest(model), note


def _place(label: str) -> tuple[int, float, str]:
    """Numbers by value, before words in order."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label


def _digest(model: Model) -> str:
    found = hashlib.sha256(model.tokenizer.backend.to_str().encode())
    found.update(repr(model.module.config).encode())
    for one in fingerprint(model):
        found.update(one)
    return found.hexdigest()
