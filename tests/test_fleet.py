"""A search on a Ray cluster: the same study as here, whichever worker dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from helpers import make_context

import pocketlm
from pocketlm.errors import RecipeError
from pocketlm.fleet import fleet
from pocketlm.job import Job
from pocketlm.outputs import texts_of
from pocketlm.progress import Deadline
from pocketlm.tasks.prepare import prepare
from pocketlm.train.teach import ask, judge

WORKERS = 3
# Bags of n-grams are trained, so that there is time to kill a worker.
SEARCHED = ("search.family=bag", "distill.epochs=8")


@pytest.fixture(autouse=True)
def quick_cluster(monkeypatch):
    """Workers as urgent as the tests, which find this package where the tests do."""
    source = str(Path(pocketlm.__file__).parents[1])
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]))


def job(data, teacher, folder, **more):
    return Job(
        str(data), label="category", teacher=str(teacher), max_size="60kB", output=str(folder / "m.pocket"), variants=1,
        few_shot="none", set=SEARCHED, trials=6, refit=False, workers=WORKERS, **more,
    )  # fmt: skip


def told(result):
    """What a study found, whatever the machine's speed."""
    return [
        (one["name"], one["status"], one.get("size_bytes"), one.get("quality")) for one in result.data["candidates"]
    ]


def trying():
    """Process ids of Ray's workers that are trying a recipe."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::_try" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue
    return found


def kill_one(done):
    """Kill the first worker that is seen to try a recipe for a while."""
    while not done.is_set():
        if found := trying():
            time.sleep(0.3)
            if found[0] in trying():
                os.kill(found[0], signal.SIGKILL)
                done.set()
                return
        time.sleep(0.05)


@pytest.mark.slow
def test_a_cluster_finds_what_one_machine_does_though_a_worker_is_killed(csv_file, teacher_folder, tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here = pocketlm.fit(job(csv_file, teacher_folder, tmp_path / "here"))
    killed = threading.Event()
    killer = threading.Thread(target=kill_one, args=(killed,))
    killer.start()
    there = pocketlm.fit(job(csv_file, teacher_folder, tmp_path / "there", ray="local"))
    was_killed = killed.is_set()
    killed.set()
    killer.join()
    assert was_killed, "no worker was seen at work"
    assert told(there) == told(here)
    assert Path(there.pocket).read_bytes() == Path(here.pocket).read_bytes()
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/there/m.work/study.db")
    done = [one for one in study.trials if one.user_attrs.get("status") == "measured"]
    keys = [one.user_attrs["key"] for one in done]
    assert len(keys) == len(set(keys)) == len(told(there)), "nothing is counted twice"


@pytest.mark.slow
def test_a_fit_fine_tunes_its_teacher_in_several_processes(csv_file, teacher_folder, tmp_path):
    found = pocketlm.fit(
        replace(job(csv_file, teacher_folder, tmp_path, ray="local"), data_parallel=2, trials=1, teacher_anyway=True)
    )
    assert found.met and found.data["teacher"]["quality"]["dev"]
    assert (tmp_path / "m.pocket").is_file()
    assert any((tmp_path / "m.work").rglob("together")), "Ray Train left its run"


@pytest.mark.slow
def test_workers_ask_and_fine_tune_a_teacher(csv_file, teacher_folder, tmp_path, monkeypatch):
    context = make_context(csv_file, teacher_folder, tmp_path / "work")
    texts = texts_of(context.dev, context.outputs)
    texts = [" ".join(two) for two in product(texts[:12], repeat=2)]
    monkeypatch.setattr("pocketlm.fleet.ASKED_AT_ONCE", 64)
    with fleet("local", 2, 2) as helpers:
        said = helpers.ask(context.teacher, texts, True, False)
        alone = ask(context.teacher, texts, hidden=True)
        for name, rows in alone.logits.items():  # in the same batches
            np.testing.assert_allclose(np.stack(said.logits[name]), np.stack(rows), atol=1e-5)
        assert [one.shape for one in said.hidden] == [one.shape for one in alone.hidden]
        before = {name: one.clone() for name, one in context.teacher.module.state_dict().items()}
        train = prepare(Job(str(csv_file), label="category")).train
        history = helpers.fine_tune(
            context.teacher, train, context.dev, context.task, 0, 0.0, Deadline(), tmp_path / "together"
        )
    assert len(history.figures) > 1
    assert judge(context.teacher, context.dev, context.task)["accuracy"] == pytest.approx(history.best)
    after = context.teacher.module.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_without_an_address_there_is_no_cluster():
    with fleet(None, 4, 1) as helpers:
        assert helpers is None


def test_where_no_cluster_answers_it_is_said():
    with pytest.raises(RecipeError, match="ray 127.0.0.1:1: no cluster answers there"), fleet("127.0.0.1:1", None, 1):
        pass


def test_processes_are_of_a_cluster():
    with pytest.raises(RecipeError, match="give ray"):
        Job("rows.csv", data_parallel=2)
    with pytest.raises(RecipeError, match="at least 1"):
        Job("rows.csv", workers=0)


def test_ray_is_not_imported_where_it_is_not_asked_for():
    code = "import sys, pocketlm.build, pocketlm.fleet; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
