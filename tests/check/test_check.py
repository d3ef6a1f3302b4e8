"""Every check finds what was planted, names the row by its number in the file, and lets clean rows be."""

import json
import unicodedata

import numpy as np
import pytest

from pocketlm.check.check import check, hint
from pocketlm.check.finding import GRADES
from pocketlm.check.mend import mended
from pocketlm.check.rows import read_entries
from pocketlm.data.smart_home import smart_home
from pocketlm.data.source import load, write_rows
from pocketlm.errors import DataError
from pocketlm.job import Job
from pocketlm.tasks.prepare import prepare

ROOMS = ("kitchen", "hall", "garden", "cellar", "attic", "porch", "garage", "bedroom")
THINGS = ("lamp", "heater", "fan", "radio", "blind", "oven")
WAYS = {
    "on": ("Switch the {thing} of the {room} on, please.", "I want the {room} {thing} to run!"),
    "off": ("Stop the {thing} in our {room}.", "No more {thing} for the {room} now."),
}


def made(seed, count, **changes):
    """So many different commands in one order, with changes to the text."""
    every = [
        {"text": way.format(thing=thing, room=room), "label": label}
        for label, ways in WAYS.items()
        for way in ways
        for thing in THINGS
        for room in ROOMS
    ]
    order = np.random.default_rng(seed).permutation(len(every))
    chosen = [dict(every[place]) for place in order]
    return chosen[:count] if count > 0 else chosen[count:]


@pytest.fixture
def job(tmp_path):
    """Clean rows: no text in two files, no two texts alike beyond their kind."""

    def write(train=None, dev=None, test=None, **settings):
        clean = made(0, 192)
        parts = {"train": train or clean[:120], "dev": dev or clean[120:150], "test": test or clean[150:]}
        for name, rows in parts.items():
            write_rows(rows, tmp_path / f"{name}.jsonl", replace=True)
        return Job(str(tmp_path), **settings)

    return write


def found(job, name):
    return [one for one in check(job).findings if one.check == name]


def test_clean_rows_have_no_error_and_no_format_shift(job):
    checked = check(job())
    assert [one for one in checked.findings if one.grade == "error"] == []
    names = {one.check for one in checked.findings}
    assert not names & {
        "format shift",
        "leak",
        "contradiction",
        "label spelling",
        "characters",
        "language",
        "unreadable",
    }
    plain = json.loads(json.dumps(checked.to_json()))
    assert plain["rows"] == {"train": 120, "dev": 30, "test": 42}
    assert sum(plain["grades"].values()) == len(plain["findings"])
    assert [GRADES.index(one["grade"]) for one in plain["findings"]] == sorted(
        GRADES.index(one["grade"]) for one in plain["findings"]
    )


def test_leaks_repeats_and_contradictions_are_told_by_row(job):
    clean = made(0, 192)
    train, test = clean[:120], clean[150:]
    test[4] = {**train[7], "text": train[7]["text"].upper()}
    train[9] = dict(train[3])
    train[11] = {**train[5], "label": "off" if train[5]["label"] == "on" else "on"}
    wish = job(train=train, test=test)
    (leak,) = found(wish, "leak")
    assert (leak.grade, leak.rows, leak.examples[0].split, leak.examples[0].row) == ("error", 1, "test", 5)
    assert leak.examples[0].why == "as train row 8"
    (again,) = [one for one in found(wish, "duplicates") if "row 10" in f"row {one.examples[0].row}"]
    assert (again.rows, again.examples[0].why) == (2, "as row 4")
    (odd,) = found(wish, "contradiction")
    assert (odd.rows, odd.examples[0].row) == (2, 12)


def test_a_text_in_another_form_is_almost_a_training_row(job):
    clean = made(0, 192)
    test = clean[150:]
    test[2] = {**clean[0], "text": f"@user {clean[0]['text'].lower().replace('.', '')} 😂😂"}
    near = found(job(test=test), "near leak")
    shown = {(one.split, one.row): one.why for part in near for one in part.examples}
    assert shown["test", 3] == "almost train row 1"
    (grave,) = [one for one in near if one.said.startswith("test")]
    assert grave.grade == "error" and grave.figures["same"] == 1
    marked = unicodedata.normalize("NFC", clean[0]["text"].replace("o", "o\u0301").replace("e", "e\u0300"))
    test[2] = {**clean[0], "text": marked}
    (grave,) = [one for one in found(job(test=test), "near leak") if one.said.startswith("test")]
    assert grave.grade == "error" and grave.figures["same"] == 1


