"""pocketlm data check: what is wrong with labelled rows before anything is trained on them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pocketlm.cli.show import Bars, console, option, print_json, say
from pocketlm.job import Job

if TYPE_CHECKING:
    from pocketlm.check.check import Checked
    from pocketlm.check.finding import Finding

# Examples of a finding that people see.
_SHOWN = 3


def command(
    data: Annotated[str, typer.Argument(help="A file, two (a.en,a.sw), a folder, smart-home:LANG or a hub data set.")],
    dev: Annotated[str | None, option("File with dev rows.")] = None,
    test: Annotated[str | None, option("File with test rows.")] = None,
    text: Annotated[str | None, option("Column with the text; several joined by commas.")] = None,
    label: Annotated[str | None, option("Column with the label or intent.")] = None,
    slots: Annotated[str | None, option("Column with BIO tags beside an intent.")] = None,
    tags: Annotated[str | None, option("Column with a tag a word, by name or number; no label then.")] = None,
    context: Annotated[str | None, option("Column with what questions are about.")] = None,
    answer: Annotated[str | None, option("Column with the answers, which are parts of the context.")] = None,
    pair: Annotated[str | None, option("Column with the second text of a pair.")] = None,
    score: Annotated[str | None, option("Column with how alike the texts of a pair are.")] = None,
    source: Annotated[str | None, option("Column with the text to translate.")] = None,
    target: Annotated[str | None, option("Column with the text to write.")] = None,
    task: Annotated[str | None, option("The task where columns do not say it.")] = None,
    multi_label: Annotated[bool, typer.Option("--multi-label", help="Rows have any number of labels.")] = False,
    language: Annotated[str | None, option("The language rows should be in, such as yo, yor_Latn or Yoruba.")] = None,
    max_length: Annotated[int | None, option("Pieces of a text that will be read.")] = None,
    fix: Annotated[str | None, option("File to write with what can surely be mended: .jsonl, .csv or .tsv.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 where there is an error.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not say what is being checked.")] = False,
) -> int:
    """Find what is wrong with rows: repeated and leaked ones, splits written otherwise, wrong labels, strangers.

    Example: pocketlm data check rows.csv --test test.csv --language yo --fix mended.jsonl

    Rows are named by their number in their file, from 1. Exit code 0 whatever is found, 1 for an error with --strict.
    """
    from pocketlm.check.check import check
    from pocketlm.data.source import check_ending
    from pocketlm.pocket.format import check_output

    if fix is not None:
        check_ending(Path(fix))
        check_output(Path(fix), replace=force)
    job = Job(
        data, dev=dev, test=test, text=text, label=label, slots=slots, tags=tags, context=context, answer=answer,
        pair=pair, score=score, source=source, target=target, task=task, multi_label=multi_label, language=language,
        max_length=max_length, seed=seed,
    )  # fmt: skip
    with nullcontext(None) if quiet or json_output else Bars() as progress:
        checked = check(job, progress)
    done = None if fix is None else _fix(checked, Path(fix), force)
    if json_output:
        print_json({**checked.to_json(), "fix": None if fix is None else {"output": fix, "done": done}})
    else:
        _show(checked)
        for what, count in (done or {}).items():
            console().print(f"{count:,} {what}", markup=False, soft_wrap=True)
        if fix is not None:
            console().print(f"wrote {fix}", style="bold", markup=False, soft_wrap=True)
    return int(strict and any(one.grade == "error" for one in checked.findings))


def _fix(checked: Checked, path: Path, force: bool) -> dict[str, int]:
    from pocketlm.check.mend import mended
    from pocketlm.data.source import write_rows

    rows, done = mended(checked.rows)
    write_rows(rows, path, replace=force)
    return done


def _show(checked: Checked) -> None:
    about = checked.to_json()
    say(f"{about['source']}: " + ", ".join(f"{count:,} {split}" for split, count in about["rows"].items()) + " rows")
    for line in filter(None, (about["columns"], *about["notes"])):
        say(f"  {line}")
    for finding in checked.findings:
        say("")
        _show_one(finding)
    grades = ", ".join(f"{count} {grade}{'s' * (count != 1)}" for grade, count in about["grades"].items())
    say(f"\n{grades}")


def _show_one(finding: Finding) -> None:
    """A finding in lines: the first says how grave it is and of how many rows, the last what would mend it."""
    say(f"{finding.grade:<8} {finding.check}: {finding.said}")
    for one in finding.examples[:_SHOWN]:
        why = f" ({one.why})" if one.why else ""
        say(f"         {one.split} row {one.row}{why}{': ' * bool(one.text)}{one.text}")
    if finding.mend:
        say(f"         mend: {finding.mend}")
