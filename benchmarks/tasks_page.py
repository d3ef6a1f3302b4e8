"""The figures of the other tasks' benchmarks as docs/task-benchmarks.md: tasks_page.py FOLDER.

FOLDER holds what qa.py, translation.py, generation.py, gguf_lm.py and similarity.py wrote, each under its own name
(gguf.json for the last but one); a part whose file is missing is left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import generation
import qa

PAGE = Path(__file__).parents[1] / "docs" / "task-benchmarks.md"


def taken(found: dict[str, Any], script: str) -> str:
    """By which command, when and where figures were taken."""
    about = found["machine"]
    versions = ", ".join(f"{name} {one}" for name, one in about["versions"].items())
    return (
        f"Written by `python benchmarks/{script}` on {found['date']}; {about['cpu']} with {about['vectors']}, "
        f"{about['cores']} cores; Python {about['python']}; {versions}; seed 0."
    )


def answers(found: dict[str, Any]) -> list[str]:
    """Question answering."""
    lines = [
        "## Question answering: QAMR and XQuAD", "", taken(found, "qa.py"), "",
        "MiniLM fine-tuned on QAMR's filtered development file (Michael et al. 2018) and its student, which `fit` "
        f"chose for {found['limit']}; {found['rows']['test']:,} questions of its test file and "
        f"{found['rows']['xquad.en']:,} of XQuAD in English (Artetxe et al. 2020). Every system is a Pocket, read by "
        "the same runtime, on one thread, one question at a time; times are of windows of 384 pieces that are full. In "
        "focus only the part of a context that shares most words with its question is read: 64 pieces of the 384 that "
        "are given, question included, in the time that is told; what stands elsewhere is not found.",
        "", *qa.table(found["systems"]).splitlines(), "",
    ]  # fmt: skip
    for name, bar in found["bars"].items():
        reached = "reached" if bar["reached"] else "missed"
        lines.append(f"- {name}: {bar['value']:.4g} (bar {bar['bar']:g}: {reached})")
    return [*lines, ""]


def figure(value: dict[str, Any], form: str = ".2f") -> str:
    """A figure with its interval."""
    return f"{value['value']:{form}} [{value['low']:{form}}, {value['high']:{form}}]"


def translation(found: dict[str, Any]) -> list[str]:
    """Translation."""
    lines = [
        "## Translation from pairs alone", "", taken(found, "translation.py"), "",
        f"{found['n']:,} test pairs, read once a system. The teacher is trained on the pairs alone, the student on "
        f"them and on {found['heard']:,} texts that the teacher wrote. Models in torch stop at one and a half times "
        "the pieces of their source and 20 more, Pockets at 256, which a model that has not learnt to end a text runs "
        "into: a Pocket in 8 bits is to be compared with the one in floats.", "",
        "| system | chrF++ [95 %] | BLEU [95 %] |", "| --- | --- | --- |",
    ]  # fmt: skip
    for name, one in found["scores"].items():
        metrics = one["metrics"]
        lines.append(f"| {name} | {figure(metrics['chrf++'], '.4f')} | {figure(metrics['bleu'], '.4f')} |")
    lines += ["", "| one thread, one text at a time, greedily | words a second | size |", "| --- | --- | --- |"]
    for name, one in found["speed"].items():
        size = f"{one['size_bytes'] / 1e6:.2f} MB" if "size_bytes" in one else ""
        lines.append(f"| {name} | {one['words_per_s']:,.0f} | {size} |")
    trained = ", ".join(
        f"{name} {one['parameters']:,} weights in {one['seconds'] / 60:.0f} min"
        for name, one in found["models"].items()
    )
    how = "; ".join(f"{name}: {', '.join(one['notes'])}" for name, one in found["models"].items())
    return [*lines, "", f"Trained: {trained} ({how}).", ""]


def writing(found: dict[str, Any]) -> list[str]:
    """Pockets that write."""
    lines = [
        "## Writing: SmolLM2-135M in a Pocket", "", taken(found, "generation.py"), "",
        f"Perplexity is by the runtime itself, of the first {found['evaluation']['tokens']:,} tokens of WikiText-2's "
        f"test text in windows of {found['evaluation']['window']:,}; speed is that of the best of "
        f"{generation.ROUNDS} rounds in which all take turns: a prompt of {generation.PROMPT} tokens, and "
        f"{generation.WRITTEN} tokens written after it.", "",
        *generation.table(found), "",
    ]  # fmt: skip
    for name, one in found["systems"].items():
        if "parity" in one:
            same = one["parity"]
            lines += [f"{name}: on {same['same']} of {same['prompts']} prompts all {same['tokens']} tokens are those "
                      "that torch writes greedily.", ""]  # fmt: skip
    return lines


def gguf(found: dict[str, Any]) -> list[str]:
    """GGUF files."""
    taken_on = sorted({row["date"] for row in found["rows"].values()})
    about = next(iter(found["rows"].values()))["machine"]
    versions = ", ".join(f"{name} {one}" for name, one in found["versions"].items())
    lines = [
        "## GGUF files for llama.cpp: SmolLM2-135M", "",
        f"Written by `python benchmarks/gguf_lm.py` on {', '.join(taken_on)}; {about['cpu']} with {about['vectors']}, "
        f"{about['cores']} cores; {versions}; seed {found['seed']}.", "",
        "llama.cpp's quantizer chose the type of every tensor; both files have the same types, so the same bytes of "
        f"tensors. Perplexity of the first {found['evaluation']['tokens']:,} test tokens of WikiText-2 is that of the "
        "dequantized weights in float32; llama.cpp's own is of the first tokens of the same text, as many as the last "
        "column says, on its own integer kernels. Blocks of some types do not divide the width of 576, and where they "
        "do not a kind takes others: which it really holds is said.", "",
        "| kind | matrices of | tensors | llama.cpp | PocketLM | by llama.cpp: its own | ours | tokens |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for name, row in sorted(found["rows"].items()):
        theirs, ours = row["theirs"], row["ours"]
        types = ", ".join(f"{count} {kind}" for kind, count in ours["types"].items() if kind not in ("F32", "F16"))
        by = [one["perplexity_by_llama_cpp"] for one in (theirs, ours)]
        lines.append(
            f"| {name} | {types} | {ours['tensor_bytes'] / 1e6:.1f} MB | {theirs['perplexity']:.3f} | "
            f"{ours['perplexity']:.3f} | {by[0]:.3f} | {by[1]:.3f} | "
            f"{row['tokens_by_llama_cpp']:,} |"
        )
    lower = sum(row["ours"]["perplexity"] < row["theirs"]["perplexity"] for row in found["rows"].values())
    lines += ["", f"Ours is lower in {lower} of {len(found['rows'])} kinds."]
    if "Q4_1" in found["rows"]:
        lines.append(
            "The weights of this model come from Q4_1 blocks, dequantized: that type loses nothing, whoever writes it."
        )
    return [*lines, ""]


def vectors(found: dict[str, Any]) -> list[str]:
    """Similarity."""
    lines = ["## Sentence vectors: students of MiniLM", "", taken(found, "similarity.py"), ""]
    for name, rows in found["sets"].items():
        metrics = list(rows[0]["metrics"])
        lines += [f"On {name}, with the share of the teacher's figure:", ""]
        lines += [f"| system | size | p50 | {' | '.join(metrics)} |", "| --- " * (3 + len(metrics)) + "|"]
        for row in rows:
            shown = " | ".join(f"{row['metrics'][one]['value']:.4f} ({row['of_teacher'][one]:.1%})" for one in metrics)
            size = f"{row['size_bytes'] / 1e6:.2f} MB"
            lines.append(f"| {row['name']} | {size} | {row['latency_p50_ms']:.2f} ms | {shown} |")
        lines.append("")
    return lines


PARTS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "qa": answers, "translation": translation, "generation": writing, "gguf": gguf, "similarity": vectors,
}  # fmt: skip


def page(found: dict[str, dict[str, Any]]) -> str:
    """The whole page. found: by the name of a part."""
    head = ["# Benchmarks of tasks", "", "Test rows are read once a run, after all is chosen on others.", ""]
    return "\n".join([*head, *(line for name, part in PARTS.items() if name in found for line in part(found[name]))])


def held(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The figures of these names that a folder holds."""
    files = {name: folder / f"{name}.json" for name in names}
    return {name: json.loads(one.read_text("utf-8")) for name, one in files.items() if one.is_file()}


if __name__ == "__main__":
    PAGE.write_text(page(held(Path(sys.argv[1]), PARTS)), "utf-8")
