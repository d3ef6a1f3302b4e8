"""Losses are zero where they should be, and never count what is not known."""

import math

import pytest
import torch

from pocketlm.outputs import Output
from pocketlm.train.lesson import Batch
from pocketlm.train.losses import (
    Objective,
    distillation_loss,
    divergence,
    head_relation_loss,
    hidden_loss,
    label_loss,
    logit_loss,
    rank_loss,
    relation_loss,
    state_distance,
    tail_shares,
    top_tail,
    vector_loss,
)

SINGLE, MULTI = Output("a", "single", ("x", "y", "z")), Output("m", "multi", ("x", "y", "z"))


def logits(seed=0, rows=5):
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("output", [SINGLE, MULTI])
@pytest.mark.parametrize("temperature", [1.0, 8.0])
def test_saying_what_the_teacher_says_costs_nothing(output, temperature):
    assert distillation_loss(logits(), logits(), output, temperature) == pytest.approx(0, abs=1e-5)
    assert distillation_loss(logits(), logits(1), output, temperature) > 0.01


def test_at_temperature_one_it_is_the_divergence():
    own, given = logits(), logits(1)
    p, q = given.softmax(-1), own.softmax(-1)
    expected = (p * (p / q).log()).sum(-1).mean()
    torch.testing.assert_close(distillation_loss(own, given, SINGLE, 1.0), expected)


def test_gradients_keep_their_size_over_temperature():
    """Hinton et al.: with the factor T² the gradient nears (z - v) / labels as T grows."""
    own = logits().requires_grad_()
    distillation_loss(own, logits(1), SINGLE, 1000.0).backward()
    difference = logits() - logits(1)
    expected = (difference - difference.mean(1, keepdim=True)) / 3 / len(own)
    torch.testing.assert_close(own.grad, expected, atol=1e-3, rtol=1e-2)


def test_squares_of_logits_are_what_softened_shares_come_to():
    own, given = logits(), logits(1)
    torch.testing.assert_close(logit_loss(own, given), distillation_loss(own, given, SINGLE, 500.0), rtol=2e-2, atol=0)
    assert logit_loss(given + 3.0, given) == pytest.approx(0, abs=1e-6), "shares are the same"
    unknown = given.clone()
    unknown[3:] = float("nan")
    torch.testing.assert_close(logit_loss(own, unknown), logit_loss(own[:3], given[:3]))
    assert logit_loss(own, torch.full((5, 3), float("nan"))) == 0


def test_what_is_asked_for_is_what_counts():
    batch = Batch({}, {"a": torch.tensor([0, 1, 2, 0, 1])}, {"a": logits(1)}, None, None)
    squares = Objective(alpha=1.0, squares=True)({"a": logits()}, batch, [SINGLE])
    torch.testing.assert_close(squares, logit_loss(logits(), logits(1)))
    mask, states = torch.ones(2, 4, dtype=torch.long), torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    given = states.flip(1)
    seen = Batch({"attention_mask": mask}, {}, {}, given, torch.tensor([True, True]))
    torch.testing.assert_close(Objective(beta=2.0).on_hidden(states, seen), 2 * hidden_loss(states, given, mask))
    related = Objective(beta=2.0, relations=True).on_hidden(states, seen)
    torch.testing.assert_close(related, 2 * relation_loss(states, given, mask))


@pytest.mark.parametrize("output", [SINGLE, MULTI])
def test_rows_the_teacher_did_not_see_do_not_count(output):
    given = logits(1)
    whole = distillation_loss(logits()[:3], given[:3], output, 2.0)
    given[3:] = float("nan")
    torch.testing.assert_close(distillation_loss(logits(), given, output, 2.0), whole)
    assert distillation_loss(logits(), torch.full((5, 3), float("nan")), output, 2.0) == 0


def test_unlabelled_rows_do_not_count():
    labels = torch.tensor([0, 1, -100, 2, -100])
    kept = [0, 1, 3]
    torch.testing.assert_close(label_loss(logits(), labels, SINGLE), label_loss(logits()[kept], labels[kept], SINGLE))
    assert label_loss(logits(), torch.full((5,), -100), SINGLE) == 0
    assert label_loss(logits(), torch.full((5, 3), float("nan")), MULTI) == 0


def test_states_equal_up_to_scale_cost_nothing_and_padding_does_not_count():
    states = torch.randn(2, 4, 6)
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    other = 3 * states
    other[0, 3], other[1, 2:] = 99.0, -99.0
    assert hidden_loss(states, other, mask) == pytest.approx(0, abs=1e-6)
    assert relation_loss(states, other, mask) == pytest.approx(0, abs=1e-4)
    assert relation_loss(states, torch.randn(2, 4, 6), mask) > 0.01


def test_relations_compare_any_widths():
    assert relation_loss(torch.randn(1, 3, 4), torch.randn(1, 3, 9), torch.ones(1, 3)).isfinite()


