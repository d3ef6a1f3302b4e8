"""A board has the base install alone: it writes its file, which a fit elsewhere reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pocketlm
from pocketlm.measure.device import read_device

SOURCE = Path(pocketlm.__file__).parents[1]
# Packages that only the build half has.
BUILD = ("torch", "transformers", "datasets", "pyarrow", "hassil", "onnx", "optuna", "sklearn", "scipy")


@pytest.fixture
def board(tmp_path):
    """Runs the command as on a machine where none of these can be imported."""
    absent = tmp_path / "absent"
    absent.mkdir()
    for name in BUILD:
        (absent / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name} here')\n", "utf-8")
    path = os.pathsep.join([str(absent), str(SOURCE)])

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "pocketlm", *words], capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path,
        )  # fmt: skip

    return run


def test_a_machine_writes_what_it_is_worth(board, tmp_path):
    done = board("calibrate-device", "board.yaml", "--name", "board")
    assert done.returncode == 0, done.stderr
    assert "wrote board.yaml" in done.stdout
    device = read_device(tmp_path / "board.yaml")
    assert device.name == "board" and all(rate > 0 for rate in device.microseconds.values())
    assert 0 < device.light_bytes < device.runtime_bytes
    before = (tmp_path / "board.yaml").read_bytes()
    again = board("calibrate-device", "board.yaml")
    assert again.returncode == 2 and "--force" in again.stderr and "Traceback" not in again.stderr
    assert (tmp_path / "board.yaml").read_bytes() == before
