"""The report of a compression: its losses are those that transformers itself computes; wrong input is said at once."""

import pytest
import torch
from families import calibrated  # noqa: F401

from pocketlm.errors import CalibrationError
from pocketlm.recipe.job import CompressJob, _losses, run_job


def test_losses_are_those_of_transformers(family, calibrated):  # noqa: F811
    model = family("llama")
    calibration = calibrated(model)
    losses, tokens = 0.0, 0
    with torch.no_grad():
        for batch in calibration.batches[:4]:
            for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
                kept = ids[mask.bool()][None]
                losses += float(model.module(kept, labels=kept).loss) * (kept.shape[1] - 1)
                tokens += kept.shape[1] - 1
    assert _losses(model, model, calibration) == pytest.approx([losses / tokens] * 2, rel=1e-4)


def test_a_test_text_that_cannot_be_read_is_said_before_any_work(tmp_path):
    with pytest.raises(CalibrationError, match="test .*none.txt: cannot be read"):
        run_job(CompressJob("no/such/model", tmp_path / "out", test=str(tmp_path / "none.txt")))