def spread(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


def test_top_shares_and_tail_of_every_class_are_the_full_divergence():
    own, given = spread(0, 5, 11), spread(1, 5, 11)
    kept = top_tail(given, 11, 2.0)
    found = divergence(tail_shares(own / 2.0, kept.indices), kept.given())
    plain = [
        sum(p * (p.log() - q.log()) for p, q in zip((a / 2).softmax(-1), (b / 2).softmax(-1), strict=True))
        for a, b in zip(given, own, strict=True)
    ]
    assert torch.allclose(found, torch.stack(plain), atol=2e-3)  # shares are kept in float16


def test_a_tail_never_counts_more_than_the_classes_it_joins():
    own, given = spread(0, 7, 50), spread(1, 7, 50)
    whole = divergence(own.log_softmax(-1), given.log_softmax(-1))
    for k in (1, 4, 20):
        kept = top_tail(given, k)
        assert (divergence(tail_shares(own, kept.indices), kept.given()) <= whole + 1e-2).all()


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_divergence_of_a_model_from_itself_is_nothing_and_is_something_from_another(beta):
    own, given = spread(0, 6, 9).log_softmax(-1), spread(1, 6, 9).log_softmax(-1)
    assert divergence(own, own, beta).abs().max() < 1e-5
    assert (divergence(own, given, beta) > 0.01).all()


def test_half_beta_is_symmetric_and_the_ends_are_the_two_divergences():
    own, given = spread(0, 6, 9).log_softmax(-1), spread(1, 6, 9).log_softmax(-1)
    assert torch.allclose(divergence(own, given, 0.5), divergence(given, own, 0.5), atol=1e-5)
    assert torch.allclose(divergence(own, given, 1.0), divergence(given, own, 0.0), atol=1e-6)
    assert torch.allclose(divergence(own, given, 1e-4) / 1e-4, divergence(own, given, 0.0), rtol=0.02)


@pytest.mark.parametrize("causal", [False, True])
def test_relations_of_heads_are_those_of_the_paper(causal):
    vectors, other, mask = spread(0, 2, 4, 6), spread(1, 2, 4, 9), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    assert head_relation_loss(vectors, vectors, mask, 3, causal) == 0
    total, count = 0.0, 0
    for text in range(2):
        for token in range(int(mask[text].sum())):
            seen = [t for t in range(4) if mask[text, t] and (not causal or t <= token)]
            shares = []
            for one in (vectors, other):
                size = one.shape[-1] // 3
                parts = [one[text, :, head * size : (head + 1) * size] for head in range(3)]
                shares.append(
                    [torch.tensor([part[token] @ part[t] / size**0.5 for t in seen]).log_softmax(0) for part in parts]
                )
            total += sum(float((b.exp() * (b - a)).sum()) for a, b in zip(*shares, strict=True)) / 3
            count += 1
    assert float(head_relation_loss(vectors, other, mask, 3, causal)) == pytest.approx(total / count, rel=1e-4)


def test_distance_of_states_is_relative_to_the_teachers():
    states = spread(0, 8, 4)
    assert state_distance(states, states) == 0
    assert float(state_distance(torch.zeros_like(states), states)) == pytest.approx(1.0)
    assert float(state_distance(spread(2, 8, 4) * 5, states * 5)) == pytest.approx(
        float(state_distance(spread(2, 8, 4), states)), rel=1e-5
    )


def test_vectors_of_the_teacher_itself_cost_nothing():
    torch.manual_seed(0)
    teacher = torch.randn(6, 8)
    assert vector_loss(teacher * 3, teacher) == pytest.approx(0, abs=1e-6)
    assert vector_loss(teacher[:2], teacher[:2]) == pytest.approx(0, abs=1e-6)
    first = torch.cat([torch.eye(4), torch.zeros(4, 2)], dim=1)
    assert vector_loss(torch.eye(4), first) == pytest.approx(0, abs=1e-6)  # the first dimensions hold it all
    assert vector_loss(torch.randn(6, 8), teacher) > 0.5


def test_vectors_are_near_the_same_texts_or_cost():
    """By hand: three texts, the student mixes up which of two others is near the first."""
    teacher = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    own, given = (x @ x.T * 20 for x in (student, teacher))
    plain = 0.0
    for place in range(3):
        others = [other for other in range(3) if other != place]
        said, heard = own[place, others].log_softmax(0), given[place, others].softmax(0)
        plain += float(torch.nn.functional.kl_div(said, heard, reduction="sum"))
    assert vector_loss(student, teacher) == pytest.approx(2 / 3 + plain / 3, rel=1e-5)


def test_order_alone_decides_the_rank_loss():
    scores = torch.tensor([3.0, 2.0, 2.0, 0.0])
    right, wrong = torch.tensor([0.9, 0.5, 0.4, -0.8]), torch.tensor([-0.8, 0.5, 0.4, 0.9])
    assert rank_loss(right, scores) < 0.01
    assert rank_loss(wrong, scores) > 30
    assert rank_loss(right, scores * 7 - 2) == rank_loss(right, scores)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]
    plain = math.log(1 + sum(math.exp(20 * float(wrong[j] - wrong[i])) for i, j in pairs))
    assert rank_loss(wrong, scores) == pytest.approx(plain, rel=1e-5)
    assert rank_loss(right, torch.ones(4)) == 0
