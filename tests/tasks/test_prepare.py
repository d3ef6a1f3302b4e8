"""Splits that share no text, whoever made them."""

import csv

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
