"""Sentence templates of a language: parsed, asked for their slots, and sampled into tagged rows.

The templates are those of the package `home-assistant-intents` (CC BY 4.0), parsed by `hassil`. Values that
only a home can know (rooms, devices, shopping items) come from `smart_home_values.json`, a word list of our
own; for a few small languages it is short, and music to play is the same in most.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from pocketlm.data.read import Row
from pocketlm.runtime.words import split_words

logger = logging.getLogger(__name__)

HELD_OUT_VALUES = 0.25
# Which kind of value of our word list fills a list that only a home or its owner knows.
_OPEN_LISTS = {
    "area": "area",
    "zone": "area",
    "name": "name",
    "floor": "floor",
    "shopping_list_item": "item",
    "todo_list_item": "item",
    "message": "message",
    "search_query": "query",
    "timer_name": "timer",
    "timer_command": "command",
}
_FALLBACK = {"message": "name", "query": "item", "timer": "item", "command": "name", "floor": "area"}

# A piece of a sampled sentence and the slot it fills.
Piece = tuple[str, str | None]


@dataclass(frozen=True)
class Template:
    """One sentence template of an intent. key: a hash of its text."""

    intent: str
    text: str
    expression: Any

    @property
    def key(self) -> str:
        """A hash of the template's text."""
        return digest(self.text)[:12]


@dataclass(frozen=True)
class Language:
    """A language's parsed rules and lists.

    ranges: first, last and step of each list of numbers. values: of each other list, parsed, (training, held out).
    """

    code: str
    rules: dict[str, Any]
    ranges: dict[str, tuple[int, int, int]]
    values: dict[str, tuple[list[Any], list[Any]]]


def digest(text: str) -> str:
    """The SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def home_values() -> dict[str, dict[str, list[str]]]:
    """{language: {kind: values}} of what a home names; "*" holds what is the same in all languages."""
    text = (resources.files("pocketlm.data") / "smart_home_values.json").read_text("utf-8")
    values: dict[str, dict[str, list[str]]] = json.loads(text)
    return values


def read_language(code: str, raw: Mapping[str, Any]) -> tuple[Language, list[Template], int]:
    """The language's rules and lists, its templates, each once, and how many could not be used.

    raw: the package's file. A template in two intents belongs to the first by name.
    """
    language = Language(code, _parsed(raw["expansion_rules"]), *_lists(code, raw["lists"]))
    templates: dict[str, Template] = {}
    skipped = 0
    for intent in sorted(raw["intents"]):
        texts = [" ".join(text.split()) for block in raw["intents"][intent]["data"] for text in block["sentences"]]
        parsed = _parsed(dict(zip(texts, texts, strict=True)))
        for text in texts:
            if text in parsed and _usable(parsed[text], language, 0):
                templates.setdefault(text, Template(intent, text, parsed[text]))
            else:
                skipped += 1
    return language, list(templates.values()), skipped


def _parsed(texts: Mapping[str, str]) -> dict[str, Any]:
    """The expressions of those texts that can be parsed, by name."""
    from hassil.parse_expression import parse_sentence
    from hassil.parser import ParseError

    found = {}
    for name, text in texts.items():
        try:
            found[name] = parse_sentence(text).expression
        except (ParseError, ValueError):
            logger.info("skipped, as it cannot be parsed: %s", text)
    return found


def _lists(
    code: str, lists: Mapping[str, Any]
) -> tuple[dict[str, tuple[int, int, int]], dict[str, tuple[list[Any], list[Any]]]]:
    """Ranges and values of the language's lists, and of those that a home fills."""
    ranges, values = {}, {}
    own, common = home_values().get(code, home_values()["en"]), home_values()["*"]
    for name, kind in _OPEN_LISTS.items():
        values[name] = _hold_out(own.get(kind) or common.get(kind) or own[_FALLBACK[kind]])
    for name, about in lists.items():
        if "range" in about:
            span = about["range"]
            ranges[name] = (int(span["from"]), int(span["to"]), int(span.get("step", 1)))
        elif "values" in about:
            values[name] = _hold_out([value["in"] if isinstance(value, dict) else value for value in about["values"]])
    return ranges, values


