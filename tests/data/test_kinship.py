"""Languages by kinship: words, spelling, and typology where lang2vec is there."""

import sys
from types import ModuleType

import pytest

from pocketlm.data import kinship as room
from pocketlm.data.kinship import Kinship, by_kinship, kinship, language_of, typology

SWEDISH = ["tänd lampan i köket", "släck lampan i hallen", "öppna dörren"]
DANISH = ["tænd lampen i køkkenet", "sluk lampen i hallen", "åbn døren"]
FINNISH = ["sytytä keittiön valo", "sammuta eteisen valo", "avaa ovi"]


def test_a_text_is_its_own_nearest_kin_and_kin_is_nearer_than_a_stranger():
    sides = {"a": SWEDISH, "b": DANISH, "c": FINNISH}
    itself, kin, stranger = (kinship(SWEDISH, name, texts, ("", "")) for name, texts in sides.items())
    assert itself.words == 1 and itself.spelling == pytest.approx(1)
    assert kin.words == pytest.approx(3 / 10)  # i, i, hallen
    assert itself.spelling > kin.spelling > stranger.spelling
    assert [one.source for one in by_kinship([stranger, kin, itself])] == ["a", "b", "c"]


def test_each_measure_has_one_vote_where_all_have_it():
    found = [
        Kinship("a", 1, 0.5, 0.2, None, 0.9),
        Kinship("b", 1, 0.4, 0.3, 0.9, 0.8),
        Kinship("c", 1, 0.1, 0.1, 1.0, 0.7),
    ]
    assert [one.source for one in by_kinship(found)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("smart-home:sv", "sv"),
        ("data/yor_Latn", "yo"),
        ("x/train.sw", "sw"),
        ("data/swh_Latn/train.tsv", "sw"),
        ("rows.csv", None),
        ("my-rows/train.tsv", None),
    ],
)
def test_a_language_is_told_by_what_its_data_is_called(name, code):
    found = language_of(name)
    assert (found and found.code) == code


def test_typology_is_one_less_the_mean_distance(monkeypatch):
    assert typology("sv", "da") is None or 0 <= typology("sv", "da") <= 1
    uriel = ModuleType("lang2vec.lang2vec")
    uriel.LANGUAGES = ["swe", "dan"]
    uriel.distance = lambda kind, codes: [[0, {"genetic": 0.2, "syntactic": 0.4}[kind]], [0, 0]]
    package = ModuleType("lang2vec")
    package.lang2vec = uriel
    monkeypatch.setitem(sys.modules, "lang2vec", package)
    monkeypatch.setitem(sys.modules, "lang2vec.lang2vec", uriel)
    assert room.typology("smart-home:sv", "smart-home:da") == pytest.approx(0.7)
    assert room.typology("smart-home:sv", "smart-home:de") is None
    assert room.typology("smart-home:sv", "rows.csv") is None
