"""A model's tokenizer, or of a speech model its processor, from the files of its folder."""

from __future__ import annotations

import json
import lzma
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

# A tokenizer of bytes has its settings alone.
TOKENIZER_FILES = {
    "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "preprocessor_config.json",
    "processor_config.json",
}  # fmt: skip


def load_tokenizer(folder: Path, source: str) -> Any:
    """The tokenizer of a folder or hub name (of a speech model, its processor), or None where it has none."""
    from transformers import AutoProcessor, AutoTokenizer

    if folder.is_dir() and not has_tokenizer(folder):
        return None
    sound = any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json"))
    for kind in (AutoProcessor,) if sound else (AutoTokenizer, AutoProcessor):
        try:
            return kind.from_pretrained(source)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def has_tokenizer(folder: Path) -> bool:
    """Whether a model's folder has files of a tokenizer or processor; without, transformers makes an empty one up."""
    names = [file.name.removesuffix(".xz") for file in folder.iterdir()]
    return any(name in TOKENIZER_FILES or name.endswith((".model", ".spm")) for name in names)


def unpacked(folder: Path, plain: Path, without: Collection[str]) -> Path:
    """The folder `plain`, filled with the files of a compressed folder but for those `without`, none packed."""
    for file in folder.iterdir():
        if file.name.endswith(".json.xz"):
            (plain / file.name.removesuffix(".xz")).write_bytes(lzma.decompress(file.read_bytes()))
        elif file.is_dir():  # of chat templates, where a tokenizer has several
            shutil.copytree(file, plain / file.name)
        elif file.name not in without:
            shutil.copy(file, plain / file.name)
    return plain


def with_rules(tokenizer: Any, tokenizer_json: str) -> Any:
    """A `transformers` tokenizer as the given one is, its special tokens too, that cuts texts by these rules.

    Files that spell the old vocabulary (vocab.txt, merges.txt, a SentencePiece model) are not taken along.
    """
    ids = {token["content"]: token["id"] for token in json.loads(tokenizer_json)["added_tokens"]}
    with tempfile.TemporaryDirectory() as plain:
        folder = Path(plain)
        tokenizer.save_pretrained(folder)
        (folder / "tokenizer.json").write_text(tokenizer_json, "utf-8")
        for file in folder.iterdir():
            if file.is_file() and file.name not in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
                file.unlink()
        about = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        listed = about.pop("added_tokens_decoder", None)
        if listed is not None:
            about["added_tokens_decoder"] = {str(ids[one["content"]]): one for one in listed.values()}
        (folder / "tokenizer_config.json").write_text(json.dumps(about, ensure_ascii=False), "utf-8")
        return load_tokenizer(folder, plain)
