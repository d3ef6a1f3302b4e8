"""Other languages in `fit`: chosen where they help, heard from a teacher that covers the language, else without it."""

import csv
import json

import numpy as np
import pytest

import pocketlm
from pocketlm.errors import DataError, RecipeError
from pocketlm.job import Job
from pocketlm.pocket.format import read_pocket
from pocketlm.progress import Silent
from pocketlm.transferring import choose_sources, siblings

ROOMS, COLOURS = ("kitchen", "bedroom", "garage", "hall", "office"), ("red", "green", "blue", "white")
VERBS = {"on": ("start", "light up", "wake"), "off": ("stop", "darken", "kill")}


def commands(translate=lambda word: word, wrong=False):
    rows = []
    for label, verbs in VERBS.items():
        for verb in verbs:
            said = {"on": "off", "off": "on"}[label] if wrong else label
            rows += [(translate(f"{verb} the {colour} {room} lamp"), said) for room in ROOMS for colour in COLOURS]
    return rows


def write(path, rows):
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return str(path)


def strange(text):
    """The same text in letters of which the teacher knows none."""
    return "".join(chr(0x7CA + ord(char) % 32) if char != " " else " " for char in text)


@pytest.mark.usefixtures("quick_gains")
def test_a_source_that_helps_is_chosen_and_one_that_misleads_is_not(tmp_path):
    own = write(tmp_path / "own.csv", commands())
    good = write(tmp_path / "good.csv", [(text.replace("the", "a"), label) for text, label in commands()])
    bad = write(tmp_path / "bad.csv", [(text.replace("the", "a"), label) for text, label in commands(wrong=True)])
    job = Job(own, also=("auto", bad, good), shots=24)
    choice = choose_sources(job, None, Silent())
    assert choice.chosen == (good,)
    assert choice.gains[good] > 0 > choice.gains[bad]
    rows = {row["source"]: row for row in choice.to_json()["sources"]}
    assert rows[good]["chosen"] and not rows[bad]["chosen"] and rows[good]["words"] > 0.5
    assert choice.note.startswith(f"sources chosen: {good}; gains of n-grams")


def test_without_rows_kinship_alone_chooses(tmp_path):
    folder = tmp_path / "sw_Latn"
    write(folder / "test.csv", commands()[::4])
    near, far = write(tmp_path / "near.csv", commands()), write(tmp_path / "far.csv", commands(strange))
    text = tmp_path / "more.txt"
    text.write_text("start the lamp of the hall\nstop it\n", "utf-8")
    job = Job(str(folder), also=("auto", far, near), unlabelled=str(text))
    choice = choose_sources(job, None, Silent())
    assert choice.chosen == (near, far) and choice.alone is None and "by kinship" in choice.note
    with pytest.raises(DataError, match="give some with --unlabelled"):
        choose_sources(Job(str(folder), also=("auto", near)), None, Silent())


def test_siblings_are_other_languages_or_folders(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / name / "train.csv", commands()[:4])
    (tmp_path / "d").mkdir()
    assert siblings(str(tmp_path / "b")) == [str(tmp_path / "a"), str(tmp_path / "c")]
    assert "smart-home:de" in siblings("smart-home:sv") and "smart-home:sv" not in siblings("smart-home:sv")
    with pytest.raises(RecipeError, match="has no siblings to choose from"):
        siblings(write(tmp_path / "e.csv", commands()[:4]))


def test_a_few_rows_beside_another_language_make_a_pocket(tmp_path):
    own, other = write(tmp_path / "own.csv", commands()), write(tmp_path / "more" / "other.csv", commands())
    done = pocketlm.fit(own, also=(other,), shots=20, max_size="20kB", output=str(tmp_path / "m.pocket"))
    assert done.data["chosen"]["test"]["metrics"]["accuracy"]["value"] > 0.8
    told = read_pocket(done.pocket).manifest["provenance"]["also"]
    assert [one["source"] for one in told["sources"]] == ["own.csv", "other.csv"]
    assert "/" not in json.dumps(told)
    assert any(note.startswith("mixed at temperature 5") for note in done.data["data"]["notes"])


def test_a_teacher_that_does_not_cover_the_language_is_not_used(tmp_path, teacher_folder):
    own = write(tmp_path / "own.csv", commands(strange))
    settings = {"teacher": str(teacher_folder), "max_size": "20kB", "refit": False, "variants": 1}
    done = pocketlm.fit(own, output=str(tmp_path / "m.pocket"), **settings)
    assert done.data["teacher"] is None
    note = next(note for note in done.data["data"]["notes"] if "does not cover the language" in note)
    assert "does not know something in" in note and "trained without it" in note
    assert done.data["chosen"]["test"]["metrics"]["accuracy"]["value"] > 0.8


def test_a_student_reads_translations_that_its_teacher_does_not_know(tmp_path, teacher_folder, understanding_rows):
    path = tmp_path / "pairs.jsonl"
    rows = [{"en": row["text"], "nqo": strange(row["text"])} for row in understanding_rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    done = pocketlm.fit(
        str(path), task="similarity", teacher=str(teacher_folder), width=16, max_size="24kB", variants=1, refit=False,
        output=str(tmp_path / "m.pocket"),
    )  # fmt: skip
    pocket = pocketlm.load(done.pocket)
    english = np.stack([pocket.vectors([row["en"]])[0] for row in rows[:20]])
    other = np.stack([pocket.vectors([row["nqo"]])[0] for row in rows[:20]])
    near = english @ other.T
    assert (near.argmax(1) == np.arange(20)).mean() >= 0.5
    assert done.data["data"]["columns"] == "texts from 'en', their translations from 'nqo'"
    taught = done.data["teacher"]["quality"]["test"]["mrr"]
    assert done.data["chosen"]["test"]["metrics"]["mrr"]["value"] > taught + 0.2
