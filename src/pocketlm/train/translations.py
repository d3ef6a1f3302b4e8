"""What a student of vectors hears of translations: their own texts' vectors, in whatever language they are.

Reimers and Gurevych 2020, arXiv:2004.09813, section 3: the student's vectors of a sentence and of its translation are
both to be the teacher's vector of the sentence, so that the teacher needs to know its own language only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pocketlm.outputs import Example
from pocketlm.runtime.decode import Prediction
from pocketlm.train.lesson import Lesson, Taught


def sources(examples: Sequence[Example]) -> list[str]:
    """The texts that are translated, each once."""
    return list(dict.fromkeys(example.text for example in examples))


def as_translations(given: Lesson, examples: Sequence[Example]) -> Lesson:
    """The lesson with the vector of each translation that of its text, or the mean where it is one of several texts.

    Hidden states of pieces are left out: a translation's pieces are others. A text that is its own translation, such as
    a name, keeps its vector.
    """
    assert given.taught is not None
    places = {text: place for place, text in reversed(list(enumerate(given.texts)))}
    originals: dict[str, list[int]] = {}
    for example in examples:
        originals.setdefault(example.pair, []).append(places[example.text])
    known = set(sources(examples))
    logits = {}
    for name, vectors in given.taught.logits.items():
        own = list(vectors)
        for text, from_ in originals.items():
            if text not in known:
                own[places[text]] = np.mean([vectors[place] for place in from_], axis=0, dtype=np.float32)
        logits[name] = own
    return given.with_teacher(Taught(logits))


def said_of_translations(said: Sequence[Prediction]) -> list[Prediction]:
    """Answers to a text and its translation in turns, the text's twice."""
    return [said[place - place % 2] for place in range(len(said))]
