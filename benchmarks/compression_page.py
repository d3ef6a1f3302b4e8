"""The figures of compress_lm.py and compress_minilm.py as docs/compression-benchmarks.md.

python benchmarks/compression_page.py LM.json MINILM.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import compress_minilm

# What a recipe is for, by how its name begins; what peers' rows stand beside.
GROUPS = (
    ("Whole files", ("size-",), ("original", "llama.cpp")),
    ("3 and 2 bits in the blocks, embeddings as they were", ("gptq", "learned"), ("HQQ", "AutoRound")),
    ("Half of all weights of the blocks pruned", ("magnitude", "wanda", "sparsegpt", "alps"), ()),
    ("A fifth of the blocks' weights by low rank", ("svd", "whitened", "low-rank"), ()),
    ("A quarter of the blocks' weights removed", ("structured",), ("original",)),
)
# Beside groups with rows that were trained end to end.
LEARNT = (
    "Rows with two figures under seconds went on from another row's folder, trained end to end on the original's "
    "predictions. Where labels have a weight in the recipe they have learnt the calibration text too, which is of the "
    "same source as the test text; the original has not, so that they may be better than it there, and only there."
)
PAGE = Path(__file__).parents[1] / "docs" / "compression-benchmarks.md"


def rows(found: dict[str, Any], ours: tuple[str, ...], others: tuple[str, ...]) -> list[dict[str, Any]]:
    """Systems of one group, the lowest perplexity first; ours carry the name of their recipe."""
    theirs = [{**row, "ours": False, "machine": one["taken"]["machine"]}
              for one in found["peers"].values() for row in one.get("rows", ())]  # fmt: skip
    known = found.get("ours", {})
    if tuned := [name for name, row in known.items() if row["split"] != "test"]:
        raise ValueError(f"{', '.join(tuned)}: figures of the dev split are for choosing recipes, not for the page")
    mine = [{**row, "ours": True, "before": known.get(row.get("after"), {})} for row in known.values()]
    chosen = [row for row in theirs if row["name"].startswith(others)] if others else []
    return sorted(chosen + [row for row in mine if row["name"].startswith(ours)], key=lambda row: row["perplexity"])


def page(found: dict[str, Any], classifier: dict[str, Any]) -> str:
    """The whole page. classifier: what compress_minilm.py found."""
    taken, machines = found["evaluation"], seen_machines(found)
    versions = {**found.get("versions", {})}
    for one in found["peers"].values():
        versions |= one.get("taken", {}).get("versions", {})
    lines = [
        "# Benchmarks of compression", "",
        f"SmolLM2-135M-Instruct, perplexity in float32 of the first {taken['tokens']:,} tokens of the {taken['text']} "
        f"text, context {taken['context']:,}, of the weights that the file holds. Calibration text is WikiText-2's "
        "validation file. Our sizes are whole folders, the tokenizer among them; a GGUF has its tokenizer inside, the "
        "other peers' files have none. The weights had once been rounded to 4 bits, so figures at 4 bits flatter "
        "everybody. Seconds were taken beside other work where load is above the number of cores.", "",
    ]  # fmt: skip
    shown: set[str] = set()
    for title, ours, others in GROUPS:
        group = rows(found, ours, others)
        shown |= {row["name"] for row in group}
        lines += [f"## {title}", "", *table(group, machines), "", *(line for row in group for line in speed(row))]
        lines += [LEARNT, ""] if any(row.get("before") for row in group) else []
    if rest := [row for row in rows(found, ("",), ("",)) if row["name"] not in shown]:
        lines += ["## Others", "", *table(rest, machines), ""]
    left_out = [f"{name} is left out: {one['left_out']}." for name, one in found["peers"].items() if "left_out" in one]
    lines += [*left_out, *([""] if left_out else [])]
    places = "; ".join(f"({number}) {machine}" for number, machine in enumerate(machines, 1))
    lines.append(
        f"Written by `python benchmarks/compress_lm.py` and `benchmarks/lm_peers.py`; machines, by the last column: "
        f"{places}; {', '.join(f'{name} {one}' for name, one in sorted(versions.items()))}; seed {found['seed']}. "
        "Seconds of different machines are not to be compared, and where the width was not recorded there may have "
        f"been several. {how_taken(found)} Each row is one run: two that differed in the order of sums alone have "
        "differed by 0.6 on other text, so smaller differences say nothing."
    )
    lines += ["", "## A classifier: MiniLM on Banking77", "", *classified(classifier)]
    return "\n".join(lines) + "\n"


def said_of(machine: dict[str, Any]) -> str:
    """A machine in words."""
    vectors = f"with {machine['vectors']}" if machine.get("vectors") else "of unrecorded vector width"
    return f"{machine['cpu']} {vectors}, {machine['cores']} cores, Python {machine['python']}"


def seen_machines(found: dict[str, Any]) -> list[str]:
    """The machines of all rows, each once, in the order they are numbered."""
    peers = (one["taken"]["machine"] for one in found["peers"].values() if "machine" in one.get("taken", {}))
    return list(dict.fromkeys(said_of(one) for one in (*peers, *(row["machine"] for row in found["ours"].values()))))


def table(rows: list[dict[str, Any]], machines: list[str]) -> list[str]:
    """Rows as Markdown."""
    head = "| system | file | perplexity | seconds | peak memory | load | machine |"
    lines = [head, "| --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        name = f"PocketLM [{row['name']}]({recipe_link(row['name'])})" if row["ours"] else row["name"]
        memory = f"{row['peak_memory_bytes'] / 1e9:.2f} GB" if "peak_memory_bytes" in row else ""
        seconds = f"{row['seconds']:,.0f}" if row["seconds"] else ""
        if row.get("before"):
            seconds = f"{row['before']['seconds']:,.0f} + {seconds}"
        lines.append(
            f"| {name} | {row['file_bytes'] / 1e6:.1f} MB | {row['perplexity']:,.2f} | {seconds} | {memory} | "
            f"{row.get('load', '')} | {machines.index(said_of(row['machine'])) + 1} |"
        )
    return lines if rows else ["Not measured yet."]


def speed(row: dict[str, Any]) -> list[str]:
    """Tokens a second where they were measured, beside the original's."""
    measured = row.get("tokens_per_second", {})
    parts = [f"{name} {own:,.0f} tokens a second ({own / dense:.2f}x the original's {dense:,.0f})"
             for name, (own, dense) in measured.items()]  # fmt: skip
    return [f"{row['name']}, by torch in float32: {', '.join(parts)}.", ""] if parts else []


