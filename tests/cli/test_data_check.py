import json

import pytest

from pocketlm.cli.main import main

ROWS = "text,label\nTurn on the lamp,on\nturn off the lamp,off\nTurn on the lamp,off\nturn the radio on,On\n,on\n"


@pytest.fixture
def file(tmp_path):
    (tmp_path / "rows.csv").write_text(ROWS, "utf-8")
    return tmp_path / "rows.csv"


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["data", "check", *map(str, words)])
    return stop.value.code, *capsys.readouterr()


def test_findings_for_people_go_to_stdout(file, capsys):
    code, out, err = run(capsys, file)
    assert code == 0 and "checking wrong labels" in err
    lines = out.splitlines()
    assert lines[0] == f"{file}: 4 train rows" and lines[-1].startswith("3 errors")
    assert "error    contradiction: 2 rows of 1 text with different answers; 1 cannot be right" in lines
    assert "         train row 3 ('off'; train row 1 says 'on'): Turn on the lamp" in lines
    assert "         train row 5" in lines and "         mend: write 'on' throughout" in lines


def test_one_document_for_programs_and_exit_codes(file, capsys):
    code, out, err = run(capsys, file, "--json", "--strict")
    said = json.loads(out)
    assert (code, err) == (1, "")
    assert said["grades"]["error"] == 3 and said["fix"] is None
    assert {"check", "grade", "rows", "said", "mend", "examples", "figures"} == set(said["findings"][0])
    file.write_text("text,label\nturn on the lamp,on\nstop the radio,off\n", "utf-8")
    assert run(capsys, file, "--json", "--strict")[0] == 0


def test_fix_writes_a_file_once(file, tmp_path, capsys):
    fixed = tmp_path / "fixed.jsonl"
    code, out, err = run(capsys, file, "--quiet", "--fix", fixed)
    assert code == 0 and f"wrote {fixed}" in err and "1 labels respelled" in err
    rows = [json.loads(line) for line in fixed.read_text("utf-8").splitlines()]
    assert [(row["label"], row["split"]) for row in rows] == [("off", "train"), ("on", "train")]
    code, out, err = run(capsys, file, "--fix", fixed)
    assert (code, out) == (2, "") and "--force" in err
    assert run(capsys, file, "--fix", tmp_path / "fixed.xlsx")[0] == 2
    assert json.loads(run(capsys, file, "--json", "--force", "--fix", fixed)[1])["fix"]["done"]["labels respelled"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing.csv",), "nothing.csv: no such file"),
        (("rows.csv", "--label", "lable"), "there is no column 'lable'; there is text, label. Did you mean 'label'?"),
        (("rows.csv", "--language", "yoruuba"), "Did you mean 'yoruba'?"),
        (("rows.csv", "--dev", "empty.csv"), "empty.csv: has no rows"),
        (("rows.csv", "--dev", "other.csv"), "rows.csv (dev): has no column 'label'; it has text, lable."),
    ],
)
def test_wrong_input_is_one_line(file, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.csv").write_text("text,label\n", "utf-8")
    (tmp_path / "other.csv").write_text("text,lable\nlamp,on\n", "utf-8")
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert said in err and err.count("error:") == 1


def test_a_group_without_a_command_shows_its_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["data"])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and "write" in err and "check" in err and "error:" not in err
