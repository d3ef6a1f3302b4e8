"""Open a Pocket and predict with it: numpy, onnxruntime and tokenizers, nothing heavier."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, overload

import numpy as np
from numpy.typing import NDArray

from pocketlm.errors import DataError, PocketFileError
from pocketlm.outputs import Output
from pocketlm.pocket.format import read_pocket
from pocketlm.runtime.bag import BagModel
from pocketlm.runtime.decode import Prediction, decode
from pocketlm.runtime.graph import GraphModel
from pocketlm.runtime.inputs import Arrays, Inputs, Text, inputs_from_json
from pocketlm.runtime.question import Question, question_of
from pocketlm.runtime.spans import answer_of, best_span
from pocketlm.runtime.whole import in_parts
from pocketlm.runtime.windows import QuestionInputs

# A question as plain data: {"question": …, "context": …}.
Asked = Mapping[str, str]
One = str | Question | Asked


class RunnableModel(Protocol):
    """Whatever turns arrays into logits."""

    def run(self, arrays: Arrays) -> dict[str, NDArray[np.float32]]:
        """Logits of every output."""
        ...


class Pocket:
    """A model in one file, ready to predict.

    manifest: what the file says of itself. task: its task's name. outputs: what it predicts.
    size_bytes: the whole file.
    """

    def __init__(
        self, manifest: Mapping[str, Any], members: Mapping[str, bytes], size_bytes: int, threads: int
    ) -> None:
        self.manifest = dict(manifest)
        self.task: str = manifest["task"]
        self.outputs = tuple(Output.from_json(output) for output in manifest["outputs"])
        self.size_bytes = size_bytes
        about = manifest["model"]
        self.inputs = inputs_from_json(about["inputs"], members)
        self.model: RunnableModel
        if about["kind"] == "bag":
            self.model = BagModel(about, members, self.outputs)
        else:
            self.model = GraphModel(members["graph.onnx"], self.outputs, threads)

    @overload
    def predict(self, texts: One, batch_size: int = 32) -> Prediction: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, texts: Sequence[Text | Asked], batch_size: int = 32) -> list[Prediction]: ...

    def predict(self, texts: One | Sequence[Text | Asked], batch_size: int = 32) -> Prediction | list[Prediction]:
        """The prediction for one text, or a list of them for a list of texts (or of token lists).

        A question is {"question": …, "context": …}; its prediction has "answer", "start" and "end" in characters of
        the context (None where it has no answer), "score", and "margin": how much better an answer is than none.

        A prediction has "label" and "score"; or "labels" and "scores"; or "intent", "score", "tokens",
        "slots" (a BIO tag a token) and "entities" (slot, value, start, end in characters); or "tokens", "tags" and
        "entities" (label, value, start, end), with "words" in place of "entities" where tags are no spans.
        """
        if isinstance(texts, (str, Question, Mapping)):
            return self.predict([texts], 1)[0]
        read = texts
        if isinstance(self.inputs, QuestionInputs):
            read = [question_of(one, f"question {place}") for place, one in enumerate(texts, 1)]
        elif any(isinstance(one, (Question, Mapping)) for one in texts):
            raise DataError(f"this Pocket does {self.task}: it reads texts, not questions with a context")
        return predict_all(self.inputs, self.model, self.outputs, cast("Sequence[Text]", read), batch_size)

    def logits(self, texts: Sequence[Text]) -> dict[str, NDArray[np.float32]]:
        """Raw logits of one batch: (texts, labels), or (words of all texts, labels) for tags."""
        return self.model.run(self.inputs.collate(self.inputs.encode(texts)))


def predict_all(
    inputs: Inputs, model: RunnableModel, outputs: Sequence[Output], texts: Sequence[Text], batch_size: int = 32
) -> list[Prediction]:
    """One prediction a text, in order."""
    if isinstance(inputs, QuestionInputs):
        return _answers(inputs, model, outputs[0], texts, batch_size)
    done: list[Prediction] = []
    for begin in range(0, len(texts), batch_size):
        batch = texts[begin : begin + batch_size]
        parts = in_parts(inputs, outputs, batch)
        every = [part for own in parts for part in own]
        logits = model.run(inputs.collate([part.encoded for part in every]))
        if any(part.again for part in every):
            new = np.concatenate([np.arange(part.encoded.words) >= part.again for part in every])
            logits = {name: rows[new] for name, rows in logits.items()}
        done.extend(decode(batch, outputs, logits, [sum(part.words for part in own) for own in parts]))
    return done


def _answers(
    inputs: QuestionInputs, model: RunnableModel, output: Output, texts: Sequence[Text], batch_size: int
) -> list[Prediction]:
    """Answers of questions, so many windows at once."""
    done: list[Prediction] = []
    for begin in range(0, len(texts), batch_size):
        batch = texts[begin : begin + batch_size]
        windows = inputs.windows(batch)
        every = [encoded for own in windows for _, encoded in own]
        logits: list[NDArray[np.float32]] = []
        for at in range(0, len(every), batch_size):
            read = every[at : at + batch_size]
            rows = model.run(inputs.collate(read))[output.name]
            logits += [row[: one.length] for row, one in zip(rows, read, strict=True)]
        taken = 0
        for text, own in zip(batch, windows, strict=True):
            assert isinstance(text, Question)
            found = best_span(own, logits[taken : taken + len(own)], inputs.reading.longest)
            done.append(answer_of(text.context, found, inputs.reading))
            taken += len(own)
    return done


def load(path: str | os.PathLike[str], threads: int = 0) -> Pocket:
    """The Pocket at `path`, verified. threads: for its matrix products; 0 lets the runtime choose.

    Raises PocketFileError where the file is missing, damaged, newer or unsafe.
    """
    file = read_pocket(Path(path))
    try:
        return Pocket(file.manifest, file.members, file.size_bytes, threads)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise PocketFileError(
            f"{path}: the manifest does not describe a model this version can run ({error})"
        ) from error
