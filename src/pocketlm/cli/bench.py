"""pocketlm bench: what a Pocket costs here, measured in a fresh process, against a budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pocketlm.budget import Budget, Measurement
from pocketlm.cli.show import print_json, say, say_notes
from pocketlm.errors import BudgetMissed
from pocketlm.runtime.question import Question
from pocketlm.units import format_latency, format_size

if TYPE_CHECKING:
    from pocketlm.runtime.load import Pocket
    from pocketlm.tasks.table import Task

_EXAMPLES = (
    "turn off the kitchen lamp",
    "How long does a transfer take until it arrives in my account?",
    "a short one",
    "Please set the temperature in the living room to twenty one degrees tonight",
)
_QUESTION = Question(
    "When was the bridge opened?",
    "The old bridge over the river was closed after the flood of 1927. A new one of steel was opened to traffic in "
    "June 1931, and has carried the main road to the coast since then.",
)


def command(
    pocket: Annotated[str, typer.Argument(help="The Pocket.")],
    data: Annotated[
        str | None, typer.Option(help="Rows whose texts are timed, and judged where quality has a floor.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Column with the text.")] = None,
    label: Annotated[str | None, typer.Option(help="Column with the label or intent.")] = None,
    slots: Annotated[str | None, typer.Option(help="Column with BIO tags beside an intent.")] = None,
    tags: Annotated[str | None, typer.Option(help="Column with a tag a word, by name or number.")] = None,
    context: Annotated[str | None, typer.Option(help="Column with what questions are about.")] = None,
    answer: Annotated[str | None, typer.Option(help="Column with the answers to questions.")] = None,
    pair: Annotated[str | None, typer.Option(help="Column with the second text of a pair.")] = None,
    score: Annotated[str | None, typer.Option(help="Column with how alike the texts of a pair are.")] = None,
    max_size: Annotated[str | None, typer.Option(help='Largest file, such as "1MB".')] = None,
    max_latency: Annotated[str | None, typer.Option(help='Slowest median answer on one thread, such as "1ms".')] = None,
    max_memory: Annotated[str | None, typer.Option(help='Largest peak memory, such as "100MB".')] = None,
    min_quality: Annotated[
        str | None, typer.Option(help="Least quality, such as accuracy>=0.9 (or 0.9); needs --data.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads, for a Pocket that writes.", min=1)] = 1,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> int:
    """Measure size, load time, latency (one text at a time, one thread) and peak memory in a fresh process.

    Of a Pocket that writes: tokens a second of prompts and of text, and memory with the length of context; its latency
    is that of a token, or of a text where it writes one for another. With limits, exit code 3 says that the file misses
    them.
    """
    from pocketlm.measure.fresh import measure_pocket, measure_writing
    from pocketlm.measure.machine import describe
    from pocketlm.measure.quality import evaluate, foreign_labels, texts_for
    from pocketlm.runtime.load import load
    from pocketlm.tasks.prepare import read_labelled
    from pocketlm.tasks.table import TASKS

    budget = Budget.parse(max_size, max_latency, max_memory, min_quality)
    model = load(pocket)
    if threads != 1 and not model.writes:
        raise typer.BadParameter("--threads is for Pockets that write; others are timed on one thread")
    task = TASKS[model.task]
    lower = [name for name, higher in task.higher_is_better.items() if not higher]
    _check_quality(budget, data, task, lower)
    named = (text, label, (slots, tags), (pair, score), (context, answer))
    examples = read_labelled(data, model.task, *named) if data else []
    notes = foreign_labels(model, examples, data) if data and budget.min_quality is not None else ()
    if model.writes:
        taken = measure_writing(Path(pocket), threads)
        taken |= {f"latency_{name}_ms": taken[f"token_{name}_ms"] for name in ("p50", "p95")}
    if not model.writes or model.generator.translates:
        texts = _fitting(model, texts_for(model, examples)) or _examples(model)
        calls = measure_pocket(Path(pocket), texts, allowed=None if model.writes else budget.max_latency)
        taken = {**taken, **calls} if model.writes else calls
    quality: dict[str, float] = {}
    if budget.min_quality is not None:
        quality = {name: figure.value for name, figure in evaluate(model, examples).metrics.items()}
    measured = Measurement.of(quality, taken, "given")
    verdict = budget.check(measured, task.main_metric, lower=lower)
    report: dict[str, Any] = {**taken, "quality": quality, "machine": describe()}
    report |= {"met": verdict.met, "limits": [{**vars(one), "holds": one.holds} for one in verdict.limits]}
    report["notes"] = list(notes)
    if json_output:
        print_json(report)
    elif model.writes:
        _print_writing(taken, str(verdict))
    else:
        _print(taken, str(verdict))
    say_notes(() if json_output else notes)
    if not verdict.met:
        raise BudgetMissed(f"{pocket} misses the budget: {verdict}")
    return 0


def _check_quality(budget: Budget, data: str | None, task: Task, lower: Sequence[str]) -> None:
    """Raise for a floor that nothing measures. lower: metrics that are better so."""
    if budget.min_quality is None:
        return
    if data is None:
        raise typer.BadParameter("--min-quality needs --data: quality is measured on labelled rows")
    budget.min_quality.check(task.higher_is_better, lower)


def _examples(model: Pocket) -> list[Any]:
    """What is timed where no data are given."""
    return [_QUESTION] if model.outputs[0].kind == "span" else list(_EXAMPLES)


def _fitting(model: Pocket, texts: Sequence[Any]) -> list[Any]:
    """The texts, of a Pocket that writes those that it reads whole."""
    return [one for one in texts if not model.writes or len(model.generator.read(one)) <= model.generator.context]


def _print(taken: dict[str, Any], verdict: str) -> None:
    low, high = format_latency(taken["latency_p50_low_ms"]), format_latency(taken["latency_p50_high_ms"])
    say(f"size    {format_size(taken['size_bytes'])} ({taken['size_bytes']:,} bytes)")
    say(f"load    {format_latency(taken['load_ms'])}")
    say(f"p50     {format_latency(taken['latency_p50_ms'])} ({low} to {high} over blocks of {taken['calls']:,} calls)")
    say(f"p95     {format_latency(taken['latency_p95_ms'])}")
    say(f"memory  {format_size(taken['memory_bytes'])} peak of the process")
    say(f"budget  {verdict}")


def _print_writing(taken: dict[str, Any], verdict: str) -> None:
    say(f"size    {format_size(taken['size_bytes'])} ({taken['size_bytes']:,} bytes)")
    say(f"load    {format_latency(taken['load_ms'])}")
    say(f"prompt  {taken['prompt_tokens_per_s']:,.0f} tokens/s ({taken['prompt_tokens']:,} tokens)")
    say(f"writes  {taken['generation_tokens_per_s']:,.1f} tokens/s on {taken['threads']} thread(s)")
    say(f"p50     {format_latency(taken['token_p50_ms'])} a token, p95 {format_latency(taken['token_p95_ms'])}")
    if "calls" in taken:
        say(f"p50     {format_latency(taken['latency_p50_ms'])} a text, p95 {format_latency(taken['latency_p95_ms'])}")
    for tokens, peak in taken["memory_by_context"].items():
        say(f"memory  {format_size(peak)} peak with {int(tokens):,} tokens of context")
    say(f"memory  {format_size(taken['memory_bytes'])} peak of the process")
    say(f"cache   {format_size(taken['cache_bytes_per_token'])} a token")
    say(f"budget  {verdict}")
