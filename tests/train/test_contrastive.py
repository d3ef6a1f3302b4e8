"""A contrastive start: the loss by hand, balanced batches, an encoder that learns."""

import itertools
import math

import pytest
import torch

from pocketlm.model.encoder import load_pretrained, teacher_model
from pocketlm.outputs import Example, Output
from pocketlm.train.contrastive import (
    Contrast,
    balanced_batches,
    contrastive_loss,
    contrastive_start,
)
from pocketlm.train.frozen import pooled_vectors
from pocketlm.train.teach import answers

OUTPUT = Output("label", "single", ("dim", "off", "on"))
ROWS = [
    Example(f"{verb} the {room} lamp", (label,))
    for verb, label in (("turn on", "on"), ("turn off", "off"), ("dim", "dim"))
    for room in ("kitchen", "bedroom", "garage", "hall")
]


def test_the_loss_of_three_texts_by_hand():
    vectors = torch.tensor([[3.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    # the first two see each other at cosine 1 and the third at 0; the third is alone with its label
    expected = -math.log(math.e**2 / (math.e**2 + 1))
    found = contrastive_loss(vectors, torch.tensor([0, 0, 1]), 0.5)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_no_two_texts_alike_cost_nothing():
    vectors = torch.randn(3, 4, requires_grad=True)
    loss = contrastive_loss(vectors, torch.tensor([0, 1, 2]), 0.1)
    loss.backward()
    assert float(loss.detach()) == 0 and float(vectors.grad.abs().sum()) == 0


@pytest.mark.parametrize("classes", [2, 3, 7, 40])
def test_batches_hold_pairs_of_every_label_they_show(classes):
    labels = [place % classes for place in range(classes * 3)] + [classes]
    seen = set()
    for batch in itertools.islice(balanced_batches(labels, 16, 0), 60):
        own = [labels[place] for place in batch]
        assert len(batch) <= 16 and all(own.count(label) >= 2 for label in own)
        seen.update(batch)
    assert seen == set(range(len(labels)))


def test_an_encoder_comes_to_know_its_rows_and_keeps_its_words(teacher_folder):
    model = teacher_model(load_pretrained(str(teacher_folder)), [OUTPUT], 32)
    words = model.module.backbone.get_input_embeddings().weight
    kept = words.detach().clone()

    def loss():
        vectors = torch.from_numpy(pooled_vectors(model, [row.text for row in ROWS]))
        labels = torch.tensor([OUTPUT.labels.index(row.labels[0]) for row in ROWS])
        return float(contrastive_loss(vectors, labels, 0.1))

    before = loss()
    said = contrastive_start(model, ROWS, Contrast(least=40, most=40, rate=1e-3), seed=1)
    assert said.startswith("contrastive start: 40 steps of 16 texts")
    least = math.log(3)  # of four rows a label, each sees three others alike
    assert loss() - least < 0.5 * (before - least)
    assert [one["label"] for one in answers(model, [row.text for row in ROWS])] == [row.labels[0] for row in ROWS]
    assert torch.equal(words, kept) and words.requires_grad


def test_the_same_seed_gives_the_same_encoder(teacher_folder):
    found = []
    for _ in range(2):
        model = teacher_model(load_pretrained(str(teacher_folder)), [OUTPUT], 32)
        contrastive_start(model, ROWS, Contrast(least=3, most=3), seed=2)
        found.append(pooled_vectors(model, [row.text for row in ROWS]))
    assert (found[0] == found[1]).all()


def test_steps_are_bound():
    how = Contrast()
    assert (how.steps(5), how.steps(80), how.steps(100_000)) == (60, 100, 120)
