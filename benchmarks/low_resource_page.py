"""The figures of languages and data with few resources as docs/low-resource-benchmarks.md: low_resource_page.py FOLDER.

FOLDER holds what low_resource.py wrote (low_resource_news.json, low_resource_sib.json, low_resource_afrisenti.json),
and few_shot.json, active_learning.json, trim.json, cross_lingual.json and pretrain.json of the scripts of those names;
a part whose file is missing is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cross_lingual
import few_shot
import numpy as np
from low_resource import SETS, judged
from tasks_page import held

PAGE = Path(__file__).parents[1] / "docs" / "low-resource-benchmarks.md"
# How much of a fit's gain is asked for, in points.
BARS = {"masakhanews": 2, "sib200": 6, "afrisenti": 2}
# Places of a curve that are shown, as shares of its length.
SHOWN = (0, 0.1, 0.2, 0.35, 0.65, 1)
NAMES = {"masakhanews": "MasakhaNEWS", "sib200": "SIB-200", "afrisenti": "AfriSenti"}


def taken(machine: dict[str, Any], script: str, dates: list[str]) -> str:
    """By which command, when and where figures were taken."""
    versions = ", ".join(f"{name} {one}" for name, one in machine["versions"].items())
    when = " and ".join(dict.fromkeys((min(dates), max(dates))))
    return (
        f"Written by `python benchmarks/{script}` on {when}; {machine['cpu']} with {machine['vectors']}, "
        f"{machine['cores']} cores; Python {machine['python']}; {versions}."
    )


def beside_linear(found: dict[str, Any]) -> list[str]:
    """A set of low_resource.py."""
    runs = found["languages"]
    name = next(iter(runs)).partition("/")[0]
    dates = [run["date"] for own in runs.values() for run in own]
    seeds = max(len(own) for own in runs.values())
    teacher = f"with {found['teacher']} as teacher" if found["teacher"] else "without a teacher"
    counts = [run.get("own_sentences", 0) for own in runs.values() for run in own]
    more = f", with {min(counts):,} to {max(counts):,} sentences of the language without labels and some of the set's "
    more = more + "other languages" if found.get("unlabelled") else ""
    lines = [
        f"## {NAMES[name]}: the default fit beside a linear model", "",
        taken(found["machine"], "low_resource.py", dates), "",
        f"`fit` {teacher}{more}, asked for {found['latency']} and the size told (runs that came out slower are counted "
        "as \"over\", and their figures stand all the same); beside it a linear SVM on TF-IDF of words and "
        "characters, from the same training and dev rows. Test rows are read once a run; the figure is "
        f"{SETS[name].figure.replace('_', ' ')}, intervals are paired bootstraps over rows; {seeds} "
        f"seed{'s' if seeds > 1 else ''}.", "",
        "| language | size | Pocket | linear SVM | gain [95 %] | file | p50 | over |", "| --- " * 8 + "|",
    ]  # fmt: skip
    gains: dict[str, dict[str, list[float]]] = {}
    for key, own in runs.items():
        _, language, size = key.split("/")
        result = judged(SETS[name], own)
        gains.setdefault(size, {})[language] = result["gain"]
        kilobytes, latency = (float(np.median([run[part] for run in own])) for part in ("size_bytes", "p50_ms"))
        value, low, high = result["gain"]
        lines.append(
            f"| {language} | {size} | {result['ours'][0]:.1f} | {result['peer'][0]:.1f} | {value:+.1f} "
            f"[{low:+.1f}, {high:+.1f}] | {kilobytes / 1e3:,.0f} kB | {latency:.2f} ms | "
            f"{sum(run['status'] == 'missed' for run in own)} of {len(own)} |"
        )
    lines.append("")
    for size, by_language in gains.items():
        mean = float(np.mean([one[0] for one in by_language.values()]))
        lost = [language for language, one in by_language.items() if one[2] < 0]
        below = [language for language, one in by_language.items() if one[0] < 0]
        text = f"- {size}: {mean:+.2f} points on average over {len(by_language)} languages"
        if size == "5MB":
            text += f" (bar +{BARS[name]}: {'reached' if mean >= BARS[name] else 'missed'})"
        text += f"; below the linear model: {', '.join(below) or 'none'}; surely: {', '.join(lost) or 'none'}."
        lines.append(text)
    return [*lines, ""]


def by_rows(found: dict[str, Any]) -> list[str]:
    """few_shot.py."""
    runs = found["runs"]
    lines = [
        "## From 10 rows on", "", taken(found["machine"], "few_shot.py", [one["date"] for one in runs]), "",
        f"Macro F1 on test, mean over languages, in brackets how many runs; {found['settings']['teacher']} is the "
        f"encoder. \"default fit\" is a Pocket of at most {found['settings']['max_size']} and "
        f"{found['settings']['max_latency']} that learns beside training rows of another language and texts without "
        "labels, as transfer and self-training do; all others but the linear model are the whole encoder. Dev rows "
        "choose epochs and ways, and none learns from their labels.", "",
        *few_shot.table(runs).splitlines(),
    ]  # fmt: skip
    gain = gain_at(runs, 50)
    if gain is not None:
        reached = "reached" if gain >= 8 else "missed"
        lines += ["", f"- the default fit over plain fine-tuning at 50 rows: {gain:+.1f} points (bar +8: {reached})."]
    return [*lines, ""]


def gain_at(runs: list[dict[str, Any]], rows: int) -> float | None:
    """Points of macro F1 of the default fit over fine-tuning, mean over what both were run on."""
    by_way: dict[str, dict[Any, float]] = {}
    for one in runs:
        if one["rows"] == rows:
            by_way.setdefault(one["way"], {})[one["language"], one["seed"]] = one["f1_macro"]
    own, peer = by_way.get("default fit", {}), by_way.get(few_shot.PEER, {})
    shared = set(own) & set(peer)
    return 100 * float(np.mean([own[key] - peer[key] for key in shared])) if shared else None


def asked_first(found: dict[str, Any]) -> list[str]:
    """active_learning.py."""
    lines = [
        "## Which rows to label first", "", taken(found["machine"], "active_learning.py", [found["date"]]), "",
        "Accuracy of the light model of `pocketlm label` on training rows held out, by labelled rows, each strategy "
        "beside rows drawn at random; means of the seeds, and intervals of the whole curve's gain, over seeds and rows "
        "held out.", "",
    ]  # fmt: skip
    for name, one in found["sets"].items():
        names, sizes = list(one["curves"]), one["sizes"]
        lines += [
            f"{name}, {one['rows']:,} rows of {one['classes']} classes, {one['held_out']:,} of them held out by each "
            f"of {one['seeds']} seeds:", "",
            f"| rows | {' | '.join(names)} |", f"| --- {'| --- ' * len(names)}|",
        ]  # fmt: skip
        for place in sorted({round(share * (len(sizes) - 1)) for share in SHOWN}):
            means = [100 * float(np.mean([curve[place] for curve in one["curves"][own]["accuracy"]])) for own in names]
            lines.append(f"| {sizes[place]} | {' | '.join(f'{mean:.1f}' for mean in means)} |")
        gains = [_signed(one["curves"][own]["mean_gain"]) if own != "random" else "" for own in names]
        lines += [f"| whole curve, over random | {' | '.join(gains)} |", ""]
    return lines


def _signed(gain: dict[str, float]) -> str:
    return f"{100 * gain['value']:+.1f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]"


def trimmed(found: dict[str, Any]) -> list[str]:
    """trim.py."""
    runs = found["languages"]
    lines = [
        f"## {found['teacher']} trimmed to one language", "",
        taken(found["machine"], "trim.py", [one["date"] for one in runs.values()]), "",
        "The encoder with the pieces of one language alone; macro F1 on SIB-200's test of it fine-tuned, of the same "
        "trimmed, of the encoder trimmed first and then fine-tuned, and of the Pocket of a fit within "
        f"{found['max_size']} and {found['max_latency']}. The encoders learn from train, dev choosing their epochs; "
        f"the Pocket also from dev at the end, and from up to {found['unlabelled']:,} sentences of the language and "
        "some of other languages without labels.", "",
        "| language | bytes kept | equal outputs of covered texts | fine-tuned | trimmed | trimmed first | Pocket "
        "| of the fine-tuned | file | p50 |", "| --- " * 10 + "|",
    ]  # fmt: skip
    for language, one in runs.items():
        keys = ("f1_fine_tuned", "f1_trimmed", "f1_trimmed_first", "f1_pocket")
        figures = " | ".join(f"{100 * one[key]:.1f}" if key in one else "" for key in keys)
        lines.append(
            f"| {language} | {one['share_of_bytes']:.1%} | {one['equal']} of {one['covered']} | {figures} | "
            f"{one['kept']:.1%} | {one['size_bytes'] / 1e3:,.0f} kB | {one['p50_ms']:.2f} ms |"
        )
    kept = sum(one["kept"] >= 0.98 for one in runs.values())
    lines += ["", f"- at least 98 % of the fine-tuned encoder's macro F1: {kept} of {len(runs)} languages."]
    for key, when in (("f1_trimmed", "after"), ("f1_trimmed_first", "before")):
        lost = [100 * (one["f1_fine_tuned"] - one[key]) for one in runs.values() if key in one]
        within = sum(points <= 0.2 for points in lost)
        if lost:
            lines.append(f"- trimmed {when} fine-tuning, at most 0.2 points lost: {within} of {len(lost)} languages, "
                         f"{np.mean(lost):.1f} points on average.")  # fmt: skip
    return [*lines, ""]


def smart_home(found: dict[str, Any]) -> list[str]:
    """cross_lingual.py."""
    arms: dict[str, dict[str, float]] = {}
    for row in found["rows"]:
        value = row["metrics"]["frame_accuracy"]["value"]
        arms.setdefault(row["target"], {})[row["arm"]] = value
    names = list(dict.fromkeys(row["arm"] for row in found["rows"]))
    about = found["about"]
    settings = about["settings"]
    told = {
        cross_lingual.ALONE: "of one a language, learnt from 50 of its rows",
        cross_lingual.MIXED: f"of one for all these, learnt from 50 rows of each beside {settings['sources']}",
        cross_lingual.ZERO: "of one for all that learnt from the others alone",
    }
    texts = "; texts of these languages without labels were given, too" if settings["unlabelled"] else ""
    lines = [
        "## Smart-home commands in other languages", "",
        taken(about["machine"], "cross_lingual.py", [one["date"] for one in found["fits"].values()]), "",
        f"Frame accuracy on test of Pockets of at most {settings['max_size']}: "
        f"{'; '.join(told[name] for name in told if name in names)}{texts}.", "",
        f"| language | {' | '.join(names)} |", "| --- " * (1 + len(names)) + "|",
    ]  # fmt: skip
    for target, own in arms.items():
        cells = (f"{100 * own[name]:.1f}" if name in own else "" for name in names)
        lines.append(f"| {target} | {' | '.join(cells)} |")
    if "gain" in found["gains"]:
        gain = 100 * found["gains"]["gain"]
        reached = "reached" if gain >= 15 else "missed"
        lines += ["", f"- beside others over 50 rows alone: {gain:+.1f} points (bar +15: {reached})."]
    return [*lines, ""]


def pretrained(found: dict[str, Any]) -> list[str]:
    """pretrain.py."""
    lines = [
        "## Swahili from plain text", "", taken(found["environment"], "pretrain.py", [found["date"]]), "",
        f"{found['minutes']:g} minutes and {found['threads']} thread a run; bits a byte of the test text (of masked "
        "models by pseudo-likelihood, which is not to be held against the others').", "",
        "| model | kind | weights | test [95 %] |", "| --- | --- | --- | --- |",
    ]  # fmt: skip
    for name, one in found["runs"].items():
        test = one["test"]
        lines.append(
            f"| {name} | {one['kind']} | {one['parameters']:,} | {test['value']:.3f} [{test['low']:.3f}, "
            f"{test['high']:.3f}] |"
        )
    counted = ", ".join(f"{name} {value:.3f}" for name, value in found["counting"].items())
    lines += ["", f"Beside them: {counted}."]
    for kind, one in found["verdicts"].items():
        sure = "intervals apart" if one["sure"] else "not surely"
        word = "beats" if one["gain"] > 0 else "does not beat"
        lines.append(f"- {kind}: {one['base']} {word} {one['nothing']} ({one['gain']:+.3f} bits, {sure}).")
    return [*lines, ""]


PARTS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "low_resource_sib": beside_linear, "low_resource_news": beside_linear, "low_resource_afrisenti": beside_linear,
    "few_shot": by_rows, "active_learning": asked_first, "trim": trimmed, "cross_lingual": smart_home,
    "pretrain": pretrained,
}  # fmt: skip


def page(found: dict[str, dict[str, Any]]) -> str:
    """The whole page. found: by the name of a part."""
    head = ["# Benchmarks of languages and data with few resources", "",
            "All is chosen on training and dev rows; test rows are read once a run. What was seen of them in earlier "
            "runs stands in the [journal](log.md).", ""]  # fmt: skip
    return "\n".join([*head, *(line for name, part in PARTS.items() if name in found for line in part(found[name]))])


if __name__ == "__main__":
    PAGE.write_text(page(held(Path(sys.argv[1]), PARTS)), "utf-8")
