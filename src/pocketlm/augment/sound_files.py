"""A folder of speech in, one with as many more sounds as methods make of it out."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from pocketlm.augment.sound import SOUND_METHODS, SoundMethod
from pocketlm.data.sound import read_wav, wav_files, write_wav
from pocketlm.errors import DataError, OutputError, RecipeError

# The list of what was made, by which a folder that may be replaced is known.
LIST = "augmented.tsv"


def augment_sounds(
    data: str, output: str | None, methods: Sequence[str], *, noises: str | None = None, copies: int = 2, seed: int = 0,
    force: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Write the WAV files of a folder and new ones of each, with the texts beside them: what was made, as plain data.

    noises: a folder of WAV files without speech. copies: times that a method which draws goes over the files. The list
    of new files, with source, method and note, is in augmented.tsv. Raises UserError for wrong input.
    """
    if output is None:
        raise RecipeError("sound is written as files: name a folder with -o, and methods with --method")
    target, files = Path(output), wav_files(Path(data))
    _check(target, Path(data), force)
    made: list[SoundMethod] = [SOUND_METHODS[name]() for name in methods]
    sounds = [(file, *read_wav(file)) for file in files]
    behind = _noises(noises, {rate for _, _, rate in sounds})
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rows = []
    for method in made:
        random = np.random.default_rng((seed, crc32(method.name.encode())))
        for copy in range(1 if method.name == "speed" else copies):
            for file, samples, rate in sounds:
                if not len(samples):
                    raise DataError(f"{file}: holds no sound")
                for number, (new, note) in enumerate(method(samples, random, behind.get(rate, ()))):
                    name = f"{file.stem}.{method.name}-{copy + number + 1}"
                    write_wav(partial / f"{name}.wav", new, rate)
                    _copy_text(file, partial / f"{name}.txt")
                    rows.append((f"{name}.wav", file.name, method.name, note))
    for file in files:
        shutil.copyfile(file, partial / file.name)
        _copy_text(file, partial / file.with_suffix(".txt").name)
    with (partial / LIST).open("w", encoding="utf-8", newline="") as listed:
        csv.writer(listed, delimiter="\t", lineterminator="\n").writerows([("file", "source", "method", "note"), *rows])
    if target.exists():
        shutil.rmtree(target)
    os.replace(partial, target)
    return {"output": output, "written": [one.name for one in made], "files": len(files), "new_files": len(rows)}


def _check(target: Path, data: Path, force: bool) -> None:
    """Raise OutputError where the folder could not be written, or holds what this did not write."""
    if target.resolve() == (data if data.is_dir() else data.parent).resolve():
        raise OutputError(f"{target}: is where the sounds are; name another folder")
    if target.is_dir() and any(target.iterdir()):
        if not force:
            raise OutputError(f"{target}: exists already; pass --force to replace it, or choose another name")
        if mine := _others(target):
            raise OutputError(f"{target}: {mine[0]} was not written by augment, which replaces nothing else")
    elif target.exists() and not target.is_dir():
        raise OutputError(f"{target}: is a file; sound is written into a folder")
    if not target.resolve().parent.is_dir():
        raise OutputError(f"{target}: the folder {target.resolve().parent} does not exist")


def _others(folder: Path) -> list[str]:
    """Names of what is in the folder beside the files that its list names, and the texts that go with them."""
    known = {LIST}
    if (folder / LIST).is_file():
        with (folder / LIST).open(encoding="utf-8", newline="") as listed:
            for row in csv.DictReader(listed, delimiter="\t"):
                known |= {name for one in (row["file"], row["source"]) for name in (one, f"{Path(one).stem}.txt")}
    return sorted(one.name for one in folder.iterdir() if one.name not in known)


def _noises(folder: str | None, rates: set[int]) -> dict[int, list[Any]]:
    """The sounds of a folder by their rates. Raises DataError where none is of a rate that is needed."""
    if folder is None:
        return {}
    found: dict[int, list[Any]] = {}
    for file in wav_files(Path(folder)):
        samples, rate = read_wav(file)
        if len(samples):
            found.setdefault(rate, []).append(samples)
    if missing := sorted(rates - set(found)):
        raise DataError(
            f"noises {folder}: there is no WAV file with {missing[0]:,} samples a second, as the speech has"
        )
    return found


def _copy_text(file: Path, target: Path) -> None:
    """What is said in the file, where that is known."""
    said = file.with_suffix(".txt")
    if said.is_file():
        shutil.copyfile(said, target)