def _hold_out(texts: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Expressions (for training, held out): a quarter of four or more texts is held out, by their hash."""
    parsed = _parsed(dict(zip(texts, texts, strict=True)))
    ordered = [parsed[text] for text in sorted(texts, key=digest) if text in parsed]
    count = round(len(ordered) * HELD_OUT_VALUES) if len(ordered) >= 4 else 0
    return ordered[count:], ordered[:count]


def _kind(expression: Any) -> str:
    return type(expression).__name__


def _usable(expression: Any, language: Language, depth: int) -> bool:
    """Whether every list and rule the expression refers to exists."""
    if depth > 24:
        return False
    kind = _kind(expression)
    if kind == "ListReference":
        name = expression.list_name
        return expression.is_inline_range or name in language.ranges or bool(language.values.get(name, ([], []))[0])
    if kind == "RuleReference":
        rule = language.rules.get(expression.rule_name)
        return rule is not None and _usable(rule, language, depth + 1)
    return all(_usable(item, language, depth + 1) for item in getattr(expression, "items", ()))


def slots_of(expression: Any, language: Language) -> frozenset[str]:
    """The slots that sentences of the expression can fill."""
    kind = _kind(expression)
    if kind == "ListReference":
        return frozenset({expression.slot_name})
    if kind == "RuleReference":
        return slots_of(language.rules[expression.rule_name], language)
    return frozenset().union(*(slots_of(item, language) for item in getattr(expression, "items", ())))


def variety(expression: Any, language: Language) -> float:
    """Natural logarithm of how many sentences an expression can give, lists counting at most 50."""
    kind = _kind(expression)
    if kind == "Alternative":
        return math.log(sum(math.exp(min(50.0, variety(item, language))) for item in expression.items))
    if kind == "ListReference":
        values = language.values.get(expression.list_name)
        return math.log(min(50, len(values[0]) if values else 50))
    if kind == "RuleReference":
        return variety(language.rules[expression.rule_name], language)
    more = math.lgamma(len(expression.items) + 1) if kind == "Permutation" else 0.0
    return more + sum(variety(item, language) for item in getattr(expression, "items", ()))


def sample_template(language: Language, template: Template, split: str, seed: int, wanted: int) -> list[Row]:
    """Up to `wanted` different rows of a template."""
    draw = random.Random(f"{seed}:{language.code}:{template.key}")  # noqa: S311
    rows: dict[str, Row] = {}
    for _ in range(4 * wanted):
        pieces: list[Piece] = []
        _walk(template.expression, language, draw, split != "train", None, pieces)
        row = _row(pieces, template, language.code)
        if row is not None:
            rows.setdefault(row["text"], row)
        if len(rows) >= wanted:
            break
    return list(rows.values())


def _walk(
    expression: Any, language: Language, draw: random.Random, held_out: bool, slot: str | None, pieces: list[Piece]
) -> None:
    """Append a random sentence of the expression; optional parts come half of the time."""
    kind = _kind(expression)
    if kind == "TextChunk":
        pieces.append((expression.original_text, slot))
    elif kind == "ListReference":
        _walk_list(expression, language, draw, held_out, slot, pieces)
    elif kind == "RuleReference":
        _walk(language.rules[expression.rule_name], language, draw, held_out, slot, pieces)
    elif kind == "Alternative":
        items = expression.items
        if expression.is_optional:
            full = [item for item in items if not (_kind(item) == "TextChunk" and item.is_empty)]
            if draw.random() < 0.5:
                return
            items = full or items
        _walk(draw.choice(items), language, draw, held_out, slot, pieces)
    else:
        items = list(expression.items)
        if kind == "Permutation":
            draw.shuffle(items)
        for place, item in enumerate(items):
            if kind == "Permutation" and place:
                pieces.append((" ", None))
            _walk(item, language, draw, held_out, slot, pieces)


def _walk_list(
    reference: Any, language: Language, draw: random.Random, held_out: bool, slot: str | None, pieces: list[Piece]
) -> None:
    own = slot or reference.slot_name
    span = reference.get_inline_range() if reference.is_inline_range else language.ranges.get(reference.list_name)
    pieces.append((reference.prefix or "", None))
    if span is not None:
        first, last, step = span
        pieces.append((str(draw.randrange(first, last + 1, step)), own))
    else:
        common, held = language.values[reference.list_name]
        chosen = held if held_out and held and draw.random() < 0.5 else common
        _walk(draw.choice(chosen), language, draw, held_out, own, pieces)
    pieces.append((reference.suffix or "", None))
    pieces.append(("", "|"))  # ends a span, so that two values of one slot stay two


def _row(pieces: Sequence[Piece], template: Template, language: str) -> Row | None:
    """The pieces as a row: single spaces, tokens, and a BIO tag for each by where most of it lies."""
    text, owners, span = "", [], 0
    for piece, slot in pieces:
        span += slot == "|"
        for char in piece:
            if char.isspace() and (not text or text[-1] == " "):
                continue
            text += " " if char.isspace() else char
            owners.append((slot, span) if slot else None)
    text = text.rstrip()
    places = split_words(text)
    if not places:
        return None
    tags, last = [], None
    for start, end in places:
        inside = [owner for owner in owners[start:end] if owner]
        owner = max(set(inside), key=inside.count) if 2 * len(inside) > end - start else None
        tags.append("O" if owner is None else f"{'I' if owner == last else 'B'}-{owner[0]}")
        last = owner
    return {
        "text": text,
        "tokens": [text[start:end] for start, end in places],
        "intent": template.intent,
        "slots": tags,
        "template": template.key,
        "language": language,
    }
