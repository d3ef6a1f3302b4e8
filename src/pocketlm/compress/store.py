"""Hidden states of the calibration batches: in memory, or in files where a folder is given for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch


class Store(list[Any]):
    """A tensor a batch, or None. folder: where each is a file, read anew whenever asked for. name: of the files."""

    def __init__(self, values: Iterable[Any], folder: Path | None = None, name: str = "hidden") -> None:
        super().__init__()
        self.folder, self.name = folder, name
        for place, value in enumerate(values):
            self.append(None)
            self[place] = value

    def __setitem__(self, place: Any, value: Any) -> None:
        if self.folder is not None and value is not None:
            path = self.folder / f"{self.name}-{place}.pt"
            torch.save(value, path)
            value = path
        super().__setitem__(place, value)

    def __getitem__(self, place: Any) -> Any:
        value = super().__getitem__(place)
        return torch.load(value) if isinstance(value, Path) else value

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(len(self)))

    def kept(self, name: str) -> Store:
        """What is there now, whatever comes in its place."""
        return Store(self, self.folder, name)
