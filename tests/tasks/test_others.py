"""A job's data with other sources beside it: what judges, what chooses, what is refused."""

import csv

import pytest

from pocketlm.errors import DataError, RecipeError
from pocketlm.job import Job, job_from_mapping
from pocketlm.tasks.prepare import prepare


def write(path, rows, names=("text", "label")):
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return str(path)


def commands(on, off, count):
    return [(f"{word} {place}", label) for word, label in ((on, "on"), (off, "off")) for place in range(count)]


@pytest.fixture
def own(tmp_path):
    return write(tmp_path / "sw.csv", commands("washa taa", "zima taa", 60))


@pytest.fixture
def other(tmp_path):
    return write(tmp_path / "en.csv", [*commands("turn on", "switch off", 300), ("washa taa 1", "on")])


def said(examples):
    return {one.text for one in examples}


def test_only_the_data_is_judged_and_its_rows_are_heard_more_often(own, other):
    prepared = prepare(Job(own, also=(other,)))
    alone = prepare(Job(own))
    assert (prepared.dev, prepared.test) == (alone.dev, alone.test)
    assert prepared.judged == alone.train and not prepared.zero_shot
    assert said(prepared.train) >= said(alone.train) | {"turn on 3"}
    assert not said(prepared.train) & said([*alone.dev, *alone.test])
    first, second = prepared.about["also"]["sources"]
    assert (first["rows"], second["repeats"]) == (len(alone.train), 1)
    assert prepared.rows_learnt == len(alone.train) + 601 < len(prepared.train)
    assert alone.rows_learnt == len(alone.train)
    assert prepared.train.count(alone.train[0]) == pytest.approx(first["repeats"], abs=1)
    assert prepared.data_hash != alone.data_hash
    assert prepared.data_hash != prepare(Job(own, also=(other,), mix_temperature=1.0)).data_hash


def test_shots_are_all_the_rows_there_are_beside_test(own, other):
    prepared = prepare(Job(own, also=(other,), shots=8))
    whole = prepare(Job(own))
    assert len(prepared.judged) <= 8 and len(prepared.test) == len(whole.test)
    assert len(said(prepared.dev)) > 10  # too few of its own: those of the source choose, too
    assert any("dev rows of" in note and "less sure" in note for note in prepared.about["notes"])
    alone = prepare(Job(own, shots=40))
    assert len(alone.train) + len(alone.dev) == 40


def test_without_rows_of_its_own_other_sources_teach_and_choose(own, other, tmp_path):
    prepared = prepare(Job(own, also=(other,), shots=0))
    assert prepared.zero_shot and prepared.judged == []
    assert len(prepared.test) == 120 and "washa taa 1" not in said(prepared.train) | said(prepared.dev)
    assert prepared.outputs[0].labels == ("off", "on")
    assert any(note.startswith("zero-shot: no training rows") for note in prepared.about["notes"])
    folder = tmp_path / "folder"
    write(folder / "test.csv", commands("washa taa", "zima taa", 5))
    again = prepare(Job(str(folder), also=(other,)))
    assert again.zero_shot and len(again.test) == 10
    write(folder / "dev.csv", commands("washa feni", "zima feni", 8))
    assert len(prepare(Job(str(folder), also=(other,))).dev) == 16
    with pytest.raises(DataError, match="has no train file"):
        prepare(Job(str(folder)))


def test_columns_of_a_source_may_be_called_otherwise(own, tmp_path):
    rows = [(label, text) for text, label in commands("turn on the", "switch off the", 50)]
    other = write(tmp_path / "other.csv", rows, ("category", "utterance"))
    assert "turn on the 3" in said(prepare(Job(own, text="text", label="label", also=(other,))).train)


def test_test_rows_of_a_source_are_not_learnt_from(own, tmp_path):
    folder = tmp_path / "en"
    for split in ("train", "dev", "test"):
        write(folder / f"{split}.csv", commands(f"turn on {split}", f"turn off {split}", 20))
    for shots in (None, 0):
        prepared = prepare(Job(own, also=(str(folder),), shots=shots))
        assert not any(" test " in text for text in said([*prepared.train, *prepared.dev]))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a lamp 1", "spam"), ("a lamp 2", "ham")] * 9, "none of its rows has only labels of the data"),
        ([(f"how {place}", f"question {place}") for place in range(60)], "none of its rows|not classification"),
    ],
)
def test_a_source_that_shares_no_label_is_refused(rows, message, own, tmp_path):
    other = write(tmp_path / "other.csv", rows)
    with pytest.raises(DataError, match=message):
        prepare(Job(own, label="label", text="text", also=(other,)))


def test_wrong_wishes_are_said(own, other, pairs_file):
    with pytest.raises(DataError, match="the data itself is none of the others"):
        prepare(Job(own, also=(own,)))
    with pytest.raises(DataError, match="not for similarity"):
        prepare(Job(str(pairs_file), also=(other,)))
    with pytest.raises(DataError, match=r"no such language. Did you mean 'sw'"):
        prepare(Job(own, also=("smart-home:swa",)))
    with pytest.raises(RecipeError, match="leaves no row to learn from"):
        Job(own, shots=0)
    with pytest.raises(RecipeError, match="mix_temperature is at least 1"):
        Job(own, mix_temperature=0.5)
    with pytest.raises(RecipeError, match="must be a name or a list of names"):
        job_from_mapping({"data": own, "also": [1]})
    assert job_from_mapping({"data": own, "also": other, "mix_temperature": 3}).also == (other,)
