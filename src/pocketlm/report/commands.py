"""Commands that run the model of a report, ready to copy."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pocketlm.report.figures import figure, part
from pocketlm.report.markup import Markup, element
from pocketlm.units import exact_size

# The fields of an answer that the example prints, by task.
_SHOWN = {
    "multi-label": ("labels", "scores"),
    "understanding": ("intent", "entities"),
    "tagging": ("entities",),
    "word-tagging": ("words",),
    "question-answering": ("answer", "start", "end"),
    "translation": ("translation",),
    "generation": ("generated",),
    "similarity": ("vector",),
    "retrieval": ("vector",),
}


def commands(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what it does, the command) for the result's Pocket, or for a stand-in name where none was written."""
    pocket = str(result.get("pocket") or "model.pocket")
    quoted = shlex.quote(pocket)
    shown = ", ".join(f'answer["{key}"]' for key in _SHOWN.get(str(result.get("task")), ("label", "score")))
    task = str(result.get("task"))
    given = '{"question": "…", "context": "…"}' if task == "question-answering" else '"your text"'
    code = f"import pocketlm\n\nmodel = pocketlm.load({pocket!r})\nanswer = model.predict({given})\nprint({shown})"
    return [
        ("One text", f"pocketlm run {quoted} {sample_words(task, 'your text')}"),
        ("From Python (the base install is enough)", code),
        ("Many texts: JSON Lines in, JSON Lines out", f"pocketlm run {quoted} < texts.jsonl > predictions.jsonl"),
        ("Measure again on this machine, against the same limits", f"pocketlm bench {quoted}{_limit_flags(result)}"),
    ]


def sample_words(task: str, text: str = "some text") -> str:
    """What `pocketlm run POCKET` is followed by for one text."""
    return '--question "…" --context "…"' if task == "question-answering" else f'"{text}"'


def _limit_flags(result: Mapping[str, Any]) -> str:
    budget = part(result, "budget")
    written = ""
    for key, flag in (("max_size", "--max-size"), ("max_memory", "--max-memory")):
        limit = figure(budget, key)
        if limit is not None:
            written += f" {flag} {exact_size(int(limit))}"
    slowest = figure(budget, "max_latency")
    return written if slowest is None else f"{written} --max-latency {slowest:g}ms"


def section(result: Mapping[str, Any]) -> Markup:
    """How to run the model; the script adds a copy button to each command. Empty where there is no model."""
    if not part(result, "chosen"):
        return Markup("")
    blocks = [
        element("div", element("h3", what), element("pre", element("code", command), tabindex="0"), class_="command")
        for what, command in commands(result)
    ]
    file = result.get("pocket")
    note = None
    if not file:
        note = element("p", "No Pocket was written. Run the same command with --keep-best to keep the nearest miss.")
    elif str(PurePath(str(file))) != PurePath(str(file)).name:
        note = element("p", "The path is where the file was written; change it if the file has moved.", class_="muted")
    return element("section", element("h2", "Run it", id="run"), note, *blocks)
