"""Every example runs and says what it promises."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_runs(path, tmp_path):
    done = subprocess.run([sys.executable, str(path), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "meets the budget" in done.stdout
    assert list(tmp_path.glob("*.pocket"))
