"""pocketlm augment: new training rows, and what each way of making them gains."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pocketlm.cli.show import Bars, console, option, print_json, say
from pocketlm.job import Job


def command(
    called: typer.Context,
    data: Annotated[str, typer.Argument(help="Labelled rows: a file, a folder, smart-home:LANG or a hub data set.")],
    tried: Annotated[
        str | None, option('Measure the held-out gain of methods: "all", or names joined by commas.', "--try")
    ] = None,
    method: Annotated[
        list[str] | None, option("Method whose rows are written; may be given again.", "--method")
    ] = None,
    output: Annotated[
        str | None, option("File to write: .jsonl, .csv or .tsv; after --try, of methods that help.", "-o", "--output")
    ] = None,
    language: Annotated[str | None, option("Language code of the rows, such as yo; for orthography.")] = None,
    model: Annotated[
        str | None, option("Model for masked-lm (an encoder) or generate (a decoder or its Pocket).")
    ] = None,
    there: Annotated[str | None, option("Translator into another language, for back-translation.")] = None,
    back: Annotated[str | None, option("Translator back.")] = None,
    lexicon: Annotated[str | None, option("File with a word, a tab and a translation a line, for code-switch.")] = None,
    noises: Annotated[
        str | None, option("Folder of WAV files heard behind speech by the method noise; pink noise without.")
    ] = None,
    teacher: Annotated[str | None, option("Encoder that judges new rows and knows words of like meaning.")] = None,
    confidence: Annotated[float, typer.Option(help="Least score of a new row's label in the judge's answer.")] = 0.5,
    copies: Annotated[int, typer.Option(help="Times a method goes over the training rows.")] = 2,
    seeds: Annotated[int, typer.Option(help="Seeds of the measurement.")] = 3,
    folds: Annotated[int, typer.Option(help="Parts of the training rows that are held out in turn.")] = 3,
    dev: Annotated[str | None, option("File with dev rows: none of their texts becomes a training row.")] = None,
    test: Annotated[str | None, option("File with test rows: none of their texts becomes a training row.")] = None,
    text: Annotated[str | None, option("Column with the text; several joined by commas.")] = None,
    label: Annotated[str | None, option("Column with the label or intent.")] = None,
    slots: Annotated[str | None, option("Column with BIO tags beside an intent.")] = None,
    tags: Annotated[str | None, option("Column with a tag a word, by name or number; no label then.")] = None,
    multi_label: Annotated[bool, typer.Option("--multi-label", help="Rows have any number of labels.")] = False,
    source: Annotated[str | None, option("Column with the text to translate.")] = None,
    target: Annotated[str | None, option("Column with the text to write.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> int:
    """Make new training rows from training rows, and measure on held-out rows what each method gains.

    Example: pocketlm augment rows.csv --try all --language yo -o more.jsonl

    The file holds all splits: new rows are in train alone, and its column "augmented" says where each comes from.

    A folder of WAV files is speech: pocketlm augment speech/ --method speed --method noise -o more/ writes a folder
    with new sounds beside the old ones, the texts in .txt files with them.
    """
    from pocketlm.data.sound import wav_files

    if wav_files(Path(data)):
        return _sounds(data, output, method, tried, noises, (copies, seed, force), (json_output, quiet))
    from pocketlm.augmenting import Augmentation, augment

    job = Job(
        data, dev=dev, test=test, text=text, label=label, slots=slots, tags=tags, multi_label=multi_label,
        source=source, target=target, teacher=teacher, seed=seed, force=force, language=language,
    )  # fmt: skip
    names = tuple(part.strip() for part in tried.split(",") if part.strip()) if tried else tuple(method or ())
    settings = {"model": model, "there": there, "back": back, "lexicon": lexicon}
    wish = Augmentation(job, names, settings, tried is not None, output, copies, confidence, seeds, folds)
    with nullcontext(None) if quiet or json_output else Bars() as progress:
        result = augment(wish, progress)
    if json_output:
        print_json(result)
    elif not quiet:
        _summarize(result)
    return 0


def _sounds(
    data: str, output: str | None, methods: list[str] | None, tried: str | None, noises: str | None,
    settings: tuple[int, int, bool], shown: tuple[bool, bool],
) -> int:  # fmt: skip
    """New sounds of a folder. settings: copies, seed, force. shown: as JSON, or not at all."""
    from pocketlm.augment.sound_files import augment_sounds
    from pocketlm.errors import RecipeError

    if tried is not None or not methods:
        raise RecipeError("what sounds gain is not measured here: name methods with --method speed and --method noise")
    copies, seed, force = settings
    done = augment_sounds(data, output, methods, noises=noises, copies=copies, seed=seed, force=force)
    if shown[0]:
        print_json(done)
    elif not shown[1]:
        say(f"wrote {done['output']}: {done['new_files']:,} new sounds of {done['files']:,} by {', '.join(methods)}")
    return 0


def _summarize(result: Mapping[str, Any]) -> None:
    if result["gains"]:
        Console(highlight=False).print(_table(result))
        say(f"held out in turn: {result['rows']:,} rows")
    out = console()
    for name, reason in result["skipped"].items():
        out.print(f"{name} was left out: {reason}", markup=False, soft_wrap=True)
    if result["output"]:
        by = ", ".join(result["written"]) or "no method: none gained for sure"
        out.print(
            f"wrote {result['output']}: {result['new_rows']:,} new rows by {by}",
            style="bold",
            markup=False,
            soft_wrap=True,
        )
    if result["dropped"]:
        shown = ", ".join(f"{count:,} {reason}" for reason, count in sorted(result["dropped"].items()))
        out.print(f"left out: {shown}", markup=False, soft_wrap=True)


def _table(result: Mapping[str, Any]) -> Table:
    """What each method came to, the best first."""
    title = f"{result['metric']} of n-grams without new rows: {result['without']:.4f}"
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for name in ("method", "with it", "gain", "95 % interval", "new a row", "dropped", ""):
        table.add_column(name, justify="left" if name in ("method", "") else "right")
    for one in sorted(result["gains"], key=lambda one: -one["gain"]["value"]):
        gain = one["gain"]
        interval = f"{gain['low']:+.4f} to {gain['high']:+.4f}"
        table.add_row(
            one["method"], f"{one['with_it']:.4f}", f"{gain['value']:+.4f}", interval,
            f"{one['new_rows']:.2f}", f"{sum(one['dropped'].values()):,}", "helps" if one["helps"] else "",
        )  # fmt: skip
    return table
