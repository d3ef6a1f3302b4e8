"""Every language gives rows; no template or sentence is on two sides; the same everywhere."""

import os
import subprocess
import sys
from collections import Counter
from functools import cache

import pytest

from pocketlm.data.smart_home import languages, smart_home
from pocketlm.data.source import load, write_rows
from pocketlm.data.splits import normal_text
from pocketlm.data.templates import home_values, read_language, sample_template
from pocketlm.errors import DataError


def test_there_are_65_languages_with_words_of_their_own():
    assert len(languages()) == 65
    assert set(languages()) <= set(home_values())


@cache
def few_rows(language):
    return smart_home(language, per_template=2)


@pytest.mark.parametrize("language", languages())
def test_rows_are_whole(language):
    made = few_rows(language)
    assert made.splits["train"]
    for row in (row for rows in made.splits.values() for row in rows):
        assert len(row["tokens"]) == len(row["slots"]) > 0
        assert "".join(row["tokens"]) == row["text"].replace(" ", "")
        for before, tag in zip(["O", *row["slots"]], row["slots"], strict=False):
            assert tag == "O" or tag[:2] in ("B-", "I-")
            assert not tag.startswith("I-") or before[2:] == tag[2:]


@pytest.mark.parametrize("language", languages())
def test_training_shows_every_intent_and_slot(language):
    def seen(name):
        return {tag[2:] for row in splits[name] for tag in row["slots"]} | {row["intent"] for row in splits[name]}

    splits = few_rows(language).splits
    assert all(splits.values())
    assert seen("dev") | seen("test") <= seen("train")


def test_english_is_split_by_template_and_sentence():
    splits = smart_home("en").splits
    assert 4_500 < len(splits["train"]) < 7_000
    for left, right in (("train", "dev"), ("train", "test"), ("dev", "test")):
        for key in ("template", "text"):
            sides = [{normal_text(row[key]) for row in splits[name]} for name in (left, right)]
            assert not sides[0] & sides[1]
    assert {row["intent"] for row in splits["test"]} <= {row["intent"] for row in splits["train"]}


def test_some_values_are_never_in_training():
    splits = smart_home("en").splits

    def areas(name):
        return {
            token
            for row in splits[name]
            for token, tag in zip(row["tokens"], row["slots"], strict=True)
            if tag == "B-area" and "room" not in row["text"]
        }

    assert areas("test") - areas("train")
    assert areas("test") & areas("train")


def test_the_seed_decides_everything():
    code = (
        "from pocketlm.data.smart_home import smart_home; from pocketlm.data.splits import rows_hash;"
        "print([rows_hash(rows) for rows in smart_home('eu', seed=3).splits.values()])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert smart_home("eu", seed=3).splits["test"] != smart_home("eu", seed=4).splits["test"]


def test_an_unknown_language_suggests_one():
    with pytest.raises(DataError, match="Did you mean 'en'"):
        smart_home("eng")


def test_every_intent_of_three_templates_is_tested():
    splits = smart_home("de").splits
    templates = {(row["intent"], row["template"]) for rows in splits.values() for row in rows}
    counts = Counter(intent for intent, _ in templates)
    tested = {row["intent"] for row in splits["test"]}
    assert sum(count >= 4 and intent not in tested for intent, count in counts.items()) == 0


def test_tags_follow_values_and_words():
    raw = {
        "expansion_rules": {"the": "[the]", "broken": "(("},
        "lists": {"level": {"range": {"from": 7, "to": 7}}, "color": {"values": [{"in": "dark red", "out": "red"}]}},
        "intents": {
            "Set": {"data": [{"sentences": ["set {color:paint} to {level}%", "oops (", "use <broken>", "{nothing}"]}]}
        },
    }
    language, templates, skipped = read_language("en", raw)
    assert ([template.text for template in templates], skipped) == (["set {color:paint} to {level}%"], 3)
    row = sample_template(language, templates[0], "train", 0, 1)[0]
    assert row["text"] == "set dark red to 7%"
    assert row["slots"] == ["O", "B-paint", "I-paint", "O", "B-level", "O"]


def test_the_word_list_is_whole():
    for code, kinds in home_values().items():
        for kind, values in kinds.items():
            assert len({value.casefold() for value in values}) == len(values) > 1, (code, kind)
            assert all(value == " ".join(value.split()) and not set(value) & set("()[]{}<>|") for value in values)


def test_a_code_of_the_same_language_is_suggested():
    with pytest.raises(DataError, match="Did you mean 'zh-CN' or 'zh-HK' or 'zh-TW'"):
        smart_home("zh")
    with pytest.raises(DataError, match="Did you mean 'en'"):
        smart_home("en_US")


def test_a_written_file_keeps_the_split_by_template(tmp_path):
    made = smart_home("sw").splits
    path = tmp_path / "sw.jsonl"
    write_rows([{**row, "split": name} for name, rows in made.items() for row in rows], path, replace=False)
    assert load(str(path)).splits == made


def test_an_intent_that_a_split_lacks_is_named():
    made = smart_home("vi")
    assert any(note.startswith("not in test") and "HassCancelTimer" in note for note in made.notes)
    assert "HassCancelTimer" not in {row["intent"] for row in made.splits["test"]}
    assert not any(note.startswith("not in") for note in smart_home("en").notes)


@pytest.mark.parametrize(("name", "said"), [("swahili", "Did you mean 'sw'"), ("hausa", None)])
def test_a_language_by_name_is_not_taken_for_another(name, said):
    with pytest.raises(DataError) as refused:
        smart_home(name)
    assert said in str(refused.value) if said else "Did you mean" not in str(refused.value)
