"""Whether a pretrained model covers a language, asked before it is fine-tuned: by its tokenizer and by 20 examples.

Its frozen vectors say of each of the 20 which other text is nearest. Where enough texts have labels it should have the
same one, more often than chance allows and not clearly less often than the nearest by characters; else a copy without
one of its words should be nearest, more often than chance allows (characters find every copy). On N'Ko, which no
encoder of the usual kinds has read, neighbours are at chance.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from pocketlm.data.fertility import fertility
from pocketlm.data.foreign import scripts_of
from pocketlm.data.unicode_faults import WITHOUT_SPACES
from pocketlm.model.encoder import Pretrained
from pocketlm.outputs import Example
from pocketlm.runtime.vectors import Floats
from pocketlm.train.frozen import frozen_vectors

ASKED, COMPARED, TEXTS = 20, 300, 2_000
# With fewer rows a label even a model that knows the language finds few neighbours that have the same one.
ROWS_A_LABEL = 20
# Pieces read of a text.
LENGTH = 64
# Above these a model cannot know words: share of words with an unknown piece, pieces a word (a character, unspaced).
UNKNOWN, PIECES_A_WORD, PIECES_A_CHARACTER = 0.1, 6.0, 2.0
# Chance may reach as many hits once in twenty; so many fewer than by characters is clearly fewer, of 20.
BY_CHANCE, CLEARLY_FEWER = 0.05, 5


@dataclass(frozen=True)
class Coverage:
    """What was found. a_word, a_character: pieces of each; spaced: which of the two counts. unknown: share of words.

    asked: examples of the check; 0 where there were too few. hits: of the frozen vectors; by_characters: of character
    trigrams; chance: hits to expect of any vectors. by_labels: whether a hit is a neighbour of the same label.
    """

    a_word: float
    a_character: float
    spaced: bool
    unknown: float
    asked: int
    hits: int
    by_characters: int
    chance: float
    by_labels: bool

    @property
    def against(self) -> str:
        """Why the model does not cover the language; "" where it does."""
        many, most = (self.a_word, PIECES_A_WORD) if self.spaced else (self.a_character, PIECES_A_CHARACTER)
        if self.unknown > UNKNOWN:
            return f"its tokenizer does not know something in {self.unknown:.0%} of the words"
        if many > most:
            return f"its tokenizer cuts a {'word' if self.spaced else 'character'} into {many:.1f} pieces"
        if self.asked and _at_least(self.hits, self.asked, self.chance / self.asked) > BY_CHANCE:
            return (
                f"nearest texts {self._alike} for {self.hits} of {self.asked}, which chance may do ({self.chance:.1f})"
            )
        if self.by_labels and self.by_characters - self.hits >= CLEARLY_FEWER * self.asked / ASKED > 0:
            return (
                f"nearest texts {self._alike} for {self.hits} of {self.asked}, by their characters alone for "
                f"{self.by_characters}"
            )
        return ""

    @property
    def _alike(self) -> str:
        return "have the same label" if self.by_labels else "are their own copies"

    @property
    def found(self) -> str:
        """One line of figures."""
        cut = f"{self.a_word:.1f} pieces a word" if self.spaced else f"{self.a_character:.1f} pieces a character"
        said = f"{cut}, {self.unknown:.1%} of words with something unknown"
        if not self.asked:
            return f"{said}, too few texts to compare"
        return (
            f"{said}, nearest texts {self._alike} for {self.hits} of {self.asked} (by characters {self.by_characters}, "
            f"by chance {self.chance:.1f})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "covered": not self.against, "against": self.against}


def coverage(pretrained: Pretrained, examples: Sequence[Example], seed: int = 0) -> Coverage:
    """What the model, as it was pretrained, makes of the examples' texts."""
    texts = [one.text for one in examples[:TEXTS]]
    cut = fertility(texts, Tokenizer.from_str(pretrained.tokenizer_json))
    scripts: Counter[str] = Counter()
    for text in texts:
        scripts.update(scripts_of(text))
    spaced = sum(scripts[one] for one in WITHOUT_SPACES) <= scripts.total() / 2
    enough = min(COMPARED, ROWS_A_LABEL * len({one.labels for one in examples}))
    by_labels = all(one.labels for one in examples) and len(examples) >= enough
    queries, corpus, same = (_labelled if by_labels else _copies)(examples, seed)
    hits = by_characters = 0
    chance = 0.0
    if queries:
        vectors = frozen_vectors(pretrained, [*queries, *corpus], LENGTH)
        hits = _hits(vectors[: len(queries)], vectors[len(queries) :], same)
        grams = _trigrams([*queries, *corpus])
        by_characters = _hits(grams[: len(queries)], grams[len(queries) :], same)
        chance = float((same > 0).sum() / max(1, (same >= 0).sum()) * len(queries))
    return Coverage(
        cut.a_word, cut.a_character, spaced, cut.words_with_unknown, len(queries), hits, by_characters,
        round(chance, 3), by_labels,
    )  # fmt: skip


