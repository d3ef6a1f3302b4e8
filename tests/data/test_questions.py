"""Questions, contexts and answers in every form they come in."""

import json

import pytest

from pocketlm.data.columns import detect
from pocketlm.data.examples import examples
from pocketlm.data.read import read_rows
from pocketlm.errors import DataError
from pocketlm.job import Job
from pocketlm.tasks.prepare import prepare, read_labelled

CONTEXT = "Anna lives in Addis Ababa. Addis Ababa is large."


def squad(*questions, context=CONTEXT):
    return {"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(questions)}]}]}


def answer(text, start):
    return {"text": text, "answer_start": start}


def read(tmp_path, value, name="q.json"):
    path = tmp_path / name
    text = value if isinstance(value, str) else json.dumps(value)
    path.write_text(text, "utf-8")
    rows = read_rows(path)
    columns = detect(rows)
    return columns, rows, examples(rows, columns, name)


def test_squad_with_and_without_answers(tmp_path):
    columns, rows, found = read(
        tmp_path,
        squad(
            {"id": "1", "question": " Where? ", "answers": [answer("Addis Ababa", 14), answer("Addis", 14)]},
            {"id": "2", "question": "Who?", "is_impossible": True, "plausible_answers": [answer("Anna", 0)]},
        ),
    )  # fmt: skip
    assert columns.task == "question-answering"
    assert [(one.text, one.pair, one.answers) for one in found] == [
        ("Where?", CONTEXT, ((14, 25), (14, 19))),
        ("Who?", CONTEXT, ()),
    ]
    assert columns.notes(rows, "q.json") == []


ROW = {"question": "Where?", "context": CONTEXT}


@pytest.mark.parametrize(
    "answers",
    [
        {"answers": {"text": ["Addis Ababa"], "answer_start": [14]}},
        {"answers": [answer("Addis Ababa", 14)]},
        {"answer": "Addis Ababa", "answer_start": 14},
        {"answer": "Addis Ababa", "answer_start": "14"},
        {"answer": "Addis Ababa"},
        {"answers": ["Addis Ababa"]},
        {"answer_pivot": {"text": ["Addis Ababa"], "answer_start": [14]}},
    ],
)
def test_flat_rows_in_every_form(tmp_path, answers):
    _, _, found = read(tmp_path, json.dumps({**ROW, **answers}) + "\n", "q.jsonl")
    assert found[0].answers == ((14, 25),)


def test_csv_with_its_own_names(tmp_path):
    path = tmp_path / "q.csv"
    path.write_text("asks,about,says\nWho?,Anna ran.,Anna\nWhere?,Anna ran.,\n", "utf-8")
    rows = read_rows(path)
    columns = detect(rows, text="asks", context="about", answer="says")
    assert [one.answers for one in examples(rows, columns, "q.csv")] == [((0, 4),), ()]
    with pytest.raises(DataError, match="no column of answers beside 'asks' and 'about'; name it with --answer"):
        detect(rows, text="asks", context="about")


def test_an_answer_beside_its_offset_is_found_and_named(tmp_path):
    columns, rows, found = read(
        tmp_path, squad({"id": "1", "question": "Where?", "answers": [answer("Addis Ababa", 12)]})
    )
    assert found[0].answers == ((14, 25),)
    note = columns.notes(rows, "q.json")[0]
    assert note.startswith("q.json, row 1: the answer 'Addis Ababa' is not at 12 but at 14")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([answer("Nairobi", 3)], "row 1: the answer 'Nairobi' is not in the context"),
        ([answer("a", 45)], "row 1: the answer 'a' is not at its offset 45, and stands at"),
        ([answer("Anna", -1)], "row 1: the offset -1 is no whole number"),
        ([answer(" ", 4)], "row 1: an answer in 'answers' is empty"),
        ([answer(7, 4)], "row 1: 'answers' is"),
    ],
)
def test_wrong_answers_are_named(tmp_path, wrong, said):
    with pytest.raises(DataError, match=said):
        read(tmp_path, squad({"id": "1", "question": "Where?", "answers": wrong}))


def test_questions_without_a_column_of_answers_are_refused():
    with pytest.raises(DataError, match="no column of answers beside 'question' and 'context'; name it with --answer"):
        detect([{"id": "1", **ROW}])
    assert detect([{**ROW, "label": "x"}, {**ROW, "label": "y"}]).task == "classification"
    with pytest.raises(DataError, match="no column is the context; name it with --context"):
        detect([{"question": "Who?", "answer": "Anna"}], answer="answer")


def test_an_empty_context_is_counted(tmp_path):
    rows = [{**ROW, "answer": "Anna"}, {"question": "Who?", "context": " ", "answer": ""}]
    with pytest.raises(DataError, match="q: 1 row with an empty context: row 2"):
        examples(rows, detect(rows), "q")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"data": [{"paragraphs": [{"qas": []}]}]}, 'article 1, paragraph 1: has no "context"'),
        ({"data": [{"paragraphs": [{"context": "c"}]}]}, 'article 1, paragraph 1: has no list "qas"'),
        (squad({"id": "x"}), 'paragraph 1, question 1: has no "question"'),
        (squad({"id": "x", "question": "?"}), 'paragraph 1, question x: has no "answers"'),
    ],
)
def test_broken_squad_files_say_where(tmp_path, value, said):
    with pytest.raises(DataError, match=said):
        read(tmp_path, value)


def test_qamr_words_become_characters(tmp_path):
    (tmp_path / "wiki-sentences.tsv").write_text("Wiki1k:w:1\tHe -LRB- Tom -RRB- said `` yes '' .\n", "utf-8")
    (tmp_path / "filtered").mkdir()
    path = tmp_path / "filtered" / "dev.tsv"
    path.write_text("Wiki1k:w:1\t0 2\t7\t0\t2\tWho said yes?\t0 2\t9:2\t8:Invalid\n", "utf-8")
    rows = read_rows(path)
    found = examples(rows, detect(rows), "dev")[0]
    assert found.pair == 'He ( Tom ) said " yes " .'
    assert [found.pair[start:end] for start, end in found.answers] == ["He ( Tom", "Tom"]


def test_no_context_is_on_two_sides(tmp_path):
    rows = [
        {"question": f"What is {number}?", "context": f"It is number {place} .", "answer": "number"}
        for place in range(40)
        for number in range(5)
    ]
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    made = prepare(Job(str(path)))
    sides = [{one.pair for one in split} for split in (made.train, made.dev, made.test)]
    assert all(len(split) % 5 == 0 for split in (made.train, made.dev, made.test))
    assert sum(map(len, sides)) == len(set.union(*sides)) == 40

    test = tmp_path / "test.jsonl"
    test.write_text(json.dumps({**rows[0], "question": "Another?"}) + "\n", "utf-8")
    made = prepare(Job(str(path), test=str(test)))
    assert rows[0]["context"] not in {one.pair for one in [*made.train, *made.dev]}
    assert any("5 training rows also in test left out" in note for note in made.about["notes"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"context": " "}, "1 row with an empty context: row 1"),
        ({"answer": "Nairobi"}, "'Nairobi' is not in the context"),
    ],
)
def test_rows_that_are_known_to_be_questions_are_refused_as_such(change, said, tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({**ROW, "answer": "Addis Ababa", **change}) + "\n", "utf-8")
    with pytest.raises(DataError, match=said):
        read_labelled(str(path), "question-answering", None, None)
    with pytest.raises(DataError, match=said):
        prepare(Job(str(path), task="question-answering"))
