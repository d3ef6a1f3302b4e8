"""How much work a student has with one text: words, n-grams, pieces, nodes, products, and bytes of weights.

Amounts follow from a recipe's settings, so that a candidate's latency is estimated before anything of it is made; see
`measure.device` for what each costs on a machine. Of questions it is their graph with all pieces that are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from pocketlm.outputs import texts_of
from pocketlm.recipe.recipe import Recipe
from pocketlm.runtime.inputs import PieceInputs, plain_text
from pocketlm.runtime.ngrams import Ngrams, ngram_words, text_bags
from pocketlm.search.facts import Facts
from pocketlm.students.beside import BesideNgrams
from pocketlm.students.convnet import SmallConvnet
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.pieces import Pieces
from pocketlm.students.static import StaticEmbeddings
from pocketlm.students.transformer import SmallTransformer
from pocketlm.train.context import FitContext

# Nodes of a graph as they are stored in int8: of any, of a layer of attention, of a convolution, and of each piece that
# it reads on a side.
NODES, ATTENTION_NODES, CONVOLUTION_NODES, REACH_NODES = 32, 42, 12, 3
# Texts whose length is looked at.
SAMPLED = 300


@dataclass(frozen=True)
class TextSize:
    """A text of middling length. grams: n-grams of a word, on average. cut: its pieces. pieces: those that are read."""

    words: float
    grams: float
    cut: float
    pieces: float

    @classmethod
    def of(cls, context: FitContext, pieces: Pieces) -> TextSize:
        """Of the texts of dev."""
        texts = texts_of(context.dev, context.outputs)[:SAMPLED]
        words = [ngram_words(plain_text(text)) for text in texts]
        bags = np.diff(text_bags(words, Ngrams()).offsets)
        count = float(np.median([len(one) for one in words]))
        grams = float(bags.sum()) / max(1, sum(map(len, words)))
        if not isinstance(pieces.inputs, PieceInputs):
            most = float(context.focus or context.max_length)
            return cls(count, grams, most, most)
        read = float(np.median([one.length for one in pieces.inputs.encode(texts)]))
        whole = Tokenizer.from_str(pieces.inputs.tokenizer.to_str())
        whole.no_truncation()
        cut = float(np.median([len(whole.encode(plain_text(text)).ids) for text in texts]))
        return cls(count, grams, cut, read)


def work_of(recipe: Recipe, facts: Facts, text: TextSize) -> dict[str, float]:
    """What one text of this size costs a student of the recipe, in amounts of `measure.device.UNITS`."""
    student = recipe.steps[0]
    if isinstance(student, HashedNgrams):
        return _bag(student, min(text.words, student.max_words), text.grams, facts)
    if isinstance(student, StaticEmbeddings):
        summed = _summed(text.pieces, student.width, facts, text.words)
        return {"piece": text.cut, "hidden": float(student.hidden)} | summed
    found = {"piece": text.cut} | _graph(student, facts, text.pieces)
    beside = next((step for step in recipe.steps if isinstance(step, BesideNgrams)), None)
    if beside is None:
        return found
    return _sum((found, linear_work(min(text.words, beside.max_words), facts, text))) | {"call": 1.0}


def linear_work(words: float, facts: Facts, text: TextSize) -> dict[str, float]:
    """What linear n-grams of so many words of a text cost."""
    return _bag(HashedNgrams(width=0, hidden=False), words, text.grams, facts)


def _bag(student: HashedNgrams, words: float, grams: float, facts: Facts) -> dict[str, float]:
    """Of hashed n-grams; where words are tagged each is hashed by itself, too."""
    times = 2 if facts.tagging else 1
    hashed = {"word": times * words, "gram": times * words * grams, "hidden": float(student.hidden)}
    return hashed | _summed(words * grams, student.width or facts.labels, facts, words)


def _summed(rows: float, width: int, facts: Facts, words: float) -> dict[str, float]:
    """Rows of a table summed up, and read by heads."""
    if not facts.tagging:
        return {"call": 1.0, "gathered": rows * width, "float32": float(facts.labels * width)}
    context = max(width, 64)
    read = 6.0 * width * context + facts.labels * context
    return {"call": 1.0, "gathered": 2 * rows * width, "float32": words * read}


def nodes_of(student: SmallTransformer | SmallConvnet) -> int:
    """Nodes of the student's graph as it is stored."""
    if isinstance(student, SmallTransformer):
        return NODES + ATTENTION_NODES * len(student.sizes)
    return NODES + (CONVOLUTION_NODES + REACH_NODES * student.reach) * student.depth


def _graph(student: Any, facts: Facts, pieces: float) -> dict[str, float]:
    """Of a convolutional student or a transformer with so many pieces."""
    if isinstance(student, SmallTransformer):
        width = student.width or facts.width
        head = facts.width // facts.heads
        inner = sum(heads for heads, _ in student.sizes) * head
        weights = 4 * width * inner + 2 * width * sum(units for _, units in student.sizes) + student.rank * width
        attended = 2.0 * pieces**2 * inner
    else:
        width = student.width
        weights = student.depth * (2 * student.reach + 1) * width**2 + min(student.rank, width) * width
        attended = 0.0
    said = facts.labels * width
    return {
        "call": 1.0, "node": float(nodes_of(student)),
        "int8": weights * pieces + said * (pieces if facts.tagging or facts.asking else 1), "float32": attended,
        "streamed": float(weights + said),
    }  # fmt: skip


def encoder_work(facts: Facts, layers: int, pieces: float) -> dict[str, float]:
    """What a text of so many pieces costs the teacher itself with so many of its layers, in int8."""
    whole = SmallTransformer(depth=layers, heads=facts.heads, ffn=facts.ffn, rank=1)  # its embeddings are no product
    return {"piece": pieces} | _graph(whole, facts, pieces)


def _sum(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """All parts together."""
    units = dict.fromkeys(unit for part in parts for unit in part)
    return {unit: sum(part.get(unit, 0.0) for part in parts) for unit in units}
