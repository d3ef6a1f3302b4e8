"""The figures of the search as docs/search-benchmarks.md, with a drawing beside it: search_page.py FOLDER.

FOLDER holds what default_fit.py, search_front.py, search_simulated.py, budgets.py, advice.py and costs.py wrote, in
files of these names; a part whose file is missing is left out.
"""

from __future__ import annotations

import statistics
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import advice
import cost_curves
import costs
import search_front
import search_simulated
from low_resource_page import taken
from tasks_page import held

from pocketlm.advice.evidence import scored
from pocketlm.units import format_size, parse_size

PAGE = Path(__file__).parents[1] / "docs" / "search-benchmarks.md"
CURVES = PAGE.with_name("search-costs.svg")
# The search is over chance by so much in every one of so many cases; so many studies judge advice.
OVER_RANDOM, FRONTS, STUDIES = 1.1, 20, 12


def bar(reached: bool) -> str:
    return "reached" if reached else "missed"


def front(found: dict[str, Any]) -> list[str]:
    """search_front.py, and its peers within each budget."""
    done = found["search_front"]
    cases, peers = (dict(sorted(done[part].items(), key=_by_size)) for part in ("cases", "peers"))
    ratios = [search_front.over_random(one["runs"]) for one in cases.values()]
    over = sum(one >= OVER_RANDOM for one in ratios)
    equal = [search_front.over_random(runs) for runs in search_front.at_equal_time(cases).values()]
    within = sum(one >= OVER_RANDOM for one in equal)
    lines = [
        "## The search beside chance and rules of thumb", "",
        taken(done["machine"], "search_front.py", [one["date"] for one in cases.values()]) + elsewhere(done), "",
        f"{done['trials']} recipes each, asked for by the search and by chance, with three seeds of the asking; and "
        "the rules of thumb alone, which are a part of what the search tried, so that it cannot do worse. Students got "
        "a share of their usual "
        "epochs (`--effort`), the same for both. What chance asked for was trained to its end; seconds are of all "
        "training, exporting and measuring. \"over\" is the ratio of the hypervolumes of the fronts on dev (quality, "
        "and the logarithm of the bytes, which the budgets limit), of medians over seeds; \"at equal time\" counts "
        "only what was tried in the seconds of trials of the shorter of the two; \"with ms\" is that over "
        "random with the logarithm of milliseconds as a third figure, which is mostly noise where students of one "
        "kind take the same time; \"all runs\" is what all that was measured in a case's runs, the search's and those "
        "of chance, has as one front (other recipes may have more). Test is read once a search. How the search asks, "
        "and at which rates rules of thumb "
        "learn, was developed on dev rows of these data sets; that other data are searched as well is not shown here.",
        "",
        *search_front.table(cases).splitlines()[:-1], "",
        f"- at least {OVER_RANDOM} over random search: {over} of {len(ratios)} cases (bar all of {FRONTS}: "
        f"{bar(over == len(ratios) >= FRONTS)}); {statistics.median(ratios):.2f} in their median.",
        f"- the same at equal seconds of trials: {within} of {len(equal)} (bar all of {FRONTS}: "
        f"{bar(within == len(equal) >= FRONTS)}); {statistics.median(equal):.2f} in their median.",
    ]  # fmt: skip
    older = sum(one.get("study") != search_front.ASKING for one in cases.values())
    if older:
        lines.append(f"- {older} of {len(cases)} cases are of an earlier way of asking and have to be run again.")
    return [*lines, *beside_peers(cases, peers), ""]


def _by_size(one: tuple[str, Any]) -> tuple[str, float]:
    case, size = one[0].rsplit(" ", 1)
    return case, parse_size(size)


def elsewhere(done: dict[str, Any]) -> str:
    """How many cases were run on other processors than the first."""
    first = done["machine"]["cpu"]
    others = Counter(one.get("machine", done["machine"])["cpu"] for one in done["cases"].values())
    return "".join(f" {count} of {others.total()} cases on {cpu}." for cpu, count in others.items() if cpu != first)


