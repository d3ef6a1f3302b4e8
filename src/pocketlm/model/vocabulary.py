"""Keep the pieces a text needs, so that covered text is split exactly as before.

Why that holds: WordPiece takes the longest piece that matches, and the pieces it took are kept; Unigram
takes the best path, and no new path appears; BPE's merges inside a kept piece are kept with it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer

from pocketlm.errors import TeacherError

Rules = dict[str, Any]
# What stands for the space before a word, in sentence pieces and in byte-level BPE.
_WORD_STARTS = ("▁", "Ġ")


@dataclass(frozen=True)
class TrimmedVocabulary:
    """A tokenizer with fewer pieces. kept: (new pieces,) the old id of each new one."""

    tokenizer_json: str
    kept: tuple[int, ...]


def count_pieces(piece_ids: Iterable[Iterable[int]]) -> Counter[int]:
    """How often each piece occurs in texts already split."""
    counts: Counter[int] = Counter()
    for ids in piece_ids:
        counts.update(int(piece) for piece in ids)
    return counts


def trim(tokenizer_json: str, counts: Mapping[int, int], limit: int | None = None) -> TrimmedVocabulary:
    """The tokenizer with the pieces of `counts`, at most the `limit` most frequent, and what must stay.

    Special tokens and the single characters of the text (all bytes, for byte-level BPE) stay whatever the
    limit. Raises TeacherError for a tokenizer that is neither WordPiece, Unigram nor BPE.
    """
    rules: Rules = json.loads(tokenizer_json)
    kind = rules["model"].get("type")
    if kind not in ("WordPiece", "Unigram", "BPE"):
        raise TeacherError(f"cannot trim a {kind} tokenizer; WordPiece, Unigram and BPE can be trimmed")
    pieces = _pieces(rules["model"])
    wanted = _wanted(rules, pieces, counts, limit)
    if kind == "BPE":
        _close_merges(rules["model"], pieces, wanted)
    kept = sorted(wanted)
    new_id = {old: new for new, old in enumerate(kept)}
    _rewrite_model(rules["model"], pieces, kept, new_id)
    for token in rules.get("added_tokens", []):
        token["id"] = new_id[token["id"]]
    _rewrite_processor(rules.get("post_processor"), new_id)
    rules["padding"] = rules["truncation"] = None
    return TrimmedVocabulary(json.dumps(rules, ensure_ascii=False, separators=(",", ":")), tuple(kept))


def _pieces(model: Rules) -> dict[int, str]:
    if model["type"] == "Unigram":
        return {place: piece for place, (piece, _) in enumerate(model["vocab"])}
    return {place: piece for piece, place in model["vocab"].items()}


def _wanted(rules: Rules, pieces: Mapping[int, str], counts: Mapping[int, int], limit: int | None) -> set[int]:
    model = rules["model"]
    must = {token["id"] for token in rules.get("added_tokens", [])}
    unknown = model.get("unk_id") if model["type"] == "Unigram" else _find(pieces, model.get("unk_token"))
    must |= set() if unknown is None else {unknown}
    letters = {char for piece, count in counts.items() if count for char in pieces.get(piece, "")}
    letters |= set(map(chr, range(33, 127)))
    prefix = model.get("continuing_subword_prefix") or ""
    whole_alphabet = model["type"] == "BPE" or bool(model.get("byte_fallback"))
    for place, piece in pieces.items():
        bare = piece.removeprefix(prefix) if prefix else piece
        if len(bare) == 1 and (bare in letters or model["type"] == "BPE"):
            must.add(place)
        if whole_alphabet and len(piece) == 6 and piece.startswith("<0x"):
            must.add(place)
    ranked = sorted((place for place in counts if place in pieces and place not in must), key=lambda p: (-counts[p], p))
    return must | set(ranked if limit is None else ranked[: max(0, limit - len(must))])


def _find(pieces: Mapping[int, str], piece: str | None) -> int | None:
    return next((place for place, own in pieces.items() if own == piece), None)


def _merge_parts(merge: str | list[str]) -> tuple[str, str]:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right


def _close_merges(model: Rules, pieces: Mapping[int, str], wanted: set[int]) -> None:
    """Add the parts that wanted BPE pieces are merged from, and drop merges whose result is not wanted."""
    place_of = {piece: place for place, piece in pieces.items()}
    made: dict[str, tuple[str, str]] = {}
    for merge in model["merges"]:
        left, right = _merge_parts(merge)
        made.setdefault(left + right, (left, right))
    stack = [pieces[place] for place in wanted if place in pieces]
    while stack:
        parts = made.get(stack.pop())
        for part in parts or ():
            if place_of[part] not in wanted:
                wanted.add(place_of[part])
                stack.append(part)
    kept = {pieces[place] for place in wanted if place in pieces}
    model["merges"] = [
        merge
        for merge in model["merges"]
        if "".join(_merge_parts(merge)) in kept and all(part in kept for part in _merge_parts(merge))
    ]


def _rewrite_model(model: Rules, pieces: Mapping[int, str], kept: list[int], new_id: Mapping[int, int]) -> None:
    if model["type"] == "Unigram":
        old = model["vocab"]
        model["vocab"] = [old[place] for place in kept if place < len(old)]
        model["unk_id"] = None if model.get("unk_id") is None else new_id[model["unk_id"]]
        return
    model["vocab"] = {pieces[place]: new_id[place] for place in kept if place in pieces}


def _rewrite_processor(processor: Any, new_id: Mapping[int, int]) -> None:
    """Map the ids inside a post-processor, whatever its kind."""
    if not isinstance(processor, dict):
        return
    for part in processor.get("processors", []):
        _rewrite_processor(part, new_id)
    for special in (processor.get("special_tokens") or {}).values():
        special["ids"] = [new_id[place] for place in special["ids"]]
    for edge in ("sep", "cls"):
        if isinstance(processor.get(edge), list):
            processor[edge][1] = new_id[processor[edge][1]]


def whole_words(tokenizer_json: str) -> list[str]:
    """The pieces that are a whole word by themselves, as text, in the vocabulary's order."""
    rules: Rules = json.loads(tokenizer_json)
    model, tokenizer = rules["model"], Tokenizer.from_str(tokenizer_json)
    special = {token["id"] for token in rules.get("added_tokens", [])}
    prefix = model.get("continuing_subword_prefix") or "##"
    wordpiece = model.get("type") == "WordPiece"
    whole = [
        place
        for place, piece in sorted(_pieces(model).items())
        if place not in special and (not piece.startswith(prefix) if wordpiece else piece[:1] in _WORD_STARTS)
    ]
    return [tokenizer.decode([place]).strip() for place in whole]


