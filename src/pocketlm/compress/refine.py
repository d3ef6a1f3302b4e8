"""Refine rounded weights: codes by coordinate descent, scales by least squares, in turn, on tr((W − Ŵ) S (W − Ŵ)ᵀ).

A code moves to c + ((W − Ŵ) S)_j / (S_jj s), rounded, with all others where they are (Nair and Suggala 2024,
arXiv:2406.17542); a row's scales are then the solution of the normal equations N s = b, where N_gh = c_gᵀ S_gh c_h and
b_g = c_gᵀ (S w)_g for its groups' centred codes c_g. Neither step can raise the error, but for the rounding of scales
to float16.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pocketlm.compress.grid import Grid

BLOCK = 128
# What float16 holds with full precision; scales have to lie between.
LEAST, MOST = 6.2e-5, 6e4


def refined(
    target: Tensor, grid: Grid, codes: Tensor, s: Tensor, frozen: Tensor | None = None, rounds: int = 2
) -> tuple[Grid, Tensor]:
    """Grid and codes (out, in), uint8, after `rounds` of scales and then codes, from where they are.

    target: (out, in). s: (in, in), damped, so that no diagonal element is 0. frozen: (out, in), true where the code of
    0 is to stay.
    """
    for _ in range(rounds):
        grid = refitted(target, grid, codes, s)
        codes = descended(target, grid, codes, s, frozen)
    return grid, codes


def refitted(target: Tensor, grid: Grid, codes: Tensor, s: Tensor) -> Grid:
    """The grid with each row's scales by least squares; a row of which one would be no scale keeps its own."""
    if len(grid.scales) != len(target):  # one scale for the whole matrix
        return grid
    most = max(1, s.numel() // grid.scales.shape[1] ** 2)  # rows whose equations take no more memory than S
    if len(target) > most:
        found = []
        for start in range(0, len(target), most):
            rows = slice(start, start + most)
            zeros = None if grid.zeros is None else grid.zeros[rows]
            part = replace(grid, scales=grid.scales[rows], zeros=zeros)
            found.append(refitted(target[rows], part, codes[rows], s).scales)
        return replace(grid, scales=torch.cat(found))
    centred = codes.float() - grid.columns(target.shape[1])[1]
    spans = [slice(at, at + grid.group_size) for at in range(0, target.shape[1], grid.group_size)]
    normal = torch.empty(len(target), len(spans), len(spans))
    for place, span in enumerate(spans):
        product = (centred[:, span] @ s[span]).mul_(centred)
        normal[:, place] = torch.stack([product[:, other].sum(1) for other in spans], 1)
    wanted = (target @ s).mul_(centred)
    right = torch.stack([wanted[:, span].sum(1) for span in spans], 1)
    # a group without codes has an empty row of N, and any scale does
    ridge = 1e-6 * normal.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-30)
    normal.diagonal(dim1=1, dim2=2).add_(ridge[:, None])
    right += ridge[:, None] * grid.scales
    found, _ = torch.linalg.solve_ex(normal, right)
    fits = ((found >= LEAST) & (found <= MOST)).all(1, keepdim=True)
    return replace(grid, scales=torch.where(fits, found, grid.scales).half().float())


def descended(target: Tensor, grid: Grid, codes: Tensor, s: Tensor, frozen: Tensor | None = None) -> Tensor:
    """Codes, each moved once to where the error is least with the others as they are, columns by falling S_jj.

    A block of columns at a time is moved with what it changes kept up to date within it; the rest follows as a product.
    """
    order = torch.argsort(s.diagonal(), descending=True, stable=True)
    scale, zero = (one.expand(target.shape)[:, order].t().contiguous() for one in grid.columns(target.shape[1]))
    found = codes[:, order].t().float().contiguous()  # a column is a row here: its values lie side by side
    s = s[order][:, order]
    still = None if frozen is None else frozen[:, order].t().contiguous()
    slope = s @ (target[:, order].t() - (found - zero) * scale)
    top, diagonal = 2**grid.bits - 1, s.diagonal().tolist()
    for start in range(0, len(found), BLOCK):
        end = min(start + BLOCK, len(found))
        moved = torch.empty(end - start, found.shape[1])
        for column in range(start, end):
            step = moved[column - start]
            torch.div(slope[column], scale[column], out=step).div_(diagonal[column])
            step.add_(found[column]).round_().clamp_(0, top)
            if still is not None:
                torch.where(still[column], found[column], step, out=step)
            step.sub_(found[column])
            found[column] += step
            step.mul_(scale[column])
            slope[column + 1 : end].addr_(s[column, column + 1 : end], step, alpha=-1)
        slope[end:].addmm_(s[end:, start:end], moved, alpha=-1)
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order))
    return found[back].t().to(torch.uint8).contiguous()
