"""pocketlm label: which rows to label next, in a terminal or on a local page."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pocketlm.cli.show import Bars, console, option, print_json, say

if TYPE_CHECKING:
    from pocketlm.labelling.session import Session


def command(
    data: Annotated[str, typer.Argument(help="Rows to label: a .txt file with a row a line, .csv, .tsv, .jsonl, …")],
    output: Annotated[str, typer.Option("-o", "--output", help="File of labels; one that exists is gone on with.")] = (
        "labels.jsonl"
    ),
    labels: Annotated[str | None, option("Labels, joined by commas; more can be made on the way.")] = None,
    start: Annotated[str | None, option("File of labelled rows, which become training rows.", "--from")] = None,
    model: Annotated[str | None, option("Pocket whose labels and doubts help from the first row.")] = None,
    teacher: Annotated[str | None, option("Encoder whose vectors say which texts are alike.")] = None,
    text: Annotated[str | None, option("Column with the text; several joined by commas.")] = None,
    label: Annotated[str | None, option("Column with the label, of --from and --simulate.")] = None,
    page: Annotated[bool, typer.Option("--page", help="Label on a local page rather than in the terminal.")] = False,
    port: Annotated[int, typer.Option(help="Port of the page; 0 takes a free one.", min=0, max=65535)] = 0,
    batch: Annotated[int, typer.Option(help="Rows between two fits.")] = 10,
    strategy: Annotated[str, typer.Option(help="How rows are chosen; random is what the others must beat.")] = "mixed",
    held_out: Annotated[float, typer.Option(help="Share of the rows that only measures, drawn at random.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Replay the strategy on DATA, whose labels are known, beside random.")
    ] = False,
    rows: Annotated[int, typer.Option(help="Labelled rows at the end of a replay.")] = 200,
    seeds: Annotated[int, typer.Option(help="Seeds of a replay.")] = 3,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout at the end.")] = False,
) -> int:
    """Label rows, those first that a model learns most from, and see what the labels bring.

    Example: pocketlm label texts.txt --labels billing,card,other -o labels.jsonl

    Every answer is on disk at once: stop at any time, run the same command again and it goes on. The file is one that
    fit takes; its rows with split "test" were drawn at random to measure.
    """
    from pocketlm.labelling.session import Plan
    from pocketlm.labelling.start import Wish, open_session

    plan = Plan(strategy, batch, held_out, seed)
    given = tuple(dict.fromkeys(one.strip() for one in (labels or "").split(",") if one.strip()))
    wish = Wish(data, output, given, start, model, teacher, text, label, plan)
    if simulate:
        return _replayed(wish, rows, seeds, json_output)
    with Bars() as bars:
        session = open_session(wish, bars)
    if page:
        _on_page(session, port)
    else:
        _in_terminal(session, json_output)
    moved = session.close()
    _conclude(session, Path(output), moved, json_output)
    return 0


def _in_terminal(session: Session, quiet_stdout: bool) -> None:
    """Questions on stdout, or on stderr where stdout is kept for JSON."""
    from pocketlm.labelling.terminal import label_rows, review

    def write(line: str) -> None:
        stream = sys.stderr if quiet_stdout else sys.stdout
        stream.write(line + "\n")
        stream.flush()

    def read() -> str | None:
        line = sys.stdin.readline()
        return line if line else None

    try:
        label_rows(session, read, write)
        review(session, read, write)
    except KeyboardInterrupt:
        write("")  # every answer is on disk; what follows makes the file ready for fit


def _on_page(session: Session, port: int) -> None:
    from pocketlm.serve.server import listen, serve_app, url

    with listen("127.0.0.1", port) as door:
        from pocketlm.labelling.page import make_page

        token = secrets.token_urlsafe(24)
        console().print(f"label at {url(door)}/#{token} ; Ctrl-C stops it", markup=False, soft_wrap=True)
        serve_app(make_page(session, token, door.getsockname()[1]), door)


def _conclude(session: Session, output: Path, moved: list[str], json_output: bool) -> None:
    from pocketlm.labelling.ledger import HELD_OUT, TRAIN
    from pocketlm.labelling.words import progress_lines

    if json_output:
        curve = session.curve
        print_json(
            {
                "output": str(output),
                "train": session.counts(TRAIN),
                "held_out": session.counts(HELD_OUT),
                "moved_to_train": moved,
                "not_sure": len(session.unsure.entries),
                "curve": curve.to_json() if curve else None,
            }
        )
        return
    out = console()
    for line in ["", *progress_lines(session)]:
        out.print(line, markup=False, soft_wrap=True)
    if moved:
        names = ", ".join(moved)
        out.print(f"moved to training, as only held-out rows had them: a row of {names}", markup=False, soft_wrap=True)
    if session.ledger.entries:
        out.print(f"wrote {output}; next: pocketlm fit {output}", style="bold", markup=False, soft_wrap=True)


def _replayed(wish: Any, rows: int, seeds: int, json_output: bool) -> int:
    from pocketlm.labelling.simulate import Replay, replay
    from pocketlm.labelling.start import labelled_features

    with Bars() as bars:
        texts, labels, known = labelled_features(wish, bars)
    plan = wish.plan
    how = Replay((plan.strategy,), rows, plan.batch, seeds)
    result = replay(texts, labels, known, how, None if json_output else lambda line: console().print(line))
    if json_output:
        print_json(result)
        return 0
    for line in replayed_lines(result):
        say(line)
    return 0


def replayed_lines(result: Mapping[str, Any]) -> list[str]:
    """The mean accuracy of every strategy by labelled rows, and what each gains over random."""
    curves = result["curves"]
    lines = [f"accuracy on {result['held_out']:,} held-out rows, mean of seeds", "  rows  " + "  ".join(curves)]
    for place, size in enumerate(result["sizes"]):
        means = [sum(one[place] for one in curve["accuracy"]) / len(curve["accuracy"]) for curve in curves.values()]
        cells = [f"{100 * mean:>{len(name)}.1f}" for name, mean in zip(curves, means, strict=True)]
        lines.append(f"{size:>6,}  " + "  ".join(cells))
    for name, curve in curves.items():
        gain = curve["mean_gain"]
        if name != "random":
            figures = " ".join(f"{100 * gain[key]:+.1f}" for key in ("value", "low", "high")).split()
            lines.append(f"{name} over random, the whole curve: {figures[0]} points ({figures[1]} to {figures[2]})")
    return lines
