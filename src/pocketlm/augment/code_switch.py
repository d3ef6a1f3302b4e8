"""Words put into another language by a lexicon, here and there (Qin et al. 2020, arXiv:2006.06402, CoSDA-ML)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from pocketlm.augment.method import Made, Material
from pocketlm.augment.rows import Word, reworded, words_of
from pocketlm.data.read import read_text
from pocketlm.errors import DataError
from pocketlm.outputs import Example
from pocketlm.runtime.ngrams import ngram_words, normalize


@dataclass(frozen=True)
class CodeSwitch:
    """Each word that the lexicon knows becomes one of its translations with probability `share`.

    lexicon: a file with a word, a tab and its translation on every line. Where words have tags, only translations of
    one word are used: tags and spans stay.
    """

    name: ClassVar[str] = "code-switch"
    certain: ClassVar[bool] = False
    keeps_tags: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("lexicon",)
    lexicon: str = ""
    share: float = 0.4

    def __post_init__(self) -> None:
        if not self.lexicon or not 0 < self.share <= 1:
            raise ValueError("a lexicon is named, and share is in (0, 1]")

    def refuses(self, material: Material) -> str:
        """Rows of which the lexicon knows no word. Raises DataError for a lexicon that cannot be read."""
        known = read_lexicon(self.lexicon)
        if any(word in known for text in material.texts for word in ngram_words(text)):
            return ""
        return f"{self.lexicon} holds no word of the rows"

    def __call__(self, example: Example, random: np.random.Generator, material: Material) -> list[Made]:
        """One row, or none where no word was translated."""
        known, words, said = read_lexicon(self.lexicon), words_of(example), []
        chosen = random.random(len(words)) < self.share
        for place, (word, swap) in enumerate(zip(words, chosen, strict=True)):
            new = _translated(word, known, random, bool(example.tokens)) if swap else word.text
            if new != word.text:
                said.append(f"{word.text!r} became {new!r}")
                words[place] = word._replace(text=new)
        return [Made(reworded(example, words), ", ".join(said))] if said else []


def _translated(word: Word, known: dict[str, list[str]], random: np.random.Generator, one: bool) -> str:
    """A translation of the word, punctuation at its edges kept. one: whether it has to be one word."""
    parts = ngram_words(word.text)
    core = next((part for part in parts if part in known), "")
    found = [other for other in known.get(core, ()) if not (one and len(other.split()) > 1)]
    start = normalize(word.text).find(core)
    if not found or len(normalize(word.text)) != len(word.text):
        return word.text if not found else found[int(random.integers(len(found)))]
    new = found[int(random.integers(len(found)))]
    new = new[:1].upper() + new[1:] if word.text[start].isupper() else new
    return word.text[:start] + new + word.text[start + len(core) :]


@lru_cache(maxsize=4)
def read_lexicon(path: str) -> dict[str, list[str]]:
    """{word in lower case: its translations}. Raises DataError for a line without a tab, with its number."""
    if not Path(path).is_file():
        raise DataError(f"{path}: no such lexicon; it is a file with a word, a tab and its translation on every line")
    found: dict[str, list[str]] = {}
    for number, line in enumerate(read_text(Path(path)).split("\n"), 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if not line.strip():
            continue
        if len(cells) < 2 or not (cells[0] and cells[1]):
            raise DataError(f"{path}: line {number} is not a word, a tab and its translation")
        found.setdefault(normalize(cells[0]), []).append(cells[1])
    if not found:
        raise DataError(f"{path}: the lexicon is empty")
    return found