Asked = tuple[list[str], list[str], np.ndarray]


def _labelled(examples: Sequence[Example], seed: int) -> Asked:
    """(queries, corpus, same): (queries, corpus) 1 where labels are the same, 0 where not, -1 for the text itself."""
    random = np.random.default_rng(seed)
    chosen = [examples[place] for place in random.permutation(len(examples))[:COMPARED]]
    often = Counter(one.labels for one in chosen)
    asked = [place for place, one in enumerate(chosen) if often[one.labels] > 1][:ASKED]
    if len(asked) < ASKED // 2 or len(often) < 2:
        return [], [], np.zeros((0, 0))
    same = np.array([[float(chosen[own].labels == one.labels) for one in chosen] for own in asked])
    same[np.arange(len(asked)), asked] = -1
    texts = [one.text for one in chosen]
    return [texts[place] for place in asked], texts, same


def _copies(examples: Sequence[Example], seed: int) -> Asked:
    """(copies without a word, texts, same): the copy's own text alone is the same."""
    random = np.random.default_rng(seed)
    several = list(dict.fromkeys(one.text for one in examples if len(one.text.split()) > 2))
    texts = [several[place] for place in random.permutation(len(several))[:ASKED]]
    if len(texts) < ASKED // 2:
        return [], [], np.zeros((0, 0))
    copies = []
    for text in texts:
        words = text.split()
        del words[int(random.integers(len(words)))]
        copies.append(" ".join(words))
    return copies, texts, np.eye(len(texts))


def _hits(queries: Floats, corpus: Floats, same: np.ndarray) -> int:
    """Queries whose nearest text is the same; itself does not count, nor do neighbours as near as one that is not."""
    near = np.where(same < 0, -np.inf, queries @ corpus.T)
    right = np.where(same > 0, near, -np.inf).max(1)
    wrong = np.where(same == 0, near, -np.inf).max(1)
    return int((right > wrong).sum())


def _trigrams(texts: Sequence[str]) -> Floats:
    """Counts of character trigrams, by rarity, of unit length: (texts, trigrams)."""
    cut = [
        Counter(padded[at : at + 3] for at in range(len(padded) - 2)) for padded in (f" {t.lower()} " for t in texts)
    ]
    places = {gram: place for place, gram in enumerate(dict.fromkeys(gram for own in cut for gram in own))}
    out = np.zeros((len(texts), len(places)), np.float32)
    for row, own in enumerate(cut):
        for gram, count in own.items():
            out[row, places[gram]] = math.log1p(count)
    out *= np.log((1 + len(texts)) / (1 + (out > 0).sum(0)))
    unit: Floats = out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
    return unit


def _at_least(hits: int, asked: int, share: float) -> float:
    """The probability of at least so many hits by chance (binomial)."""
    return sum(math.comb(asked, k) * share**k * (1 - share) ** (asked - k) for k in range(hits, asked + 1))