@pytest.mark.parametrize(
    ("form", "change"),
    [
        ("capital letters", str.lower),
        ("punctuation", lambda text: text.translate(dict.fromkeys(map(ord, ",.!")))),
        ("marks on letters", lambda text: text.replace("o", "ọ́")),
        ("accents as separate characters", lambda text: unicodedata.normalize("NFD", text.replace("o", "é"))),
        ("web addresses", lambda text: text + " https://example.org"),
        ("@names", lambda text: "@user " + text),
        ("digits", lambda text: text + " 21"),
        ("curly quotes", lambda text: text.replace("the", "’the")),
        ("mostly Cyrl letters", lambda text: "выключи свет на кухне и в коридоре пожалуйста сейчас " + text),
        ("length", lambda text: text + " and that is that, as I said before"),
    ],
)
def test_forms_of_one_split_alone(job, form, change):
    clean = made(0, 192)
    train = [{**row, "text": row["text"].replace("the", "'the")} for row in clean[:120]] if "quotes" in form else None
    test = [{**row, "text": change(row["text"])} for row in clean[150:]]
    shifts = {
        (one.said.split(":")[0], one.figures["form"]): one for one in found(job(train=train, test=test), "format shift")
    }
    assert shifts["test", form].grade in ("warning", "error")
    assert not [form for split, form in shifts if split == "dev" and "quotes" not in form]
    if form != "length":
        apart = shifts["test", form].figures["difference"]
        assert abs(apart["value"]) == 1 and apart["low"] <= apart["value"] <= apart["high"]


def test_splits_of_other_words_are_told_apart(job):
    test = [{**row, "text": "Baada ya hapo zima moto huo: " + row["text"]} for row in made(0, 192)[150:]]
    by = {one.figures["by"]: one for one in found(job(test=test), "told apart")}
    assert by["their words"].figures["area"]["low"] > 0.9
    assert "hapo" in by["their words"].said


def test_labels_spelled_in_two_ways_missing_and_rare(job):
    clean = made(0, 192)
    train = [dict(row) for row in clean[:120]]
    train[3]["label"] = train[3]["label"].title()
    train[6]["label"] = "weather_query"
    test = [dict(row) for row in clean[150:]]
    test[0]["label"] = "unheard"
    wish = job(train=train, test=test)
    spelled = found(wish, "label spelling")
    assert [(one.grade, one.rows, one.examples[0].row) for one in spelled] == [("error", 1, 4)]
    said = {(one.grade, one.said.split(":")[0]): one for one in found(wish, "labels")}
    assert said["error", "test"].examples[0].row == 1 and "unheard" in said["error", "test"].said
    assert "weather_query (1)" in said["warning", "train"].said
    assert hint(prepare(job(train=train)), "rows.csv").startswith("labels that differ in case")
    assert hint(prepare(job()), "rows.csv") is None


def test_slips_of_frequent_labels(job):
    rows = [{**row, "label": f"{row['label']}_switch_1"} for row in made(0, 192)[:120]]
    rows[0]["label"] = rows[0]["label"].replace("switch", "swich")
    rows[1]["label"] = rows[1]["label"].replace("1", "2")
    (slip,) = [one for one in found(job(train=rows, dev=rows[2:30], test=rows[30:60]), "label spelling")]
    assert slip.grade == "warning" and slip.examples[0].row == 1


def test_labels_shared_out_otherwise(job):
    rows = made(0, 192)
    test = [row for row in rows if row["label"] == "on"][:60]
    (shift,) = found(job(train=rows, test=test), "label shift")
    assert "'off' 0.0% against 50.0%" in shift.said


def test_the_interval_of_figures_to_come(job):
    (one,) = found(job(), "interval")
    assert one.grade == "warning" and "with the 42 rows of test" in one.said and "±12.5 points" in one.said


def test_wrong_labels_are_named_by_row(job):
    train = [dict(row) for row in made(0, 192)[:120]]
    for place in (10, 40, 77):
        train[place]["label"] = "off" if train[place]["label"] == "on" else "on"
    (one,) = found(job(train=train), "wrong labels")
    assert {11, 41, 78} <= {shown.row for shown in one.examples if shown.split == "train"}
    assert one.grade == "warning" and one.figures["at_most"] >= 3 / 192


def test_languages_scripts_and_characters(job):
    train = [dict(row) for row in made(0, 192)[:120]]
    for place, text in ((1, "выключи свет на кухне"), (2, "lam\u200bp on"), (3, "CafÃ© on"), (4, "stop the lаmp")):
        train[place]["text"] = text
    checked = check(job(train=train, language="en")).findings
    rows = {(one.check, shown.row) for one in checked for shown in one.examples if shown.split == "train"}
    assert {("language", 2), ("characters", 3), ("characters", 4), ("language", 5)} <= rows
    wrong = [one for one in check(job(language="am")).findings if one.grade == "error"]
    assert "no script that Amharic is written in (Ethi), most of them Latn" in wrong[0].said
    with pytest.raises(DataError, match="'swahilli': no such code or name.*Did you mean 'swahili'"):
        check(job(language="swahilli"))


def test_texts_in_another_language_of_the_same_script(job):
    german = [str(row["text"]) for row in smart_home("de").splits["train"][:192]]
    train = [{**row, "text": text} for row, text in zip(made(0, 192)[:120], german, strict=False)]
    train[5]["text"] = "turn the lamp in the kitchen off before you go to bed and close all the doors"
    wrong = [one for one in check(job(train=train, language="yo")).findings if one.grade == "error"]
    assert "the texts are in German, not in Yoruba" in [one.said for one in wrong]
    rows = [one for one in check(job(train=train, language="de")).findings if "in another language" in one.said]
    assert "(English)" in rows[0].said
    assert ("train", 6) in [(shown.split, shown.row) for shown in rows[0].examples]


