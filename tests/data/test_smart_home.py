"""Every language gives rows; no template or sentence is on two sides; the same everywhere."""

import os
import subprocess
import sys

import pytest

from pocketlm.data.smart_home import languages, smart_home
from pocketlm.data.splits import normal_text
from pocketlm.data.templates import home_values
from pocketlm.errors import DataError


def test_there_are_65_languages_with_words_of_their_own():
    assert len(languages()) == 65
    assert set(languages()) <= set(home_values())


@pytest.mark.parametrize("language", languages())
def test_rows_are_whole(language):
    made = smart_home(language, per_template=1)
    assert made.splits["train"]
    for row in (row for rows in made.splits.values() for row in rows):
        assert len(row["tokens"]) == len(row["slots"]) > 0
        assert "".join(row["tokens"]) == row["text"].replace(" ", "")
        for before, tag in zip(["O", *row["slots"]], row["slots"], strict=False):
            assert tag == "O" or tag[:2] in ("B-", "I-")
            assert not tag.startswith("I-") or before[2:] == tag[2:]


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