def classified(found: dict[str, Any]) -> list[str]:
    """The section on MiniLM."""
    if found["split"] != "test":
        raise ValueError(f"figures of the {found['split']} split are for choosing recipes, not for the page")
    about, rows = found["machine"], found["rows"]
    names = ", ".join(f"[{name}]({recipe_link(f'minilm-{name}')})" for name in compress_minilm.BARS)
    return [
        f"MiniLM-L6 (22.7 million weights) fine-tuned on Banking77, then compressed by {names}; accuracy on its "
        f"{rows:,} test rows, which each system read once in this run. Sizes are whole folders, tokenizer included. "
        "Settings were chosen on a tenth of the training rows. Seconds are of compression; the teacher's training is "
        "not in them.",
        "",
        *compress_minilm.table(found["systems"], rows).splitlines(), "",
        f"Written by `python benchmarks/compress_minilm.py`; {said_of(about)}; "
        f"{', '.join(f'{name} {one}' for name, one in sorted(about['versions'].items()))}; seed "
        f"{found['seed']}. Taken on {found['date']}.",
    ]  # fmt: skip


def how_taken(found: dict[str, Any]) -> str:
    """Which days the rows were taken on; they may have been taken one by one, between changes of the code."""
    days = {row["date"] for row in found.get("ours", {}).values() if "date" in row}
    days |= {one["taken"]["date"] for one in found["peers"].values() if "date" in one.get("taken", {})}
    return f"Rows were taken one by one on {', '.join(sorted(days))}." if days else ""


def recipe_link(name: str) -> str:
    """Where the recipe of that name is."""
    return f"https://github.com/pocketlm/pocketlm/blob/main/benchmarks/recipes/{name}.yaml"


if __name__ == "__main__":
    PAGE.write_text(page(*(json.loads(Path(path).read_text("utf-8")) for path in sys.argv[1:3])), "utf-8")
