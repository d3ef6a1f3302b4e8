"""Words of any script: offsets are right, nothing is lost, marks stay with their letters."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketlm.runtime.words import split_words, words


@given(st.text(max_size=60))
def test_every_visible_character_is_in_exactly_one_word(text):
    spans = split_words(text)
    assert all(start < end for start, end in spans)
    assert all(left[1] <= right[0] for left, right in zip(spans, spans[1:], strict=False))
    covered = {place for start, end in spans for place in range(start, end)}
    assert all(place in covered or char.isspace() for place, char in enumerate(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("turn on the light, please!", ["turn", "on", "the", "light", ",", "please", "!"]),
        ("don't set 21.5°", ["don't", "set", "21.5", "°"]),
        ("ọmọ́ bàbá", ["ọmọ́", "bàbá"]),
        ("रसोई की बत्ती", ["रसोई", "की", "बत्ती"]),
        ("打开灯", ["打", "开", "灯"]),
        ("เปิดไฟ", ["เ", "ปิ", "ด", "ไ", "ฟ"]),
        ("افتح الباب", ["افتح", "الباب"]),
        ("የቤት መብራት", ["የቤት", "መብራት"]),
        ("", []),
    ],
)
def test_scripts(text, expected):
    assert words(text) == [unicodedata.normalize("NFC", word) if word == text else word for word in expected]
