"""The file of labels: a row a line, on disk before the next row is asked, so that nothing is lost however it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pocketlm.data.read import read_rows
from pocketlm.errors import DataError, OutputError
from pocketlm.pocket.format import check_output, write_atomically

TRAIN, HELD_OUT = "train", "test"


@dataclass(frozen=True)
class Entry:
    """A labelled row. split: TRAIN, or HELD_OUT where it only measures. label: empty where a person was not sure."""

    text: str
    label: str
    split: str = TRAIN


class Ledger:
    """The entries of a JSON Lines file, in the order they were given."""

    def __init__(self, path: Path) -> None:
        """Read what is there. Raises DataError for a file that is not one of labels, OutputError for a bad place."""
        if path.suffix.lower() not in (".jsonl", ".ndjson"):
            raise OutputError(f"{path}: labels are kept as .jsonl")
        check_output(path, replace=True)
        self.path = path
        _mend(path)
        self.entries = _entries(path)
        self._size = path.stat().st_size if path.exists() else 0

    def add(self, entry: Entry) -> None:
        """Append a row, whole, and wait until it is on disk. Raises OutputError where another program wrote, too."""
        line = _line(entry)
        with self._opened("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.entries.append(entry)
        self._size += len(line)

    def drop_last(self) -> Entry:
        """Take the last row back out of the file."""
        entry = self.entries[-1]
        with self._opened("r+b") as file:
            file.truncate(self._size - len(_line(entry)))
            os.fsync(file.fileno())
        self._size -= len(_line(self.entries.pop()))
        return entry

    def replace(self, entries: Sequence[Entry]) -> None:
        """All rows anew, whole or not at all."""
        with self._opened("ab"):
            data = b"".join(map(_line, entries))
        write_atomically(self.path, data, replace=True)
        self.entries, self._size = list(entries), len(data)

    def _opened(self, mode: str) -> IO[bytes]:
        """The file, where nobody else has changed it since."""
        try:
            size = self.path.stat().st_size if self.path.exists() else 0
            if size != self._size:
                raise OutputError(f"{self.path}: another program has changed it; stop there and run this again")
            return open(self.path, mode)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from None


def _line(entry: Entry) -> bytes:
    return json.dumps(asdict(entry), ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def _mend(path: Path) -> None:
    """Cut off a last line that was not written whole: a machine that lost power in the middle of it."""
    if not path.exists():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def _entries(path: Path) -> list[Entry]:
    if not path.exists() or not path.stat().st_size:
        return []
    entries = []
    for number, row in enumerate(read_rows(path), 1):
        values = [row.get(name) for name in ("text", "label", "split")]
        if set(row) != {"text", "label", "split"} or not all(isinstance(one, str) for one in values):
            raise DataError(
                f"{path}: line {number} is not a row that `pocketlm label` wrote; labels that are there already are "
                "given with --from"
            )
        entries.append(Entry(*map(str, values)))
    return entries
