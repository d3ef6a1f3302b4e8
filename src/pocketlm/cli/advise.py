"""pocketlm advise: what suits data or a model and a budget, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pocketlm.cli.show import Bars, given_of, need_torch, option, print_json, say
from pocketlm.errors import UserError
from pocketlm.job import Job, job_from_mapping, read_job
from pocketlm.tables import did_you_mean
from pocketlm.units import format_latency, format_size

# Options that are for data alone.
FOR_DATA = (
    "max_memory", "min_quality", "floor", "teacher", "teacher_anyway", "text", "label", "slots", "tags", "context",
    "answer", "pair", "score", "multi_label", "width", "task", "dev", "test", "unlabelled", "variants", "also", "shots",
    "language", "few_shot", "max_length", "set",
)  # fmt: skip
KINDS = ("data", "model")


def command(
    called: typer.Context,
    what: Annotated[
        str, typer.Argument(help="Labelled data or a job.yaml, as fit takes it; or a model, as compress takes it.")
    ],
    max_size: Annotated[str | None, option('Largest file, such as "300kB".')] = None,
    max_latency: Annotated[str | None, option("Longest median time of one text (of a model: of 32 pieces).")] = None,
    max_memory: Annotated[str | None, option("Most memory of a process that runs it.")] = None,
    min_quality: Annotated[str | None, option("As of fit; the command that is advised has it.")] = None,
    floor: Annotated[list[str] | None, option("As of fit; several times.")] = None,
    device: Annotated[str | None, option("host, or the file of another machine (pocketlm calibrate-device).")] = None,
    teacher: Annotated[str | None, option("Encoder that would teach: a folder, hub name or pypi:PACKAGE.")] = None,
    teacher_anyway: Annotated[
        bool | None, option("Count on the teacher even if it does not cover the language.", "--teacher-anyway")
    ] = None,
    text: Annotated[str | None, option("Column with the text.")] = None,
    label: Annotated[str | None, option("Column with the label.")] = None,
    slots: Annotated[str | None, option("Column with slots.")] = None,
    tags: Annotated[str | None, option("Column with tags of words.")] = None,
    context: Annotated[str | None, option("Column with the context of a question.")] = None,
    answer: Annotated[str | None, option("Column with the answers.")] = None,
    pair: Annotated[str | None, option("Column with second texts.")] = None,
    score: Annotated[str | None, option("Column with how alike two texts are.")] = None,
    multi_label: Annotated[bool | None, option("Rows have several labels.", "--multi-label")] = None,
    width: Annotated[int | None, option("Dimensions of vectors.")] = None,
    task: Annotated[str | None, option("Task, where the columns do not say it.")] = None,
    dev: Annotated[str | None, option("File with rows that choose.")] = None,
    test: Annotated[str | None, option("File with rows that are read once; not by this command.")] = None,
    unlabelled: Annotated[str | None, option("File with more text for a teacher to label.")] = None,
    variants: Annotated[int | None, option("Variants of each text that a teacher labels.")] = None,
    also: Annotated[list[str] | None, option("Another source to learn from too; several times.")] = None,
    shots: Annotated[int | None, option("So many rows of DATA are all there is beside its test.")] = None,
    language: Annotated[str | None, option("The rows' language.")] = None,
    few_shot: Annotated[str | None, option("Ways to teach with few rows, as of fit.")] = None,
    max_length: Annotated[int | None, option("Pieces read of a text.")] = None,
    set_: Annotated[list[str] | None, option("What settings of the search may be, as of fit.", "--set")] = None,
    calibration: Annotated[
        str | None, option("Of a model: text by which losses are told in nats a token instead of errors of weights.")
    ] = None,
    as_: Annotated[str | None, option("What a hub's name is of: data or model.", "--as")] = None,
    json_output: Annotated[bool, option("Print one JSON document on stdout.", "--json")] = False,
) -> int:
    """Say which methods suit data or a model and a budget, and why, what to expect, and the command to run.

    Nothing is trained. Sizes follow from recipes, latencies from the building blocks of this machine (or --device), and
    quality from studies that come with PocketLM: all are estimates, with a range.

    Examples: pocketlm advise train.csv --teacher PATH --max-size 500kB --max-latency 1ms

    pocketlm advise path/to/model --max-size 60MB
    """
    names = {"max_size", "max_latency", "device", *FOR_DATA}
    given = {name: value for name, value in given_of(called.params).items() if name in names}
    if _kind(what, given, as_, calibration) == "model":
        return _of_model(what, given, calibration, json_output)
    if calibration is not None:
        raise UserError(f"--calibration is for a model; {what} is data")
    job = read_job(Path(what), given) if what.endswith((".yaml", ".yml")) else job_from_mapping({"data": what, **given})
    return _of_data(job, json_output)


def _kind(what: str, given: Mapping[str, Any], asked: str | None, calibration: str | None) -> str:
    """What a name is of. Raises UserError for a hub's name where nothing says it."""
    if asked is not None:
        if asked not in KINDS:
            raise UserError(f"--as {asked}: is none of {', '.join(KINDS)}.{did_you_mean(asked, list(KINDS))}")
        return asked
    path = Path(what)
    if what.startswith("pypi:") or what.endswith(".keras") or (path / "config.json").is_file():
        return "model"
    # a file, two with a comma, or what fit has a name for; what is none of these is a hub's
    if path.exists() or path.suffix[1:].isalpha() or "," in what or what.startswith("smart-home:"):
        return "data"
    if any(name in given for name in FOR_DATA):
        return "data"
    if calibration is not None:
        return "model"
    raise UserError(f"{what}: is no file; if it is a hub's, say of what: --as data or --as model")


