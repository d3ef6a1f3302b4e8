"""A model's folder to a Pocket that writes, and that Pocket through every command."""

import io
import json
import sys

import pytest

from pocketlm.cli.main import main
from pocketlm.runtime.load import load


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(one) for one in arguments])
    said = capsys.readouterr()
    return stopped.value.code, said.out, said.err


@pytest.fixture(scope="module")
def pocket(writer):
    return writer("gpt2")[2].path


def test_a_folder_becomes_a_pocket(family_folder, tmp_path, capsys):
    folder, path = family_folder("llama"), tmp_path / "a.pocket"
    capsys.readouterr()
    code, out, _ = run(capsys, "export", folder, "-o", path, "--bits", 4, "--group-size", 16, "--json")
    found = json.loads(out)
    assert code == 0 and found["size_bytes"] == path.stat().st_size and found["task"] == "generation"
    assert found["difference"]["plain"] < 1e-4 < found["difference"]["rounded"]
    code, _, err = run(capsys, "export", folder, "-o", path)
    assert code == 2 and "exists already" in err
    (tmp_path / "text.txt").write_text("turn on the lamp " * 500, "utf-8")
    code, out, _ = run(
        capsys, "export", folder, "-o", path, "--force", "--bits", 4, "--calibration", tmp_path / "text.txt"
    )
    assert code == 0 and f"wrote {path}: " in out and "bits a weight" in out and "inputs rounded to 8 bits" in out
    for arguments, why in (
        (("-o", tmp_path / "b.onnx", "--bits", 4), "--bits is for a Pocket"),
        (("-o", tmp_path / "b.pocket", "--bits", 5), "bits are one of 4, 8, 16, 32"),
    ):
        code, _, err = run(capsys, "export", folder, *arguments)
        assert code == 2 and why in err and err.count("\n") == 1


def test_run_writes_streams_and_reads_lines(pocket, capsys, monkeypatch):
    code, out, _ = run(capsys, "run", pocket, "turn on", "dim the", "--max-tokens", 5)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [set(one) for one in rows] == [{"generated", "tokens", "finish"}] * 2
    assert rows[0]["finish"] in ("length", "end") and 0 < rows[0]["tokens"] <= 5
    code, out, _ = run(capsys, "run", pocket, "turn on", "--max-tokens", 5, "--stream")
    assert code == 0 and out == rows[0]["generated"] + "\n"
    lines = io.BytesIO(b'{"id": 1, "text": "turn on"}\ndim the\n')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(lines))
    code, out, _ = run(capsys, "run", pocket, "--max-tokens", 5)
    read = [json.loads(line) for line in out.splitlines()]
    assert read == [{"id": 1, "text": "turn on", **rows[0]}, rows[1]]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "turn on", "pair": "dim"}\n')))
    assert json.loads(run(capsys, "run", pocket, "--max-tokens", 5)[1])["generated"] == rows[0]["generated"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"dim the\n")))
    code, out, err = run(capsys, "run", pocket, "--pair", "dim")
    assert code == 2 and not out and "--pair is for a Pocket whose task is similarity" in err
    drawn = []
    for size in (1, 3):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"dim the\n" * 3)))
        drawn.append(run(capsys, "run", pocket, "--max-tokens", 9, "--temperature", 3, "--batch-size", size)[1])
    assert drawn[0] == drawn[1] and len(set(drawn[0].splitlines())) > 1
    code, out, _ = run(capsys, "run", pocket, "turn on", "--beams", 2, "--max-tokens", 5)
    assert code == 0 and json.loads(out)["tokens"] > 0


def test_what_cannot_be_written_is_one_line(pocket, capsys):
    for arguments, why in (
        (("lamp " * 99,), "the prompt has"),
        (("a", "--chat"), "has no chat template"),
        (("a", "--top-p", "0"), "top_p is over 0"),
        (("a", "--stream", "--beams", "2"), "stream with beams 1"),
    ):
        code, out, err = run(capsys, "run", pocket, *arguments)
        assert (code, out) == (2, "") and why in err and err.count("\n") == 1


def test_settings_of_writing_are_refused_for_a_pocket_that_predicts(tmp_path, capsys):
    from measure.made_pocket import make_pocket

    path = make_pocket(tmp_path / "t.pocket", tagging=False)
    for option in (("--max-tokens", "3"), ("--chat",)):
        code, _, err = run(capsys, "run", path, "a", *option)
        assert code == 2 and "is for a Pocket that writes text" in err


def test_evaluate_and_inspect(pocket, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("turn on the kitchen lamp and dim the hall " * 30, "utf-8")
    code, out, _ = run(capsys, "evaluate", pocket, tmp_path / "text.txt", "--json")
    found = json.loads(out)
    assert code == 0 and found["n"] > 1 and found["perplexity"] > 1 and found["bits_per_byte"] > 0
    assert found["intervals"]["perplexity"]["low"] <= found["perplexity"]
    code, out, _ = run(capsys, "evaluate", pocket, tmp_path / "text.txt")
    assert code == 0 and "bits_per_byte" in out
    code, out, _ = run(capsys, "inspect", pocket)
    assert code == 0 and "writes generated: GPT2LMHeadModel (decoder)" in out and "context 64" in out


@pytest.mark.slow
def test_bench_measures_in_a_process_of_its_own(pocket, capsys, monkeypatch):
    code, out, _ = run(capsys, "bench", pocket, "--json", "--max-size", "5MB")
    found = json.loads(out)
    assert code == 0 and found["met"] and found["threads"] == 1
    for name in ("prompt_tokens_per_s", "generation_tokens_per_s", "cache_bytes_per_token", "memory_bytes"):
        assert found[name] > 0
    assert found["prompt_tokens"] < load(pocket).generator.context


def test_a_chat_template_is_used(writer, tmp_path, capsys):
    from pocketlm.export.generator import export_generator

    model = writer("gpt2")[0]
    template = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}lamp:"
    before, model.tokenizer.chat_template = getattr(model.tokenizer, "chat_template", None), template
    try:
        path = export_generator(model, tmp_path / "chat.pocket").path
    finally:
        model.tokenizer.chat_template = before
    generator = load(path).generator
    prompt = generator.chat([{"role": "user", "content": "dim"}])
    assert prompt == generator.about["names"].get("bos_token", "") + "user: dim\nlamp:"
    code, out, _ = run(capsys, "run", path, "dim", "--chat", "--max-tokens", 3)
    assert code == 0
    from pocketlm.runtime.choose import Writing

    assert json.loads(out)["generated"] == generator.write([prompt], Writing(max_tokens=3))[0].text
