"""Every benchmark can be started: what it imports is there."""

import importlib
from pathlib import Path

import pytest

SCRIPTS = sorted(one.stem for one in (Path(__file__).parents[2] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_benchmark_finds_what_it_imports(name):
    assert importlib.import_module(name).__doc__
