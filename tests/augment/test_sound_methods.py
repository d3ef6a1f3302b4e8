"""Speed and noise do to sound what they say, and a folder of speech keeps its texts."""

import csv

import numpy as np
import pytest

from pocketlm.augment.sound import NoiseBehind, Speed, at_speed, over_noise, pink
from pocketlm.augment.sound_files import augment_sounds
from pocketlm.data.sound import read_wav, wav_files, write_wav
from pocketlm.errors import DataError, OutputError, RecipeError, UnknownNameError

RATE = 8000


def tone(pitch, seconds=1.0):
    return np.asarray(0.3 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE)) / RATE), np.float32)


def loudest(samples):
    """The pitch with the most power, in Hz."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples))


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_faster_is_shorter_and_higher(factor):
    found = at_speed(tone(400), factor)
    assert len(found) == pytest.approx(RATE / factor, abs=1)
    assert loudest(found) == pytest.approx(400 * factor, abs=2)
    assert np.abs(found[100:-100]).max() == pytest.approx(0.3, rel=0.01)


@pytest.mark.parametrize("ratio", [0.0, 10.0, 20.0])
def test_noise_is_as_far_below_as_it_says(ratio):
    samples, random = tone(400), np.random.default_rng(0)
    for noise in (pink(RATE, random), np.asarray(random.standard_normal(700), np.float32)):
        behind = over_noise(samples, noise, ratio, random) - samples
        powers = [float(np.mean(one.astype(np.float64) ** 2)) for one in (samples, behind)]
        assert 10 * np.log10(powers[0] / powers[1]) == pytest.approx(ratio, abs=1e-3)


def test_pink_noise_has_as_much_power_in_every_octave():
    power = np.abs(np.fft.rfft(pink(2**16, np.random.default_rng(0)))) ** 2
    octaves = [power[2**place : 2 ** (place + 1)].sum() for place in range(8, 15)]
    assert max(octaves) / min(octaves) < 1.5


def test_settings_are_checked_and_silence_stays():
    with pytest.raises(ValueError, match="from 0.5 to 2"):
        Speed(factors=(3.0,))
    with pytest.raises(ValueError, match="low is at most high"):
        NoiseBehind(low=9, high=3)
    assert NoiseBehind()(np.zeros(80, np.float32), np.random.default_rng(0), ()) == []
    assert np.array_equal(over_noise(tone(400), np.zeros(9, np.float32), 5.0, np.random.default_rng(0)), tone(400))


@pytest.fixture
def speech(tmp_path):
    folder = tmp_path / "speech"
    folder.mkdir()
    for name, pitch in (("a", 300), ("b", 500)):
        write_wav(folder / f"{name}.wav", tone(pitch, 0.5), RATE)
    (folder / "a.txt").write_text("lamp", "utf-8")
    return folder


def test_a_folder_gets_new_sounds_with_their_texts(speech, tmp_path):
    target = tmp_path / "more"
    done = augment_sounds(str(speech), str(target), ("speed", "noise"), copies=3)
    assert done["files"] == 2 and done["new_files"] == 2 * 2 + 2 * 3
    assert len(wav_files(target)) == 12 and (target / "a.wav").read_bytes() == (speech / "a.wav").read_bytes()
    with (target / "augmented.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 10 and rows[0]["note"] == "0.9 times as fast"
    for row in rows:
        assert (target / row["file"]).with_suffix(".txt").exists() == (row["source"] == "a.wav")
    assert len({(target / row["file"]).read_bytes() for row in rows}) == 10
    again = augment_sounds(str(speech), str(tmp_path / "again"), ("speed", "noise"), copies=3)
    assert again["new_files"] == 10
    for file in target.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_noises_are_taken_from_a_folder(speech, tmp_path):
    noises = tmp_path / "noises"
    noises.mkdir()
    write_wav(noises / "hum.wav", tone(1000), RATE)
    augment_sounds(str(speech), str(tmp_path / "more"), ("noise",), noises=str(noises), copies=1)
    samples, _ = read_wav(tmp_path / "more" / "a.noise-1.wav")
    power = np.abs(np.fft.rfft(samples))
    assert set(np.argsort(power)[-2:]) == {150, 500}  # half a second: 300 and 1,000 Hz
    write_wav(noises / "hum.wav", tone(1000), 16000)
    with pytest.raises(DataError, match="no WAV file with 8,000 samples a second"):
        augment_sounds(str(speech), str(tmp_path / "other"), ("noise",), noises=str(noises))
    assert not (tmp_path / "other").exists()


def test_nothing_of_the_user_is_lost(speech, tmp_path):
    target = tmp_path / "more"
    with pytest.raises(RecipeError, match="-o"):
        augment_sounds(str(speech), None, ("speed",))
    with pytest.raises(OutputError, match="where the sounds are"):
        augment_sounds(str(speech), str(speech), ("speed",), force=True)
    with pytest.raises(UnknownNameError, match="speed"):
        augment_sounds(str(speech), str(target), ("sped",))
    target.mkdir()
    (target / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(OutputError, match="exists already"):
        augment_sounds(str(speech), str(target), ("speed",))
    with pytest.raises(OutputError, match=r"mine\.txt was not written by augment"):
        augment_sounds(str(speech), str(target), ("speed",), force=True)
    assert (target / "mine.txt").read_text("utf-8") == "mine"
    augment_sounds(str(speech), str(tmp_path / "new"), ("speed",))
    (tmp_path / "new" / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(OutputError, match=r"mine\.txt was not written by augment"):
        augment_sounds(str(speech), str(tmp_path / "new"), ("noise",), force=True)
    (tmp_path / "new" / "mine.txt").unlink()
    augment_sounds(str(speech), str(tmp_path / "new"), ("noise",), force=True)
    assert len(wav_files(tmp_path / "new")) == 6
    with pytest.raises(OutputError, match="does not exist"):
        augment_sounds(str(speech), str(tmp_path / "no" / "where"), ("speed",))
