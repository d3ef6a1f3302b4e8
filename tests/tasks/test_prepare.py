"""Splits that share no text, whoever made them, and the task that rows are for."""

import csv
import json
from pathlib import Path

import pytest

from pocketlm.data.smart_home import smart_home
from pocketlm.job import Job
from pocketlm.tasks.prepare import prepare


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return str(path)


def test_rows_in_two_of_the_files_stay_in_the_one_that_judges(tmp_path):
    rows = [(f"text number {place}", "ab"[place % 2]) for place in range(20)]
    train, dev = write(tmp_path / "train.csv", rows[:12]), write(tmp_path / "dev.csv", rows[10:17])
    prepared = prepare(Job(train, dev=dev, test=write(tmp_path / "test.csv", rows[15:])))
    read = [[one.text for one in split] for split in (prepared.train, prepared.dev, prepared.test)]
    assert [len(split) for split in read] == [10, 5, 5]
    assert len(set().union(*read)) == 20
    notes = prepared.about["notes"]
    assert "2 training rows also in dev left out of training, such as 'text number 10'" in notes
    assert "2 dev rows also in test left out of dev, such as 'text number 15'" in notes


@pytest.mark.parametrize(
    ("more", "task"),
    [({"answer": "far"}, "question-answering"), ({}, "retrieval"), ({"answer": "no part of it"}, "retrieval")],
)
def test_queries_with_passages_are_questions_where_answers_are_in_them(more, task, tmp_path):
    rows = [{"query": f"how far is {place}", "passage": f"it is far from {place}", **more} for place in range(40)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert prepare(Job(str(path))).task.name == task


def test_a_note_on_a_row_has_its_number_in_the_file(tmp_path):
    rows = [(f"the lamp number {place} is on", f"taa namba {place} inawaka") for place in range(60)]
    rows[47] = ("a lamp", "taa " * 60)
    path = tmp_path / "pairs.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in [("en", "sw"), *rows]), "utf-8")
    notes = prepare(Job(str(path))).about["notes"]
    assert [note for note in notes if "such as row" in note] == [
        f"{path}: 1 pair 4 times further apart in length than is usual, such as row 48; are they translations?"
    ]


@pytest.mark.parametrize(
    ("task", "read"), [("question-answering", 384), ("translation", 256), ("classification", 64), ("similarity", 64)]
)
def test_pieces_read_are_those_of_the_task_or_of_the_job(task, read):
    assert Job("x").for_task(task).max_length == read
    assert Job("x", max_length=99).for_task(task).max_length == 99


@pytest.mark.parametrize(("rows", "variants"), [(100, 8), (7_000, 8), (9_002, 6), (30_000, 1), (1_000_000, 1)])
def test_of_many_rows_fewer_variants_are_made(rows, variants):
    assert Job("x").for_task("classification", rows).variants == variants
    assert Job("x", variants=3).for_task("classification", rows).variants == 3
    assert Job("x").for_task("question-answering", rows).variants == 0


def test_texts_in_another_language_than_is_said_are_noted(tmp_path):
    rows = [f"{row['text']},{row['intent']}" for row in smart_home("de").splits["train"] if "," not in row["text"]]
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "\n".join(rows[:400]) + "\n", "utf-8")
    notes = prepare(Job(str(path), language="yo")).about["notes"]
    assert f"{path}: is in German, not in Yoruba" in notes
    assert not [note for note in prepare(Job(str(path), language="de")).about["notes"] if "is in" in note]


def test_what_is_read_of_the_same_rows_tells_jobs_apart(tmp_path):
    rows = [
        {"text": f"text {n}", "toxic": str(n % 2), "insult": str(n % 3 > 0), "text2": f"text {n}"} for n in range(80)
    ]
    files = {}
    for name, own in (("data", rows[:50]), ("dev", rows[50:65]), ("test", rows[65:])):
        files[name] = str(tmp_path / f"{name}.jsonl")
        Path(files[name]).write_text("".join(json.dumps(row) + "\n" for row in own), "utf-8")
    ways = [("text", "toxic", False), ("text", "insult", False), ("text", "toxic", True), ("text2", "toxic", False)]
    jobs = [Job(**files, text=text, label=label, multi_label=several) for text, label, several in ways]
    assert len({prepare(job).data_hash for job in jobs}) == len(jobs)
    assert prepare(jobs[0]).data_hash == prepare(jobs[0]).data_hash
