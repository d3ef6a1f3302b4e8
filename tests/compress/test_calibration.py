"""Calibration reads text as each family does; what is too short or unreadable is said in one line."""

import pytest
import torch
from families import CONFIGS

from pocketlm.compress.calibration import (
    calibration_from_lines,
    calibration_from_rows,
    calibration_from_text,
    longest,
    read_calibration,
)
from pocketlm.compress.moments import Moments, Statistics
from pocketlm.errors import CalibrationError

TEXT = "turn on the kitchen red lamp\nswitch off the hall lamp\n\ndim the attic white lamp\n" * 6


@pytest.mark.parametrize("name", [one for one in CONFIGS if one != "whisper"])
def test_every_family_runs_on_what_is_read(name, family, tmp_path):
    model = family(name)
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    calibration = read_calibration(tmp_path / "text.txt", model, windows=5, length=8, batch_size=2)
    assert len(calibration.batches) == 3
    with torch.no_grad():
        for batch in calibration.batches:
            assert model.module(**batch)[0].isfinite().all()
    again = read_calibration(tmp_path / "text.txt", model, windows=5, length=8, batch_size=2)
    assert all(
        torch.equal(one[key], other[key])
        for one, other in zip(calibration.batches, again.batches, strict=True)
        for key in one
    )


def test_a_decoders_windows_are_stretches_of_the_text_that_do_not_overlap(family):
    model = family("llama")
    calibration = calibration_from_text(TEXT, model, windows=7, length=10, batch_size=3)
    ids = model.tokenizer(TEXT).input_ids
    rows = torch.cat([batch["input_ids"] for batch in calibration.batches]).tolist()
    assert len(rows) == 7
    assert calibration.tokens == 70
    starts = [next(place for place in range(len(ids)) if ids[place : place + 10] == row) for row in rows]
    assert len(starts) == 7
    assert calibration_from_text(TEXT, model, windows=7, length=10, seed=1).batches[0]["input_ids"].shape == (7, 10)


def test_an_encoder_decoder_predicts_the_text_from_its_start_token(family):
    model = family("t5")
    (batch,) = calibration_from_lines(["dim the lamp", "turn on the red kitchen lamp"], model).batches
    assert torch.equal(batch["decoder_input_ids"][:, 1:], batch["input_ids"][:, :-1])
    assert (batch["decoder_input_ids"][:, 0] == 0).all()
    assert torch.equal(batch["decoder_attention_mask"], batch["attention_mask"])


def test_tokens_are_counted_without_padding(family):
    model = family("bert")
    calibration = calibration_from_lines(["dim the lamp", "turn on the red kitchen lamp"], model)
    assert calibration.tokens == 5 + 8
    assert calibration.batches[0]["input_ids"].shape == (2, 8)


def test_no_more_tokens_than_there_are_positions(family):
    roberta = family("roberta")
    assert longest(roberta) == 512 - 0 - 1
    batch = calibration_from_lines(["lamp " * 900], roberta, length=900).batches[0]
    assert batch["input_ids"].shape == (1, 511)
    with torch.no_grad():
        assert roberta.module(**batch)[0].isfinite().all()
    assert longest(family("gpt2")) == 64
    assert longest(family("t5")) is None


def test_what_cannot_be_read_is_said_in_one_line(family, tmp_path):
    model = family("llama")
    (tmp_path / "short.txt").write_text("turn on the lamp", "utf-8")
    with pytest.raises(CalibrationError, match=r"short.txt: has 6 tokens, fewer than one window of 32"):
        read_calibration(tmp_path / "short.txt", model, length=32)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    for name in ("latin.txt", "none.txt"):
        with pytest.raises(CalibrationError, match="cannot be read as UTF-8"):
            read_calibration(tmp_path / name, model)
    (tmp_path / "empty.txt").write_text("\n \n", "utf-8")
    with pytest.raises(CalibrationError, match="no line of text"):
        read_calibration(tmp_path / "empty.txt", family("bert"))


def test_moments_of_a_low_rank_layers_middle():
    inputs, right = torch.randn(50, 8), torch.randn(3, 8)
    moments, direct = Moments.empty(8), Moments.empty(3)
    moments.add(inputs)
    direct.add(inputs @ right.T)
    torch.testing.assert_close(moments.through(right).s, direct.s, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(moments.norms, inputs.norm(dim=0))
    torch.testing.assert_close(moments.mean * 50, moments.s)


def test_a_layer_without_tokens_is_not_in_the_statistics():
    statistics = Statistics({"one": Moments.empty(4), "two": Moments.unknown(4)})
    assert "one" not in statistics
    assert "two" not in statistics
    with pytest.raises(CalibrationError, match="three: no calibration token"):
        _ = statistics["three"]


def test_a_part_is_spread_evenly_with_its_labels(family):
    model = family("bert-classes")
    texts = [f"text number {number}" for number in range(40)]
    whole, labels = calibration_from_rows(texts, [0, 1] * 20, model, batch_size=5)
    part, own = whole.part(whole.tokens // 4, labels)
    assert [id(one) for one in part.batches] == [id(whole.batches[place]) for place in (0, 4)]
    assert [id(one) for one in own] == [id(labels[place]) for place in (0, 4)]
    assert whole.part(whole.tokens, labels) == (whole, labels)
    assert whole.part(1)[0].batches == whole.batches[:1] and whole.part(1)[1] == ()
