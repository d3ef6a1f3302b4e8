"""Tags of words: the scheme they are written in, the spans they mean, and the likeliest well-formed sequence.

Tags of spans are O, B-TYPE and I-TYPE (BIO; IOB, where B- only parts neighbours, is read alike), or these with
E-TYPE and S-TYPE for the last word of a span and for a span of one word (IOBES). Any other tags, such as parts
of speech, are plain labels: each word's stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Scheme = Literal["BIO", "IOBES"]
Span = tuple[str, int, int]

_SPAN_TAG = re.compile(r"O|[BIES](-.+)?", re.DOTALL)
_MARKED = re.compile(r"[A-Z]-.+", re.DOTALL)
# The type of tags that name none, such as a bare B; as in seqeval.
_NO_TYPE = "_"
# The tag of a word that the model did not read: outside of spans, or CoNLL-U's sign for what is not known.
_OUTSIDE, _UNKNOWN = "O", "_"


def scheme_of(tags: Iterable[str]) -> Scheme | None:
    """The scheme of the tags that occur, or None where they are plain labels.

    Tags of spans are O and marked ones, such as B-PER, or marked ones alone, or O and bare marks. Whether each of
    them fits a scheme is for `is_span_tag` to say.
    """
    found = set(tags)
    marks = found - {"O"}
    fitting = {tag for tag in marks if is_span_tag(tag)}
    typed = {tag for tag in fitting if "-" in tag}
    bare = "O" in found and fitting == marks and bool(marks & {"B", "I"})
    # other marks beside O are of a scheme too, one that is refused where the tags are read
    unknown = "O" in found and all(_MARKED.fullmatch(tag) for tag in marks)
    if not (bare or unknown or (typed and ("O" in found or typed == found))):
        return None
    return "IOBES" if any(tag[0] in "ES" for tag in fitting) else "BIO"


def is_span_tag(tag: str) -> bool:
    """Whether a tag is one of BIO, IOB or IOBES."""
    return _SPAN_TAG.fullmatch(tag) is not None


def tag_spans(tags: Sequence[str]) -> list[Span]:
    """(type, first word, last word) of each span in order, as conlleval and seqeval's get_entities read tags.

    A tag that continues nothing of its type begins a span of its own.
    """
    found: list[Span] = []
    begin, before, kind = -1, "O", ""
    for place, tag in enumerate([*tags, "O"]):
        mark, own = tag[:1], tag[2:] or _NO_TYPE
        goes_on = mark in ("I", "E") and before in ("B", "I") and own == kind
        if begin >= 0 and not goes_on:
            found.append((kind, begin, place - 1))
            begin = -1
        if not goes_on and mark in ("B", "I", "E", "S"):
            begin = place
        before, kind = mark, own
    return found


def well_formed(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """The tags that mean the same spans and follow the scheme to the letter."""
    out = ["O"] * len(tags)
    for kind, first, last in tag_spans(tags):
        out[first : last + 1] = [f"B-{kind}", *[f"I-{kind}"] * (last - first)]
        if scheme == "IOBES":
            out[last] = f"S-{kind}" if first == last else f"E-{kind}"
    return out


def span_tags(types: Iterable[str], scheme: Scheme) -> tuple[str, ...]:
    """Every tag of the scheme: O, then the marks of each type."""
    marks = "BI" if scheme == "BIO" else "BIES"
    return ("O", *(f"{mark}-{kind}" for kind in types for mark in marks))


def unread(scheme: Scheme | None) -> str:
    """The tag of a word that the model did not read."""
    return _UNKNOWN if scheme is None else _OUTSIDE


@lru_cache(maxsize=8)
def label_scheme(labels: tuple[str, ...]) -> Scheme | None:
    """`scheme_of` for an output's labels, remembered."""
    return scheme_of(labels)


@lru_cache(maxsize=8)
def _forbidden(labels: tuple[str, ...]) -> tuple[Floats, Floats, Floats]:
    """Costs of starting with a tag, of tag i before tag j (tags, tags), and of ending: 0, or a large one."""
    scheme = label_scheme(labels)
    continues = np.array([scheme is not None and label[:2] in ("I-", "E-") for label in labels])
    opens = np.array([scheme is not None and label[:2] in ("B-", "I-") for label in labels])
    kind = np.array([label[2:] for label in labels], object)
    goes_on = opens[:, None] & continues[None, :] & (kind[:, None] == kind[None, :])
    # in IOBES a span that was opened must be closed
    unclosed = opens if scheme == "IOBES" else np.zeros_like(opens)
    wrong = (continues[None, :] | unclosed[:, None]) & ~goes_on
    start, step, end = (np.where(one, -1e4, 0.0).astype(np.float32) for one in (continues, wrong, unclosed))
    return start, step, end


def best_tags(logits: Floats, labels: tuple[str, ...]) -> list[str]:
    """The most likely well-formed sequence (Viterbi 1967, transitions allowed or not). logits: (words, tags)."""
    if not len(logits):
        return []
    greedy = logits.argmax(axis=1).tolist()
    start, step, end = _forbidden(labels)
    if start[greedy[0]] == 0 and not step[greedy[:-1], greedy[1:]].any() and end[greedy[-1]] == 0:
        return [labels[tag] for tag in greedy]
    scores = logits - logits.max(axis=1, keepdims=True)
    scores = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    score, back = scores[0] + start, []
    for own in scores[1:]:
        through = score[:, None] + step
        back.append(through.argmax(axis=0))
        score = through.max(axis=0) + own
    path = [int((score + end).argmax())]
    for choices in reversed(back):
        path.append(int(choices[path[-1]]))
    return [labels[tag] for tag in reversed(path)]