def test_long_rows_and_what_is_read_of_them(job):
    train = [{**row, "text": " ".join([row["text"]] * 20)} for row in made(0, 192)[:120]]
    (one,) = found(job(train=train, max_length=32), "length")
    assert one.rows == 120 and 0.1 < one.figures["seen"] < 0.5


def test_rows_that_fit_refuses_are_counted_and_the_others_checked(tmp_path):
    file = tmp_path / "rows.csv"
    lines = [f"{row['text'].replace(',', '')},{row['label']}" for row in made(0, 40)]
    file.write_text("\n".join(["text,label", *lines[:5], ",on", "no label,", *lines[5:]]), "utf-8")
    checked = check(Job(str(file)))
    assert [(one.grade, one.examples[0].row) for one in checked.findings if one.check == "unreadable"] == [
        ("error", 6), ("error", 7),
    ]  # fmt: skip
    assert checked.to_json()["rows"] == {"train": 40}


def test_rows_of_a_file_with_all_splits_keep_their_numbers(tmp_path):
    rows = [{**row, "split": ("train", "test")[place % 3 == 2]} for place, row in enumerate(made(0, 60))]
    rows[8]["text"] = rows[0]["text"]
    write_rows(rows, tmp_path / "all.jsonl", replace=True)
    (leak,) = found(Job(str(tmp_path / "all.jsonl")), "leak")
    assert (leak.examples[0].row, leak.examples[0].why) == (9, "as train row 1")


@pytest.mark.parametrize(
    ("name", "rows", "settings"),
    [
        ("tags.jsonl", [{"tokens": ["in", "Oslo"], "tags": ["O", "B-LOC"]}, {"tokens": ["Oslo"], "tags": ["O"]}], {}),
        ("pairs.jsonl", [{"en": "hello there", "sw": "habari yako"}, {"en": "good bye", "sw": "kwa heri"}], {}),
        ("questions.jsonl", [{"question": "who?", "context": "Ada did it", "answers": ["Ada"]}] * 2, {}),
        ("multi.jsonl", [{"text": "a lamp", "labels": ["on", "hall"]}, {"text": "a fan", "labels": []}], {}),
        ("scores.jsonl", [{"sentence1": "one", "sentence2": "two", "score": 0.1}] * 3, {}),
        ("plain.txt", None, {"task": "generation"}),
    ],
)
def test_rows_of_every_task_are_checked(tmp_path, name, rows, settings):
    if rows is None:
        (tmp_path / name).write_text("washa taa\nwasha taa\nzima feni\n", "utf-8")
    else:
        write_rows(rows, tmp_path / name, replace=True)
    checked = check(Job(str(tmp_path / name), **settings))
    assert len(checked.rows.entries) == len(rows or "123")
    repeated = len(rows or "123") - len({entry.same for entry in checked.rows.entries})
    assert sum(one.rows for one in checked.findings if one.check == "duplicates") == repeated


def test_what_is_surely_wrong_is_mended_and_test_keeps_its_rows(job, tmp_path):
    clean = made(0, 192)
    train, test = [dict(row) for row in clean[:120]], [dict(row) for row in clean[150:]]
    train[0] = dict(test[0])
    train[1] = dict(train[2])
    train[3]["text"] += " \u200bcafe\u0301"
    train[4]["label"] = train[4]["label"].upper()
    test[1] = dict(test[0])
    rows, done = mended(read_entries(job(train=train, test=test)))
    assert done == {
        "train rows that are in test left out": 1, "repeated train rows left out": 1,
        "rows with characters mended": 1, "labels respelled": 1,
    }  # fmt: skip
    assert [row["text"] for row in rows if row["split"] == "test"] == [row["text"] for row in test]
    assert any(row["text"].endswith(" café") for row in rows)
    write_rows(rows, tmp_path / "mended.jsonl", replace=True)
    again = check(Job(str(tmp_path / "mended.jsonl")))
    assert not {"leak", "contradiction", "label spelling", "characters"} & {one.check for one in again.findings}
    assert {name: len(part) for name, part in load(str(tmp_path / "mended.jsonl")).splits.items()} == {
        "train": 118, "dev": 30, "test": 42,
    }  # fmt: skip


def test_of_contradictions_the_answer_of_most_stays(job):
    train = [dict(row) for row in made(0, 192)[:120]]
    text, label = train[0]["text"], train[0]["label"]
    other = {"on": "off", "off": "on"}
    train += [{"text": text.upper(), "label": label}, {"text": text, "label": other[label]}]
    train += [{"text": train[1]["text"], "label": other[train[1]["label"]]}]
    rows, done = mended(read_entries(job(train=train)))
    assert done == {"repeated train rows left out": 1, "contradictory train rows left out": 3}
    assert [row["label"] for row in rows if row["text"] == text] == [label]
    assert not [row for row in rows if row["text"] == train[1]["text"]]