def _of_model(what: str, given: Mapping[str, Any], calibration: str | None, json_output: bool) -> int:
    for name in FOR_DATA:
        if name in given:
            raise UserError(f"--{name.replace('_', '-')} is for data; {what} is a model")
    need_torch("advise")
    from pocketlm.advice.model import advise_model

    with Bars() as bars:
        found = advise_model(
            what, given.get("max_size"), given.get("max_latency"), calibration, given.get("device", "host"),
            progress=None if json_output else bars,
        )  # fmt: skip
    if json_output:
        print_json(found)
    else:
        _say_model(found)
    return 0


def _of_data(job: Job, json_output: bool) -> int:
    need_torch("advise")
    from pocketlm.advice.data import advise

    with Bars() as bars:
        found = advise(job, progress=None if json_output else bars)
    if json_output:
        print_json(found)
    else:
        _say_data(found)
    return 0


def _say_model(found: Mapping[str, Any]) -> None:
    say(
        f"{found['model']}: {found['architecture']}, {found['parameters']:,} parameters, "
        f"{format_size(found['size_bytes'])} at {found['bits']:.1f} bits a weight"
    )
    say("bytes: " + ", ".join(f"{kind} {share:.1%}" for kind, share in found["where"].items()))
    if "latency_ms" in found:
        time = _range(found["latency_ms"], format_latency)
        say(f"{found['latency_of']}: {time} (estimate for {found['device']})")
    say(f"smallest by compression alone: about {format_size(found['least_bytes'])}")
    for plan in found["plans"]:
        methods = ", ".join(f"{kind} {share:.0%}" for kind, share in plan["methods"].items())
        ratios = "".join(
            f"; {metric} ×{low:.3g} to ×{high:.3g} of like models" for metric, (low, high) in plan["ratios"].items()
        )
        say(
            f"{format_size(plan['size_bytes'])}, {plan['bits']:.2f} bits a weight: {methods} of the weights; predicted "
            f"+{plan['predicted']:.3g} {found['unit']}, summed over matrices{ratios}"
        )
        for line in plan["evidence"]:
            say(f"  measured: {line}")
    _say_end(found)


def _say_data(found: Mapping[str, Any]) -> None:
    teacher = f"teacher {found['teacher']}" if found["teacher"] else "no teacher"
    say(
        f"{found['data']}: {found['task']}, {found['rows']:,} training and {found['dev_rows']:,} dev rows, "
        f"{found['labels']:,} outputs, {found['words']:g} words a text, {teacher}"
    )
    off = found["device_error"]
    say(f"estimates for {found['device']}" + (f"; its building blocks were off by {off:.0%} (median)" if off else ""))
    for one in found["prospects"]:
        mark = "*" if one["family"] == found["advised"] else " "
        if not one["recipe"]:
            say(f"{mark} {one['family']}: {one['why']}")
            continue
        size, time = _range(one["size_bytes"], format_size), _range(one["latency_ms"], format_latency)
        say(f"{mark} {one['family']} ({one['recipe']}): {size}, {time}; {_quality(one, bool(found['teacher']))}")
        say(f"    {one['why']}")
    for line in found["reasons"]:
        say(f"- {line}")
    if found["advised"] is None:
        say("advised: nothing is expected to keep to this budget; the whole search says how near it comes")
    else:
        known = "by studies like this one" if found["known"] else "by a rule of thumb: no study was like this one"
        say(f"advised: {found['advised']}, {known}")
    score = found["score"]
    if score["cases"]:
        say(
            f"such advice was good (one of the search's best three, or within 1 point of its best) in {score['good']} "
            f"of {score['cases']} studies, each judged by studies of other data, and within 1 point in "
            f"{score['close']}; where there was more than one kind to choose from in {score['free_good']} of "
            f"{score['free']}, and a kind drawn blindly would have been in {score['free_chance']:.1f}"
        )
    say(f"run: {found['command']}")
    if found["command"] != found["whole_search"]:
        say(f"or search everything: {found['whole_search']}")


def _quality(prospect: Mapping[str, Any], taught: bool) -> str:
    if prospect["expectation"] is not None:
        return _points(prospect["expectation"], taught)
    if prospect["otherwise"] is None:
        return "no study tells of its quality"
    return f"no study is like this one; of others: {_points(prospect['otherwise'], taught)}"


def _points(about: Mapping[str, Any], taught: bool) -> str:
    """What studies tell of a quality. taught: whether there is a teacher here to compare with."""
    if not about["met"]:
        return f"kept to the budget in none of {_studies(about['cases'])}"
    low, high = (f"{100 * about[name]:.1f}" for name in ("low", "high"))
    below = f"{low} to {high} points below the best" if low != high else f"{low} points below the best"
    below = "the best, or within 0.1 points of it" if low == high == "0.0" else below
    least, most = (f"{share:.1%}" for share in about["kept"] or (0, 0))
    kept = f"{least} to {most}" if least != most else least
    told = f", with {kept} of the teacher's quality" if about["kept"] and taught else ""
    missed = about["cases"] - about["met"]
    of = f" of {about['cases']}, the {'other' if missed == 1 else 'others'} missed the budget" if missed else ""
    return f"{below}{told} in {_studies(about['met'])}{of}"


def _studies(count: int) -> str:
    return f"{count} study" if count == 1 else f"{count} studies"


def _range(values: Sequence[float], said: Any) -> str:
    low, middle, high = values
    return f"about {said(middle)}" if low == high else f"{said(middle)} ({said(low)} to {said(high)})"


def _say_end(found: Mapping[str, Any]) -> None:
    for line in found["reasons"]:
        say(f"- {line}")
    say(f"advised: {found['advised']}")
    if found["command"]:
        say(f"run: {found['command']}")
