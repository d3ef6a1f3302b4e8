"""pocketlm label on the command line: a session through a pipe, a replay, a page, and errors in one line."""

import io
import json

import pytest
from labelling.made_rows import made_rows

from pocketlm.cli.main import main
from pocketlm.labelling.terminal import pick

ROWS = made_rows(80)


@pytest.fixture
def run(capsys, monkeypatch):
    """run(typed lines, "label", …) is (exit code, stdout, stderr)."""

    def command(typed, *arguments):
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(line + "\n" for line in typed)))
        with pytest.raises(SystemExit) as stop:
            main(["label", *(str(one) for one in arguments)])
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err

    return command


@pytest.fixture
def texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(text for text, _ in ROWS), "utf-8")
    return path


def labels(folder):
    return [json.loads(line) for line in (folder / "labels.jsonl").read_text("utf-8").splitlines()]


def test_a_session_through_a_pipe(run, texts, tmp_path):
    before = texts.read_bytes()
    typed = ["h", "1", "ra", "+a new one", "u", "?", "s", "nothing", "3", "c", "q"]
    code, out, err = run(typed, texts, "--labels", "card,rate,باقة")
    assert code == 0, err
    assert [one["label"] for one in labels(tmp_path)] == ["card", "rate", "باقة"]
    assert "there is no label 'nothing'" in out and "1 card  2 rate  3 باقة" in out
    assert "3 rows labelled" in err and "next: pocketlm fit labels.jsonl" in err
    assert json.loads((tmp_path / "labels.unsure.jsonl").read_text("utf-8"))["label"] == ""
    code, _, err = run(["2"], texts, "--json")  # the input ends: a pipe's Ctrl-D
    assert code == 0 and len(labels(tmp_path)) == 4
    assert texts.read_bytes() == before


def test_json_holds_the_curve_and_stdout_nothing_else(run, texts):
    code, out, err = run(["1", "2", "3"] * 18, texts, "--labels", "card,rate,other", "--json", "--batch", 20)
    assert code == 0
    result = json.loads(out)
    assert sum(result["train"].values()) + sum(result["held_out"].values()) == 54
    assert result["curve"]["held_out"] == sum(result["held_out"].values()) > 5
    assert result["curve"]["points"][-1]["rows"] == sum(result["train"].values())
    assert "accuracy on" in err


def test_the_review_at_the_end_changes_what_is_wrong(run, texts, tmp_path):
    gold = dict(ROWS)
    typed = ["+card", "+rate", "+باقة"]
    run(typed, texts, "--held-out", 0)
    rows = [
        {**row, "label": gold[row["text"]], "split": "train"} for row in map(dict, (one for one in labels(tmp_path)))
    ]
    rows += [
        {"text": text, "label": label, "split": "train"}
        for text, label in ROWS[:60]
        if text not in {r["text"] for r in rows}
    ]
    wrong = next(row for row in rows if row["label"] == "card")
    wrong["label"] = "rate"
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    code, out, _ = run(["q", "card"], texts, "--held-out", 0)
    assert code == 0 and "labels to look at again" in out and "given: rate; expected: card" in out
    assert {row["text"]: row["label"] for row in labels(tmp_path)}[wrong["text"]] == "card"


def test_a_replay_beside_random(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "rows.csv"
    data.write_text("text,category\n" + "".join(f"{text},{label}\n" for text, label in made_rows(120)), "utf-8")
    code, out, err = run([], data, "--simulate", "--rows", 20, "--seeds", 1)
    assert code == 0, err
    assert out.splitlines()[1].split() == ["rows", "mixed", "random"]
    assert "mixed over random, the whole curve: " in out and "seed 1" in err
    code, out, _ = run([], data, "--simulate", "--rows", 20, "--seeds", 1, "--strategy", "margin", "--json")
    assert set(json.loads(out)["curves"]) == {"margin", "random"}
    assert not (tmp_path / "labels.jsonl").exists()


def test_the_page_is_served_to_this_machine_alone(run, texts, monkeypatch):
    served = {}
    monkeypatch.setattr("pocketlm.serve.server.serve_app", lambda app, door: served.update(at=door.getsockname()[0]))
    code, _, err = run([], texts, "--page", "--labels", "a,b")
    assert code == 0 and served["at"] == "127.0.0.1"
    assert "label at http://127.0.0.1:" in err and "/#" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("missing.txt",), "no such file"),
        (("texts.txt", "--strategy", "margins"), "Did you mean 'margin'"),
        (("texts.txt", "-o", "labels.csv"), "as .jsonl"),
        (("texts.txt", "--model", "none.pocket"), "none.pocket"),
        (("texts.txt", "--teacher", "./none"), "no such model folder"),
        (("texts.txt", "--from", "none.csv"), "none.csv: no such file"),
        (("rows.csv", "--text", "txet"), "Did you mean 'text'"),
        (("rows.csv", "--simulate", "--rows", "999"), "too few"),
    ],
)
def test_errors_are_one_line(run, texts, tmp_path, arguments, said):
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"{text},{one}\n" for text, one in ROWS), "utf-8")
    code, out, err = run([], *arguments)
    assert code == 2 and out == "" and said in err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_labels_are_picked_however_their_marks_are_written():
    assert pick("i\u0300lera", ["\u00eclera", "er\u00e9"]) == "\u00eclera"


def test_labels_are_picked_by_number_name_or_beginning():
    names = ["card", "carrot", "rate", "2"]
    assert [pick(word, names) for word in ("1", "card", "ra", "car", "2", "9", "")] == [
        "card", "card", "rate", None, "2", None, None,
    ]  # fmt: skip
