"""Rows of QAMR files: a question a line, its sentence in wiki-sentences.tsv of the folder above.

Michael et al. 2018, arXiv:1711.05885. Answers are places of words of a sentence that is split already.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pocketlm.errors import DataError

SENTENCES = "wiki-sentences.tsv"
_COLUMNS = 9
# How sentences of the Penn Treebank kind write what stood in the text.
_SIGNS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}", "``": '"', "''": '"'}


def is_qamr(path: Path, text: str) -> Path | None:
    """The file of the sentences where `text` is of QAMR, else None."""
    first = text[: text.find("\n")].split("\t")
    sentences = path.parent.parent / SENTENCES
    return sentences if len(first) == _COLUMNS and first[0].startswith("Wiki1k:") and sentences.is_file() else None


def qamr_rows(text: str, sentences: str, path: Path) -> list[dict[str, Any]]:
    """{"id", "context", "question", "answers"} of every question; answers of its writer first, then of two others.

    Words are joined by single spaces, brackets and quotes written as such; words of an answer that do not stand
    together count with those between them. Answers judged invalid are left out. Raises DataError, which names the line.
    """
    known = dict(line.split("\t", 1) for line in sentences.split("\n") if "\t" in line)
    return [
        _row(line.split("\t"), known, f"{path}: line {place}") for place, line in enumerate(text.split("\n"), 1) if line
    ]


def _row(cells: list[str], known: dict[str, str], where: str) -> dict[str, Any]:
    if len(cells) != _COLUMNS or cells[0] not in known:
        raise DataError(f"{where}: is no QAMR question: {_COLUMNS} cells, the first one of {SENTENCES}")
    words = [_SIGNS.get(word, word) for word in known[cells[0]].strip().split(" ")]
    said = [cells[6], *(cell.partition(":")[2] for cell in cells[7:])]
    starts = [sum(map(len, words[:place])) + place for place in range(len(words))]
    texts, places = [], []
    for one in said:
        own = [int(number) for number in one.split() if number.isdecimal()]
        if own and max(own) < len(words):
            texts.append(" ".join(words[min(own) : max(own) + 1]))
            places.append(starts[min(own)])
    return {
        "id": ":".join(cells[:4]), "context": " ".join(words), "question": cells[5].strip(),
        "answers": {"text": texts, "answer_start": places},
    }  # fmt: skip
