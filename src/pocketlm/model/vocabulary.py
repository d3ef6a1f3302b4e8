"""Keep the pieces a text needs, so that covered text is split exactly as before.

Covered is any text that the whole tokenizer cuts into kept pieces. Why that holds: WordPiece takes the longest piece
that matches, and the pieces it took are kept. Unigram takes the best path, no new path appears, and the piece of the
least score stays, from which that of an unknown character is reckoned. Of BPE every merge that makes a kept piece stays
with its parts, so that each merge done before is there, in its order, and no other comes before it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer

from pocketlm.errors import TeacherError

Rules = dict[str, Any]
# Pieces that stand for no text.
_SIGN = re.compile(r"\[[^\]]+\]|<[^>]+>")
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


def trim(
    tokenizer_json: str, counts: Mapping[int, int], limit: int | None = None, coverage: float = 1.0,
    letters: Collection[str] = (), keep: Iterable[int] = (),
) -> TrimmedVocabulary:  # fmt: skip
    """The tokenizer with the pieces of `counts`, at most the `limit` most frequent, and what must stay.

    Special tokens, the single characters of the text and those in `letters` (all bytes, of tokenizers that fall back
    to them) and the pieces `keep` stay whatever the limit. coverage: share of the counts that kept pieces have at
    least, the rarest being the first to go. Raises TeacherError for a tokenizer that is neither WordPiece, Unigram
    nor BPE.
    """
    rules: Rules = json.loads(tokenizer_json)
    kind = rules["model"].get("type")
    if kind not in ("WordPiece", "Unigram", "BPE"):
        raise TeacherError(f"cannot trim a {kind} tokenizer; WordPiece, Unigram and BPE can be trimmed")
    pieces = pieces_of(rules["model"])
    must = _musts(rules, pieces, counts, letters) | set(keep)
    wanted = must | set(_frequent(counts, pieces, must, limit, coverage))
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


def pieces_of(model: Rules) -> dict[int, str]:
    """The pieces of a tokenizer's model by number; tokens added to them are not among them."""
    if model["type"] == "Unigram":
        return {place: piece for place, (piece, _) in enumerate(model["vocab"])}
    return {place: piece for piece, place in model["vocab"].items()}


def usual_pieces(tokenizer_json: str) -> list[tuple[int, str]]:
    """(number, piece) of a tokenizer's pieces, the most usual first, as far as it tells.

    Unigram gives each its likelihood; WordPiece and BPE number them in the order in which training found them. Places
    that were left for pieces to come ("[unused5]") and signs ("<mask>") are not among them; what stands for bytes comes
    as the text that it is, or as "" where it is none by itself.
    """
    rules: Rules = json.loads(tokenizer_json)
    model = rules["model"]
    pieces = {place: piece for place, piece in pieces_of(model).items() if not _SIGN.fullmatch(piece)}
    if '"ByteLevel"' in json.dumps(rules.get("pre_tokenizer")):
        pieces = {place: _from_bytes(piece) for place, piece in pieces.items()}
    if model["type"] == "Unigram":
        return sorted(pieces.items(), key=lambda one: (-model["vocab"][one[0]][1], one[0]))
    return sorted(pieces.items())


def _from_bytes(piece: str) -> str:
    """The text of a byte-level piece (Radford et al. 2019); "" where its bytes are no whole characters."""
    try:
        return bytes(_BYTES[char] for char in piece).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return ""


