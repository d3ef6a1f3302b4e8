"""Methods of augmentation: labels and spans stay, the seed decides, and each does to a row what its note says."""

import re
from dataclasses import replace

import numpy as np
import pytest

from pocketlm.augment.aeda import Aeda
from pocketlm.augment.apply import augmented, make_method, why_not
from pocketlm.augment.code_switch import CodeSwitch, read_lexicon
from pocketlm.augment.eda import Eda
from pocketlm.augment.exchange import Exchange
from pocketlm.augment.graphemes import graphemes, script_of
from pocketlm.augment.method import AUGMENTERS, Material
from pocketlm.augment.mixup import Mixup, alpha_of
from pocketlm.augment.neighbours import own_neighbours
from pocketlm.augment.noise import Noise
from pocketlm.augment.orthography import Orthography
from pocketlm.augment.rows import reworded, words_of
from pocketlm.augment.slots import SlotSubstitution
from pocketlm.errors import DataError, RecipeError, UnknownNameError
from pocketlm.outputs import Example
from pocketlm.runtime.tags import tag_spans

NEAR = {"lamp": ["light", "bulb"], "turn": ["switch"], "the": ["this", "that"], "please": ["kindly"]}


def tagged(text, *spans):
    """An example whose words are those of the text; spans: (type, first, last word)."""
    tokens = text.split()
    tags = ["O"] * len(tokens)
    for kind, first, last in spans:
        tags[first : last + 1] = [f"B-{kind}", *[f"I-{kind}"] * (last - first)]
    return Example(text, ("on",), tuple(tokens), tuple(tags))


TAGGED = (
    tagged("please turn the living room lamp on", ("room", 3, 4), ("thing", 5, 5)),
    tagged("turn on the old heater in the kitchen", ("thing", 3, 4), ("room", 7, 7)),
    tagged("switch the attic fan off please", ("room", 2, 2), ("thing", 3, 3)),
)
PLAIN = tuple(Example(one.text, one.labels) for one in TAGGED)
FREE = [name for name in AUGMENTERS if not AUGMENTERS[name].needs and name != "mixup"]


def spans(example):
    return [(kind, example.tokens[first : last + 1]) for kind, first, last in tag_spans(example.tags)]


def all_rows(method, train, seed=0, copies=20, **settings):
    return augmented([method], Material(train, near=NEAR, **settings), seed=seed, copies=copies)


@pytest.mark.parametrize("name", FREE)
def test_the_same_seed_gives_the_same_rows_and_labels_stay(name):
    train = TAGGED if name == "slot-substitution" else PLAIN
    if name == "orthography":
        train = tuple(Example(text, ("greeting",)) for text in ("Ẹ káàárọ̀ o", "Ó dàárọ̀ ẹ̀gbọ́n mi"))
    method = make_method(name, {})
    rows = all_rows(method, train, language="yo")
    assert rows and rows == all_rows(method, train, language="yo")
    assert rows != all_rows(method, train, seed=1, language="yo")
    assert all(row.note and row.method == name for row in rows)
    assert all(row.example.labels == train[row.source].labels for row in rows)
    assert any(row.example.text != train[row.source].text for row in rows)


@pytest.mark.parametrize("method", [Eda(0.3), Exchange(), Aeda(), Noise(0.5)], ids=lambda one: one.name)
def test_spans_and_their_number_of_words_stay(method):
    rows = all_rows(method, TAGGED)
    assert len(rows) > 20
    for row in rows:
        source = TAGGED[row.source]
        assert len(row.example.tokens) == len(row.example.tags)
        assert " ".join(row.example.tokens) == row.example.text
        assert [(kind, len(value)) for kind, value in spans(row.example)] == [
            (kind, len(value)) for kind, value in spans(source)
        ]
        if method.name != "noise":
            assert spans(row.example) == spans(source)


def test_noise_keeps_the_borders_of_a_span_and_the_number_of_words():
    changed = 0
    for row in all_rows(Noise(1.0, least=3), TAGGED, copies=40):
        assert row.example.tags == TAGGED[row.source].tags
        for (_, new), (_, old) in zip(spans(row.example), spans(TAGGED[row.source]), strict=True):
            assert (new[0][0], new[-1][-1]) == (old[0][0], old[-1][-1])
            changed += new != old
    assert changed, "what lies inside a value may change"


