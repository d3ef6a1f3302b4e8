"""Advice for a model: shares of bytes add up, predictions are those that compression begins with, limits are said."""

import pytest
from families import family_folder  # noqa: F401

from pocketlm.advice.evidence import Compressed
from pocketlm.advice.model import advise_model
from pocketlm.compress.allocate import allocate_few, least_bytes
from pocketlm.compress.survey import survey
from pocketlm.errors import BudgetError
from pocketlm.model.pretrained import load_model
from pocketlm.recipe.currency import Bytes
from pocketlm.recipe.target import PRIOR, _Search


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr("pocketlm.advice.model.known_models", list)


def test_bytes_and_predictions_are_those_of_compression(family_folder):  # noqa: F811
    name = str(family_folder("llama"))
    model = load_model(name)
    whole, table = Bytes().of(model), survey(model)
    size = whole // 2
    found = advise_model(name, f"{size}B", calibration=None)
    assert found["size_bytes"] == whole and sum(found["where"].values()) == pytest.approx(1)
    (plan,) = found["plans"]
    # what compress itself predicts for its first choice at this size
    search = _Search(
        size, whole - (table.bytes - table.other_bytes), least_bytes(table, Bytes().kinds), dict(PRIOR), Bytes()
    )
    allocation = allocate_few(table, search.budget, search.scales, Bytes().kinds)
    assert plan["predicted"] == pytest.approx(allocation.loss(PRIOR)) and plan["ratios"] == {}
    assert plan["bits"] == pytest.approx(8 * size / model.parameters)
    assert found["advised"] == "compression" and found["command"].startswith(f"pocketlm compress {name} --target-size")


def test_models_of_like_bits_tell_what_is_kept(family_folder, monkeypatch):  # noqa: F811
    name = str(family_folder("llama"))
    model = load_model(name)
    whole = Bytes().of(model)
    bits = 4 * whole / model.parameters

    def known(kind, bits, after):
        return Compressed("a model", kind, bits, "perplexity", 20.0, after, "gptq")

    models = [
        known("decoder", bits + 0.5, 22.0), known("decoder", bits, 21.0), known("decoder", bits + 2, 20.0),
        known("encoder", bits, 40.0),
    ]  # fmt: skip
    monkeypatch.setattr("pocketlm.advice.model.known_models", lambda: models)
    (plan,) = advise_model(name, f"{whole // 2}B")["plans"]
    assert plan["ratios"] == {"perplexity": pytest.approx([1.05, 1.1])} and len(plan["evidence"]) == 2


def test_what_fits_already_needs_nothing_and_what_never_will_is_said(family_folder):  # noqa: F811
    name = str(family_folder("llama"))
    fits = advise_model(name, "1GB")
    assert fits["advised"] == "nothing" and fits["command"] == ""
    assert advise_model(name, None, "1s")["advised"] == "nothing"
    with pytest.raises(BudgetError, match="out of reach: compressed alone"):
        advise_model(name, "1kB")
    with pytest.raises(BudgetError, match="for a token, over"):
        advise_model(name, "1GB", "0.001us")
    with pytest.raises(BudgetError, match="is not estimated"):
        advise_model(str(family_folder("t5")), "1GB", "1ms")


def test_a_distilbert_has_a_time_too(family_folder):  # noqa: F811
    name = str(family_folder("distilbert"))
    assert advise_model(name, "1GB", "1s")["latency_of"] == "32 pieces in int8"


def test_what_no_student_keeps_to_is_refused(teacher_folder):
    with pytest.raises(BudgetError, match="1000 bytes is impossible"):
        advise_model(str(teacher_folder), "1kB")
    with pytest.raises(BudgetError, match="out of reach: a call alone takes a student"):
        advise_model(str(teacher_folder), None, "0.01us")


def test_an_encoder_that_is_too_slow_or_too_large_gets_a_student(teacher_folder):
    small = advise_model(str(teacher_folder), "3kB")
    assert small["advised"] == "a student" and small["command"].startswith("pocketlm fit DATA --teacher")
    low, middle, high = advise_model(str(teacher_folder), None, "1s")["latency_ms"]
    slow = advise_model(str(teacher_folder), None, f"{middle / 2}ms")
    assert slow["advised"] == "a student" and f"over {middle / 2:g} ms" in slow["reasons"][-1]
    assert 0 < low <= middle <= high
    free = advise_model(str(teacher_folder))
    assert [one["size_bytes"] for one in free["plans"]] == sorted(
        (one["size_bytes"] for one in free["plans"]), reverse=True
    )
