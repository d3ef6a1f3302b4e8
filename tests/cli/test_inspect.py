import json

import pytest
from families import family_folder  # noqa: F401

from pocketlm.cli.main import main
from pocketlm.compress.context import Context
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.model.pretrained import load_model, save_model


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in ("inspect", *words)])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def test_a_model_folder_is_a_table_of_its_layers(family_folder, capsys):  # noqa: F811
    code, out, _ = run(capsys, family_folder("llama"))
    assert code == 0
    lines = out.splitlines()
    assert "LlamaForCausalLM" in lines[0] and "relative error" in lines[0]
    assert sum("self_attn.q_proj" in line for line in lines) == 2
    assert "  lm_head is the same matrix" in lines


def test_with_calibration_losses_are_in_nats_and_a_page_is_written(family_folder, capsys, tmp_path):  # noqa: F811
    text = tmp_path / "text.txt"
    text.write_text("turn on the red kitchen lamp\n" * 30)
    page = tmp_path / "report.html"
    words = [family_folder("llama"), "--calibration", text, "--length", 16, "--windows", 8, "--test", text, "-o", page]
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["unit"] == "nats a token" and found["calibration"]["overlap"] == 1.0
    assert found["calibration"]["tokens"] == 128
    assert sum(one["bytes"] for one in found["layers"]) < found["size_bytes"]
    assert {"grid 2 bits", "grid 8 bits", "low-rank 40 %", "prune 50 %"} <= set(found["layers"][1]["losses"])
    html = page.read_text("utf-8")
    assert html.startswith("<!doctype html>") and "model.layers.1.mlp.down_proj" in html
    assert html.count("<rect") == len(found["layers"]) and "src=" not in html and "https:" not in html
    code, _, err = run(capsys, *words)
    assert code == 2 and "exists" in err


def test_a_compressed_folder_shows_what_it_stores(family_folder, capsys, tmp_path):  # noqa: F811
    made = RoundToNearest(bits=4)(load_model(family_folder("gpt2")), Context())
    save_model(made, tmp_path / "small")
    found = json.loads(run(capsys, tmp_path / "small", "--json")[1])
    assert found["size_bytes"] == made.size_bytes
    layer = next(one for one in found["layers"] if one["block"])
    assert layer["bytes"] < layer["parameters"] and layer["losses"] == {}


def test_wrong_input_is_one_line(family_folder, capsys, tmp_path):  # noqa: F811
    code, _, err = run(capsys, family_folder("llama"), "--test", "x.txt")
    assert code == 2 and "--test needs --calibration" in err
    code, _, err = run(capsys, tmp_path)
    assert code == 2 and "config.json" in err
    (tmp_path / "a.pocket").write_bytes(b"no zip")
    code, _, err = run(capsys, tmp_path / "a.pocket", "--calibration", "x.txt")
    assert code == 2 and "--calibration is for a model" in err
