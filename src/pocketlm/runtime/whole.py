"""Texts that are longer than a model reads, read to their end in parts: where words are all that is tagged."""

from __future__ import annotations

from collections.abc import Sequence

from pocketlm.outputs import Output
from pocketlm.runtime.inputs import Encoded, Inputs, Text, tokens_of

Part = tuple[Text, Encoded]


def in_parts(inputs: Inputs, outputs: Sequence[Output], texts: Sequence[Text]) -> list[list[Part]]:
    """The parts of each text in order, each with how it is read; every word is in one part.

    A label of the whole text is not the sum of its parts: with such an output each text is one part, cut where the
    model stops. A part begins without what stands before it.
    """
    if not only_words(outputs):
        return [[(text, one)] for text, one in zip(texts, inputs.encode(texts), strict=True)]
    words = [tokens_of(text) for text in texts]
    return [_read_on(inputs, own, one) for own, one in zip(words, inputs.encode(words), strict=True)]


def only_words(outputs: Sequence[Output]) -> bool:
    """Whether words are all that is tagged, and nothing is said of the text as a whole."""
    return all(output.kind == "tags" for output in outputs)


def _read_on(inputs: Inputs, words: list[str], one: Encoded) -> list[Part]:
    parts: list[Part] = [(words, one)]
    read = one.words
    # words without a single piece at the end of a text are not counted as read: then nothing more comes
    while one.words and read < len(words):
        one = inputs.encode([words[read:]])[0]
        parts.append((words[read:], one))
        read += one.words
    return parts