def beside_peers(cases: dict[str, Any], peers: dict[str, Any]) -> list[str]:
    """What the search chose, on test, beside every peer within each budget."""
    kinds = list(dict.fromkeys(name for own in peers.values() for name in own))
    if not kinds:
        return []
    lines = [
        "", "Accuracy on test of what the search chose (its first seed), and of peers that learnt from the same "
        "training rows and were made to fit the same budget; \"-\" where a peer has nothing so small. A search that "
        "missed the budget beats nobody.", "",
        "| case | budget | search | " + " | ".join(kinds) + " |", "| --- " * (3 + len(kinds)) + "|",
    ]  # fmt: skip
    beaten: list[bool] = []
    alike = 0
    failed = 0
    for key, own in peers.items():
        if key not in cases:
            continue
        run = cases[key]["runs"]["search 0"]
        reached = run["test"]["value"] if run["test"] and run["status"] != "missed" else None
        said = ["" if name not in own else _peer(own[name]) for name in kinds]
        case, size = key.rsplit(" ", 1)
        told = "missed" if reached is None else f"{reached:.1%}"
        lines.append(f"| {case} | {size} | {told} | " + " | ".join(said) + " |")
        fitting = [one["accuracy"] for one in own.values() if one and "accuracy" in one]
        failed += sum(bool(one and "failed" in one) for one in own.values())
        beaten += [reached is not None and reached >= accuracy for accuracy in fitting]
        alike += sum(reached is not None and reached < one <= run["test"]["high"] for one in fitting)
    missing = len(peers.keys() - cases.keys())
    verdict = bar(bool(beaten) and all(beaten) and not failed and not missing)
    more = f"; {failed} failed to run" * bool(failed) + f"; {missing} budgets are not searched yet" * bool(missing)
    more += f"; {alike} more are within the 95 % interval of what the search chose" * bool(alike)
    count = f"{sum(beaten)} of {len(beaten)}"
    return [*lines, "", f"- as good as a peer that fits, or better: {count}{more} (bar all: {verdict})."]


def _peer(one: dict[str, Any] | None) -> str:
    if one and "failed" in one:
        return f"failed: {one['failed']}"
    return f"{one['accuracy']:.1%} ({format_size(one['size_bytes'])})" if one else "-"


def simulated(found: dict[str, Any]) -> list[str]:
    """search_simulated.py."""
    done = found["search_simulated"]
    return [
        "## The same on surrogates", "", taken(done["machine"], "search_simulated.py", [done["date"]]), "",
        "A Gaussian process of all recipes that were measured on a data set, and its noise, in the place of training: "
        f"{done['trials']} recipes as above, with {done['seeds']} seeds, and with how many recipes at most "
        "chance comes to what the search has. This is what the search was developed by; it proves nothing of its "
        "own.", "",
        *search_simulated.table(done["cases"]).splitlines(), "",
        f"- {search_simulated.summed_up(done['cases'])}.", "",
    ]  # fmt: skip


def budgets(found: dict[str, Any]) -> list[str]:
    """budgets.py."""
    done = found["budgets"]
    count = sum(one["right"] for one in done["budgets"])
    lines = [
        "## Twenty budgets", "", taken(done["machine"], "budgets.py", [done["date"]]), "",
        "Exit code 0 is a Pocket that kept to every limit when it was measured again in a fresh process, 3 the nearest "
        "miss and no Pocket, 2 one line about a budget that contradicts itself.", "",
        "| data | budget | exit code | again | right |", "| --- " * 5 + "|",
    ]  # fmt: skip
    for one in done["budgets"]:
        again = ""
        if "size_bytes" in one:
            again = (
                f"{one['size_bytes'] / 1e3:,.0f} kB, {one['latency_p50_ms']:.2f} ms, {one['memory_bytes'] / 1e6:.0f} MB"
            )
        limits = one["limits"].replace("|", "\\|")
        lines.append(f"| {one['data']} | `{limits}` | {one['exit']} | {again} | {'yes' if one['right'] else 'no'} |")
    total = len(done["budgets"])
    return [*lines, "", f"- {count} of {total} ended rightly (bar all: {bar(count == total)}).", ""]


def advised(found: dict[str, Any]) -> list[str]:
    """advice.py."""
    done = found["advice"]
    more = found.get("search_front", {"cases": {}})
    cases = advice.held(done) + advice.held(more)
    dates = [one["date"] for own in (done, more) for one in own["cases"].values()]
    table, good = advice.table(cases).splitlines(), sum(one.good for one in scored(cases))
    return [
        "## How good advice is", "",
        taken(done["machine"], "advice.py", dates), "",
        "Each case is judged by studies of other data alone: the advised kind of student is good within a point of "
        "the search's best on dev, or among its three best recipes. \"by chance\" is how often a kind drawn blindly "
        "among those that can do it would have been good. The cases were known when the rules of advice were made: "
        "that studies without a teacher tell nothing of jobs with one, and that a transformer comes first there, was "
        "decided after smart-home:en in 2 and 8 MB had been advised wrongly.", "",
        *table[:-1], "",
        f"- {table[-1]} (bar all of at least {STUDIES}: {bar(good == len(cases) >= STUDIES)}).", "",
    ]  # fmt: skip


