"""Advice for data: what fits is said with its range, what does not with why, and the command does what was advised."""

import shlex
from dataclasses import replace

import pytest

from pocketlm.advice import data as advising
from pocketlm.advice.data import advise, command_of
from pocketlm.advice.evidence import Case, Tried
from pocketlm.cli.advise import _points, _quality
from pocketlm.cli.fit import command as fit_command
from pocketlm.errors import RecipeError
from pocketlm.job import Job
from pocketlm.measure.calibrate import this_machine
from pocketlm.search.facts import Facts
from pocketlm.search.space import check_in_space
from pocketlm.search.warm import AMOUNTS, SAME


def by_family(found):
    return {one["family"]: one for one in found["prospects"]}


def test_few_rows_without_a_teacher_are_for_linear_ngrams(csv_file):
    found = advise(str(csv_file), text="text", label="category", max_size="50kB", max_latency="5ms")
    own = by_family(found)
    assert found["advised"] == "linear" and found["teacher"] is None
    assert own["linear"]["fits"] and own["linear"]["size_bytes"][1] <= 50_000
    assert "fewer than 3,000 texts" in own["bag"]["why"] and not own["bag"]["fits"]
    low, middle, high = own["linear"]["latency_ms"]
    off = this_machine().error
    assert (low, high) == pytest.approx(((1 - off) * middle, (1 + off) * middle))
    assert any("without --teacher" in one for one in found["reasons"])


def test_a_teacher_opens_other_families(csv_file, teacher_folder):
    settings = {"text": "text", "label": "category", "few_shot": "none"}
    found = advise(str(csv_file), teacher=str(teacher_folder), teacher_anyway=True, max_size="1MB", **settings)
    own = by_family(found)
    assert found["teacher"] == str(teacher_folder)
    assert all(own[family]["fits"] for family in ("linear", "bag", "static", "convnet", "transformer"))
    assert any("2 layers, each about" in one for one in found["reasons"])
    tight = advise(str(csv_file), teacher=str(teacher_folder), teacher_anyway=True, max_size="20kB", **settings)
    assert "no room in 20 kB" in by_family(tight)["convnet"]["why"]


def test_what_is_too_slow_is_said_and_not_advised(csv_file):
    found = advise(str(csv_file), text="text", label="category", max_latency="1us")
    assert found["advised"] is None
    assert "over 0.001 ms" in by_family(found)["linear"]["why"]
    assert "search.family" not in found["command"]


def test_studies_decide_and_widen_ranges(csv_file, teacher_folder, monkeypatch):
    seen = []

    def cases():
        job = {**dict.fromkeys((*SAME, *AMOUNTS)), **seen[0]} if seen else {}
        tried = {"bag": Tried(0.8, True, 0.9, 3.0), "convnet": Tried(0.9, True, 1.0, 1.0)}
        return [Case("like", "like", job, tuple(tried), tried, (0.92, 0.9, 0.8), 1.0)]

    described = advising.described
    monkeypatch.setattr(advising, "described", lambda *some: seen.append(described(*some)) or seen[0])
    monkeypatch.setattr(advising, "known_cases", cases)
    job = Job(
        str(csv_file), text="text", label="category", few_shot="none", teacher=str(teacher_folder), teacher_anyway=True,
        max_size="1MB",
    )  # fmt: skip
    advise(job)
    found = advise(job)
    own = by_family(found)
    assert found["advised"] == "convnet" and found["known"]
    assert own["bag"]["latency_ms"][2] == pytest.approx(3 * own["bag"]["latency_ms"][1])
    assert own["bag"]["size_bytes"][0] == pytest.approx(0.9 * own["bag"]["size_bytes"][1])
    assert own["bag"]["expectation"]["loss"] == pytest.approx(0.12)
    assert own["linear"]["expectation"] is None and own["linear"]["otherwise"] is None
    assert own["bag"]["otherwise"] is None
    asked = by_family(advise(job, min_quality="85%"))
    assert asked["bag"]["why"].startswith(advising.ABOUT["bag"] + "; its rules of thumb had 80.0% of the teacher's")
    assert asked["bag"]["why"].endswith("85.0% is asked for")
    assert "asked for" not in asked["convnet"]["why"]


def test_where_no_study_is_alike_others_say_how_wide_ranges_are(csv_file, monkeypatch, capsys):
    job = {**dict.fromkeys((*SAME, *AMOUNTS)), "task": "tagging"}
    tried = {"linear": Tried(0.8, True, 0.5, 2.0)}
    monkeypatch.setattr(advising, "known_cases", lambda: [Case("other", "other", job, ("linear",), tried, (0.9, 0.8))])
    found = advise(Job(str(csv_file), text="text", label="category", max_size="50kB"))
    own = by_family(found)["linear"]
    assert own["expectation"] is None and own["otherwise"]["high"] == pytest.approx(0.1) and not found["known"]
    assert own["size_bytes"][0] == pytest.approx(0.5 * own["size_bytes"][1])
    assert _quality(own, taught=True) == "no study is like this one; of others: 10.0 points below the best in 1 study"


