"""Blended texts: heads read shares of two vectors, and the loss is that of both texts in these shares."""

import pytest
import torch
from helpers import make_context

from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.transformer import SmallTransformer
from pocketlm.train import loop
from pocketlm.train.blend import Blend
from pocketlm.train.lesson import make_batch
from pocketlm.train.loop import Schedule, train
from pocketlm.train.losses import Objective

STUDENTS = (
    HashedNgrams(buckets=2**12, width=16, min_texts=1),
    SmallTransformer(depth=1, width=16, heads=2, ffn=16, rank=8),
)


@pytest.fixture(scope="module")
def context(csv_file, tmp_path_factory):
    return make_context(csv_file, None, tmp_path_factory.mktemp("work"))


@pytest.mark.parametrize("student", STUDENTS)
def test_heads_read_blended_vectors_and_are_as_before_after(context, student):
    model = student(None, context)
    model.module.eval()
    encoded = model.inputs.encode(context.lesson.texts[:6])
    batch = make_batch(context.lesson, model.spec.outputs, encoded, model.inputs, range(6))
    plain = model.module(**batch.arrays)
    blend = Blend(torch.tensor([3, 0, 5, 1, 2, 4]), 0.7)
    with blend.applied(model.module, model.spec.outputs):
        found = model.module(**batch.arrays)
    for name, logits in plain.items():
        torch.testing.assert_close(found[name], 0.7 * logits + 0.3 * logits[blend.order])
    after = model.module(**batch.arrays)
    assert all(torch.equal(after[name], logits) for name, logits in plain.items())
    with pytest.raises(RuntimeError), blend.applied(model.module, model.spec.outputs):
        raise RuntimeError
    assert not any(module._forward_pre_hooks for module in model.module.modules())


def test_the_loss_is_that_of_both_texts(context, monkeypatch):
    model = STUDENTS[0](None, context)
    model.module.eval()
    outputs = model.spec.outputs
    encoded = model.inputs.encode(context.lesson.texts)
    own = list(range(6))
    batch = make_batch(context.lesson, outputs, encoded, model.inputs, own)
    blend = Blend(torch.tensor([3, 0, 5, 1, 2, 4]), 0.7)
    monkeypatch.setattr(loop.Blend, "drawn", classmethod(lambda cls, texts, alpha: blend))
    found = loop._loss(model, context.lesson, encoded, own, Objective(mixup=0.4))
    with torch.no_grad():
        ((name, logits),) = model.module(**batch.arrays).items()
        mixed = (0.7 * logits + 0.3 * logits[blend.order]).log_softmax(-1)
        labels = batch.labels[name]
        wanted = -(0.7 * mixed[own, labels] + 0.3 * mixed[own, labels[blend.order]]).mean()
    assert float(found.detach()) == pytest.approx(float(wanted), rel=1e-5)


def test_shares_are_drawn_from_beta():
    torch.manual_seed(0)
    drawn = [Blend.drawn(5, 0.4) for _ in range(400)]
    shares = torch.tensor([one.share for one in drawn])
    assert sorted(drawn[0].order.tolist()) == [0, 1, 2, 3, 4]
    assert abs(float(shares.mean()) - 0.5) < 0.05
    assert float(shares.var()) == pytest.approx(1 / (4 * 1.8), rel=0.1)  # of Beta(a, a): 1 / (4 (2 a + 1))


def test_it_learns_and_repeats_itself(context):
    weights = []
    for _ in range(2):
        model = STUDENTS[0](None, context)
        history = train(
            model, context.lesson, Objective(mixup=0.4), Schedule(15, 1e-2, 16, patience=99), context.figure, seed=1
        )
        weights.append(model.module.table.detach().clone())
    assert history.best > 0.7 and torch.equal(*weights)
