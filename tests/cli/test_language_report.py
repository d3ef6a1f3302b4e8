import json

import pytest

from pocketlm.cli.main import main


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["language-report", *words])
    return stop.value.code, *capsys.readouterr()


def test_a_table_for_people_and_one_document_for_programs(tmp_path, teacher_folder, capsys):
    text = tmp_path / "text.txt"
    text.write_text("turn on the lamp\nturn on the lamp\ndim the zebra\u200b hall\n", "utf-8")
    code, out, err = run(capsys, str(text), "--tokenizer", str(teacher_folder), "--language", "eng")
    assert (code, out) == (0, "")
    assert "English by what you say" in err and "looks like      none that is known for sure" in err
    assert "Latn 100.0%" in err and "1 exact, 0 near" in err and "a word" in err
    assert "1 rows repeat another one" in err and "1 zero-width space" in err
    code, out, err = run(capsys, str(text), "--tokenizer", str(teacher_folder), "--json")
    found = json.loads(out)
    assert code == 0 and found["rows"] == 3 and found["tokenizer"]["a_word"] >= 1
    assert found["invisible"] == {"zero-width space": 1}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing.txt",), "nothing.txt: no such file"),
        (("text.csv", "--language", "swahilli"), "Did you mean 'swahili'?"),
        (("text.csv", "--tokenizer", "nowhere"), "tokenizer nowhere: has no tokenizer.json"),
        (("numbers.txt",), "the text has no letters"),
        (("empty.txt",), "empty.txt: has no text"),
        (("text.csv", "--compare", "empty.txt"), "empty.txt: has no text"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.csv").write_text("text\nwasha taa\n", "utf-8")
    (tmp_path / "numbers.txt").write_text("123\n", "utf-8")
    (tmp_path / "empty.txt").write_text("\n", "utf-8")
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert said in err and err.count("\n") == 1


def test_the_column_that_looks_like_text_is_read(tmp_path, capsys):
    text = tmp_path / "rows.csv"
    text.write_text(
        "".join(["label,sentence\n", *(f"on,washa taa ya {place}\n" for place in ("jiko", "ukumbi"))]), "utf-8"
    )
    code, out, _ = run(capsys, str(text), "--json")
    assert code == 0 and json.loads(out)["words"] == 8


def test_other_languages_are_compared_and_a_model_is_asked(tmp_path, teacher_folder, capsys):
    for name, line in {
        "own": "turn on the lamp in the {} hall",
        "kin": "turn on a lamp in {}",
        "far": "washa taa {}",
    }.items():
        words = ("red", "green", "blue", "white", "kitchen", "attic", "office", "garage", "hall", "bedroom", "lamp")
        (tmp_path / f"{name}.txt").write_text("".join(line.format(word) + "\n" for word in words), "utf-8")
    own, kin, far = (str(tmp_path / f"{name}.txt") for name in ("own", "kin", "far"))
    words = (own, "--compare", far, "--compare", kin, "--teacher", str(teacher_folder))
    code, out, _ = run(capsys, *words, "--json")
    found = json.loads(out)
    assert code == 0 and [one["source"] for one in found["compared"]] == [kin, far]
    first = found["compared"][0]
    assert first["words"] > 0.5 > found["compared"][1]["words"] and first["meaning"] is not None
    assert found["coverage"]["asked"] == 11 and not found["coverage"]["by_labels"]
    code, out, err = run(capsys, *words)
    assert (code, out) == (0, "") and "nearest first" in err and "the model " in err
