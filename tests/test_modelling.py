"""Text and a language model go through `fit` to a Pocket that writes, with its report, and what cannot is told."""

import json
import random

import pytest

import pocketlm
from pocketlm.cli.main import main
from pocketlm.pocket.format import read_pocket

ROOM = 28_000


@pytest.fixture(scope="module")
def text(understanding_rows, tmp_path_factory):
    """Sentences in such an order that no passage stands there twice."""
    drawn = random.Random(0)
    lines = [" ".join(one["text"] for one in drawn.sample(understanding_rows, 5)) for _ in range(80)]
    path = tmp_path_factory.mktemp("text") / "lamps.txt"
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.fixture(scope="module")
def folder(teacher_folder, tmp_path_factory):
    """A Llama of four blocks."""
    from families import make_family
    from transformers import AutoTokenizer

    path = tmp_path_factory.mktemp("llama")
    return make_family("llama", path, AutoTokenizer.from_pretrained(teacher_folder), num_hidden_layers=4)


def fit(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *map(str, arguments), "--json"])
    said = capsys.readouterr()
    return stopped.value.code, json.loads(said.out) if said.out else None, said.err


@pytest.fixture(scope="module")
def asked(text, folder, tmp_path_factory):
    """What the command is given, and where it writes."""
    where = tmp_path_factory.mktemp("fit")
    words = [text, "--task", "generation", "--teacher", folder, "--max-length", 16, "--time-limit", "1s"]
    return [*words, "--work", where / "work"], where


@pytest.fixture(scope="module")
def fitted(asked):
    words, where = asked
    job = dict(zip((one.strip("-").replace("-", "_") for one in words[1::2]), words[2::2], strict=True))
    job = {name: one if isinstance(one, int) else str(one) for name, one in job.items()}
    return pocketlm.fit(str(words[0]), **job, max_size=f"{ROOM}B", output=str(where / "a.pocket"))


def test_a_size_that_the_teacher_has_not_makes_a_shallower_or_narrower_student(fitted):
    data = fitted.data
    assert fitted.met and fitted.pocket.stat().st_size <= ROOM
    assert data["chosen"]["measurement"]["size_bytes"] == fitted.pocket.stat().st_size
    assert [one["status"] for one in data["candidates"][:2]] == ["skipped", "skipped"]
    assert "of 4 blocks" in data["chosen"]["name"] or "narrower" in data["chosen"]["name"]
    first = data["chosen"]["passes"][0]  # which cut loses least may differ with the order of sums
    assert first["parameters_after"] < first["parameters_before"]
    assert set(pocketlm.load(fitted.pocket).predict("turn on the")) == {"generated", "tokens", "finish"}


def test_the_result_tells_the_teachers_figures_and_how_far_the_students_are(fitted):
    data = fitted.data
    systems = data["chosen"]["against_teacher"]["systems"]
    assert (data["task"], data["main_metric"], data["status"]) == ("generation", "bits_per_byte", "met")
    for name in ("perplexity", "bits_per_byte"):
        student = data["chosen"]["test"]["metrics"][name]["value"]
        teacher = data["teacher"]["quality"]["test"][name]
        assert systems["student"][name]["value"] == pytest.approx(student, rel=1e-5)
        assert systems["student"][name]["difference"] == pytest.approx(student - teacher, rel=1e-4)
        assert systems["teacher"][name]["difference"] == 0
    json.dumps(data)
    page = fitted.report.read_text("utf-8")
    assert "bits per byte, student less teacher" in page and "≤" in page


def test_the_pocket_says_where_it_came_from(fitted, folder):
    manifest = read_pocket(fitted.pocket).manifest
    assert manifest["provenance"]["teacher"]["name"] == folder.name
    assert manifest["quality"]["test"]["metrics"] == fitted.data["chosen"]["test"]["metrics"]
    assert [one["pass"] for one in manifest["provenance"]["recipe"]][-1] == "pack"


def test_the_same_command_makes_the_same_bytes_of_what_is_remembered(asked, fitted, capsys):
    words, where = asked
    before = {path: path.stat().st_mtime_ns for path in (where / "work").rglob("result.json")}
    code, found, _ = fit(capsys, *words, "--max-size", f"{ROOM}B", "-o", where / "b.pocket")
    assert code == 0 and found["verdict"]["met"]
    assert (where / "b.pocket").read_bytes() == fitted.pocket.read_bytes()
    assert {path: path.stat().st_mtime_ns for path in (where / "work").rglob("result.json")} == before


def test_a_size_out_of_reach_is_told_and_nothing_is_trained(asked, fitted, capsys):
    words, where = asked
    before = sorted((where / "work").iterdir())
    code, found, err = fit(capsys, *words, "--max-size", "6kB", "-o", where / "c.pocket")
    assert code == 3 and found["status"] == "missed" and found["chosen"] is None
    assert "the smallest that keeps the teacher's" in err and err.count("\n") == 1
    assert not (where / "c.pocket").exists() and (where / "c.report.html").exists()
    assert sorted((where / "work").iterdir()) == before


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"--teacher": None}, "generation needs --teacher: a causal language model"),
        ({"--teacher": "bert"}, "does not write on from a text; give a causal language model"),
        ({"--max-length": 60}, "tokens, fewer than one window of 60; give more text, or a shorter window"),
        ({"--test": "text"}, "share a passage with test"),
        ({"--label": "intent"}, "--label is not for generation"),
        ({"--min-quality": "bits_per_byte>=0.9"}, "bits_per_byte is better the lower; write bits_per_byte<=0.9"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(asked, text, folder, family_folder, capsys, tmp_path, changes, why):
    short = tmp_path / "short.txt"
    short.write_text("\n".join(text.read_text("utf-8").split("\n")[:24]), "utf-8")
    given = {"--task": "generation", "--teacher": folder, "--max-length": 16, "--max-size": "6kB", **changes}
    given = {name: {"bert": family_folder("bert"), "text": short}.get(one, one) for name, one in given.items()}
    options = [word for name, one in given.items() if one is not None for word in (name, one)]
    capsys.readouterr()
    code, found, err = fit(capsys, short, *options, "-o", tmp_path / "a.pocket")
    assert (code, found) == (2, None) and why in err and err.count("\n") == 1
    assert not (tmp_path / "a.pocket").exists()
