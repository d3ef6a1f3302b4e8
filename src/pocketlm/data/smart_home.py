"""Intent and slot data for smart homes in 65 languages, sampled from community templates.

The templates are those of the package `home-assistant-intents` (CC BY 4.0), parsed by `hassil`. Values that
only a home can know (rooms, devices, shopping items) come from `smart_home_values.json`, a word list of our
own; for a few small languages it is short. Splits are by template: no template is on two sides. A quarter of
each list's values is never in training, and the other splits draw half of their values from it.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from pocketlm.data.read import Row
from pocketlm.data.splits import normal_text
from pocketlm.errors import DataError, MissingExtraError
from pocketlm.runtime.words import split_words
from pocketlm.tables import did_you_mean

DEV_SHARE, TEST_SHARE = 0.1, 0.15
HELD_OUT_VALUES = 0.25
LEAST_TRAIN_ROWS = 40
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
class SmartHome:
    """Rows by split ("train", "dev", "test"), and notes on what was left out."""

    splits: dict[str, list[Row]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Template:
    """One sentence template of an intent. key: a hash of its text."""

    intent: str
    text: str
    expression: Any

    @property
    def key(self) -> str:
        """A hash of the template's text."""
        return _hash(self.text)[:12]


@dataclass
class _Language:
    """A language's parsed rules and lists. values: texts of each list, in parts for training and held out."""

    code: str
    rules: dict[str, Any]
    ranges: dict[str, tuple[int, int, int]]
    values: dict[str, tuple[list[Any], list[Any]]]
    skipped: int = 0
    counts: dict[int, int] = field(default_factory=dict)


def languages() -> list[str]:
    """Codes of the languages there are templates for. Raises MissingExtraError without the package."""
    try:
        folder = resources.files("home_assistant_intents") / "data"
    except ModuleNotFoundError:
        raise MissingExtraError("smart-home data", "build") from None
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


def smart_home(language: str, *, seed: int = 0, per_template: float = 8.0) -> SmartHome:
    """An intent and slot set: rows with "text", "tokens", "intent", "slots" (BIO), "template" and "language".

    per_template: sentences sampled of a template, on average. Raises DataError for an unknown language.
    """
    known = languages()
    if language not in known:
        what = (
            f"smart-home:{language}: no such language."
            if language
            else "smart-home: name a language, as smart-home:en."
        )
        raise DataError(f"{what}{_nearest(language, known)} There is {', '.join(known)}")
    raw = json.loads((resources.files("home_assistant_intents") / "data" / f"{language}.json").read_text("utf-8"))
    own, templates = _read(language, raw)
    sides = _assign(templates, own, seed)
    splits: dict[str, list[Row]] = {"train": [], "dev": [], "test": []}
    for intent in sorted({template.intent for template in templates}):
        mine = [template for template in templates if template.intent == intent]
        for split in splits:
            splits[split] += _sample_intent(
                own, [one for one in mine if sides[one.key] == split], split, seed, per_template
            )
    _drop_repeated(splits)
    few = [intent for intent, count in _per_intent(templates).items() if count < 3]
    notes = [f"{len(templates):,} templates of {len(_per_intent(templates))} intents, split by template"]
    if few:
        notes.append(
            f"{len(few)} intents have fewer than 3 templates and are in training only: {', '.join(sorted(few))}"
        )
    if own.skipped:
        notes.append(f"{own.skipped} templates use a list or a rule that has no values here and were left out")
    return SmartHome(splits, tuple(notes))