def learn_wordpieces(words: Mapping[str, int], limit: int) -> list[str]:
    """At most `limit` WordPiece pieces of counted words: their characters, then merges by count.

    Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) with ties broken by the pieces themselves, so that
    the same words give the same pieces; the usual trainers iterate over hash maps and do not. Pieces inside a
    word begin with "##". Merges seen once are not made.
    """
    spelled = [[word[0], *(f"##{char}" for char in word[1:])] for word in words]
    counts = list(words.values())
    pieces = dict.fromkeys(sorted({piece for own in spelled for piece in own}))
    pairs: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[int]] = {}
    for place, own in enumerate(spelled):
        for pair in pairwise(own):
            pairs[pair] += counts[place]
            where.setdefault(pair, set()).add(place)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapify(heap)
    while heap and heap[0][0] <= -2 and len(pieces) < limit:
        count, pair = heappop(heap)
        if -count != pairs[pair]:
            continue  # an older count of this pair
        merged = pair[0] + pair[1].removeprefix("##")
        pieces[merged] = None
        changed: set[tuple[str, str]] = set()
        for place in where.pop(pair):
            old, new = spelled[place], _merge(spelled[place], pair, merged)
            changed |= _shift(pairs, old, -counts[place]) | _shift(pairs, new, counts[place])
            for one in pairwise(new):
                where.setdefault(one, set()).add(place)
            spelled[place] = new
        for one in changed:
            if pairs[one] > 0:
                heappush(heap, (-pairs[one], one))
    return list(pieces)


def _shift(pairs: Counter[tuple[str, str]], pieces: list[str], amount: int) -> set[tuple[str, str]]:
    """Count the neighbours of a word `amount` times more; which pairs these are."""
    for pair in pairwise(pieces):
        pairs[pair] += amount
    return set(pairwise(pieces))


def _merge(pieces: list[str], pair: tuple[str, str], merged: str) -> list[str]:
    out: list[str] = []
    for piece in pieces:
        if out and (out[-1], piece) == pair:
            out[-1] = merged
        else:
            out.append(piece)
    return out


def reopen(trimmed: TrimmedVocabulary) -> Tokenizer:
    """The trimmed tokenizer, ready to use."""
    return Tokenizer.from_str(trimmed.tokenizer_json)
