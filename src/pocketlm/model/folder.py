"""A model's folder on disk: whether it may be written, and writing it so that it is whole or as it was."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pocketlm.errors import OutputError

WEIGHTS = "model.safetensors"
RECORD = "record.json"


def folder_bytes(folder: Path) -> int:
    """The sum of a folder's files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def check_output(folder: Path, force: bool) -> None:
    """Raises OutputError where the folder exists, unless `force` is set and it is one that `save_model` wrote."""
    if not folder.exists():
        return
    if not ((folder / RECORD).is_file() and _described(folder / WEIGHTS)):
        raise OutputError(f"{folder}: exists and is no such folder")
    if not force:
        raise OutputError(f"{folder}: exists already; --force replaces it")


def _described(weights: Path) -> bool:
    """Whether the file holds weights as `save_model` writes them."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, "pt") as file:
            return "pocketlm" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


@contextmanager
def put_in_place(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, put where the absolute path `folder` is once whole; until then that stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    new, old = aside / "new", aside / "old"
    try:
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
