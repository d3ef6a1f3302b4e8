"""A model's tokenizer, or of a speech model its processor, from the files of its folder."""

from __future__ import annotations

import lzma
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any


def load_tokenizer(folder: Path, source: str) -> Any:
    """The tokenizer of a folder or hub name (of a speech model, its processor), or None where it has none."""
    from transformers import AutoProcessor, AutoTokenizer

    sound = any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json"))
    for kind in (AutoProcessor,) if sound else (AutoTokenizer, AutoProcessor):
        try:
            return kind.from_pretrained(source)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


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
