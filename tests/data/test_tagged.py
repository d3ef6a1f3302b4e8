"""Words and tags in every form they come in: found, said, and refused with their row."""

import json

import pytest

from pocketlm.data.columns import detect
from pocketlm.data.examples import examples
from pocketlm.data.source import load, write_rows
from pocketlm.errors import DataError
from pocketlm.runtime.words import split_words

NER = [{"tokens": ["Anna", "ran"], "ner_tags": ["B-PER", "O"]}, {"tokens": ["Lima"], "ner_tags": ["B-LOC"]}]


def found(rows, **names):
    columns = detect(rows, **names)
    return columns.task, columns.chosen, [(one.tokens, one.tags) for one in examples(rows, columns, "f")]


def test_lists_of_words_and_tags_are_found_and_said():
    task, chosen, read = found(NER)
    assert task == "tagging"
    assert chosen == "text from 'tokens' (by its name), tags from 'ner_tags': spans in BIO of LOC, PER"
    assert read == [(("Anna", "ran"), ("B-PER", "O")), (("Lima",), ("B-LOC",))]
    example = examples(NER, detect(NER), "f")[0]
    assert (example.text, example.labels) == ("Anna ran", ())


def test_plain_tags_make_another_task():
    rows = [{"tokens": ["small", "dog"], "pos_tags": ["ADJ", "NOUN"], "ner_tags": ["O", "O"]}] * 2
    task, chosen, read = found(rows, tags="pos_tags")
    assert task == "word-tagging"
    assert chosen.endswith("tags from 'pos_tags': plain labels, one a word, such as ADJ, NOUN")
    assert read[0][1] == ("ADJ", "NOUN")
    assert found(rows)[0] == "tagging", "named entities come before parts of speech"


