"""Languages of texts, told by what they are in themselves."""

from importlib import import_module

import pytest

from pocketlm.data import identify as room
from pocketlm.data.foreign import foreign_rows
from pocketlm.data.identify import identify, other_language, strangers
from pocketlm.data.language_report import language_report
from pocketlm.data.languages import find_language
from pocketlm.data.smart_home import languages, smart_home

ENGLISH = [
    "what is the weather like in the north of the country today", "she thought the whole thing through twice",
    "the committee will meet again when the report has been published", "nobody knew where the old road went",
    "turn the lamp in the kitchen off before you go to bed", "they have been living in this town for thirty years",
    "the price of bread rose again in the second half of the year", "I would rather walk home than wait for a bus",
    "a doctor said that most of the patients had recovered", "the match was decided in its very last minute",
]  # fmt: skip


def of(code: str, count: int = 200) -> list[str]:
    return [str(row["text"]) for row in smart_home(code).splits["train"][:count]]


def known(code: str) -> bool:
    return not room._model().codes.isdisjoint(room.alike(find_language(code).code))


@pytest.mark.parametrize("code", languages())
def test_every_smart_home_language_is_itself(code):
    texts, language = of(code), find_language(code)
    found = identify(texts)
    assert other_language(texts, language) is None
    assert not known(code) or (found.main in room.alike(language.code) and found.share(language.code) > 0.1)
    assert strangers(texts, language) == {} and found.mixed(language) == []


@pytest.mark.parametrize("code", ["de", "sw", "vi", "hi", "ka", "sr-Latn", "zh-HK"])
def test_a_language_is_not_another(code):
    texts = of(code)
    for other in {"Hungarian", "Yoruba", "Thai"}:
        assert other_language(texts, find_language(other)) == room.name_of(identify(texts).main)


def test_a_text_in_a_wrong_language_is_named(tmp_path):
    yoruba, cornish = find_language("yo"), find_language("kw")
    assert other_language(ENGLISH * 5, yoruba) == "English"
    assert other_language(ENGLISH * 5, cornish) == "English"  # also where the right one is not known
    assert other_language(ENGLISH[:2], yoruba) is None  # too little to say
    told = language_report(ENGLISH * 5, language=yoruba).to_json()
    assert told["advice"][0] == "the text is in English, not in Yoruba: is this the right text?"


def test_rows_in_another_language_than_most_are_foreign():
    texts = [*of("sw"), ENGLISH[0], ENGLISH[2]]
    last = len(texts) - 2
    found = {one.place: one for one in foreign_rows(texts, find_language("sw"))}
    assert {(found[place].why, found[place].language) for place in (last, last + 1)} == {("language", "en")}
    assert strangers([*of("sw", 12), *ENGLISH]) == {}, "neither language has most"


def test_two_languages_half_and_half_are_told():
    german = of("de")
    mixed = language_report([*german[:40], *ENGLISH]).to_json()
    assert "in several languages (" in mixed["advice"][0] and "English" in mixed["advice"][0]
    assert identify(german).mixed() == [] and identify(of("sr-Latn")).mixed() == []


def test_without_the_package_nothing_is_told(monkeypatch):
    def missing(name: str):
        if name.startswith("py3langid"):
            raise ModuleNotFoundError(name)
        return import_module(name)

    monkeypatch.setattr(room, "import_module", missing)
    room._model.cache_clear()
    try:
        assert identify(ENGLISH) is None and strangers(ENGLISH) == {}
        assert other_language(ENGLISH * 5, find_language("yo")) is None
        assert language_report(ENGLISH).to_json()["identified"] is None
    finally:
        monkeypatch.undo()
        room._model.cache_clear()
