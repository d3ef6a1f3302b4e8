"""How long work says where it is; the command line draws it, a library call keeps silent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    """Receives where the work is. Every method returns at once."""

    def stage(self, name: str) -> None:
        """A new part of the work begins."""
        ...

    def step(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total` steps of this part; note: a figure worth showing."""
        ...

    def best(self, text: str) -> None:
        """The best result so far, in a few words."""
        ...


class Silent:
    """Progress that nobody watches."""

    def stage(self, name: str) -> None:
        """Nothing."""

    def step(self, done: int, total: int, note: str = "") -> None:
        """Nothing."""

    def best(self, text: str) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Deadline:
    """A moment (time.monotonic seconds) by which work should end; None is never."""

    at: float | None = None

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """So many seconds from now."""
        return cls(None if seconds is None else time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds until then; infinite without a deadline."""
        return float("inf") if self.at is None else self.at - time.monotonic()

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return self.left <= 0

    def share(self, fraction: float) -> Deadline:
        """The deadline by which `fraction` of the time left will have passed."""
        return Deadline() if self.at is None else Deadline.after(max(0.0, self.left) * fraction)
