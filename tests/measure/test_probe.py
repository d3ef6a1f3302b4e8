"""The probe's own arithmetic, what it times and how, and that the base install is enough for it."""

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketlm.measure import probe
from pocketlm.measure.probe import BLOCKS, peak_memory, quantile, summary, time_calls

SOURCE = str(Path(probe.__file__).parents[2])
times = st.lists(st.floats(0.001, 1000), min_size=1, max_size=200)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(probe, "LEAST_SECONDS", 0.0)


def test_calls_are_of_one_real_text_each_in_turn_after_a_warm_up(quick):
    seen = []
    spent = time_calls(seen.append, ["a", ("b", "c")])
    assert len(spent) == probe.LEAST_CALLS
    assert len(seen) == probe.WARM_UP + probe.LEAST_CALLS
    assert seen[probe.WARM_UP :][:3] == [["a"], [("b", "c")], ["a"]]


def test_the_warm_up_is_not_counted_and_times_are_milliseconds(quick, monkeypatch):
    monkeypatch.setattr(probe, "LEAST_CALLS", 5)
    calls = iter([0.05] * probe.WARM_UP + [0.002] * 5)
    spent = time_calls(lambda batch: time.sleep(next(calls)), ["a"])
    assert len(spent) == 5
    assert all(2 <= one < 40 for one in spent)


def test_quick_models_are_timed_long_enough(monkeypatch):
    monkeypatch.setattr(probe, "LEAST_SECONDS", 0.2)
    began = time.perf_counter()
    spent = time_calls(lambda batch: None, ["a"])
    assert time.perf_counter() - began >= 0.2
    assert len(spent) > probe.LEAST_CALLS


def test_slow_models_are_not_timed_forever(monkeypatch):
    monkeypatch.setattr(probe, "MOST_SECONDS", 0.1)
    spent = time_calls(lambda batch: time.sleep(0.03), ["a"])
    assert 1 <= len(spent) < probe.LEAST_CALLS


def test_no_garbage_is_collected_while_timing_and_again_after_an_error(quick):
    seen = []
    time_calls(lambda batch: seen.append(gc.isenabled()), ["a"])
    assert not any(seen[probe.WARM_UP :])
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        time_calls(lambda batch: 1 / 0 if not gc.isenabled() else None, ["a"])
    assert gc.isenabled()


@given(times, st.floats(0, 1))
def test_quantiles_are_values_and_grow(values, share):
    assert quantile(values, share) in values
    assert min(values) == quantile(values, 0) <= quantile(values, share) <= quantile(values, 1) == max(values)


@given(times)
def test_summary_is_in_order(values):
    about = summary(values)
    assert about["calls"] == len(values)
    assert about["latency_min_ms"] <= about["latency_p50_ms"] <= about["latency_p95_ms"]
    assert about["latency_p50_low_ms"] <= about["latency_p50_high_ms"]
    assert about["latency_mean_ms"] == pytest.approx(statistics.fmean(values))


def test_summary_by_hand():
    blocks = [float(10 * block) for block in range(1, BLOCKS + 1) for _ in range(20)]
    assert summary(blocks) == {
        "calls": 100,
        "latency_p50_ms": 30.0,
        "latency_p95_ms": 50.0,
        "latency_mean_ms": 30.0,
        "latency_min_ms": 10.0,
        "latency_p50_low_ms": 10.0,
        "latency_p50_high_ms": 50.0,
    }
    steady = summary([1.0] * 94 + [9.0] * 6)
    assert (steady["latency_p50_ms"], steady["latency_p95_ms"]) == (1.0, 9.0)


def python(code, *arguments):
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    return json.loads(done.stdout)


def test_peak_memory_counts_what_was_given_back():
    before, after = python(
        "from pocketlm.measure.probe import peak_memory as peak\n"
        "before = peak(); block = b'x' * 200_000_000; del block; print([before, peak()])"
    )
    assert 197e6 < after - before < 240e6


def test_peak_memory_without_proc(monkeypatch):
    def none(*given, **options):
        raise FileNotFoundError

    usual = peak_memory()
    monkeypatch.setattr(Path, "read_text", none)
    assert 0.5 * usual < peak_memory() < 4 * usual


def test_the_base_install_is_enough(pocket, tmp_path):
    """Every package of the build half made impossible to import."""
    (tmp_path / "texts.jsonl").write_text('"turn on the light"\n["a", "list"]\n')
    about = python(
        "import json, sys\n"
        "for name in ('torch', 'transformers', 'datasets', 'pyarrow', 'hassil', 'onnx', 'sklearn', 'scipy'):\n"
        "    sys.modules[name] = None\n"
        "from pocketlm.measure import probe\n"
        "probe.LEAST_SECONDS = 0\n"
        "print(json.dumps(probe.main(*sys.argv[1:])))",
        pocket,
        tmp_path / "texts.jsonl",
    )
    assert about["size_bytes"] == pocket.stat().st_size
    assert (about["texts"], about["calls"]) == (2, probe.LEAST_CALLS)
    assert 0 < about["memory_import_bytes"] <= about["memory_bytes"] < 500e6
    assert about["load_ms"] > 0
