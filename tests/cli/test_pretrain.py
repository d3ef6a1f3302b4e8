"""pocketlm pretrain on the command line: the table, JSON, the folder, and errors in one line."""

import json

import pytest

from pocketlm.cli.main import main

SMALL = ("--width", 32, "--blocks", 1, "--pieces", 300, "--time-limit", "none", "--epochs", 1)


@pytest.fixture
def run(capsys):
    """run("pretrain", …) is (exit code, stdout, stderr)."""

    def command(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(one) for one in arguments])
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err

    return command


@pytest.fixture
def text(tmp_path, understanding_rows):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(row["text"] for row in understanding_rows), "utf-8")
    return path


def test_the_table_then_json_and_no_silent_overwriting(run, text, tmp_path):
    out = tmp_path / "made"
    code, said, err = run("pretrain", text, "-o", out, *SMALL)
    assert code == 0, err
    assert "bits per byte" in said and {"model", "lzma"} <= {line.split(" ")[0] for line in said.splitlines()}
    assert f"wrote {out}: " in err and "split off training" in err
    code, said, err = run("pretrain", text, "-o", out, *SMALL)
    assert code == 2 and "--force" in err and err.count("\n") == 1
    code, said, err = run("pretrain", text, "-o", out, *SMALL, "--force", "--json")
    assert code == 0, err
    assert json.loads(said)["dev"]["model"]["value"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--kind", "both"), "kind is one of causal, masked"),
        (("--vocabulary", "keep"), "need --base"),
        (("--base", "./none"), "no such model folder"),
        (("--time-limit", "soon"), "soon"),
        (("--dev", "no.txt"), "no such file"),
    ],
)
def test_wrong_input_is_said_in_one_line(run, text, tmp_path, arguments, said):
    code, out, err = run("pretrain", text, "-o", tmp_path / "made", "--quiet", *arguments)
    assert (code, out) == (2, ""), err
    assert said in err and err.startswith("error: ") and err.count("\n") == 1
