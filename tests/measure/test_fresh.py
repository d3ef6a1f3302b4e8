"""A Pocket measured in a process of its own, and what is said when that fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pocketlm.errors import PocketLMError, UserError
from pocketlm.measure import fresh
from pocketlm.measure.fresh import MOST_TEXTS, measure_pocket, spread
from pocketlm.measure.machine import cpu_name, describe, usable_cores, vectors

REAL = subprocess.run


def test_a_pocket_is_measured(pocket, tmp_path, monkeypatch):
    """From a folder whose files have the names of modules, with a path that is relative to it."""
    for name in ("json.py", "numpy.py", "pocketlm.py"):
        (tmp_path / name).write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    # from the working folder, as a user would write it
    about = measure_pocket(Path(os.path.relpath(pocket)), ["turn on the light", "ọ̀gá 開いて", "\ud83d", ""])
    assert set(about) == {
        *("size_bytes", "load_ms", "texts", "calls", "memory_bytes", "memory_import_bytes"),
        *(f"latency_{name}_ms" for name in ("p50", "p95", "mean", "min", "p50_low", "p50_high")),
    }
    assert about["size_bytes"] == pocket.stat().st_size
    assert about["texts"] == 4
    assert about["calls"] >= 300
    assert 0 < about["latency_min_ms"] <= about["latency_p50_ms"] <= about["latency_p95_ms"] < 1000
    # pytest's process, with its plugins, is larger than what a Pocket needs
    assert 10e6 < about["memory_bytes"] < 200e6


@pytest.mark.parametrize(
    ("taken", "allowed", "told", "processes"),
    [
        ([1.1], None, (1.1, 1.2), 1),
        ([0.9], 1.0, (0.9, 1.0), 1),
        ([1.1, 0.95], 1.0, (0.95, 1.2), 2),
        ([1.1, 1.2, 1.05], 1.0, (1.05, 1.3), 3),
        ([1.3], 1.0, (1.3, 1.4), 1),
    ],
)
def test_what_just_misses_the_time_allowed_is_taken_again(taken, allowed, told, processes, tmp_path, monkeypatch):
    left = list(taken)

    def run(module, *given):
        median = left.pop(0)
        spread = {"latency_p50_low_ms": median, "latency_p50_high_ms": round(median + 0.1, 9)}
        return {"latency_p50_ms": median, **spread}

    monkeypatch.setattr(fresh, "in_fresh_process", run)
    monkeypatch.setattr(fresh, "PAUSE", 0)
    found = measure_pocket(tmp_path / "x.pocket", ["a"], allowed=allowed)
    assert (found["latency_p50_ms"], found["latency_p50_high_ms"]) == told
    assert len(taken) - len(left) == processes


def test_a_tagging_pocket_reads_tokens(tagger):
    assert measure_pocket(tagger, [("turn", "on"), ["the", "light"], "plain text"])["texts"] == 3


@pytest.fixture
def started(monkeypatch):
    """What would be started; a process that prints one object after somebody else's line."""
    calls = []

    def run(command, **options):
        calls.append((command, options, Path(command[-1]).read_text().splitlines()))
        return subprocess.CompletedProcess(command, 0, 'a plugin says hello\n{"calls": 1}', "")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_the_process_has_one_thread_and_real_texts_from_the_whole(started, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["relative", "/absolute"]))
    texts = [str(place) for place in range(2 * MOST_TEXTS - 1)]
    assert measure_pocket(tmp_path / "x.pocket", texts) == {"calls": 1}
    ((command, options, lines),) = started
    assert command[:3] == [sys.executable, "-m", "pocketlm.measure.probe"]
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        assert options["env"][name] == "1"
    source = str(Path(fresh.__file__).parents[2])
    assert options["env"]["PYTHONPATH"].split(os.pathsep) == [source, str(Path.cwd() / "relative"), "/absolute"]
    given = [int(json.loads(line)) for line in lines]
    assert len(given) == MOST_TEXTS
    assert given == sorted(set(given))
    assert given[-1] >= len(texts) - 2
    assert not Path(command[-1]).exists()


@pytest.mark.parametrize(("count", "most"), [(1, 5), (5, 5), (6, 5), (1000, 7)])
def test_texts_are_spread_evenly(count, most):
    places = list(map(int, spread(list(map(str, range(count))), most)))
    assert len(places) == min(count, most)
    gaps = {after - before for before, after in zip(places, places[1:], strict=False)}
    assert places[0] == 0
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_failures_are_one_line_with_the_reason(pocket, tmp_path, monkeypatch):
    broken = tmp_path / "broken.pocket"
    broken.write_bytes(pocket.read_bytes()[:-1])
    with pytest.raises(PocketLMError, match=r"could not be measured in a fresh process \(.*PocketFileError: .*\)$"):
        measure_pocket(broken, ["a"])
    with pytest.raises(UserError, match="no text to measure"):
        measure_pocket(pocket, [])
    with pytest.raises(PocketLMError, match=r"could not be measured within 0\.01 s"):
        measure_pocket(pocket, ["a"], max_seconds=0.01)


@pytest.mark.parametrize(
    ("code", "stderr", "reason"),
    [
        (-9, "", "(signal 9)"),
        (7, "\n", "(exit code 7)"),
        (1, "Traceback:\n  line\nMemoryError: 1 GB\n", "(MemoryError: 1 GB)"),
    ],
)
def test_a_process_that_dies_says_how(monkeypatch, tmp_path, code, stderr, reason):
    monkeypatch.setattr(
        subprocess, "run", lambda command, **options: subprocess.CompletedProcess(command, code, "", stderr)
    )
    with pytest.raises(PocketLMError) as caught:
        measure_pocket(tmp_path / "x.pocket", ["a"])
    assert str(caught.value).endswith(reason)
    assert "\n" not in str(caught.value)


def test_the_machine_is_described(monkeypatch):
    about = json.loads(json.dumps(describe()))
    assert about["cpu"] == cpu_name() != ""
    assert 1 <= about["cores"] == usable_cores() <= os.cpu_count()
    assert about["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"numpy", "onnxruntime", "tokenizers"} <= set(about["versions"])


@pytest.mark.parametrize(
    ("flags", "name"),
    [("sse2 avx avx2 avx512f amx_tile", "AMX"), ("avx2 avx512f", "AVX-512"), ("fma avx2", "AVX2"),
     ("fp asimd", "NEON"), ("sse2", ""), ("", "")],
)  # fmt: skip
def test_the_widest_vectors_are_named(flags, name):
    assert vectors(flags) == name


def test_a_processor_without_a_name_is_described_by_its_kind(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda path: "processor : 0\n")
    assert cpu_name()