@pytest.mark.parametrize(
    "text",
    ["ẹ̀gbọ́n mi ti dé láàárọ̀ ọjọ́ ajé", "क्षत्रिय विद्यालय में स्वागत है", "한국어 문장을 씁니다 오늘도",
     "вчера мы гуляли в парке", "ሰላም ለዓለም ሁሉም ሰው", "مرحبا بالعالم الجميل كله", "👨‍👩‍👧 family dinner tonight 🇫🇷"],
)  # fmt: skip
def test_noise_never_cuts_a_grapheme_nor_changes_script(text):
    train = (Example(text, ("a",)), Example(text[::-1].translate({0x200D: None}), ("b",)))
    known = set(graphemes(text)) | {letter.lower() for letter in graphemes(text)}
    bases = {script_of(cluster) for cluster in known}
    for row in all_rows(Noise(1.0, least=3), train[:1], copies=60):
        new = graphemes(row.example.text)
        assert "".join(new) == row.example.text
        assert {script_of(cluster) for cluster in new} <= bases
        assert len(row.example.text.split()) == len(text.split())
        marked = [cluster for cluster in new if len(cluster) > 1]
        assert all(cluster in known for cluster in marked), "marks never move to another letter"


@pytest.mark.parametrize(
    ("text", "clusters"),
    [
        ("ọ̀kan", ["ọ̀", "k", "a", "n"]),
        ("क्षमा", ["क्ष", "मा"]),
        ("👨‍👩‍👧!", ["👨‍👩‍👧", "!"]),
        ("🇫🇷🇩🇪", ["🇫🇷", "🇩🇪"]),
        ("한", ["한"]),
    ],
)
def test_graphemes(text, clusters):
    assert graphemes(text) == clusters


