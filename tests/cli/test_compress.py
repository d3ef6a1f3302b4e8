"""pocketlm compress as a user runs it: a folder out, and every wrong input in one line."""

import json
import re

import pytest

from pocketlm.cli.main import main
from pocketlm.model.pretrained import folder_bytes, load_model


@pytest.fixture
def work(family_folder, understanding_rows, tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(row["text"] for row in understanding_rows) + "\n", "utf-8")
    (tmp_path / "recipe.yaml").write_text(
        "- pass: gptq\n  bits: 3\n  group_size: 16\n- pass: round-to-nearest\n  bits: 6\n  layers: [embeddings]\n",
        "utf-8",
    )
    return str(family_folder("llama")), tmp_path


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(one) for one in arguments])
    said = capsys.readouterr()
    return stopped.value.code, said.out, said.err


def few(work, *more):
    model, folder = work
    return (
        "compress", model, "--calibration", folder / "text.txt", "--windows", "8", "--length", "16",
        "-o", folder / "small", *more,
    )  # fmt: skip


def test_a_recipe_makes_a_folder_that_opens_again(work, capsys):
    code, out, _ = run(capsys, *few(work, "--recipe", work[1] / "recipe.yaml", "--json"))
    assert code == 0
    report = json.loads(out)
    assert report["size_bytes"] == folder_bytes(work[1] / "small")
    again = load_model(work[1] / "small")
    assert [one["pass"] for one in again.records] == ["gptq", "round-to-nearest"]
    assert {one["name"] for one in again.records[0]["layers"]} >= {layer.name for layer in again.layers}
    assert report["loss"][1] is not None
    assert report["audit"]


def test_the_same_command_gives_the_same_weights(work, capsys):
    arguments = few(work, "--recipe", work[1] / "recipe.yaml", "--quiet")
    weights = []
    for again in ((), ("--force",)):
        assert run(capsys, *arguments, *again)[0] == 0
        weights.append((work[1] / "small" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_a_size_is_kept(work, capsys):
    code, _, err = run(capsys, *few(work, "--target-size", "36kB"))
    assert code == 0, err
    assert folder_bytes(work[1] / "small") <= 36_000


def test_a_compressed_folder_learns_from_the_model_it_was_made_from(work, capsys):
    model, folder = work
    (folder / "prune.yaml").write_text("- pass: prune\n  sparsity: 0.5\n", "utf-8")
    (folder / "heal.yaml").write_text("- pass: distill\n  steps: 60\n  rate: 1.0e-3\n", "utf-8")
    assert run(capsys, *few(work, "--recipe", folder / "prune.yaml", "--quiet"))[0] == 0
    code, out, err = run(
        capsys, "compress", folder / "small", "--teacher", model, "--calibration", folder / "text.txt", "--windows", 24,
        "--length", 16, "--recipe", folder / "heal.yaml", "-o", folder / "healed", "--json",
    )  # fmt: skip
    assert code == 0, err
    records = json.loads(out)["records"]
    assert [one["pass"] for one in records] == ["prune", "distill"]
    before, after = re.search(r"held-out loss (\S+) to (\S+);", records[-1]["notes"][0]).groups()
    assert 0 < float(after) < float(before)  # of itself it had nothing to learn


def test_a_teacher_for_a_target_size_is_refused(work, capsys):
    code, _, err = run(capsys, "compress", "x", "--target-size", "1MB", "--teacher", "y", "-o", work[1] / "none")
    assert code == 2 and "--teacher goes with --recipe" in err


def test_a_teacher_with_other_words_is_refused(work, family_folder, capsys):
    other = work[1] / "other"
    made = load_model(family_folder("llama"))
    made.module.resize_token_embeddings(made.module.config.vocab_size + 8)
    made.module.save_pretrained(other)
    made.tokenizer.save_pretrained(other)
    capsys.readouterr()
    code, _, err = run(capsys, *few(work, "--recipe", work[1] / "recipe.yaml", "--teacher", other, "--quiet"))
    assert code == 2 and err.count("\n") == 1
    assert re.search(r"teacher .*other: knows \d+ pieces, not the \d+ of the model", err)


def test_nothing_is_replaced_unasked(work, capsys):
    (work[1] / "small").mkdir()
    (work[1] / "small" / "mine.txt").write_text("kept", "utf-8")
    for more in ((), ("--force",)):
        code, _, err = run(capsys, *few(work, "--recipe", work[1] / "recipe.yaml", *more))
        assert code == 2
        assert "exists" in err
    assert (work[1] / "small" / "mine.txt").read_text("utf-8") == "kept"


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("- pass: gptq\n  bits: 9\n", "bits are a whole number from 2 to 8, got 9"),
        ("- pass: gptk\n", "Did you mean 'gptq'"),
        ("- pass: gptq\n  bit: 3\n", "Did you mean 'bits'"),
        ("gptq", "is a list of passes"),
        ("- pass: gptq\n- pass: prune\n  sparsity: 0.5\n", "prune after gptq"),
        ("- pass: gptq\n  layers: [nothing]\n", "takes no layer"),
    ],
)
def test_wrong_recipes_are_told_in_one_line(work, capsys, recipe, said):
    (work[1] / "bad.yaml").write_text(recipe, "utf-8")
    code, _, err = run(capsys, *few(work, "--recipe", work[1] / "bad.yaml", "--quiet"))
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (work[1] / "small").exists()


def test_wrong_inputs_are_told_in_one_line(work, capsys):
    model, folder = work
    (folder / "short.txt").write_text("turn on", "utf-8")
    recipe = ("--recipe", folder / "recipe.yaml", "-o", folder / "small", "--quiet")
    for arguments, said in (
        (("compress", model, "--calibration", folder / "short.txt", *recipe), "fewer than one window of"),
        (("compress", model, "--calibration", folder / "none.txt", *recipe), "cannot be read"),
        (("compress", model, *recipe), "give --calibration FILE"),
        (("compress", folder / "none", *recipe), "no such model folder"),
        (("compress", model, "-o", folder / "small"), "one of --recipe FILE, --target-size SIZE and"),
        (few(work, "--target-size", "40", "--quiet"), "has no unit"),
        (few(work, "--target-size", "1kB", "--quiet"), "out of reach"),
        (few(work, "--target-time", "1kB", "--quiet"), "unknown unit"),
        (few(work, "--target-time", "1us", "--quiet"), "target time 1 µs is out of reach"),
        (few(work, "--target-time", "9ms", "--target-size", "1MB", "--quiet"), "give one of"),
    ):
        code, _, err = run(capsys, *arguments)
        assert code == 2, said
        assert said in err
        assert err.count("\n") == 1
        assert not (folder / "small").exists()


def test_a_pass_that_does_nothing_is_a_failure(work, capsys):
    (work[1] / "idle.yaml").write_text("- pass: prune\n  sparsity: 0.0\n", "utf-8")
    code, _, err = run(capsys, *few(work, "--recipe", work[1] / "idle.yaml", "--quiet"))
    assert code == 1
    assert "pass prune" in err
    assert run(capsys, *few(work, "--recipe", work[1] / "idle.yaml", "--quiet", "--allow-no-effect"))[0] == 0
