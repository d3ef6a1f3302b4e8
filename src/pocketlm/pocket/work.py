"""The work folder: steps keyed by what they depend on, finished ones reused, one run at a time."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

from pocketlm.errors import OutputError, UserError
from pocketlm.pocket.format import write_atomically

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

DONE = "result.json"
LOCK = "lock"


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, as hexadecimal; the same in every process.

    Raises TypeError for what JSON has no form of: its text may differ from run to run.
    """
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "to_json"):
        return value.to_json()
    raise TypeError(f"{value!r} ({type(value).__name__}) has no canonical JSON")


def cache_folder() -> Path:
    """Where what serves many jobs is kept, such as surveys of models: the user's cache folder (XDG)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pocketlm"


@dataclass(frozen=True)
class Step:
    """A folder for one step of the work; it is done once its result is written."""

    folder: Path

    @property
    def result(self) -> dict[str, Any] | None:
        """What the step said when it ended, or None while it has not."""
        try:
            value = json.loads((self.folder / DONE).read_bytes())
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the result, whole or not at all; the step's other files must be complete before.

        Raises OutputError where it cannot be written.
        """
        text = json.dumps(result, ensure_ascii=False, indent=1, sort_keys=True)
        write_atomically(self.folder / DONE, text.encode("utf-8", "surrogatepass"), replace=True)


@dataclass(frozen=True)
class WorkFolder:
    """Steps of a job by name and hash."""

    path: Path

    def step(self, name: str, key: Mapping[str, Any]) -> Step:
        """The step `name` for exactly this key; another key is another step. Raises OutputError."""
        return Step(_made(self.path / f"{name}-{digest(key)[:16]}"))

    @property
    def size_bytes(self) -> int:
        """Bytes of all files in the folder."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out; the lock of a process that died is free. Raises UserError, OutputError.

        The system holds the lock, not the file's presence: the file stays and names the last owner. A folder that was
        made for a run which left nothing in it goes with the run.
        """
        new = not self.path.exists()
        lock = _made(self.path) / LOCK
        try:
            file = open(lock, "a+b")  # noqa: SIM115  (not emptied before it is ours)
        except OSError as error:
            raise OutputError(f"{lock}: cannot be written ({error.strerror})") from error
        with file:
            if not _taken(file):
                file.seek(0)
                owner = file.read(20).decode("ascii", "replace") or "unknown"
                raise UserError(f"{self.path}: another run (process {owner}) is using it; wait for it or stop it first")
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            file.flush()
            try:
                yield
            finally:
                if new and [one.name for one in self.path.iterdir()] == [LOCK]:
                    with suppress(OSError):  # where a file that is open cannot be removed
                        lock.unlink()
                        self.path.rmdir()


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error
    return folder


def _taken(file: IO[bytes]) -> bool:
    """Whether the lock is ours now. Where the system has none to give, runs are not kept apart."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        logger.warning("%s: cannot be locked (%s); let no second run use this folder", file.name, error.strerror)
    return True
