"""Tokens to text as they come: whole characters only, and nothing that a stop string may still take back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# What a decoder puts in the place of bytes that are no character, or not yet.
HALF = "\ufffd"


class Unfolding:
    """Text of tokens that come one by one. stopped: whether a stop string came; what is behind it is left out.

    before: tokens that the text goes on from, since how a token is written can depend on the one before.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], stops: Sequence[str] = (), before: Sequence[int] = ()
    ) -> None:
        self._decode, self._stops = decode, tuple(stops)
        self._ids, self._begin, self._read = list(before), 0, len(before)
        self._held, self.stopped = "", False

    def add(self, token: int) -> str:
        """The text that is certain now, "" while a character or a stop string may be half there."""
        self._ids.append(token)
        old, new = self._decode(self._ids[self._begin : self._read]), self._decode(self._ids[self._begin :])
        if new.endswith(HALF) or len(new) <= len(old):
            return ""
        self._begin, self._read = self._read, len(self._ids)
        return self._sure(new[len(old) :])

    def end(self) -> str:
        """What was held back, now that nothing more comes."""
        if self.stopped:
            return ""
        old, new = self._decode(self._ids[self._begin : self._read]), self._decode(self._ids[self._begin :])
        text = self._sure(new[len(old) :])
        held, self._held = self._held, ""
        return text + held

    def _sure(self, text: str) -> str:
        text = self._held + text
        found = [place for place in (text.find(stop) for stop in self._stops) if place >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of a text that a stop string begins with."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
