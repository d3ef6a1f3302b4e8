"""What targets are counted in, and a target of time."""

import pytest
import torch
from families import calibrated, deep  # noqa: F401

from pocketlm.compress.context import Context
from pocketlm.compress.options import Option, Survey, SurveyedLayer
from pocketlm.errors import BudgetError
from pocketlm.model.pretrained import save_model
from pocketlm.recipe import currency
from pocketlm.recipe.currency import Bytes, Microseconds
from pocketlm.recipe.target import plan_for

ROW = {"input_ids": torch.arange(5, 17)[None], "attention_mask": torch.ones(1, 12, dtype=torch.long)}


class Counted(Microseconds):
    """A clock by which a weight of a block takes a microsecond."""

    def of(self, model):
        return sum(one.parameters for one in model.layers if one.block)


@pytest.fixture
def by_shape(monkeypatch):
    """Products take as long as their weights are many."""

    def taken(run):
        assert run().shape[0] == 12
        return run.__closure__[1].cell_contents.numel()

    monkeypatch.setattr(currency, "_microseconds", taken)


def test_bytes_are_those_of_the_folder(deep, tmp_path):  # noqa: F811
    assert Bytes().of(deep()) == save_model(deep(), tmp_path / "model")
    assert Bytes().said(60_000_000) == "60 MB" and Bytes().most(1000) == 744


def test_a_table_of_times_has_products_and_ranks_only(by_shape):
    ranked = Option("low-rank", 10, {"low-rank": 0.1}, {"share": 0.5})
    coded = Option("low-rank", 5, {"low-rank": 0.1, "grid": 0.1}, {"share": 0.5, "bits": 4})
    layers = (
        SurveyedLayer(("e",), "embedding", "", (50, 16), 800),
        SurveyedLayer(("b.0.l",), "linear", "b.0", (20, 16), 640, (ranked, coded, Option("grid", 9, {"grid": 0.1}))),
    )
    made = Microseconds(ROW).table(Survey(layers, {"b.0": 1.0}, 77, "nats a token"))
    assert [one.bytes for one in made.layers] == [0, 320] and made.other_bytes == 0
    (kept,) = made.layers[1].options
    assert kept.settings == {"share": 0.5} and kept.bytes % 36 == 0 and kept.bytes < 320  # rank times 20 + 16
    assert made.drops == {"b.0": 1.0}


def test_a_model_is_timed_whatever_it_reads(family, calibrated):  # noqa: F811
    for name in ("bert", "llama", "t5"):
        model = family(name)
        row = {key: value[:1] for key, value in calibrated(model).batches[0].items()}
        taken = Microseconds(row).of(model)
        assert taken >= 1 and Microseconds(row).said(taken)


def test_ranks_widths_and_blocks_compete_for_time(deep, calibrated, by_shape, tmp_path):  # noqa: F811
    model = deep()
    clock, whole = Counted(ROW), Counted(ROW).of(model)
    target = round(0.6 * whole)
    plan = plan_for(model, calibrated(model), target, Context(fast=False), currency=clock, cache=tmp_path)
    assert clock.of(plan.model) == plan.best.cost <= 0.98 * target
    assert {step.name for step in plan.recipe.steps} <= {"low-rank", "prune-ffn", "drop-layers"}
    assert plan.text.startswith(f"{clock.said(plan.best.cost)} of {clock.said(target)}; loss rises by ")
    with pytest.raises(
        BudgetError, match=r"target time 10 µs is out of reach: the least that this model comes to is abo"
    ):
        plan_for(model, calibrated(model), 10, Context(fast=False), currency=clock, cache=tmp_path)
