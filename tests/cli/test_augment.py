"""pocketlm augment on the command line: the table, JSON, the file, and errors in one line."""

import json

import numpy as np
import pytest

from pocketlm.cli.main import main
from pocketlm.data.sound import write_wav


@pytest.fixture
def run(capsys):
    """run("augment", …) is (exit code, stdout, stderr)."""

    def command(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(one) for one in arguments])
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err

    return command


@pytest.fixture
def refused(run):
    def command(*arguments):
        code, out, err = run(*arguments)
        assert (code, out) == (2, ""), err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    return command


def test_the_table_and_the_file(quick_gains, run, csv_file, tmp_path):
    out = tmp_path / "more.csv"
    arguments = ("augment", csv_file, "--text", "text", "--label", "category", "--seeds", 1, "--folds", 2)
    code, said, err = run(*arguments, "--try", "aeda,noise", "-o", out)
    assert code == 0, err
    assert "accuracy of n-grams without new rows: " in said
    assert "aeda" in said and "95 % interval" in said
    assert f"wrote {out}: " in err
    assert out.read_text("utf-8").startswith("text,category,augmented,split\n")


def test_json_and_no_silent_overwriting(run, refused, csv_file, tmp_path):
    out = tmp_path / "more.jsonl"
    arguments = ("augment", csv_file, "--text", "text", "--label", "category", "--method", "noise", "-o", out)
    code, said, err = run(*arguments, "--json")
    assert code == 0, err
    result = json.loads(said)
    assert result["written"] == ["noise"] and result["new_rows"] > 0
    assert "--force" in refused(*arguments)
    code, said, err = run(*arguments, "--force", "--quiet")
    assert (code, said, err) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--try all"),
        (("--method", "noise"), "-o"),
        (("--method", "nosie", "-o", "x.jsonl"), "Did you mean 'noise'"),
        (("--method", "masked-lm", "-o", "x.jsonl"), "--model NAME"),
        (("--method", "code-switch", "--lexicon", "no.tsv", "-o", "x.jsonl"), "no such lexicon"),
        (("--method", "slot-substitution", "-o", "x.jsonl"), "no slots"),
        (("--method", "orthography", "-o", "x.jsonl"), "--language"),
        (("--method", "noise", "--language", "yoruva", "-o", "x.jsonl"), "Did you mean 'yoruba'?"),
        (("--method", "noise", "--teacher", "BARE", "-o", "x.jsonl"), "the folder has no tokenizer"),
        (("--method", "noise", "-o", "x.parquet"), "unknown ending"),
        (("--try", "all", "--folds", 1), "folds"),
        (("--try", "all", "--confidence", 2), "confidence"),
        (("--try", "all", "--dev", "EMPTY"), "is empty"),
        (("--try", "generate", "--model", "./none"), "no such model folder"),
    ],
)
def test_wrong_input_is_said_in_one_line(refused, csv_file, tmp_path, arguments, said):
    empty = tmp_path / "empty.csv"
    empty.write_text("", "utf-8")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text('{"model_type": "bert"}', "utf-8")
    files = {"EMPTY": empty, "BARE": tmp_path / "bare"}
    given = [files.get(one, one) for one in arguments]
    assert said in refused("augment", csv_file, "--text", "text", "--label", "category", *given)


def test_tags_that_would_move_are_refused(refused, jsonl_file):
    err = refused("augment", jsonl_file, "--method", "back-translation", "--there", "a", "--back", "b", "-o", "x.jsonl")
    assert "slots and tags" in err


def test_a_folder_of_speech(run, refused, tmp_path):
    folder = tmp_path / "speech"
    folder.mkdir()
    write_wav(folder / "a.wav", np.sin(np.arange(800, dtype=np.float32)), 8000)
    code, said, _ = run("augment", folder, "--method", "speed", "-o", tmp_path / "more")
    assert code == 0 and "2 new sounds of 1 by speed" in said
    out = json.loads(run("augment", folder, "--method", "noise", "-o", tmp_path / "other", "--json")[1])
    assert out["new_files"] == 2 and (tmp_path / "other" / "augmented.tsv").is_file()
    assert "--method speed" in refused("augment", folder, "--try", "all")
    assert "unknown sound augmenter 'eda'" in refused("augment", folder, "--method", "eda", "-o", tmp_path / "x")
