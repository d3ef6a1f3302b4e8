"""Open a Pocket and predict with it: numpy, onnxruntime and tokenizers, nothing heavier."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast, overload

import numpy as np
from numpy.typing import NDArray

from pocketlm.errors import DataError, PocketFileError, UserError
from pocketlm.outputs import Output
from pocketlm.pocket.format import read_pocket
from pocketlm.runtime.bag import BagModel
from pocketlm.runtime.choose import Writing
from pocketlm.runtime.decode import Prediction, decode
from pocketlm.runtime.generate import Generator
from pocketlm.runtime.graph import GraphModel
from pocketlm.runtime.inputs import Arrays, Inputs, Pair, Text, inputs_from_json, plain_text
from pocketlm.runtime.question import Question, question_of
from pocketlm.runtime.spans import answer_of, best_span
from pocketlm.runtime.stack import StackModel
from pocketlm.runtime.unsure import Unsure, single_output
from pocketlm.runtime.vectors import DIGITS, cosine, to_int8, vectors_of
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
    size_bytes: the whole file. unsure: what it does not answer; None where it answers everything.
    """

    unsure: Unsure | None = None
    _generator: Generator | None = None

    def __init__(
        self, manifest: Mapping[str, Any], members: Mapping[str, bytes], size_bytes: int, threads: int
    ) -> None:
        self.manifest = dict(manifest)
        self.task: str = manifest["task"]
        self.outputs = tuple(Output.from_json(output) for output in manifest["outputs"])
        self.size_bytes = size_bytes
        if "unsure" in manifest:
            self.unsure = Unsure.from_json(manifest["unsure"])
        about = manifest["model"]
        if about["kind"] == "generator":
            # no labels are predicted: nothing below is there
            self._generator = Generator(about, members, threads)
            return
        self.inputs = inputs_from_json(about["inputs"], members)
        self.model: RunnableModel
        if about["kind"] == "bag":
            self.model = BagModel(about, members, self.outputs)
            return
        graph = GraphModel(members["graph.onnx"], self.outputs, threads)
        beside = BagModel(about["bag"], members, self.outputs) if about["kind"] == "stack" else None
        self.model = graph if beside is None else StackModel(graph, beside)

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
        "entities" (label, value, start, end), with "words" in place of "entities" where tags are no spans; or
        "vector" (of length 1), and for a Pair of texts "similarity" (their cosine); or, of a Pocket that writes, its
        text under the name of its output, "tokens" (how many) and "finish".

        Where the Pocket is `unsure` of a text, its label or intent is None, and "guess" is what it would have been.
        """
        if isinstance(texts, (str, Question, Mapping)):
            return self.predict([texts], 1)[0]
        if not self.writes and isinstance(self.inputs, QuestionInputs):
            asked = [question_of(one, f"question {place}") for place, one in enumerate(texts, 1)]
            return predict_all(self.inputs, self.model, self.outputs, asked, batch_size)
        if any(isinstance(one, (Question, Mapping)) for one in texts):
            raise DataError(f"this Pocket does {self.task}: it reads texts, not questions with a context")
        read = cast("Sequence[Text]", texts)
        if self.writes:
            return write_all(self.generator, self.outputs[0].name, [plain_text(one) for one in read], batch_size)
        said = predict_all(self.inputs, self.model, self.outputs, read, batch_size)
        return said if self.unsure is None else self.unsure.held_back(said)

    def answering(self, threshold: float | None) -> Pocket:
        """The same Pocket, which answers from this score on, whatever its file says; None: it answers everything.

        threshold: a share from 0 to 1. Raises UserError where it predicts no single label, or for no share.
        """
        output, twin = single_output(self.outputs), copy(self)
        if threshold is None:
            twin.unsure = None
            return twin
        if output is None:
            raise UserError(
                f"this Pocket does {self.task}; a threshold is for one whose texts have one label or intent"
            )
        if not 0 <= threshold <= 1:
            raise UserError(f"the threshold is a score from 0 to 1, got {threshold:g}")
        twin.unsure = replace(self.unsure or Unsure(output.name, threshold), below=threshold)
        return twin

    @property
    def generator(self) -> Generator:
        """What writes text. Raises UserError for a Pocket that does not."""
        if self._generator is None:
            raise UserError(f"this Pocket does {self.task} and writes no text")
        return self._generator

    @property
    def writes(self) -> bool:
        """Whether it writes text."""
        return self._generator is not None

    @overload
    def similarity(self, first: str, second: str) -> float: ...  # type: ignore[overload-overlap]

    @overload
    def similarity(self, first: Sequence[str], second: Sequence[str]) -> list[float]: ...

    def similarity(self, first: str | Sequence[str], second: str | Sequence[str]) -> float | list[float]:
        """Cosine of two texts in [-1, 1], or of each of `first` with the one at its place in `second`.

        Raises UserError where the Pocket makes no vectors, and where the lists are not equally long.
        """
        self._insist_on_vectors()
        if isinstance(first, str) and isinstance(second, str):
            return float(self.predict([Pair(first, second)])[0]["similarity"])
        if isinstance(first, str) or isinstance(second, str) or len(first) != len(second):
            raise UserError("similarity takes two texts, or two lists with equally many")
        pairs = [Pair(own, other) for own, other in zip(first, second, strict=True)]
        return [float(one["similarity"]) for one in self.predict(pairs)]

    def vectors(self, texts: Sequence[Text], batch_size: int = 32, *, int8: bool = False) -> NDArray[Any]:
        """The texts' vectors, (texts, width): float32 of length 1, or with int8 a byte a dimension, same directions.

        Raises UserError where the Pocket makes no vectors.
        """
        self._insist_on_vectors()
        found = vectors_of(self.predict(texts, batch_size)).reshape(len(texts), self.outputs[0].width)
        return to_int8(found) if int8 else found

    def _insist_on_vectors(self) -> None:
        if all(output.kind != "vector" for output in self.outputs):
            raise UserError(f"this Pocket does {self.task}; similarity takes one whose task is similarity")

    def logits(self, texts: Sequence[Text]) -> dict[str, NDArray[np.float32]]:
        """Raw logits of one batch: (texts, labels), or (words of all texts, labels) for tags."""
        return self.model.run(self.inputs.collate(self.inputs.encode(texts)))


def write_all(
    generator: Generator, name: str, texts: Sequence[str], batch_size: int = 32, how: Writing | None = None,
    first: int = 0,
) -> list[Prediction]:  # fmt: skip
    """One prediction a text, in order: the text written under `name`, how many tokens, and why it ends.

    first: the number of the first text, by which it draws.
    """
    done: list[Prediction] = []
    for begin in range(0, len(texts), batch_size):
        for one in generator.write(texts[begin : begin + batch_size], how, first=first + begin):
            done.append({name: one.text, "tokens": len(one.ids), "finish": one.finish})
    return done


def predict_all(
    inputs: Inputs, model: RunnableModel, outputs: Sequence[Output], texts: Sequence[Text], batch_size: int = 32
) -> list[Prediction]:
    """One prediction a text, in order; of a Pair the likeness of its texts, where texts become vectors."""
    if isinstance(inputs, QuestionInputs):
        return _answers(inputs, model, outputs[0], texts, batch_size)
    if any(isinstance(text, Pair) for text in texts):
        return _predict_pairs(inputs, model, outputs, texts, batch_size)
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


def _predict_pairs(
    inputs: Inputs, model: RunnableModel, outputs: Sequence[Output], texts: Sequence[Text], batch_size: int
) -> list[Prediction]:
    """As `predict_all`, for texts some of which are pairs; only the first text counts where there are no vectors."""
    vectors = any(output.kind == "vector" for output in outputs)
    sides = [(text if vectors else text[:1]) if isinstance(text, Pair) else (text,) for text in texts]
    said = iter(predict_all(inputs, model, outputs, [side for own in sides for side in own], batch_size))
    done: list[Prediction] = []
    for own in sides:
        parts = [next(said) for _ in own]
        if len(parts) == 2:
            likeness = cosine(*(np.array(one["vector"]) for one in parts))
            done.append({"similarity": round(float(likeness), DIGITS)})
        else:
            done.append(parts[0])
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
