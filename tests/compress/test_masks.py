import pytest
import torch

from pocketlm.compress.masks import Few, Plan, Tiles, damped, inverse_factor, keep_mask, read_pattern, tile_sums


def scores(rows=10, columns=24, seed=0):
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.77, 0.99])
def test_as_many_of_every_row_go_as_asked_for_and_they_are_the_least(sparsity):
    given = scores()
    mask = keep_mask(given, sparsity)
    gone = round(sparsity * 24)
    for row, kept in zip(given, mask, strict=True):
        assert int((~kept).sum()) == gone
        assert gone in (0, 24) or row[~kept].max() <= row[kept].min()


@pytest.mark.parametrize("sparsity", [0.0, 0.003, 0.5, 0.77, 0.999])
def test_as_many_of_the_matrix_go_as_asked_for_also_of_equal_scores(sparsity):
    for given in (scores(), torch.zeros(10, 24), (scores() * 3).round()):
        mask = keep_mask(given, sparsity, whole=True)
        assert int((~mask).sum()) == round(sparsity * 240)
        if mask.any() and not mask.all():
            assert given[~mask].max() <= given[mask].min()


@pytest.mark.parametrize(("keep", "of", "columns"), [(2, 4, 24), (1, 4, 24), (4, 8, 24), (2, 4, 27)])
def test_of_every_group_of_neighbours_the_greatest_stay(keep, of, columns):
    given = scores(columns=columns)
    mask = keep_mask(given, 0.5, Few(keep, of))
    for row, kept in zip(given, mask, strict=True):
        for start in range(0, columns - of + 1, of):
            best = sorted(range(start, start + of), key=lambda place, row=row: -row[place])[:keep]
            assert sorted(start + int(one) for one in kept[start : start + of].nonzero()) == sorted(best)
        assert kept[columns // of * of :].all()


@pytest.mark.parametrize("shape", [(12, 24), (13, 27)])
def test_whole_tiles_go_and_the_edges_stay(shape):
    given, tiles = scores(*shape), Tiles(4, 8)
    mask = keep_mask(given, 0.5, tiles)
    sums = tile_sums(mask.float(), tiles)
    assert set(sums.reshape(-1).tolist()) == {0.0, 32.0}
    assert int((sums == 0).sum()) == round(0.5 * sums.numel())
    assert mask[12:].all()
    assert mask[:, 24:].all()


def test_zeros_stay_zeros_and_count():
    given = scores()
    zeros = scores(seed=1) < 0.3
    for plan in (
        Plan(0.5, zeros=zeros),
        Plan(0.5, rows=torch.rand(10), zeros=zeros),
        Plan(0.5, Few(2, 4), zeros=zeros),
    ):
        assert not (plan.mask(given) & zeros).any()
    whole = Plan(0.5, zeros=zeros).mask(given, whole=True)
    assert int(whole.sum()) == 120  # fewer than half were zero: those that were are among those that go


def test_rows_that_matter_more_keep_more():
    rows = torch.ones(10)
    rows[3] = 4
    mask = Plan(0.5, rows=rows).mask(scores())
    assert int(mask[3].sum()) > int(mask.sum(1).float().mean())
    assert int((~mask).sum()) == 120


@pytest.mark.parametrize(
    "wrong", [{"keep": 4, "of": 4}, {"keep": 0, "of": 4}, {"keep": 2}, {"rows": 2.5, "columns": 4}, {"rows": 2}, "2:4"]
)
def test_what_is_no_pattern_is_refused_with_what_would_be(wrong):
    with pytest.raises(ValueError, match="pattern is {keep: 2, of: 4}"):
        read_pattern(wrong)


@pytest.mark.parametrize("tokens", [3, 200])
def test_the_factor_is_of_the_inverse_also_where_inputs_are_few(tokens):
    x = torch.randn(tokens, 16, generator=torch.Generator().manual_seed(0))
    s = damped(x.t() @ x)
    upper = inverse_factor(s)
    assert torch.equal(upper, upper.triu())
    assert torch.allclose(upper.t() @ upper @ s, torch.eye(16), atol=1e-3)


def test_a_matrix_that_is_not_positive_still_has_a_factor():
    s = torch.eye(4)
    s[0, 0] = -1e-3
    assert inverse_factor(s).isfinite().all()


def test_no_input_at_all_counts_all_alike():
    assert torch.equal(damped(torch.zeros(3, 3)), torch.eye(3))
