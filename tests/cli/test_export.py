"""pocketlm export as a user runs it: a graph or a GGUF out, nothing overwritten silently, wrong input in one line."""

import json
import sys

import onnxruntime
import pytest
from families import make_family

from pocketlm.cli.main import main
from pocketlm.compress.context import Context
from pocketlm.compress.int8 import Int8
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.export import compressed
from pocketlm.model.pretrained import save_model


@pytest.fixture
def small(family, tmp_path):
    save_model(RoundToNearest(bits=4, group_size=16)(family("llama"), Context()), tmp_path / "small")
    return tmp_path / "small"


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(one) for one in arguments])
    said = capsys.readouterr()
    return stopped.value.code, said.out, said.err


def test_a_folder_becomes_a_graph_that_runs(small, tmp_path, capsys):
    path = tmp_path / "small.onnx"
    code, out, _ = run(capsys, "export", small, "-o", path, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["size_bytes"] == path.stat().st_size and found["difference"] < 1e-3
    assert {one.name for one in onnxruntime.InferenceSession(path).get_inputs()} == {"input_ids", "attention_mask"}
    code, _, err = run(capsys, "export", small, "-o", path)
    assert code == 2 and "exists already; --force replaces it" in err
    code, out, _ = run(capsys, "export", small, "-o", path, "--force")
    assert code == 0 and out.startswith(f"wrote {path}: ")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["small", "small.onnx"]


def test_wrong_input_is_one_line(small, tmp_path, capsys, family_folder):
    speech = family_folder("whisper")
    capsys.readouterr()
    for arguments, why in (
        ((small, "-o", tmp_path / "small.pb"), "give a name in .onnx, .gguf, .tflite, .pocket"),
        ((tmp_path / "none", "-o", tmp_path / "a.onnx"), "none"),
        ((speech, "-o", tmp_path / "a.onnx"), "ONNX export is for encoder"),
    ):
        code, out, err = run(capsys, "export", *arguments)
        assert (code, out) == (2, "") and why in err and err.count("\n") == 1
    assert not list(tmp_path.glob("*.onnx"))


def test_a_name_that_ends_in_gguf_makes_a_file_for_llama_cpp(byte_tokenizer, tmp_path, capsys):
    model, path = make_family("llama", tmp_path / "model", byte_tokenizer), tmp_path / "a.gguf"
    code, out, _ = run(capsys, "export", model, "-o", path, "--json")
    found = json.loads(out)
    assert code == 0 and found["size_bytes"] == path.stat().st_size
    assert found["types"] == {"F16": 15, "F32": 5}
    code, out, _ = run(capsys, "export", model, "-o", path, "--force")
    assert code == 0 and out.startswith(f"wrote {path}: ") and "15 F16, 5 F32" in out
    code, _, err = run(capsys, "export", model, "-o", path)
    assert code == 2 and "exists already; --force replaces it" in err


def test_wrong_input_for_a_gguf_is_one_line(small, tmp_path, capsys, family_folder, monkeypatch):
    encoder = family_folder("bert")
    capsys.readouterr()
    for model, why in (
        (small, "is held in the form 'grid', which a GGUF has not"),
        (encoder, "GGUF export is for language models of type llama, mistral, qwen2"),
    ):
        code, out, err = run(capsys, "export", model, "-o", tmp_path / "a.gguf")
        assert (code, out) == (2, "") and why in err and err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "gguf", None)
    code, _, err = run(capsys, "export", small, "-o", tmp_path / "a.gguf")
    assert code == 2 and "GGUF export needs the 'gguf' extra: pip install 'pocketlm[gguf]'" in err
    assert not list(tmp_path.glob("*.gguf"))


def test_slower_whole_numbers_are_a_failure_unless_asked_for(family, calibrated, tmp_path, capsys, monkeypatch):
    model = family("bert")
    save_model(Int8()(model, Context(calibration=calibrated(model), fast=False)), tmp_path / "int8")
    monkeypatch.setattr(compressed, "time_ratio", lambda *given: 1.3)
    path = tmp_path / "a.onnx"
    code, _, err = run(capsys, "export", tmp_path / "int8", "-o", path)
    assert code == 1 and "12 8-bit layers take 1.30 times float's time" in err and not path.exists()
    code, out, _ = run(capsys, "export", tmp_path / "int8", "-o", path, "--allow-no-effect")
    assert code == 0 and "12 8-bit layers take 1.30 times" in out and path.exists()
