"""Open a Pocket and predict with it: numpy, onnxruntime and tokenizers, nothing heavier."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from pocketlm.errors import PocketFileError, UserError
from pocketlm.outputs import Output
from pocketlm.pocket.format import read_pocket
from pocketlm.runtime.bag import BagModel
from pocketlm.runtime.choose import Writing
from pocketlm.runtime.decode import Prediction, decode
from pocketlm.runtime.generate import Generator
from pocketlm.runtime.graph import GraphModel
from pocketlm.runtime.inputs import Arrays, Inputs, Text, inputs_from_json, plain_text
from pocketlm.runtime.whole import in_parts


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
        self._generator: Generator | None = None
        if about["kind"] == "generator":
            # no labels are predicted: nothing below is there
            self._generator = Generator(about, members, threads)
            return
        self.inputs = inputs_from_json(about["inputs"], members)
        self.model: RunnableModel
        if about["kind"] == "bag":
            self.model = BagModel(about, members, self.outputs)
        else:
            self.model = GraphModel(members["graph.onnx"], self.outputs, threads)

    @overload
    def predict(self, texts: str, batch_size: int = 32) -> Prediction: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, texts: Sequence[Text], batch_size: int = 32) -> list[Prediction]: ...

    def predict(self, texts: str | Sequence[Text], batch_size: int = 32) -> Prediction | list[Prediction]:
        """The prediction for one text, or a list of them for a list of texts (or of token lists).

        A prediction has "label" and "score"; or "labels" and "scores"; or "intent", "score", "tokens",
        "slots" (a BIO tag a token) and "entities" (slot, value, start, end in characters); or "tokens", "tags" and
        "entities" (label, value, start, end), with "words" in place of "entities" where tags are no spans; or, of a
        Pocket that writes, its text under the name of its output, "tokens" (how many) and "finish".
        """
        if self._generator is not None:
            batch = [texts] if isinstance(texts, str) else [plain_text(text) for text in texts]
            said = write_all(self.generator, self.outputs[0].name, batch, batch_size)
            return said[0] if isinstance(texts, str) else said
        if isinstance(texts, str):
            return predict_all(self.inputs, self.model, self.outputs, [texts], 1)[0]
        return predict_all(self.inputs, self.model, self.outputs, texts, batch_size)

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

    def logits(self, texts: Sequence[Text]) -> dict[str, NDArray[np.float32]]:
        """Raw logits of one batch: (texts, labels), or (words of all texts, labels) for tags."""
        return self.model.run(self.inputs.collate(self.inputs.encode(texts)))


def write_all(
    generator: Generator, name: str, texts: Sequence[str], batch_size: int = 32, how: Writing | None = None
) -> list[Prediction]:
    """One prediction a text, in order: the text written under `name`, how many tokens, and why it ends."""
    done: list[Prediction] = []
    for begin in range(0, len(texts), batch_size):
        for one in generator.write(texts[begin : begin + batch_size], how):
            done.append({name: one.text, "tokens": len(one.ids), "finish": one.finish})
    return done


def predict_all(
    inputs: Inputs, model: RunnableModel, outputs: Sequence[Output], texts: Sequence[Text], batch_size: int = 32
) -> list[Prediction]:
    """One prediction a text, in order."""
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