def _nearest(language: str, known: list[str]) -> str:
    """A question naming the codes of the same language, or the code written most alike; "" without any."""
    same = [code for code in known if code.split("-")[0] == language.lower().replace("_", "-").split("-")[0]]
    return f" Did you mean {' or '.join(map(repr, same))}?" if same else did_you_mean(language, known)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _per_intent(templates: Sequence[Template]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for template in templates:
        counts[template.intent] += 1
    return counts


def _parse(text: str) -> Any:
    from hassil.parse_expression import parse_sentence

    return parse_sentence(text).expression


@cache
def _home_values() -> dict[str, dict[str, list[str]]]:
    text = (resources.files("pocketlm.data") / "smart_home_values.json").read_text("utf-8")
    values: dict[str, dict[str, list[str]]] = json.loads(text)
    return values


def _read(code: str, raw: Mapping[str, Any]) -> tuple[_Language, list[Template]]:
    """The language's rules and lists, and its templates, each once."""
    ranges, values = {}, {}
    own, common = _home_values().get(code, _home_values()["en"]), _home_values()["*"]
    for name, kind in _OPEN_LISTS.items():
        found = own.get(kind) or common.get(kind) or own[_FALLBACK[kind]]
        values[name] = _hold_out([(text, _parse(text)) for text in found])
    for name, about in raw["lists"].items():
        if "range" in about:
            span = about["range"]
            ranges[name] = (int(span["from"]), int(span["to"]), int(span.get("step", 1)))
        elif "values" in about:
            texts = [value["in"] if isinstance(value, dict) else value for value in about["values"]]
            values[name] = _hold_out([(text, _parse(text)) for text in texts])
    language = _Language(code, {key: _parse(text) for key, text in raw["expansion_rules"].items()}, ranges, values)
    templates: dict[str, Template] = {}
    for intent in sorted(raw["intents"]):
        for block in raw["intents"][intent]["data"]:
            for sentence in block["sentences"]:
                text = " ".join(sentence.split())
                expression = _parse(text)
                if not _usable(expression, language, 0):
                    language.skipped += 1
                    continue
                templates.setdefault(text, Template(intent, text, expression))
    return language, list(templates.values())


def _hold_out(values: list[tuple[str, Any]]) -> tuple[list[Any], list[Any]]:
    """(for training, held out): a quarter of four or more values is held out, by their hash."""
    ordered = sorted(values, key=lambda pair: _hash(pair[0]))
    count = round(len(ordered) * HELD_OUT_VALUES) if len(ordered) >= 4 else 0
    return [one for _, one in ordered[count:]], [one for _, one in ordered[:count]]


def _kind(expression: Any) -> str:
    return type(expression).__name__


def _usable(expression: Any, language: _Language, depth: int) -> bool:
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


def _slots(expression: Any, language: _Language) -> frozenset[str]:
    """The slots that sentences of the expression can fill."""
    kind = _kind(expression)
    if kind == "ListReference":
        return frozenset({expression.slot_name})
    if kind == "RuleReference":
        return _slots(language.rules[expression.rule_name], language)
    return frozenset().union(*(_slots(item, language) for item in getattr(expression, "items", ())))


def _assign(templates: Sequence[Template], language: _Language, seed: int) -> dict[str, str]:
    """The split of each template, by key: stratified by intent, ordered by hash; few templates all go to train.

    A template with a slot that no training template has goes to train too: nothing else could teach it.
    """
    sides: dict[str, str] = {}
    for intent, count in _per_intent(templates).items():
        mine = sorted((one.key for one in templates if one.intent == intent), key=lambda key: _hash(f"{seed}:{key}"))
        test = max(1, round(count * TEST_SHARE)) if count >= 3 else 0
        dev = max(1, round(count * DEV_SHARE)) if count >= 3 else 0
        for place, key in enumerate(mine):
            sides[key] = "test" if place < test else "dev" if place < test + dev else "train"
    slots = {one.key: _slots(one.expression, language) for one in templates}
    taught = frozenset().union(*(slots[key] for key, side in sides.items() if side == "train"))
    for key in sorted(sides, key=lambda key: _hash(f"{seed}:{key}")):
        if not slots[key] <= taught:
            sides[key], taught = "train", taught | slots[key]
    return sides


def _variety(expression: Any, language: _Language) -> float:
    """Natural logarithm of how many sentences an expression can give, lists counting at most 50."""
    kind = _kind(expression)
    if kind == "Alternative":
        return math.log(sum(math.exp(min(50.0, _variety(item, language))) for item in expression.items))
    if kind == "ListReference":
        values = language.values.get(expression.list_name)
        return math.log(min(50, len(values[0]) if values else 50))
    if kind == "RuleReference":
        return _variety(language.rules[expression.rule_name], language)
    more = math.lgamma(len(expression.items) + 1) if kind == "Permutation" else 0.0
    return more + sum(_variety(item, language) for item in getattr(expression, "items", ()))


def _sample_intent(
    language: _Language, templates: Sequence[Template], split: str, seed: int, per_template: float
) -> list[Row]:
    """Rows of one intent's templates of one split; more of templates that say more."""
    if not templates:
        return []
    weights = [1 + _variety(template.expression, language) for template in templates]
    mean = max(sum(weights) / len(weights), 4.0)
    least = LEAST_TRAIN_ROWS / len(templates) if split == "train" else 0
    rows = []
    for template, weight in zip(templates, weights, strict=True):
        wanted = max(per_template * weight / mean, least, 2)
        rows += _sample_template(language, template, split, seed, round(min(wanted, 60)))
    return rows


def _sample_template(language: _Language, template: Template, split: str, seed: int, wanted: int) -> list[Row]:
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
    expression: Any, language: _Language, draw: random.Random, held_out: bool, slot: str | None, pieces: list[Piece]
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
    reference: Any, language: _Language, draw: random.Random, held_out: bool, slot: str | None, pieces: list[Piece]
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


def _drop_repeated(splits: dict[str, list[Row]]) -> None:
    """Drop from dev and test each text that is in training, and from dev those in test; in one split, repeats."""
    seen: set[str] = set()
    for split in ("train", "test", "dev"):
        rows = []
        for row in splits[split]:
            text = normal_text(row["text"])
            if text not in seen:
                seen.add(text)
                rows.append(row)
        splits[split] = rows