def test_what_studies_tell_is_said_in_few_words():
    about = {"met": 2, "cases": 3, "low": 0.0, "high": 0.0501, "kept": (0.9, 0.95)}
    missed = "in 2 studies of 3, the other missed the budget"
    assert _points(about, taught=False) == f"0.0 to 5.0 points below the best {missed}"
    told = ", with 90.0% to 95.0% of the teacher's quality"
    assert _points(about, taught=True) == f"0.0 to 5.0 points below the best{told} {missed}"
    assert _points({**about, "cases": 4}, taught=False).endswith("in 2 studies of 4, the others missed the budget")
    assert _points({**about, "met": 3, "high": 0.0001, "kept": (0.9, 0.9)}, taught=True) == (
        "the best, or within 0.1 points of it, with 90.0% of the teacher's quality in 3 studies"
    )
    assert _points({**about, "met": 0, "cases": 1, "low": None, "high": None}, taught=True) == (
        "kept to the budget in none of 1 study"
    )


def test_memory_of_ngrams_is_not_that_of_graphs(csv_file, teacher_folder):
    job = Job(
        str(csv_file), text="text", label="category", few_shot="none", teacher=str(teacher_folder), teacher_anyway=True,
        max_memory="50MB",
    )  # fmt: skip
    own = by_family(advise(job))
    assert own["bag"]["fits"] and not own["convnet"]["fits"], "40 MB and 60 MB, by the machine of these tests"
    assert "with the runtime it takes" in own["convnet"]["why"]


def test_another_machine_is_what_is_estimated(csv_file, tmp_path, monkeypatch):
    monkeypatch.setattr("pocketlm.search.grams.MOST_WORDS", 0)  # so few texts fill no table
    board = this_machine()
    slow = {unit: 10 * one for unit, one in board.microseconds.items()}
    file = tmp_path / "board.yaml"
    file.write_text(type(board)("board", slow, runtime_bytes=1, flash=30_000).to_yaml(), "utf-8")
    settings = {"text": "text", "label": "category", "max_latency": "5ms"}
    here = by_family(advise(str(csv_file), **settings))["linear"]
    there = advise(str(csv_file), device=str(file), **settings)
    assert there["device"] == "board"
    own = by_family(there)["linear"]
    assert own["latency_ms"][1] == pytest.approx(10 * here["latency_ms"][1])
    assert "over 30 kB" in own["why"], "its flash says what is met, as in a fit, and not what students are filled to"
    assert by_family(advise(str(csv_file), device=str(file), max_size="25kB", **settings))["linear"]["fits"]
    assert "of memory at least" in by_family(advise(str(csv_file), max_memory="11MB", **settings))["linear"]["why"]


def test_the_command_says_what_the_job_says():
    job = Job(
        "a b.csv", max_size="1MB", floor=("recall[on]>=0.8", "recall[off]>=0.8"), refit=False, force=True, trials=4,
        set=("quantize.bits=4,8", "search.family=bag,linear"),
    )  # fmt: skip
    words = shlex.split(command_of(job, ["quantize.bits=4,8", "search.family=bag"]))
    assert words[:3] == ["pocketlm", "fit", "a b.csv"]
    assert words.count("--floor") == 2 and "--no-refit" in words and "--force" in words
    assert words[-4:] == ["--set", "quantize.bits=4,8", "--set", "search.family=bag"]
    known = fit_command.__annotations__
    flags = {one.removeprefix("--no-").removeprefix("--").replace("-", "_") for one in words if one.startswith("--")}
    assert all(one in known or f"{one}_" in known for one in flags)


def test_the_command_holds_whether_or_not_the_teacher_is_heard(csv_file, teacher_folder):
    job = Job(
        str(csv_file), text="text", label="category", few_shot="none", teacher=str(teacher_folder), teacher_anyway=True,
        max_size="1MB", set=("small-transformer.depth=2", "quantize.bits=4"),
    )  # fmt: skip
    assert advise(job)["advised"] == "transformer"
    found = advise(job, max_size="20kB")
    assert found["advised"] == "bag", "nothing else has room"
    words = shlex.split(found["command"])
    asked = [words[place + 1] for place, one in enumerate(words) if one == "--set"]
    assert asked == ["quantize.bits=4", "search.family=bag,linear"], "a bag has no depth, and linear needs no teacher"
    for taught in (True, False):
        facts = Facts(120, 3, False, 100, 32, 2, 4, 64, single=True, taught=taught, encoder=True)
        assert check_in_space(asked, facts)
    given = ("search.family=transformer,linear", "small-transformer.depth=6")
    alone = replace(job, teacher=None, teacher_anyway=False, set=given)
    told = by_family(advise(alone))["transformer"]["why"]
    assert "cannot be what it says" in told, "it is named, and two layers are no six"
    narrowed = advise(job, set=("search.family=bag",))
    assert "is not among those that --set names" in by_family(narrowed)["static"]["why"]


@pytest.mark.parametrize(("taught", "names"), [(True, "transformer,linear,allocated"), (False, "transformer")])
def test_a_transformer_is_advised_with_the_proposal_of_its_teachers_parts(taught, names):
    facts = Facts(120, 3, False, 100, 32, 2, 4, 64, single=True, taught=taught, encoder=True)
    words = shlex.split(advising._command(Job("a.csv", max_size="1MB"), "transformer", facts))
    assert words[-1] == f"search.family={names}" and check_in_space(words[-1:], facts)


def test_models_that_write_are_asked_about_themselves(tmp_path):
    words = [f"{number * 7919 % 10_007}" for number in range(9_000)]
    lines = (" ".join(words[place : place + 10]) for place in range(0, len(words), 10))
    (tmp_path / "text.txt").write_text("\n".join(lines), "utf-8")
    with pytest.raises(RecipeError, match="advise MODEL"):
        advise(str(tmp_path / "text.txt"), task="generation", max_size="1MB")
