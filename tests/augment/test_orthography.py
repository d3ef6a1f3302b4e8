"""Which marks are left out in which language, and that a mark that makes a letter never is."""

import unicodedata

import pytest

from pocketlm.augment.apply import augmented
from pocketlm.augment.marks import BY_LANGUAGE, BY_SCRIPT, Optional, optional_marks, short_code
from pocketlm.augment.method import Material
from pocketlm.augment.orthography import Orthography
from pocketlm.outputs import Example


def bare(text, language, **settings):
    """The text without any optional mark, or as it was."""
    rows = augmented([Orthography(**settings)], Material((Example(text, ("a",)),), language), seed=0)
    return rows[0].example.text if rows else text


@pytest.mark.parametrize(
    ("language", "text", "left"),
    [
        ("yo", "ẹ̀gbọ́n káàárọ̀ ṣé ń lọ", "ẹgbọn kaaarọ ṣe n lọ"),
        ("yor", "Ọjọ́ Àìkú", "Ọjọ Aiku"),
        ("ig", "ụ́lọ̀ ákwụ́kwọ́ ñ", "ụlọ akwụkwọ ñ"),
        ("vi", "Tiếng Việt được viết ở đây", "Tiêng Viêt đươc viêt ơ đây"),
        ("ru", "за́мок ёлка майор", "замок елка майор"),
        ("uk", "за́мок її й", "замок її й"),
        ("hr", "kȕća šćèpān", "kuća šćepan"),
        ("lt", "ãčiū ą̃žuolas ė", "ačiū ąžuolas ė"),
        ("la", "amō puellās", "amo puellas"),
        ("ar", "مُحَمَّدٌ كَتَبَ أَلِفًا", "محمد كتب ألفا"),
        ("", "كِتَابٌ آخَر", "كتاب آخر"),
        ("he", "שָׁלוֹם עוֹלָם", "שלום עולם"),
        ("am", "ገ፟ና ነው", "ገና ነው"),
        ("ee", "ŋútsùã ɖeká", "ŋutsuã ɖeka"),
    ],
)
def test_optional_marks_are_left_out(language, text, left):
    assert bare(text, language) == left
    assert unicodedata.is_normalized("NFC", bare(unicodedata.normalize("NFC", text), language))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("tr", "çok güzel şey ığdır"),
        ("sv", "åäö är fina"),
        ("de", "schöne Grüße"),
        ("es", "el niño comió"),
        ("cs", "příliš žluťoučký kůň"),
        ("wo", "xale yi dégg nañu"),
        ("ja", "がぎぐげご パピプ"),
        ("hi", "क़लम ज़रूर हैं"),
        ("ks", "كٔشُر زَبان"),
        ("yi", "ייִדיש איז אַ שפּראַך"),
        ("ar", "آخر أحمد إلى مؤمن"),
        ("ko", "한국어"),
        ("th", "น้ำใจ ไม้"),
    ],
)
def test_marks_that_are_letters_stay(language, text):
    assert bare(text, language) == text


def test_a_language_with_tones_keeps_what_makes_another_letter():
    assert bare("ơ ư â ê ô ă đ", "vi") == "ơ ư â ê ô ă đ"
    assert bare("ẹ ọ ṣ", "yo") == "ẹ ọ ṣ"
    assert bare("ẹ̀gbọ́n ṣé", "yo", typed=True) == "egbon se", "as people type where keyboards lack the dots"


def test_decomposed_text_stays_decomposed():
    text = unicodedata.normalize("NFD", "ẹ̀gbọ́n ilé")
    assert bare(text, "yo") == unicodedata.normalize("NFD", "ẹgbọn ile")


def test_a_row_comes_wholly_and_partly_without():
    text = "ẹ̀gbọ́n mi ti dé láàárọ̀ ọjọ́ ajé àná"
    rows = augmented([Orthography()], Material((Example(text, ("a",)),), "yo"), seed=0)
    assert [row.note for row in rows] == ["all optional marks left out", "some optional marks left out"]
    marks = [
        sum(map(unicodedata.combining, unicodedata.normalize("NFD", one)))
        for one in (text, *(r.example.text for r in rows))
    ]
    assert marks[0] > marks[2] > marks[1]


def test_spans_keep_their_tags():
    example = Example("Ọjọ́ Àìkú ni", ("a",), ("Ọjọ́", "Àìkú", "ni"), ("B-day", "I-day", "O"))
    row = augmented([Orthography()], Material((example,), "yo"), seed=0)[0].example
    assert (row.tokens, row.tags) == (("Ọjọ", "Aiku", "ni"), example.tags)


@pytest.mark.parametrize(("language", "said"), [("", "--language"), ("tr", "'tr'"), ("xx", "'xx'")])
def test_a_language_without_optional_marks_is_named(language, said):
    assert said in Orthography().refuses(Material((Example("çok güzel", ("a",)),), language))
    assert Orthography().refuses(Material((Example("كِتَابٌ", ("a",)),), language)) == ""


def test_every_mark_of_the_tables_is_one():
    entries = [*BY_SCRIPT.values(), *(one for own in BY_LANGUAGE.values() for one in own)]
    for entry in entries:
        assert isinstance(entry, Optional)
        for mark in entry.marks:
            assert unicodedata.category(mark) in ("Mn", "Po"), f"{ord(mark):x}"
    assert short_code("yor_Latn") == short_code("yo-NG") == "yo"
    assert optional_marks("tr", "LATIN") == ()
