"""`pocketlm advise` as a user meets it."""

import json

import pytest

from pocketlm.cli.main import main


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in ("advise", *words)])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def test_data_is_advised_about(csv_file, capsys):
    words = [csv_file, "--text", "text", "--label", "category", "--max-size", "50kB"]
    code, out, err = run(capsys, *words)
    assert code == 0, err
    lines = out.splitlines()
    assert "no teacher" in lines[0]
    assert any(line.startswith("* linear (linear n-grams") for line in lines)
    assert any(line.startswith("advised: linear") for line in lines)
    assert any("more than one kind to choose from" in line for line in lines)
    said = next(line for line in lines if line.startswith("run: ")).removeprefix("run: ")
    assert said == f"pocketlm fit {csv_file} --text text --label category --max-size 50kB --set search.family=linear"
    code, out, _ = run(capsys, *words, "--json")
    assert code == 0 and json.loads(out)["command"] == said


def test_a_model_is_advised_about(teacher_folder, capsys):
    code, out, err = run(capsys, teacher_folder, "--max-size", "60kB")
    assert code == 0, err
    lines = out.splitlines()
    assert "BertModel" in lines[0] and lines[1].startswith("bytes: ")
    assert any(line.startswith(f"run: pocketlm compress {teacher_folder} --target-size 60kB") for line in lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--floor", "recall[on]>=0.8"], "--floor is for data"),
        (["--max-size", "12 parsecs"], "12 parsecs"),
        (["--device", "none.yaml"], "none.yaml: no such file"),
    ],
)
def test_what_is_wrong_for_a_model_is_one_line(teacher_folder, capsys, words, said):
    code, out, err = run(capsys, teacher_folder, *words)
    assert code == 2 and out == "" and said in err


def test_what_is_wrong_for_data_is_one_line(csv_file, capsys):
    words = [csv_file, "--text", "text", "--label", "category"]
    assert "is for a model" in run(capsys, *words, "--calibration", "x.txt")[2]
    code, _, err = run(capsys, *words, "--set", "search.family=bog")
    assert code == 2 and "bag" in err
    assert run(capsys, "no-such.csv", "--max-size", "1MB")[0] == 2
    assert "--as data or --as model" in run(capsys, "bert-base-uncased")[2]
    assert "none of data, model" in run(capsys, "bert-base-uncased", "--as", "modle")[2]
