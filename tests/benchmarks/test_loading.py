"""Every benchmark finds what it imports: those that take hours are run too seldom to tell."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = sorted(one.stem for one in (Path(__file__).parents[2] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_loaded(name):
    assert importlib.import_module(name).__doc__
