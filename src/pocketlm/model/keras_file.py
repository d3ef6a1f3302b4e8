"""A .keras file opened in safe mode: nothing in it is executed, and what would have to be is refused by name.

TextVectorization, which Keras itself only has with TensorFlow, is stood in for: its vocabulary and settings are read,
and become the tokenizer.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from pocketlm.errors import MissingExtraError, ModelError
from pocketlm.model.vectorizer import word_tokenizer

SUFFIX = ".keras"
# Layers that hold code of their own, which loading would run.
CODE = ("Lambda", "__lambda__")
TEXT = "TextVectorization"
# How a vocabulary and names of classes are called that lie beside the model, one to a line.
VOCABULARY, LABELS = ".vocabulary.txt", ".labels.txt"


@dataclass(frozen=True)
class KerasFile:
    """An opened file. model: `keras.Model`. tokenizer: of its words, or None. length, mode: of its TextVectorization.

    labels: names of its classes, where they lie beside it.
    """

    model: Any
    tokenizer: Tokenizer | None
    length: int | None
    mode: str
    labels: tuple[str, ...]


def import_keras() -> Any:
    """Keras, with torch as its backend unless another was chosen. Raises MissingExtraError where it is not there."""
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras
    except ImportError:
        raise MissingExtraError("a Keras model", "keras") from None
    return keras


def run_code(path: str | Path) -> None:
    """Run the Python file with which a model's own layers come, so that Keras knows them. Raises ModelError."""
    import_keras()
    try:
        runpy.run_path(str(path))
    except Exception as error:
        raise ModelError(f"code {path}: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


def open_keras(path: str | Path) -> KerasFile:
    """The model in a .keras file, with its words.

    Words are those of its TextVectorization, or where it reads ids those in NAME.vocabulary.txt beside it. Raises
    ModelError where it is damaged, holds code, or has layers that nothing defines.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"model {path}: no such file")
    keras = import_keras()
    members = _members(path)
    config = _config(path, members)
    _refuse_code(path, config)
    text = [one for one in _objects(config) if one.get("class_name") == TEXT]
    with _standing_in(keras) as stand_in, tempfile.TemporaryDirectory() as folder:
        for one in text:
            one.update(module="pocketlm", registered_name=f"pocketlm>{TEXT}")
        copy = Path(folder) / path.name
        with zipfile.ZipFile(copy, "w") as file:
            for name, data in members.items():
                file.writestr(name, json.dumps(config) if name == "config.json" else data)
        try:
            model = keras.saving.load_model(
                copy, custom_objects={f"pocketlm>{TEXT}": stand_in}, compile=False, safe_mode=True
            )
        except Exception as error:
            raise ModelError(f"model {path}: {_reason(error, config)}") from error
    tokenizer, length, mode = _words(path, text, members)
    return KerasFile(model, tokenizer, length, mode, tuple(_lines(path, LABELS) or ()))


def _members(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as file:
            return {name: file.read(name) for name in file.namelist()}
    except (OSError, zipfile.BadZipFile, RuntimeError) as error:
        raise ModelError(f"model {path}: is no .keras file: {error}; model.save('NAME.keras') writes one") from None


def _config(path: Path, members: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        found = json.loads(members["config.json"])
    except (KeyError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ModelError(f"model {path}: is no .keras file: it has no config.json that can be read")
    return found


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a config that says what an object is made from."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield value
        for one in value.values():
            yield from _objects(one)
    elif isinstance(value, list):
        for one in value:
            yield from _objects(one)


def _refuse_code(path: Path, config: Any) -> None:
    for one in _objects(config):
        if one["class_name"] in CODE:
            inner = one.get("config")
            name = inner.get("name") if isinstance(inner, dict) else None
            what = f"layer {name}" if name else "a function"
            raise ModelError(
                f"model {path}: {what} ({one['class_name'].strip('_')}) holds code, which is not run; "
                "write it as layers or keras.ops in the model and save it again"
            )


def _reason(error: Exception, config: Any) -> str:
    """Why Keras could not open it, in a line."""
    import keras

    known = keras.saving.get_custom_objects()
    for one in _objects(config):
        name, module = one["class_name"], one.get("module")
        mine = module is None or not (str(module).startswith(("keras", "builtins", "pocketlm")))
        if mine and not name.startswith("__") and not {name, one.get("registered_name")} & set(known):
            return (
                f"layer class {name} is defined by no code here; register it with "
                "@keras.saving.register_keras_serializable() in a file, and give it with --code FILE"
            )
    return f"Keras cannot open it: {' '.join(str(error).split())[:200]}"


@contextmanager
def _standing_in(keras: Any) -> Iterator[Any]:
    """A layer in the place of TextVectorization: it says what comes out, and has no need to say more."""

    def make(name: str) -> Any:
        def compute_output_spec(self: Any, inputs: Any) -> Any:
            whole = self.mode == "int"
            shape = (inputs.shape[0], self.length if whole else self.width)
            return keras.KerasTensor(shape, dtype="int64" if whole else "float32")

        def init(self: Any, **settings: Any) -> None:
            keras.layers.Layer.__init__(self, name=settings.get("name"), dtype="int64")
            self.length, self.mode = settings.get("output_sequence_length"), settings.get("output_mode", "int")
            self.width = settings.get("vocabulary_size") or 2  # of a bag of words, which has no padding
            if settings.get("pad_to_max_tokens"):
                self.width = settings["max_tokens"]

        def nothing(self: Any, *_: Any) -> None:
            """Nothing to keep."""

        return type(name, (keras.layers.Layer,), {
            "__init__": init, "compute_output_spec": compute_output_spec, "build": nothing,
            "load_own_variables": nothing, "load_assets": nothing,
        })  # fmt: skip

    yield make(TEXT)


def _words(
    path: Path, text: list[dict[str, Any]], members: Mapping[str, bytes]
) -> tuple[Tokenizer | None, int | None, str]:
    """The tokenizer, the length texts are filled up to, and what comes out: "int" or a kind of bag."""
    if len(text) > 1:
        raise ModelError(f"model {path}: has {len(text)} TextVectorization layers; one is supported")
    if not text:
        lines = _lines(path, VOCABULARY)
        return (None if lines is None else word_tokenizer(lines, "lower_and_strip_punctuation", "whitespace")), None, ""
    settings = text[0]["config"]
    for name in ("ngrams", "idf_weights"):
        if settings.get(name):
            raise ModelError(f"model {path}: TextVectorization with {name} is not supported; save it without")
    mode = {"binary": "multi_hot"}.get(settings.get("output_mode", "int"), settings.get("output_mode", "int"))
    if mode not in ("int", "multi_hot", "count"):
        raise ModelError(
            f"model {path}: TextVectorization with output_mode={mode!r} is not supported; int, multi_hot and count are"
        )
    vocabulary = settings.get("vocabulary") or []
    for name, data in members.items():
        if name.endswith("vocabulary.txt"):
            vocabulary = data.decode("utf-8").split("\n")
    words = [word for word in vocabulary if word not in ("", "[UNK]")]
    if not words:
        raise ModelError(f"model {path}: its TextVectorization has no vocabulary; call adapt() before saving")
    tokenizer = word_tokenizer(["", "[UNK]", *words], settings.get("standardize"), settings.get("split"))
    return tokenizer, settings.get("output_sequence_length"), mode


def _lines(path: Path, suffix: str) -> list[str] | None:
    """Lines of the file beside the model that ends so, or None where there is none."""
    beside = path.with_name(path.name.removesuffix(SUFFIX) + suffix)
    if not beside.is_file():
        return None
    return beside.read_text("utf-8").removesuffix("\n").split("\n")
