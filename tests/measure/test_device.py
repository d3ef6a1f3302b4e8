"""Rates of a machine: fitted to what blocks took, written, read, and what is refused."""

import numpy as np
import pytest

from pocketlm.errors import DeviceError
from pocketlm.measure.device import UNITS, Device, fitted, off_by, read_device

RATES = {unit: 0.5 * (place + 1) for place, unit in enumerate(UNITS)}


def works(count=60, seed=0):
    """Blocks with a share of every unit."""
    random = np.random.default_rng(seed)
    return [{unit: float(random.uniform(1, 1000)) / RATES[unit] for unit in UNITS} for _ in range(count)]


def test_latency_is_the_sum_of_what_units_cost():
    device = Device("a", RATES)
    assert device.milliseconds({"call": 1, "word": 10}) == pytest.approx((0.5 + 10 * 1.0) / 1e3)
    assert device.milliseconds({}) == 0


def test_rates_are_found_again_from_exact_times():
    device, blocks = Device("a", RATES), works()
    times = [device.milliseconds(work) for work in blocks]
    assert fitted(blocks, times, RATES) == pytest.approx(RATES), "the usual rates are right already"
    twice = fitted(blocks, [2 * ms for ms in times], RATES)
    assert twice == pytest.approx({unit: 2 * rate for unit, rate in RATES.items()}), "a machine half as fast"
    other = {unit: rate * (3 if unit == "int8" else 1) for unit, rate in RATES.items()}
    slower = Device("b", other)
    times = [slower.milliseconds(work) for work in blocks]
    found = Device("c", fitted(blocks, times, RATES))
    assert found.microseconds["int8"] / RATES["int8"] > 2, "one rate differs, and most of it is found"
    assert max(off_by(found, blocks, times)) < 0.1


def test_rates_stay_above_nothing():
    blocks = [{"call": 1.0}, {"call": 1.0, "int8": 1000.0}]
    found = fitted(blocks, [1.0, 0.9], dict.fromkeys(UNITS, 1.0))
    assert min(found.values()) > 0


def test_a_file_says_it_all(tmp_path):
    device = Device("board", RATES, "ARM", "NEON", 4, 60_000_000, 40_000_000, 4_000_000_000, None, 0.12, "today")
    path = tmp_path / "board.yaml"
    path.write_text(device.to_yaml(), "utf-8")
    again = read_device(path)
    assert again.microseconds == pytest.approx(RATES, rel=1e-2)
    assert {**vars(again), "microseconds": None} == {**vars(device), "microseconds": None}
    assert "int8_gops" in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("device: board", "devise: board", "device's name"),
        ("int8_gops", "int8_gop", "unknown key 'int8_gop'.*Did you mean 'int8_gops'"),
        ("call_us: 0.5", "call_us: 0", "call_us is 0; it is a number above 0"),
        ("call_us: 0.5\n", "", "call_us is missing"),
        ("threads: 4", "threads: none", "threads is 'none'"),
        ("ram: 4 GB", "ram: many", "ram: 'many' is not a size"),
        ("ram: 4 GB", "ram: 1 MB", "ram is 1 MB; no Pocket runs in less than 10 MB"),
        ("error: 0.12", "error: -1", "error is -1"),
        ("device: board", "device: [", "is not a device's YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path, old, new, says):
    text = Device(
        "board", RATES, "ARM", "NEON", 4, 60_000_000, 40_000_000, 4_000_000_000, None, 0.12, "today"
    ).to_yaml()
    assert old in text
    path = tmp_path / "board.yaml"
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(DeviceError, match=says):
        read_device(path)


def test_an_absent_file_says_how_to_make_one(tmp_path):
    with pytest.raises(DeviceError, match="calibrate-device writes one"):
        read_device(tmp_path / "none.yaml")
