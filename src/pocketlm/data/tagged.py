"""Words and their tags in rows: which columns hold them, and what a row's tags are, whatever form they have.

Tags are lists as long as the words, texts with spaces between them, or spans of characters of a text.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pocketlm.data.read import Row
from pocketlm.errors import DataError
from pocketlm.runtime.tags import Scheme, is_span_tag, scheme_of, well_formed
from pocketlm.runtime.words import split_words

SLOT_NAMES = ("slots", "seq.out")
# Tags that may stand beside a label of the text, and such that stand alone unless they are asked for.
_BESIDE_LABELS = ("slots", "tags", "ner_tags", "seq.out")
_ALONE = ("pos_tags", "ner", "upos", "xpos", "pos")
TAG_NAMES = (*_BESIDE_LABELS, *_ALONE)
TOKEN_NAMES = ("tokens", "words", "seq.in", "form")
SPAN_NAMES = ("entities", "spans", "ents", "label", "labels")
_TYPE_NAMES = ("label", "type", "entity", "entity_group", "tag", "slot")
# Rows that are looked at to find out what a column holds.
_SAMPLE = 50
# Where words and tags are lists, this share of the sample must be of one length; the other rows are errors in them.
_AGREE = 0.5


def parts(value: Any) -> list[str]:
    """The items of a cell: of a list, or of a text with spaces between them."""
    if isinstance(value, (list, tuple)):
        return [str(part) for part in value]
    return str(value).split() if isinstance(value, str) else []


def find_tagged(
    rows: Sequence[Row], names: Sequence[str], tags: str | None, text: Sequence[str], labelled: bool
) -> tuple[str, str] | None:
    """The columns of words and of their tags, or None. tags, text: the ones asked for, if any.

    labelled: whether another column is a label of the text. A column of spans of characters is asked for elsewhere.
    Raises DataError where `tags` is no column of tags.
    """
    numbered = [name for name in names if name.isdecimal() and isinstance(rows[0].get(name), list)]
    words = [name for name in (*TOKEN_NAMES, *text, *numbered, *names) if name in names]
    known = [name for name in (_BESIDE_LABELS if labelled else TAG_NAMES) if name in names]
    for own in [tags] if tags else known + _likely(rows, numbered):
        for tokens in words:
            if tokens != own and tokens not in TAG_NAMES and _agree(rows, tokens, own):
                return tokens, own
    # named so and lists, though never equally many: the first such row is named when it is read
    sure = [tags] if tags else [name for name in known if name != "tags"]
    for own, tokens in itertools.product(sure, [name for name in TOKEN_NAMES if name in names]):
        if isinstance(rows[0].get(own), list) and isinstance(rows[0].get(tokens), list):
            return tokens, own
    if tags:
        raise DataError(f"column {tags!r} holds tags, but no column holds as many words; put them in a column 'tokens'")
    return None


def _likely(rows: Sequence[Row], numbered: Sequence[str]) -> list[str]:
    """Columns of a CoNLL file that may be the tags: the last ones first, without those that say one thing only."""
    said = {name: {part for row in rows[:_SAMPLE] for part in parts(row.get(name))} for name in numbered[1:]}
    return [name for name in reversed(numbered[1:]) if len(said[name]) > 1 or said[name] == {"O"}]


def _agree(rows: Sequence[Row], tokens: str, tags: str) -> bool:
    """Whether two columns hold words and their tags: as many in each row, or in most where both are lists."""
    sample = [(row.get(tokens), row.get(tags)) for row in rows[:_SAMPLE]]
    same = [bool(parts(left)) and len(parts(left)) == len(parts(right)) for left, right in sample]
    lists = all(isinstance(left, list) and isinstance(right, list) for left, right in sample)
    if all(part.isdecimal() for left, _ in sample for part in parts(left)):
        return False  # the places of words, or ids
    if tags in _ALONE and not lists and all(len(parts(left)) < 2 for left, _ in sample):
        return False  # a list of words with a label each
    return all(same) or (lists and sum(same) >= _AGREE * len(same))


def find_spans(rows: Sequence[Row], names: Sequence[str]) -> str | None:
    """The column that holds spans of characters, by its name and what is in it, or None."""
    return next((name for name in SPAN_NAMES if name in names and spans_in(rows, name)), None)


def spans_in(rows: Sequence[Row], name: str) -> bool:
    """Whether a column's cells are lists of spans: {"start", "end", "label"}, or [start, end, label]."""
    cells = [row.get(name) for row in rows[:_SAMPLE] if row.get(name) is not None]
    items = [item for cell in cells if isinstance(cell, list) for item in cell]
    return bool(items) and all(isinstance(cell, list) for cell in cells) and all(map(_is_span, items))


def _is_span(item: Any) -> bool:
    if isinstance(item, Mapping):
        return {"start", "end"} <= set(item) and any(name in item for name in _TYPE_NAMES)
    return isinstance(item, (list, tuple)) and len(item) == 3 and isinstance(item[0], int) and isinstance(item[2], str)


