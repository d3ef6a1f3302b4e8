"""The command line as a user meets it: one line an error, JSON on stdout, exit codes."""

import contextlib
import io
import json
import os
import subprocess
import sys

import pytest

import pocketlm
from pocketlm.cli.main import main


def run(*arguments, text=None, data=None, columns=200):
    given = data if data is not None else (text or "").encode()
    done = subprocess.run(
        [sys.executable, "-m", "pocketlm.cli.main", *map(str, arguments)],
        input=given,
        capture_output=True,
        env={**os.environ, "COLUMNS": str(columns)},
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def here(*arguments):
    """As `run`, in this process, which has loaded what it needs already."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        main([str(word) for word in arguments])
    return stop.value.code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def pocket(csv_file, tmp_path_factory):
    output = tmp_path_factory.mktemp("cli") / "m.pocket"
    return pocketlm.fit(str(csv_file), label="category", text="text", max_size="30kB", output=str(output)).pocket


def refused(*arguments):
    code, out, err = here(*arguments)
    assert code == 2, err
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_what_a_fit_noticed_is_said(csv_file, tmp_path):
    options = ("--label", "category", "--text", "text", "--max-size", "30kB", "--language", "ru", "--trials", 1)
    code, out, err = run("fit", csv_file, *options, "-o", tmp_path / "m.pocket", columns=40)
    assert code == 0
    told = [line for line in (out + err).splitlines() if line.startswith("note: ")]
    assert any("split off training" in line for line in told)
    assert any(line.endswith(", not in Russian") for line in told), "a line is a line, however narrow the terminal"


def test_a_job_of_yaml_says_what_options_do_not(csv_file, tmp_path):
    job = tmp_path / "job.yaml"
    told = ["set: {quantize.bits: 8}", "floor: ['recall[on]>=0.5']", "max_size: 30kB", "trials: 1", "label: category"]
    job.write_text("\n".join([f"data: {csv_file}", "text: text", *told]), "utf-8")
    code, out, err = here("fit", job, "--json", "-o", tmp_path / "m.pocket")
    assert code == 0, err
    found = json.loads(out)
    assert found["budget"]["floors"] and "8 bit" in found["candidates"][0]["name"]
    code, out, err = here("fit", job, "--json", "--set", "quantize.bits=4", "-o", tmp_path / "n.pocket")
    assert "4 bit" in json.loads(out)["candidates"][0]["name"], "an option is in place of what the file says of it"
    job.write_text(f"data: {csv_file}\nset: [nonsense.foo=3]", "utf-8")
    assert "nonsense" in refused("fit", job)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_is_none_is_refused_before_any_work(csv_file, tmp_path, seed):
    assert "seed is from 0" in refused("fit", csv_file, "--seed", seed, "-o", tmp_path / "m.pocket")
    assert not list(tmp_path.iterdir())


def test_brackets_in_labels_are_no_markup(tmp_path):
    data = tmp_path / "a.csv"
    rows = [f"pay the bill of {number},[/b] bill\nfind a taxi at {number},[x] taxi\n" for number in range(40)]
    data.write_text("text,label\n" + "".join(rows), "utf-8")
    code, _, err = run("fit", data, "--max-size", "30kB", "--trials", 1, "-o", tmp_path / "m.pocket")
    assert code == 0, err
    code, out, err = run("evaluate", tmp_path / "m.pocket", data)
    assert code == 0 and "[/b] bill" in out and "[x] taxi" in out, err


def test_run_takes_texts(pocket):
    code, out, _ = run("run", pocket, "turn on the hall red lamp", "turn off the hall red lamp")
    assert code == 0
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["on", "off"]


def test_run_streams_lines_and_gives_fields_back(pocket):
    lines = [
        '"dim the hall red lamp"',
        '{"id": 7, "text": "turn on the hall red lamp"}',
        "turn off the hall red lamp",
        "",
    ]
    code, out, _ = run("run", pocket, "--batch-size", 2, text="\n".join(lines))
    said = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [one["label"] for one in said] == ["dim", "on", "off"]
    assert said[1]["id"] == 7


def test_wrong_lines_are_named(pocket):
    assert "line 2" in refused_line(pocket, b'"a"\n{"no": 1}\n')
    assert "line 1: byte 1 is not UTF-8" in refused_line(pocket, b"a\xff\n")
    assert "line 1 begins like JSON" in refused_line(pocket, b'{"a\n')


def refused_line(pocket, data):
    code, _, err = run("run", pocket, "--batch-size", 1, data=data)
    assert code == 2
    assert err.count("\n") == 1
    return err


def test_evaluate_prints_the_figures_as_json(pocket, csv_file):
    code, out, _ = run("evaluate", pocket, csv_file, "--label", "category", "--json")
    found = json.loads(out)
    assert code == 0
    assert 0.8 < found["accuracy"] <= 1
    assert found["intervals"]["accuracy"]["low"] <= found["accuracy"] <= found["intervals"]["accuracy"]["high"]
    assert {"f1_macro", "f1_weighted"} <= set(found)
    assert {row["label"] for row in found["per_class"]} == {"on", "off", "dim"}
    assert "95 % interval" in run("evaluate", pocket, csv_file, "--label", "category")[1]


def test_compare_says_what_differs(pocket, tagger, csv_file, tmp_path):
    page = tmp_path / "c.html"
    command = ("compare", pocket, pocket, "--data", csv_file, "--label", "category")
    code, out, err = run(*command, "-o", page)
    assert code == 0, err
    assert "no sure difference" in out and "0 rows won, 0 lost" in out
    assert "Differences" in page.read_text("utf-8")
    assert "exists" in refused(*command, "-o", page)
    found = json.loads(run(*command, "--json")[1])
    assert found["differences"][0]["gain"]["value"] == 0 and len(found["systems"]) == 2
    assert "Pockets of one task" in refused("compare", pocket, tagger, "--data", csv_file)
    assert "two Pockets or more" in refused("compare", pocket, "--data", csv_file)


def test_bench_holds_the_budget_and_exits_with_3_when_it_is_missed(pocket):
    code, out, _ = run("bench", pocket, "--max-size", "30kB", "--json")
    found = json.loads(out)
    assert (code, found["met"]) == (0, True)
    assert found["size_bytes"] == pocket.stat().st_size
    assert found["latency_p50_ms"] > 0
    code, _, err = run("bench", pocket, "--max-size", "3kB")
    assert code == 3
    assert "misses the budget" in err


def test_bench_judges_quality_on_data(pocket, csv_file):
    assert run("bench", pocket, "--data", csv_file, "--label", "category", "--min-quality", "0.5")[0] == 0
    assert "--min-quality needs --data" in refused("bench", pocket, "--min-quality", "0.5")


@pytest.fixture(scope="module")
def tagger(conll_file, tmp_path_factory):
    output = tmp_path_factory.mktemp("cli") / "t.pocket"
    code, _, err = run("fit", conll_file, "--tags", 3, "--max-size", "30kB", "-o", output, "--quiet")
    assert code == 0, err
    return output


def test_tags_from_the_command_line(tagger, conll_file):
    lines = '{"tokens": ["dim", "the", "hall", "red", "lamp"]}\n"dim the hall red lamp"\n'
    code, out, err = run("run", tagger, text=lines)
    assert code == 0, err
    for said in map(json.loads, out.splitlines()):
        assert [(one["value"], one["start"], one["end"]) for one in said["entities"]] == [
            ("hall", 8, 12),
            ("red lamp", 13, 21),
        ]
    found = json.loads(run("evaluate", tagger, conll_file, "--json")[1])
    assert found["f1_micro"] > 0.9
    assert [row["label"] for row in found["per_class"]] == ["room", "thing"]
    assert run("bench", tagger, "--data", conll_file, "--min-quality", "f1_micro>=0.5")[0] == 0
    wrong = refused("evaluate", tagger, conll_file, "--tags", 2)
    assert "holds word-tagging rows" in wrong
    assert "--tags" in wrong


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("a O\nb\n", [], "line 2 has 1 columns, line 1 has 2"),
        ("a O\nb O\n\nc O\n", [], "the tag O only; some words must have tags such as B-PER"),
        ("a O\nb U-x\n\nc B-x\n", [], "row 1: 'U-x' is no tag of spans"),
        ("a NN\nb NN\n", ["--tags", "2"], "one tag only (NN)"),
        ("a O\nb B-x\n", ["--tags", "7"], "there is no column '7'; there is 1, 2"),
        ("a O\nb B-x\n", ["--tags", "2", "--label", "1"], "a label goes with slots"),
    ],
)
def test_bad_tags_are_one_line_and_nothing_is_written(tmp_path, content, options, message):
    path = tmp_path / "train.conll"
    path.write_text(content)
    assert message in refused("fit", path, "-o", tmp_path / "m.pocket", *options)
    assert [one.name for one in tmp_path.iterdir()] == ["train.conll"]


def test_inspect_tells_what_is_inside(pocket):
    code, out, _ = run("inspect", pocket)
    assert code == 0
    assert "every hash matches" in out
    assert "prune-rows" in out
    manifest = json.loads(run("inspect", pocket, "--json")[1])
    assert manifest["task"] == "classification"


def test_data_writes_a_language_once(tmp_path):
    output = tmp_path / "sw.jsonl"
    code, _, err = run("data", "write", "smart-home:sw", "-o", output)
    assert code == 0, err
    rows = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert {"text", "tokens", "intent", "slots", "split"} <= set(rows[0])
    assert "--force" in refused("data", "write", "smart-home:sw", "-o", output)
    assert "Did you mean 'sw'" in refused("data", "write", "smart-home:swa")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, [], "no such file"),
        ("", [], "is empty"),
        ("text,label\na,x\nb,x\nc,x\n", [], "one class only"),
        ("text,label\na,x\nb,x\n", [], "one class only"),
        ("text,label\na,x\nb,\nc,y\n", [], "without a label"),
        ("text,label\na,x\nb,y\n", ["--label", "lable"], "Did you mean 'label'"),
        (b"text,label\na\xff,x\n", [], "byte 12 (line 2) is not UTF-8"),
        ("text,label\n" + "y" * 10_000_000 + ",x\n", [], "line 2"),
        ("text,label\na,x\nb,y\n", ["--max-size", "3 bananas"], "bananas"),
        ("text,label\na,x\nb,y\n", ["--max-size", "1B"], "impossible"),
        ("text,label\na,x\nb,y\n", ["--teacher", "./none"], "no such model folder"),
        ("text,label\na,x\nb,y\n", ["--max-sise", "1MB"], "No such option"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, content, options, message):
    path = tmp_path / "train.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(tmp_path.iterdir())
    assert message in refused("fit", path, "-o", tmp_path / "m.pocket", *options)
    assert sorted(tmp_path.iterdir()) == before


def test_a_label_that_training_never_showed_is_named(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"a{n},x\nb{n},y\n" for n in range(20)))
    (tmp_path / "test.csv").write_text("text,label\nq,z\nr,x\n")
    assert "'z'" in refused("fit", tmp_path / "train.csv", "--test", tmp_path / "test.csv", "-o", tmp_path / "m.pocket")


def test_a_damaged_pocket_is_refused_by_every_command(pocket, tmp_path, csv_file):
    broken = tmp_path / "b.pocket"
    data = bytearray(pocket.read_bytes())
    data[len(data) // 2] ^= 1
    broken.write_bytes(data)
    for command in (["run", broken, "x"], ["bench", broken], ["inspect", broken], ["evaluate", broken, csv_file]):
        assert "hash does not match" in refused(*command)


def test_help_and_version():
    assert run("--version")[1].strip() == pocketlm.__version__
    code, out, _ = run("fit", "--help")
    assert code == 0
    assert "--max-latency" in out


def test_debug_shows_the_traceback():
    code, _, err = run("fit", "none.csv", "--debug")
    assert code != 0
    assert "Traceback" in err


def test_stdout_holds_results_alone():
    """What a native library prints goes to stderr."""
    code = (
        "import os, sys; from pocketlm.cli.main import keep_stdout; keep_stdout(); "
        "os.write(1, b'from a library\\n'); print('result ä')"
    )
    env = {**os.environ, "PYTHONUTF8": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", env=env, check=True)
    assert done.stdout == "result ä\n"
    assert done.stderr == "from a library\n"
