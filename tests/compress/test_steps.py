"""Steps and their codes: an oracle, what steps and thrift are for, and what codes take."""

from dataclasses import replace

import pytest
import torch

from pocketlm.compress.steps import Stock, entropy_bits, refitted, step_codes, steps_for, thrifty
from pocketlm.model.tensors import encode_tensor


def made_up(rows=48, columns=40, tokens=400, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(tokens, columns, generator=generator) @ torch.randn(columns, columns, generator=generator)
    matrix, energy = torch.randn(rows, columns, generator=generator), torch.rand(rows, generator=generator) + 0.1
    return matrix, inputs.t() @ inputs / tokens, energy


def loss(matrix, found, s, energy):
    lost = matrix - found
    return float((((lost @ s) * lost).sum(1) * energy).sum())


def rounded(matrix, s, energy, scale, thrift=0.0, plain=False):
    steps = steps_for(s, energy, 0.01)
    if plain:  # one step for all weights, of the same entropy as nearly as a search finds
        steps = replace(steps, columns=torch.ones_like(steps.columns), rows=torch.ones_like(steps.rows))
    rows = steps.rows * scale
    codes = step_codes(matrix, rows, steps, thrift)
    return codes, codes * rows[:, None] * steps.columns


def test_codes_are_those_of_a_slow_oracle():
    matrix, s, energy = made_up(6, 10)
    steps = steps_for(s, energy, 0.01)
    rows, left = steps.rows * 0.3, steps.order.tolist()
    work, codes = matrix.double().clone(), torch.zeros(matrix.shape)
    damped = s.double() + 0.01 * s.double().diagonal().mean() * torch.eye(10).double()
    while left:
        inverse = torch.linalg.inv(damped[left][:, left])
        step = rows.double() * steps.columns[left[0]].double()
        codes[:, left[0]] = (work[:, left[0]] / step).round().float()
        error = (work[:, left[0]] - codes[:, left[0]].double() * step) / inverse[0, 0]
        work[:, left[1:]] -= error[:, None] * inverse[0, 1:]
        left = left[1:]
    assert torch.equal(step_codes(matrix, rows, steps, 0.0, block=3), codes)


def test_finer_steps_lose_less_and_take_more_bits():
    matrix, s, energy = made_up()
    found = [rounded(matrix, s, energy, 2.0**-rung) for rung in range(1, 7)]
    losses = [loss(matrix, one, s, energy) for _, one in found]
    bits = [entropy_bits(codes) for codes, _ in found]
    assert losses == sorted(losses, reverse=True)
    assert bits == sorted(bits)
    assert losses[-1] < 1e-3 * loss(matrix, torch.zeros_like(matrix), s, energy)


def test_steps_by_what_the_loss_feels_beat_one_step_at_the_same_entropy():
    matrix, s, energy = made_up(256, 64, seed=1)
    energy = energy**4  # rows that differ much
    mine, other = rounded(matrix, s, energy, 0.5), None
    wanted = entropy_bits(mine[0])
    for rung in torch.linspace(-6, 4, 200):
        tried = rounded(matrix, s, energy, float(2**rung), plain=True)
        if entropy_bits(tried[0]) <= wanted:
            break
        other = tried
    assert entropy_bits(other[0]) > wanted  # the rival even has more bits
    assert loss(matrix, mine[1], s, energy) < loss(matrix, other[1], s, energy)


def test_thrift_takes_the_lower_neighbour_only_where_that_is_near():
    wanted = torch.tensor([0.4, 0.55, 0.9, -1.55, -0.52, 2.0])
    assert thrifty(wanted, 0.0).tolist() == wanted.round().tolist()
    assert thrifty(wanted, 0.15).tolist() == [0.0, 0.0, 1.0, -1.0, 0.0, 2.0]


def test_refitted_steps_never_lose_more():
    matrix, s, energy = made_up()
    steps = steps_for(s, energy, 0.01)
    rows = steps.rows * 0.5
    codes = step_codes(matrix, rows, steps, 0.15)
    better = refitted(matrix, codes, rows, steps.columns, s)
    ones = torch.ones_like(energy)
    before, after = (loss(matrix, codes * one[:, None] * steps.columns, s, ones) for one in (rows, better))
    assert after <= before


def test_zeros_stay():
    matrix, s, energy = made_up()
    frozen = torch.rand(matrix.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    matrix = matrix.masked_fill(frozen, 0.0)
    steps = steps_for(s, energy, 0.01)
    assert not step_codes(matrix, steps.rows * 0.3, steps, 0.1, frozen)[frozen].any()


def test_the_stock_finds_the_step_of_a_wanted_entropy():
    matrix, s, energy = made_up(64, 64)
    steps, stock = steps_for(s, energy, 0.01), Stock()
    stock.add(matrix, steps, 0.0)
    scale = stock.step_for(3.0)
    codes = (matrix / (steps.rows[:, None] * steps.columns * scale)).round()
    assert entropy_bits(codes) / codes.numel() == pytest.approx(3.0, abs=0.15)


def test_stored_bytes_are_near_the_entropy():
    codes = (torch.randn(256, 512, generator=torch.Generator().manual_seed(0)) * 2).round().to(torch.int16)
    assert len(encode_tensor(codes).data) * 8 == pytest.approx(entropy_bits(codes), rel=0.02)