def tags_of_spans(raw: str, cell: Any, where: str) -> list[str]:
    """A BIO tag for each word of the text, from spans of its characters; `end` is the place after the last one.

    A word that a span covers in part belongs to it. Raises DataError for a span outside the text or without a
    word, and for two that share one.
    """
    offsets = split_words(raw)
    tags = ["O"] * len(offsets)
    for start, end, kind in _spans(cell, where):
        if not 0 <= start < end <= len(raw):
            raise DataError(
                f"{where}: the span {start} to {end} is not in its text of {len(raw)} characters; spans are "
                "start and end in characters, 0 <= start < end"
            )
        inside = [place for place, (begins, ends) in enumerate(offsets) if begins < end and ends > start]
        if not inside:
            raise DataError(f"{where}: the span {start} to {end} holds no word; it must cover one at least")
        shared = next((place for place in inside if tags[place] != "O"), None)
        if shared is not None:
            begins, ends = offsets[shared]
            raise DataError(f"{where}: two spans share the word {raw[begins:ends]!r}; each word has one tag")
        for place in inside:
            tags[place] = f"{'B' if place == inside[0] else 'I'}-{kind}"
    return tags


def _spans(cell: Any, where: str) -> list[tuple[int, int, str]]:
    found = []
    for item in cell or ():
        if not _is_span(item):
            raise DataError(f'{where}: {item!r} is no span; spans are {{"start": 0, "end": 4, "label": "PER"}}')
        if isinstance(item, Mapping):
            kind = next(item[name] for name in _TYPE_NAMES if name in item)
            start, end = item["start"], item["end"]
        else:
            start, end, kind = item
        if not (isinstance(start, int) and isinstance(end, int) and isinstance(kind, str) and kind):
            raise DataError(f"{where}: {item!r} is no span; start and end are whole numbers, the label is a text")
        found.append((start, end, kind))
    return found


def widened(rows: Iterable[Row], text: str, spans: str) -> tuple[int, int]:
    """(spans that begin or end inside a word, all spans)."""
    cut = every = 0
    for row in rows:
        raw = str(row.get(text) or "")
        begins, ends = map(set, zip(*split_words(raw), strict=True)) if raw.strip() else (set(), set())
        for start, end, _ in _spans(row.get(spans), "spans"):
            inner = raw[start:end]
            start, end = start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())
            cut += start not in begins or end not in ends
            every += 1
    return cut, every


def find_scheme(rows: Sequence[Row], tags: str) -> Scheme | None:
    """The scheme of all tags of a column, "BIO" for spans of characters; None where they are plain labels."""
    if spans_in(rows, tags):
        return "BIO"
    return scheme_of({tag for row in rows for tag in parts(row.get(tags))})


def types_of(rows: Sequence[Row], tags: str, scheme: Scheme | None) -> list[str]:
    """The tags without their marks, the most frequent ones first; labels of spans of characters."""
    if spans_in(rows, tags):
        counts = Counter(kind for row in rows for _, _, kind in _spans(row.get(tags), "spans"))
    else:
        every = (tag for row in rows for tag in parts(row.get(tags)))
        counts = Counter(every if scheme is None else (tag[2:] for tag in every if tag != "O"))
    return [kind for kind, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]


def first_type(cell: Any) -> str:
    """The first tag of a row that is not O, or the label of its first span; O where there is none."""
    if isinstance(cell, list) and cell and _is_span(cell[0]):
        return _spans(cell, "spans")[0][2]
    return next((tag for tag in parts(cell) if tag != "O"), "O")


def row_tags(cell: Any, words: int, column: str, scheme: Scheme | None, where: str) -> list[str]:
    """The tags of a row's `words` words, written to the letter of the scheme.

    Raises DataError where they are not as many, where one is absent, a number, or not of the scheme.
    """
    if isinstance(cell, list):
        for number, tag in enumerate(cell, 1):
            if isinstance(tag, int):
                raise DataError(
                    f"{where}: the tags in {column!r} are numbers, such as {tag}, whose names are not known; write "
                    "names such as B-PER, or name a saved data set, which knows them"
                )
            if not isinstance(tag, str) or not tag.strip():
                raise DataError(f"{where}: word {number} has no tag in {column!r}; words outside of all spans have O")
    tags = parts(cell)
    if len(tags) != words:
        raise DataError(f"{where}: {words} tokens but {len(tags)} tags in {column!r}; each token has one tag")
    if scheme is None:
        return tags
    for tag in tags:
        if not is_span_tag(tag):
            raise DataError(
                f"{where}: {tag!r} is no tag of spans; these are O, B-TYPE and I-TYPE (BIO, IOB), with E-TYPE and "
                "S-TYPE too (IOBES; BILOU calls these L and U), or all tags are plain labels such as NOUN"
            )
    return well_formed(tags, scheme)
