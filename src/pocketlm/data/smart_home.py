"""Intent and slot data for smart homes in 65 languages, sampled from community templates.

Splits are by template: no template is on two sides, and no sentence either. A quarter of each list's values is
never in training, and the other splits draw half of their values from it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec

from pocketlm.data.languages import find_language
from pocketlm.data.read import Row
from pocketlm.data.splits import normal_text
from pocketlm.data.templates import Language, Template, digest, read_language, sample_template, slots_of, variety
from pocketlm.errors import DataError, MissingExtraError
from pocketlm.tables import did_you_mean

DEV_SHARE, TEST_SHARE = 0.1, 0.15
LEAST_TRAIN_ROWS = 40


@dataclass(frozen=True)
class SmartHome:
    """Rows by split ("train", "dev", "test"), and notes on what was left out."""

    splits: dict[str, list[Row]]
    notes: tuple[str, ...]


def languages() -> list[str]:
    """Codes of the languages there are templates for. Raises MissingExtraError without the package."""
    if find_spec("home_assistant_intents") is None or find_spec("hassil") is None:
        raise MissingExtraError("smart-home data", "build")
    folder = resources.files("home_assistant_intents") / "data"
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


def smart_home(language: str, *, seed: int = 0, per_template: float = 8.0) -> SmartHome:
    """An intent and slot set: rows with "text", "tokens", "intent", "slots" (BIO), "template" and "language".

    per_template: sentences sampled of a template, on average. Raises DataError for an unknown language.
    """
    known = languages()
    if language not in known:
        raise DataError(
            f"smart-home:{language}: no such language.{_nearest(language, known)} There is {', '.join(known)}"
        )
    raw = json.loads((resources.files("home_assistant_intents") / "data" / f"{language}.json").read_text("utf-8"))
    own, templates, skipped = read_language(language, raw)
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
        notes.append(f"in training only, having fewer than 3 templates: {', '.join(sorted(few))}")
    notes += [_absent(splits, split, few) for split in ("dev", "test")]
    if skipped:
        notes.append(
            f"templates left out, since they cannot be parsed or use a list or a rule without values: {skipped}"
        )
    return SmartHome(splits, tuple(filter(None, notes)))


def _absent(splits: Mapping[str, Sequence[Row]], split: str, known: Sequence[str]) -> str:
    """A note on intents, beside the known ones, that training has and `split` has not; "" without any."""
    there = {row["intent"] for row in splits[split]}
    missing = sorted({row["intent"] for row in splits["train"]} - there - set(known))
    return f"not in {split}, their sentences or slots being needed in training: {', '.join(missing)}" if missing else ""


def _nearest(language: str, known: list[str]) -> str:
    """A question naming the codes of the same language, or the code written most alike; "" without any.

    A language that there is, and that has no templates, is not taken for another one.
    """
    try:
        named = find_language(language).code
    except DataError:
        named = ""
    same = [code for code in known if code.split("-")[0] in (named, language.lower().replace("_", "-").split("-")[0])]
    if same:
        return f" Did you mean {' or '.join(map(repr, same))}?"
    return "" if named else did_you_mean(language, known)


def _per_intent(templates: Sequence[Template]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for template in templates:
        counts[template.intent] += 1
    return counts


def _assign(templates: Sequence[Template], language: Language, seed: int) -> dict[str, str]:
    """The split of each template, by key: stratified by intent, ordered by hash; few templates all go to train.

    A template with a slot that no training template has goes to train too: nothing else could teach it.
    """
    sides: dict[str, str] = {}
    for intent, count in _per_intent(templates).items():
        mine = sorted((one.key for one in templates if one.intent == intent), key=lambda key: digest(f"{seed}:{key}"))
        test = max(1, round(count * TEST_SHARE)) if count >= 3 else 0
        dev = max(1, round(count * DEV_SHARE)) if count >= 3 else 0
        for place, key in enumerate(mine):
            sides[key] = "test" if place < test else "dev" if place < test + dev else "train"
    slots = {one.key: slots_of(one.expression, language) for one in templates}
    taught = frozenset().union(*(slots[key] for key, side in sides.items() if side == "train"))
    for key in sorted(sides, key=lambda key: digest(f"{seed}:{key}")):
        if not slots[key] <= taught:
            sides[key], taught = "train", taught | slots[key]
    return sides


def _sample_intent(
    language: Language, templates: Sequence[Template], split: str, seed: int, per_template: float
) -> list[Row]:
    """Rows of one intent's templates of one split; more of templates that say more."""
    if not templates:
        return []
    weights = [1 + variety(template.expression, language) for template in templates]
    mean = max(sum(weights) / len(weights), 4.0)
    least = LEAST_TRAIN_ROWS / len(templates) if split == "train" else 0
    rows = []
    for template, weight in zip(templates, weights, strict=True):
        wanted = max(per_template * weight / mean, least, 2)
        rows += sample_template(language, template, split, seed, round(min(wanted, 60)))
    return rows


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