def test_columns_of_a_conll_file_go_by_number(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("1 Anna NNP B-PER _\n2 ran VBD O _\n\n1 Lima NNP B-LOC _\n")
    rows = load(str(path)).splits["train"]
    assert found(rows)[2][0] == (("Anna", "ran"), ("B-PER", "O")), "the last column that says more than one thing"
    assert found(rows, tags="3")[2][0] == (("Anna", "ran"), ("NNP", "VBD"))
    assert found(rows, tags="4", text="3")[2][0] == (("NNP", "VBD"), ("B-PER", "O"))
    with pytest.raises(DataError, match="there is no column '9'; there is 1, 2, 3, 4, 5"):
        detect(rows, tags="9")


def test_a_number_stands_for_a_named_column_too():
    assert detect(NER, tags="2").tags == "ner_tags"


def test_text_cells_are_split_at_spaces(tmp_path):
    rows = [{"tokens": "Anna ran", "tags": "B-PER O"}, {"tokens": "Lima", "tags": "B-LOC"}]
    assert found(rows)[2][0] == (("Anna", "ran"), ("B-PER", "O"))
    write_rows(NER, tmp_path / "a.csv", replace=False)
    assert found(load(str(tmp_path / "a.csv")).splits["train"])[2] == found(NER)[2]


def test_every_scheme_is_written_to_the_letter():
    iob = [{"tokens": ["a", "b", "c"], "tags": ["I-x", "I-x", "B-x"]}, {"tokens": ["a"], "tags": ["O"]}]
    assert found(iob)[2][0][1] == ("B-x", "I-x", "B-x")
    iobes = [{"tokens": ["a", "b", "c"], "tags": ["I-x", "E-x", "B-x"]}, {"tokens": ["a"], "tags": ["O"]}]
    assert found(iobes)[2][0][1] == ("B-x", "E-x", "S-x")
    never = [{"tokens": ["a", "b"], "tags": ["O", "I-y"]}, {"tokens": ["a"], "tags": ["B-x"]}]
    assert found(never)[2][0][1] == ("O", "B-y"), "a type that never begins, read as conlleval does"


def test_beside_an_intent_tags_are_slots_as_ever():
    rows = [{"tokens": ["go", "home"], "tags": ["O", "I-place"], "intent": name} for name in "ab"]
    task, _, read = found(rows)
    assert (task, read[0][1]) == ("understanding", ("O", "I-place"))
    assert found(rows, tags="tags")[0] == "tagging", "unless tags alone are asked for"
    with pytest.raises(DataError, match="a label goes with slots"):
        detect(rows, tags="tags", label="intent")
    kinds = [{"tokens": ["go", "home"], "slots": ["O", "B-place"], "kind": "ab"[n % 2]} for n in range(9)]
    assert detect(kinds).task == "understanding"
    assert detect([{**row, "kind": n} for n, row in enumerate(kinds)]).task == "tagging"


def test_parts_of_speech_beside_a_label_are_no_slots():
    rows = [{"tokens": ["small", "dog"], "pos_tags": ["ADJ", "NOUN"], "text": "small dog", "label": n} for n in "ab"]
    assert detect(rows).task == "classification"
    assert detect(rows, tags="pos_tags").task == "word-tagging"
    words = [
        {"word": word, "pos": "NV"[n % 2]} for n, word in enumerate(["dog", "run", "cat", "sit", "owl", "fly"] * 2)
    ]
    assert detect(words).task == "classification", "a list of words with a label each"
    assert detect([{"text": "a b", "pos": "N V"}], label="pos").task == "classification"


SPANS = [
    {"text": "  Anna saw Addis Ababa.", "entities": [{"start": 2, "end": 6, "label": "PER"}, [11, 22, "LOC"]]},
    {"text": "Nobody.", "entities": []},
]


def test_spans_of_characters_become_tags_of_words():
    task, chosen, read = found(SPANS)
    assert task == "tagging"
    assert chosen == "text from 'text' (by its name), tags from 'entities': spans of characters of LOC, PER"
    assert read[0] == (("Anna", "saw", "Addis", "Ababa", "."), ("B-PER", "O", "B-LOC", "I-LOC", "O"))
    assert read[1] == (("Nobody", "."), ("O", "O"))


@pytest.mark.parametrize("text", ["Mo lọ sí Ọ̀yọ́ lánàá", "سافرت ليلى إلى القاهرة أمس", "我住在北京。", "e\u0301 Ọ̀yọ́!"])
def test_spans_are_right_in_any_script(text):
    for start, end in split_words(text):
        rows = [{"text": text, "spans": [{"start": start, "end": end, "type": "x"}]}]
        tokens, tags = found(rows)[2][0]
        assert [token for token, tag in zip(tokens, tags, strict=True) if tag != "O"] == [text[start:end]]


def test_splits_are_stratified_by_the_first_type():
    columns = detect(SPANS)
    assert [columns.class_of(row) for row in SPANS] == ["PER", "O"]
    assert [detect(NER).class_of(row) for row in NER] == ["B-PER", "B-LOC"]


def test_spans_that_cut_a_word_are_widened_and_counted():
    rows = [{"text": "Annas cat ran", "label": [[0, 4, "PER"], [6, 10, "PET"]]}]
    _, chosen, read = found(rows)
    assert read[0][1] == ("B-PER", "B-PET", "O")
    assert chosen.endswith("spans of characters of PER, PET; 1 of 2 widened to whole words")


def test_spans_are_slots_where_they_are_asked_for_beside_a_label():
    rows = [{"text": "go home", "intent": name, "entities": [[3, 7, "place"]]} for name in "ab"]
    assert detect(rows).task == "classification"
    task, _, read = found(rows, slots="entities")
    assert (task, read[0][1]) == ("understanding", ("O", "B-place"))


def test_names_of_tag_numbers_are_read_from_parquet(tmp_path):
    import pyarrow
    import pyarrow.parquet

    feature = {"feature": {"names": ["O", "B-PER"], "_type": "ClassLabel"}, "_type": "List"}
    about = json.dumps({"info": {"features": {"tokens": {"feature": {"dtype": "string"}}, "ner_tags": feature}}})
    table = pyarrow.Table.from_pylist([{"tokens": ["Anna", "ran"], "ner_tags": [1, 0]}])
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": about}), path)
    assert found(load(str(path)).splits["train"])[2][0][1] == ("B-PER", "O")
    pyarrow.parquet.write_table(table, path)
    assert load(str(path)).splits["train"][0]["ner_tags"] == [1, 0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a", "b"], "ner_tags": ["O"]}, "f, row 3: 2 tokens but 1 tags in 'ner_tags'; each token has one"),
        ({"tokens": ["a"], "ner_tags": ["L-PER"]}, "f, row 3: 'L-PER' is no tag of spans; these are O, B-TYPE and"),
        ({"tokens": ["a"], "ner_tags": ["PER"]}, "f, row 3: 'PER' is no tag of spans"),
        ({"tokens": ["a"], "ner_tags": [3]}, "f, row 3: the tags in 'ner_tags' are numbers, such as 3"),
        ({"tokens": ["a", "b"], "ner_tags": ["O", None]}, "f, row 3: word 2 has no tag in 'ner_tags'"),
        ({"tokens": [], "ner_tags": []}, "f: 1 row without words; leave empty sentences out: row 3"),
    ],
)
def test_rows_that_are_wrong_are_named(row, message):
    rows = [*NER, row]
    with pytest.raises(DataError, match=message):
        examples(rows, detect(rows), "f")


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ([0, 99, "x"], "row 2: the span 0 to 99 is not in its text of 8 characters"),
        ([2, 2, "x"], "row 2: the span 2 to 2 is not in"),
        ([4, 5, "x"], "row 2: the span 4 to 5 holds no word"),
        ([0, 6, "x"], "row 2: two spans share the word 'Anna'"),
        ([0, 2, ""], "row 2: .* is no span; start and end are whole numbers"),
        ({"start": 0}, "row 2: .* is no span; spans are"),
    ],
)
def test_spans_that_are_wrong_are_named(span, message):
    columns = detect([{"text": "Anna", "spans": [[0, 4, "x"]]}])
    rows = [{"text": "a", "spans": []}, {"text": "Anna ran", "spans": [[0, 4, "y"], span]}]
    if "share" not in message:
        rows[1]["spans"] = [span]
    with pytest.raises(DataError, match=f"f, {message}"):
        examples(rows, columns, "f")


def test_a_column_that_holds_no_tags_is_told_so():
    rows = [{"tokens": ["a", "b"], "note": "one two three"}]
    with pytest.raises(DataError, match="column 'note' holds tags, but no column holds as many words"):
        detect(rows, tags="note")


def test_bilou_is_refused_and_told_what_would_be_right():
    rows = [{"tokens": ["a", "b"], "tags": ["U-x", "O"]}]
    with pytest.raises(DataError, match="IOBES; BILOU calls these L and U"):
        examples(rows, detect(rows), "f")
