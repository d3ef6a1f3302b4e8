"""The work folder: steps keyed by what they depend on, finished ones reused, one run at a time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketlm.errors import OutputError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

DONE = "result.json"


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, as hexadecimal."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Step:
    """A folder for one step of the work; it is done once its result is written."""

    folder: Path

    @property
    def result(self) -> dict[str, Any] | None:
        """What the step said when it ended, or None while it has not."""
        try:
            value: dict[str, Any] = json.loads((self.folder / DONE).read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return value

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the result, whole or not at all; the step's other files must be complete before."""
        partial = self.folder / f"{DONE}.partial"
        partial.write_text(json.dumps(result, ensure_ascii=False, indent=1, sort_keys=True), "utf-8")
        os.replace(partial, self.folder / DONE)


@dataclass(frozen=True)
class WorkFolder:
    """Steps of a job by name and hash."""

    path: Path

    def step(self, name: str, key: Mapping[str, Any]) -> Step:
        """The step `name` for exactly this key; another key is another step."""
        folder = self.path / f"{name}-{digest(key)[:16]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error
        return Step(folder)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files in the folder."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out; a lock left by a dead process is taken over. Raises UserError."""
        lock = self.path / "lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be made ({error.strerror})") from error
        owner = _owner(lock)
        if owner is not None and owner != os.getpid() and _alive(owner):
            raise UserError(f"{self.path}: another run (process {owner}) is using it; wait for it or stop it first")
        lock.write_text(str(os.getpid()))
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _owner(lock: Path) -> int | None:
    try:
        return int(lock.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
