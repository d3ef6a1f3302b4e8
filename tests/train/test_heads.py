"""A head on frozen vectors: as scikit-learn fits it, of the strength that suits rows it did not see."""

import numpy as np
import pytest
import torch

from pocketlm.model.encoder import load_pretrained, teacher_model
from pocketlm.outputs import Example, Output
from pocketlm.train.heads import best_strength, class_weights, fit_head, regression
from pocketlm.train.teach import answers


def test_the_regression_is_that_of_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    random = np.random.default_rng(0)
    rows, labels = random.normal(size=(60, 5)), random.integers(0, 3, 60)
    weights = {0: 1.0, 1: 0.5, 2: 3.0}
    theirs = linear.LogisticRegression(C=2.0, tol=1e-8, max_iter=2000, class_weight=weights).fit(rows, labels)
    weight, bias = regression(torch.tensor(rows), torch.tensor(labels), torch.tensor(list(weights.values())), 2.0)
    ours = torch.softmax(torch.tensor(rows).float() @ weight.T + bias, -1).numpy()
    assert np.allclose(ours, theirs.predict_proba(rows), atol=1e-4)


def test_rare_classes_weigh_more_and_the_more_so_the_fewer_rows_there_are():
    few = torch.tensor([0] * 30 + [1] * 10)
    weights = class_weights(few, 3)
    assert weights[1] / weights[0] == pytest.approx(3)
    assert float(weights[few].mean()) == pytest.approx(1)
    many = few.repeat(10)
    weights = class_weights(many, 3)
    assert weights[1] / weights[0] == pytest.approx(3**0.5)
    assert float(weights[many].mean()) == pytest.approx(1)


def test_noise_is_fitted_weakly_and_what_is_so_strongly():
    random = torch.Generator().manual_seed(0)
    vectors, labels = torch.randn(200, 20, generator=random), torch.randint(0, 3, (200,), generator=random)
    assert best_strength(vectors, labels, torch.ones(3), (0.01, 1.0, 100.0), seed=0) == 0.01
    sure = (vectors[:, 0] > 0).long()
    assert best_strength(vectors, sure, torch.ones(3), (0.01, 1.0, 100.0), seed=0) > 0.01


def test_only_the_head_changes(teacher_folder):
    model = teacher_model(load_pretrained(str(teacher_folder)), [Output("label", "single", ("dim", "on"))], 32)
    before = {name: weight.clone() for name, weight in model.module.state_dict().items()}
    rows = [
        Example(f"{verb} the {room} lamp", (verb.split()[-1],))
        for verb in ("turn on", "dim")
        for room in ("kitchen", "bedroom", "garage", "hall", "office")
    ]
    assert fit_head(model, rows, (1.0, 100.0)) in (1.0, 100.0)
    changed = {name for name, weight in model.module.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {"readout.heads.label.weight", "readout.heads.label.bias"}
    said = answers(model, [row.text for row in rows])
    assert np.mean([one["label"] == row.labels[0] for one, row in zip(said, rows, strict=True)]) > 0.8