def test_aeda_puts_the_scripts_own_marks_and_loses_no_word():
    for text, marks in (
        ("turn on the lamp", ".;?:!,"),
        ("እንደምን አደርክ ወንድሜ ሆይ", "።፤?፡!፣"),
        ("مرحبا يا صديقي العزيز", ".؛؟:!،"),
    ):
        for row in all_rows(Aeda(), (Example(text, ("a",)),)):
            kept = [word for word in row.example.text.split() if word not in marks]
            assert kept == text.split()
            assert 1 <= len(row.example.text.split()) - len(kept) <= max(1, len(kept) // 3)


def test_a_mark_is_never_put_inside_a_span():
    rows = all_rows(Aeda(1.0), TAGGED, copies=40)
    pairs = [pair for row in rows for pair in zip(row.example.tokens, row.example.tags, strict=True)]
    assert {tag for word, tag in pairs if word in ".;?:!,"} == {"O"}
    assert all(spans(row.example) == spans(TAGGED[row.source]) for row in rows)


def test_eda_does_what_its_notes_say():
    notes = {row.note.split(" ")[0]: row for row in all_rows(Eda(), PLAIN, copies=30)}
    assert set(notes) == {"swapped", "left", "put", *(note for note in notes if note[0] in "'\"")}
    left = notes["left"]
    gone = re.findall(r"'(\w+)'", left.note)
    assert len(left.example.text.split()) == len(PLAIN[left.source].text.split()) - len(gone)
    assert sorted(notes["swapped"].example.text.split()) == sorted(PLAIN[notes["swapped"].source].text.split())


def test_slot_values_come_from_other_rows_and_templates_stay():
    rows = all_rows(SlotSubstitution(), TAGGED)
    values = {
        kind: {value for example in TAGGED for own, value in spans(example) if own == kind}
        for kind in ("room", "thing")
    }
    assert any(("thing", ("old", "heater")) in spans(row.example) and row.source != 1 for row in rows)
    for row in rows:
        source = TAGGED[row.source]
        assert [kind for kind, _ in spans(row.example)] == [kind for kind, _ in spans(source)]
        assert all(value in values[kind] for kind, value in spans(row.example))
        outside = [word for word, tag in zip(source.tokens, source.tags, strict=True) if tag == "O"]
        assert [word for word, tag in zip(row.example.tokens, row.example.tags, strict=True) if tag == "O"] == outside
        assert spans(row.example) != spans(source)


def test_a_value_that_may_make_the_label_stays_with_it():
    def row(label, verb, place):
        return replace(tagged(f"{verb} fitila {place}", ("verb", 0, 0), ("place", 2, 2)), labels=(label,))

    train = (
        row("on", "kunna", "yara"),
        row("off", "kashe", "yara"),
        row("off", "rufe", "daki"),
        row("on", "kunna", "gida"),
    )
    made = {(row.example.labels, row.example.text) for row in all_rows(SlotSubstitution(), train)}
    assert all(text.startswith("kunna") is (labels == ("on",)) for labels, text in made)
    assert (("off",), "rufe fitila yara") in made, "yara stands beside both labels"
    assert not any(text.endswith("gida") and labels == ("off",) for labels, text in made)


def test_iobes_values_keep_their_scheme():
    one = Example("go to New York", (), ("go", "to", "New", "York"), ("O", "O", "B-city", "E-city"))
    other = Example("leave Rome", (), ("leave", "Rome"), ("O", "S-city"))
    rows = all_rows(SlotSubstitution(), (one, other), copies=1)
    assert [row.example.tags for row in rows] == [("O", "O", "S-city"), ("O", "B-city", "E-city")]
    assert [row.example.text for row in rows] == ["go to Rome", "leave New York"]


def test_the_text_between_tokens_stays_where_it_was():
    example = Example("Lights on, please.", ("on",), ("Lights", "on", ",", "please", "."), ("B-thing", *["O"] * 4))
    assert reworded(example, words_of(example)) == example
    near = {"please": ["kindly"]}
    rows = augmented([Exchange(1.0)], Material((example,), near=near), seed=0)
    assert [row.example.text for row in rows] == ["Lights on, kindly."]


def test_scripts_without_spaces_are_words_of_characters():
    example = Example("打开厨房的灯", ("on",))
    assert [word.text for word in words_of(example)] == list("打开厨房的灯")
    assert reworded(example, words_of(example)) == example
    rows = augmented([Aeda()], Material((example,)), seed=0)
    assert all(sign in "打开厨房的灯。；？：！， " for row in rows for sign in row.example.text)


def test_code_switching_follows_the_lexicon(tmp_path):
    path = tmp_path / "en-sw.tsv"
    path.write_text("turn\tgeuza\nlamp\ttaa\nliving room\tsebule\nkitchen\tjiko la nyumba\n", "utf-8")
    rows = all_rows(CodeSwitch(str(path), share=1.0), TAGGED, copies=1)
    assert rows[0].example.text == "please geuza the living room taa on"
    assert rows[0].example.tags == TAGGED[0].tags
    assert "kitchen" in rows[1].example.text, "a translation of several words would move the tags"
    plain = all_rows(CodeSwitch(str(path), share=1.0), (Example("Turn on the kitchen lamp.", ("on",)),), copies=1)
    assert plain[0].example.text == "Geuza on the jiko la nyumba taa."


def test_a_lexicon_is_refused_by_its_line(tmp_path):
    path = tmp_path / "bad.tsv"
    path.write_text("turn\tgeuza\nlamp taa\n", "utf-8")
    with pytest.raises(DataError, match="line 2"):
        read_lexicon(str(path))
    with pytest.raises(DataError, match="no such lexicon"):
        read_lexicon(str(tmp_path / "none.tsv"))
    other = tmp_path / "other.tsv"
    other.write_text("chien\tmbwa\n", "utf-8")
    assert "no word of the rows" in CodeSwitch(str(other)).refuses(Material(PLAIN))


def test_words_used_alike_are_neighbours():
    texts = [
        f"turn the {thing} {way} now" for thing in ("lamp", "fan", "heater", "radio") for way in ("on", "off", "low")
    ]
    near = own_neighbours(texts)
    assert near["lamp"][:3] == ["fan", "heater", "radio"]
    assert near["on"][:2] == ["off", "low"]
    assert own_neighbours(["once only"]) == {}


@pytest.mark.parametrize(
    ("name", "train", "reason"),
    [
        ("generate", TAGGED, "slots and tags"),
        ("eda", (Example("hello", target="habari"),), "translation"),
        ("eda", (Example("hello there", pair="hi", score=0.9),), "score"),
        ("slot-substitution", PLAIN, "no slots"),
        ("orthography", PLAIN, "--language"),
        ("aeda", (Example("he runs", tokens=("he", "runs"), tags=("PRON", "VERB")),), "tags"),
        ("exchange", (Example("hi", ("a",)),), "often enough"),
        ("mixup", TAGGED, "slots and tags"),
        ("mixup", (Example("hi"),), "blends labels"),
    ],
)
def test_what_a_method_cannot_do_is_said(name, train, reason):
    method = AUGMENTERS[name](**({"model": "x"} if name == "generate" else {}))
    assert reason in why_not(method, Material(train))


def test_a_method_that_changes_a_slot_is_refused():
    class Cutting(Noise):
        name = "cutting"

        def __call__(self, example, random, material):
            return [(reworded(example, words_of(example)[:3]), "cut")]

    with pytest.raises(DataError, match=r"cutting: training row 1: would change its label or its slots"):
        augmented([Cutting()], Material(TAGGED), seed=0)


def test_settings_are_checked_and_needs_named():
    for kind in (Eda, Exchange, Aeda, Noise, SlotSubstitution, Orthography):
        with pytest.raises(ValueError, match="share"):
            kind(share=2.0)
    with pytest.raises(ValueError, match="alpha is above 0"):
        Mixup(alpha=0)
    with pytest.raises(RecipeError, match="--there NAME and --back NAME"):
        make_method("back-translation", {})
    with pytest.raises(UnknownNameError, match="Did you mean 'noise'"):
        make_method("nosie", {})


def test_rows_are_drawn_by_numpy_alone():
    random = np.random.default_rng(3)
    again = np.random.default_rng(3)
    material = Material(PLAIN, near=NEAR)
    assert [Eda()(one, random, material) for one in PLAIN] == [Eda()(one, again, material) for one in PLAIN]


def test_mixup_makes_no_rows():
    assert all_rows(Mixup(), PLAIN) == []
    assert alpha_of([Noise(), Mixup(0.3)]) == 0.3 and alpha_of([Noise()]) == 0