def _byte_signs() -> dict[str, int]:
    """The byte that each sign of byte-level pieces stands for: printable ones for themselves, others from 256 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _byte_signs()


def _musts(
    rules: Rules, pieces: Mapping[int, str], counts: Mapping[int, int], letters: Collection[str]
) -> set[int]:  # fmt: skip
    """What stays however rare it is."""
    model = rules["model"]
    must = {token["id"] for token in rules.get("added_tokens", [])}
    unknown = model.get("unk_id") if model["type"] == "Unigram" else _find(pieces, model.get("unk_token"))
    must |= set() if unknown is None else {unknown}
    if model["type"] == "Unigram":
        must.add(min(range(len(model["vocab"])), key=lambda place: model["vocab"][place][1]))
    alphabet = {char for piece, count in counts.items() if count for char in pieces.get(piece, "")}
    alphabet |= {*map(chr, range(33, 127)), *letters}
    prefix = model.get("continuing_subword_prefix") or ""
    by_bytes = bool(model.get("byte_fallback"))
    whole = model["type"] == "BPE" and not by_bytes  # nothing else stands for a character, or for a byte
    for place, piece in pieces.items():
        bare = piece.removeprefix(prefix) if prefix else piece
        if len(bare) == 1 and (whole or bare in alphabet):
            must.add(place)
        if (by_bytes or whole) and len(piece) == 6 and piece.startswith("<0x"):
            must.add(place)
    return must


def _frequent(
    counts: Mapping[int, int], pieces: Mapping[int, str], must: set[int], limit: int | None, coverage: float
) -> list[int]:  # fmt: skip
    """The most frequent pieces beside those that must stay, as many as the limit and the coverage ask for."""
    ranked = sorted((place for place in counts if place in pieces and place not in must), key=lambda p: (-counts[p], p))
    if limit is not None:
        ranked = ranked[: max(0, limit - len(must))]
    if coverage >= 1:
        return ranked
    wanted = coverage * sum(counts.values())
    covered = sum(counts.get(place, 0) for place in must)
    for place, piece in enumerate(ranked):
        if covered >= wanted:
            return ranked[:place]
        covered += counts[piece]
    return ranked


def _find(pieces: Mapping[int, str], piece: str | None) -> int | None:
    return next((place for place, own in pieces.items() if own == piece), None)


def _merge_parts(merge: str | list[str]) -> tuple[str, str]:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right


def _close_merges(model: Rules, pieces: Mapping[int, str], wanted: set[int]) -> None:
    """Add the parts that wanted BPE pieces may be merged from, and drop merges whose result is not wanted."""
    place_of = {piece: place for place, piece in pieces.items()}
    prefix = model.get("continuing_subword_prefix") or ""
    made: dict[str, list[tuple[str, str]]] = {}
    for left, right in map(_merge_parts, model["merges"]):
        made.setdefault(left + right.removeprefix(prefix), []).append((left, right))
    stack = [pieces[place] for place in wanted if place in pieces]
    while stack:
        for part in (one for parts in made.get(stack.pop(), ()) for one in parts):
            if place_of[part] not in wanted:
                wanted.add(place_of[part])
                stack.append(part)
    kept = {pieces[place] for place in wanted if place in pieces}
    results = {(left, right): left + right.removeprefix(prefix) for own in made.values() for left, right in own}
    model["merges"] = [merge for merge in model["merges"] if results[_merge_parts(merge)] in kept]


def _rewrite_model(model: Rules, pieces: Mapping[int, str], kept: list[int], new_id: Mapping[int, int]) -> None:
    if model["type"] == "Unigram":
        old = model["vocab"]
        model["vocab"] = [old[place] for place in kept if place < len(old)]
        model["unk_id"] = None if model.get("unk_id") is None else new_id[model["unk_id"]]
        return
    model["vocab"] = {pieces[place]: new_id[place] for place in kept if place in pieces}


def _rewrite_processor(processor: Any, new_id: Mapping[int, int]) -> None:
    """Map the ids inside a post-processor, whatever its kind."""
    for special in _specials(processor):
        special["ids"] = [new_id[place] for place in special["ids"]]
    for edge in _edges(processor):
        edge[1] = new_id[edge[1]]


def renumber_processor(processor: Any, places: Mapping[str, int]) -> None:
    """Give the pieces named in a post-processor the numbers they have now."""
    for special in _specials(processor):
        special["ids"] = [places[piece] for piece in special["tokens"]]
    for edge in _edges(processor):
        edge[1] = places[edge[0]]


def _stages(processor: Any) -> list[dict[str, Any]]:
    """The post-processor, or those that it is a sequence of."""
    if not isinstance(processor, dict):
        return []
    return [processor, *(stage for part in processor.get("processors", []) for stage in _stages(part))]


def _specials(processor: Any) -> list[dict[str, Any]]:
    return [one for stage in _stages(processor) for one in (stage.get("special_tokens") or {}).values()]


def _edges(processor: Any) -> list[list[Any]]:
    return [stage[edge] for stage in _stages(processor) for edge in ("sep", "cls") if isinstance(stage.get(edge), list)]


def whole_words(tokenizer_json: str) -> list[str]:
    """The pieces that are a whole word by themselves, as text, in the vocabulary's order."""
    rules: Rules = json.loads(tokenizer_json)
    model, tokenizer = rules["model"], Tokenizer.from_str(tokenizer_json)
    special = {token["id"] for token in rules.get("added_tokens", [])}
    prefix = model.get("continuing_subword_prefix") or "##"
    wordpiece = model.get("type") == "WordPiece"
    whole = [
        place
        for place, piece in sorted(pieces_of(model).items())
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
