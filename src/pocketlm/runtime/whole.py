"""Texts that are longer than a model reads, read to their end in parts: where words are all that is tagged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pocketlm.outputs import Output
from pocketlm.runtime.inputs import Encoded, Inputs, Text, tokens_of

# So many words of the part before are read again, so that the first new ones have something to their left.
OVERLAP = 8


@dataclass(frozen=True)
class Part:
    """A part of a text and how it is read. again: words at its start that the part before has answered."""

    text: Text
    encoded: Encoded
    again: int = 0

    @property
    def words(self) -> int:
        """Words that this part answers."""
        return self.encoded.words - self.again


def only_words(outputs: Sequence[Output]) -> bool:
    """Whether words are all that is tagged, and nothing is said of the text as a whole."""
    return all(output.kind == "tags" for output in outputs)


def in_parts(inputs: Inputs, outputs: Sequence[Output], texts: Sequence[Text]) -> list[list[Part]]:
    """The parts of each text in order; every word is answered in one of them.

    A label of the whole text is not the sum of its parts: with such an output each text is one part, cut where the
    model stops.
    """
    if not only_words(outputs):
        return [[Part(text, one)] for text, one in zip(texts, inputs.encode(texts), strict=True)]
    words = [tokens_of(text) for text in texts]
    return [_read_on(inputs, own, one) for own, one in zip(words, inputs.encode(words), strict=True)]


def _read_on(inputs: Inputs, words: list[str], first: Encoded) -> list[Part]:
    parts = [Part(words, first)]
    read = first.words
    # words without a single piece at the end of a text are not counted as read: then nothing more comes
    while parts[-1].words and read < len(words):
        again = min(OVERLAP, read)
        part = Part(words[read - again :], inputs.encode([words[read - again :]])[0], again)
        if part.words <= 0:  # long words: those read again leave no room
            part = Part(words[read:], inputs.encode([words[read:]])[0])
        parts.append(part)
        read += part.words
    return parts