def grown(found: dict[str, Any]) -> list[str]:
    """costs.py."""
    done = found["costs"]
    runs = done["runs"]
    lines = [
        "## What a fit costs", "", taken(done["machine"], "costs.py", [one["date"] for one in runs]), "",
        "Seconds of a whole fit to rows of Banking77, of its teacher (fine-tuning and asking) and of its search, whose "
        f"students get {done['effort']:g} of their usual epochs (`--effort`); one thing is varied at a time, and "
        "nothing is remembered from one fit to the next.", "",
        f"![Seconds of a fit against rows, and of its search against recipes tried]({CURVES.name})", "",
        *costs.table(runs).splitlines(), "",
    ]  # fmt: skip
    for one in runs:
        if one["varied"] == "trials":
            ends = one["trial_ends"]
            marks = [count for count in (1, 3, 6, 12, 24, 48) if count <= len(ends)]
            said = ", ".join(f"{ends[count - 1]:.0f} s after {count}" for count in marks)
            lines += [f"- one search of {len(ends)} recipes: {said}.", ""]
    return lines


def default(found: dict[str, Any]) -> list[str]:
    """default_fit.py."""
    done, one = found["default_fit"], found["default_fit"]["run"]
    said = {
        "minutes": f"{one['minutes']:.1f} minutes on {done['machine']['cores']} cores",
        "of_teacher": f"{one['of_teacher']:.2%} of the teacher's accuracy",
        "p50_ms": f"{one['p50_ms']:.2f} ms a text, measured again in a process of its own",
        "size_bytes": f"{one['size_bytes'] / 1e6:.2f} MB",
        "exit": f"exit code {one['exit']}",
    }
    return [
        "## Banking77 by default", "", taken(done["machine"], "default_fit.py", [one["date"]]), "",
        f"`pocketlm fit train.csv {done['limits']}` with all-MiniLM-L6-v2 as teacher and nothing remembered: "
        f"{one['chosen']}, of {one['tried']} that were tried, in {one['size_bytes'] / 1e6:.1f} MB. Accuracy on test "
        f"{one['accuracy']['value']:.2%} [{one['accuracy']['low']:.2%}, {one['accuracy']['high']:.2%}], of the teacher "
        f"{one['teacher']:.2%}.", "",
        *(f"- {said[name]} (bar {DEFAULT[name]}: {bar(reached)})." for name, reached in done["held"].items()), "",
        *_before(done.get("earlier", [])),
    ]  # fmt: skip


def _before(runs: list[dict[str, Any]]) -> list[str]:
    """Runs of the default fit before its settings were what they are."""
    told = "; ".join(f"{one['minutes']:.1f} minutes and {one['of_teacher']:.2%}" for one in runs)
    if not told:
        return []
    return [
        "The settings were developed with this data set: decided by its dev rows, but runs before came to "
        f"{told} of the teacher. On 3,080 test rows half a point is possible by chance.", "",
    ]  # fmt: skip


# The bars of default_fit.py in words.
DEFAULT = {"minutes": "30", "of_teacher": "99.8 %", "p50_ms": "1 ms", "size_bytes": "8 MB", "exit": "0"}
PARTS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "default_fit": default, "search_front": front, "search_simulated": simulated, "budgets": budgets,
    "advice": advised, "costs": grown,
}  # fmt: skip


def page(found: dict[str, dict[str, Any]]) -> str:
    """The whole page. found: by the name of a part."""
    head = ["# Benchmarks of the search", "", "All is chosen on dev rows; test rows are read once a search.", ""]
    return "\n".join([*head, *(line for name, part in PARTS.items() if name in found for line in part(found))])


if __name__ == "__main__":
    written = held(Path(sys.argv[1]), PARTS)
    PAGE.write_text(page(written), "utf-8")
    if "costs" in written:
        CURVES.write_text(str(cost_curves.drawing(written["costs"]["runs"])), "utf-8")
