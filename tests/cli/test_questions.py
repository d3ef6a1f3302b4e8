"""A Pocket that answers questions, on the command line and over HTTP."""

import json
import os
import subprocess
import sys

import pytest
from helpers import make_context, write_exported
from starlette.testclient import TestClient

from pocketlm.export.pocket import export
from pocketlm.runtime.load import load
from pocketlm.serve.app import make_app
from pocketlm.students.passes import STUDENT_PASSES


def run(*arguments, stdin=""):
    done = subprocess.run(
        [sys.executable, "-m", "pocketlm.cli.main", *map(str, arguments)],
        input=stdin, capture_output=True, text=True, encoding="utf-8", env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


ASKED = {"question": "which room", "context": "turn off the blue garage lamp"}


@pytest.fixture(scope="module")
def pocket(questions_file, teacher_folder, tmp_path_factory):
    context = make_context(questions_file, teacher_folder, tmp_path_factory.mktemp("work"))
    model = STUDENT_PASSES["small-transformer"](depth=2, heads=4, ffn=64, rank=32)(None, context)
    exported = export(model, context)
    return write_exported(context, exported, tmp_path_factory.mktemp("pocket") / "q.pocket")


def test_run_answers_one_question_or_lines(pocket):
    code, out, err = run("run", pocket, "--question", ASKED["question"], "--context", ASKED["context"])
    assert code == 0, err
    one = json.loads(out)
    assert ASKED["context"][one["start"] : one["end"]] == one["answer"] != ""
    code, out, err = run("run", pocket, stdin=json.dumps({"id": 7, **ASKED}) + "\n")
    assert code == 0, err
    assert json.loads(out) == {"id": 7, **ASKED, **one}


@pytest.mark.parametrize(
    ("options", "line", "said"),
    [
        (["--question", "who"], "", "--question and --context go together"),
        (["--question", "who", "--context", " "], "", "--question, --context: the context is empty"),
        ([], '{"question": "who", "context": ""}', "stdin, line 1: the context is empty"),
        ([], "just text", 'a question is an object with "question" and "context"'),
        (["--question", "turn on the red lamp " * 9, "--context", "x"], "", "longer than the window of 32"),
    ],
)
def test_wrong_questions_are_one_line(pocket, options, line, said):
    code, out, err = run("run", pocket, *options, stdin=line)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_evaluate_says_how_it_counts(pocket, questions_file, tmp_path):
    code, out, err = run("evaluate", pocket, questions_file, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert {"exact_match", "f1", "has_answer_f1", "no_answer_accuracy"} <= set(found)
    assert "SQuAD 2" in found["signatures"]["f1"]
    bare = tmp_path / "bare.jsonl"
    bare.write_text(json.dumps(ASKED) + "\n", "utf-8")
    code, _, err = run("evaluate", pocket, bare)
    assert code == 2
    assert "no column of answers" in err


def test_bench_times_questions(pocket, questions_file):
    code, out, err = run("bench", pocket, "--data", questions_file, "--json")
    assert code == 0, err
    assert json.loads(out)["texts"] > 100


def test_over_http(pocket):
    client = TestClient(make_app(load(pocket)))
    one = client.post("/predict", json=ASKED).json()
    assert one["context"][one["start"] : one["end"]] == one["answer"]
    many = client.post("/predict", json={"texts": [ASKED, ASKED]}).json()
    assert [said["answer"] for said in many] == [one["answer"]] * 2
    assert client.post("/predict", json={"texts": [{"question": "who"}]}).status_code == 400
    assert client.post("/predict", json="a text").status_code == 400


def test_questions_need_a_teacher(questions_file, tmp_path):
    code, _, err = run("fit", questions_file, "-o", tmp_path / "q.pocket")
    assert code == 2
    assert "question answering needs a teacher" in err
    assert not list(tmp_path.glob("*.pocket"))
