"""Processes that train together: their steps are those of one process that sees the whole batch."""

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from helpers import make_context

from pocketlm.students.ngrams import HashedNgrams
from pocketlm.train.loop import Schedule, train
from pocketlm.train.losses import Objective
from pocketlm.train.peers import Peers


def trained(data, work, epochs=3, batch=7):
    """A small student after some epochs, its weights and its history."""
    context = make_context(data, None, work)
    model = HashedNgrams(buckets=2**10, width=8, min_texts=1, dropout=0.0)(None, context)
    schedule = Schedule(epochs, rate=1e-2, batch_size=batch, patience=epochs, decay=0.0)
    history = train(model, context.lesson, Objective(), schedule, context.figure)
    return {name: weight.clone() for name, weight in model.module.state_dict().items()}, history


def one_of_two(rank, folder, data):
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    weights, history = trained(Path(data), Path(folder, f"work-{rank}"))
    torch.save({"weights": weights, "figures": history.figures}, Path(folder, f"{rank}.pt"))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path, csv_file):
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path), str(csv_file)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    alone, history = trained(csv_file, tmp_path / "alone")
    assert first["figures"] == second["figures"] == history.figures
    for name, weight in alone.items():
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        torch.testing.assert_close(first["weights"][name], weight, rtol=1e-3, atol=1e-4)


def test_one_process_is_its_own_group():
    peers = Peers.here()
    assert (peers.rank, peers.count, peers.seed) == (0, 1, 0)
    assert peers.any(True) and not peers.any(False)
    assert peers.of_the_first(0.5) == 0.5
    assert peers.part_of([3, 4], lambda own: torch.tensor(float(sum(own)))) == 7


def test_parts_of_a_batch_add_up_to_its_mean():
    rows, batch = torch.arange(10.0), [0, 3, 5, 8, 9]

    def loss(own):
        return rows[own].mean()

    parts = [Peers(rank, 3).part_of(batch, loss) for rank in range(3)]
    assert math.isclose(float(sum(parts)), float(loss(batch)))
    alone = Peers(2, 3).part_of([4, 5], loss)
    assert alone == 0 and not alone.requires_grad, "of two rows the third process has none"
