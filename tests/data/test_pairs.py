"""Scored pairs, pairs that belong together, texts with labels and texts alone: found, read, split and refused."""

import csv

import pytest

from pocketlm.data.pairs import Asked, detect_pairs, has_pairs, pair_examples
from pocketlm.data.splits import normal_text, split_off
from pocketlm.errors import DataError, UnknownNameError
from pocketlm.job import Job
from pocketlm.tasks.prepare import prepare, read_labelled


def rows_of(names, *cells):
    return [dict(zip(names, one, strict=True)) for one in cells]


def write(path, names, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return path


SCORED = rows_of(("sentence1", "sentence2", "score"), ("a b", "a c", "4.5"), ("d", "e", "0"))


@pytest.mark.parametrize(
    ("names", "cells", "found"),
    [
        (("sentence1", "sentence2", "score"), ("a", "b", "1.5"), ("sentence1", "sentence2", "score", None)),
        (("id", "Text_A", "Text_B", "similarity"), ("1", "a", "b", 3), ("Text_A", "Text_B", "similarity", None)),
        (("question1", "question2", "label"), ("a", "b", 1), ("question1", "question2", "label", None)),
        (("left", "right", "relatedness"), ("a b", "b", "2"), ("left", "right", "relatedness", None)),
        (("query", "document"), ("a", "b"), ("query", "document", None, None)),
    ],
)
def test_columns_are_found_by_names_and_numbers(names, cells, found):
    rows = rows_of(names, cells, cells)
    assert has_pairs(rows)
    columns = detect_pairs(rows, Asked())
    assert (columns.text, columns.pair, columns.score, columns.label) == found
    assert columns.task == ("similarity" if found[2] else "retrieval")


@pytest.mark.parametrize(
    ("names", "cells"),
    [
        (("text", "label"), ("a", "x")),
        (("headline", "text", "label"), ("a", "b", "1")),
        (("premise", "hypothesis", "label"), ("a", "b", "yes")),
        (("sentence1", "sentence2", "label"), ("a", "b", "yes")),
        (("text", "score"), ("a", "3")),
        (("title", "review", "score"), ("a", "b", "3")),
    ],
)
def test_other_rows_are_no_pairs_by_themselves(names, cells):
    assert not has_pairs(rows_of(names, cells, cells))


def test_what_is_asked_for_is_taken():
    rows = rows_of(("x", "y", "z", "n"), ("a", "b", "c", "1"), ("d", "e", "f", "2"))
    columns = detect_pairs(rows, Asked(text="z", pair="1", score="n"))
    assert (columns.text, columns.pair, columns.score) == ("z", "x", "n")
    assert columns.chosen == "pairs from 'z' and 'x', scores from 'n'"
    columns = detect_pairs(rows, Asked(text="x", pair="y"))
    assert columns.chosen == "pairs from 'x' and 'y', each second text belonging to its first"
    labelled = rows_of(("text", "intent"), ("a", "x"), ("b", "y"))
    columns = detect_pairs(labelled, Asked())
    assert (columns.label, columns.task, columns.class_of(labelled[0])) == ("intent", "retrieval", "x")
    alone = detect_pairs(rows_of(("text",), ("a",), ("b",)), Asked())
    assert (alone.task, alone.pair, alone.label, alone.class_of({})) == ("similarity", None, None, "")
    assert "nothing that says" in alone.chosen


@pytest.mark.parametrize(
    ("rows", "asked", "says"),
    [
        (rows_of(("text", "score"), ("a", "1")), Asked(score="score"), "no column is the second text"),
        (SCORED, Asked(pair="sentence3"), "there is no column 'sentence3'.*Did you mean"),
        (SCORED, Asked(text="sentence1", pair="sentence1"), "cannot be both texts"),
    ],
)
def test_columns_that_cannot_be(rows, asked, says):
    with pytest.raises(DataError, match=says):
        detect_pairs(rows, asked)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"score": "much"}, "1 row without a number in the column of scores 'score', such as 'much': row 2"),
        ({"score": "nan"}, "without a number"),
        ({"score": None}, "without a number"),
        ({"sentence2": " "}, "1 row without a second text in column 'sentence2': row 2"),
        ({"sentence1": ""}, "1 row without text in column 'sentence1': row 2"),
    ],
)
def test_cells_that_cannot_be(changes, says):
    columns = detect_pairs(SCORED, Asked())
    assert [one.score for one in pair_examples(SCORED, columns, "x")] == [4.5, 0.0]
    with pytest.raises(DataError, match=f"^x: .*{says}"):
        pair_examples([SCORED[0], {**SCORED[1], **changes}], columns, "x")


def test_one_score_that_is_no_number_does_not_make_pairs_of_what_is_unlike():
    rows = [*SCORED, {**SCORED[1], "score": "n/a"}]
    assert detect_pairs(rows, Asked()).score == "score" and has_pairs(rows)
    with pytest.raises(DataError, match="1 row without a number in the column of scores 'score', such as 'n/a': row 3"):
        pair_examples(rows, detect_pairs(rows, Asked()), "x")


def test_pairs_that_hang_together_stay_together():
    """Chains of pairs (a-b, b-c) and free pairs: no text is on both sides, whatever the order of rows."""
    chains = [(f"c{n} {m}", f"c{n} {m + 1}") for n in range(12) for m in range(n % 4 + 1)]
    rows = rows_of(("a", "b"), *chains, *((f"x{n}", f"Y{n}") for n in range(40)))

    def split(own):
        return split_off(own, 0.2, texts_of=lambda row: (row["a"], row["b"]), class_of=lambda row: "", seed=0)

    rest, part = split(rows)
    sides = [{normal_text(text) for row in side for text in row.values()} for side in (rest, part)]
    assert not sides[0] & sides[1]
    assert len(rest) + len(part) == len(rows)
    assert 0.15 < len(sides[1]) / sum(map(len, sides)) < 0.25
    again = split(rows[::-1])
    assert sorted(map(str, again[1])) == sorted(map(str, part))


def test_one_large_group_is_never_held_out():
    rows = rows_of(("a", "b"), *(("hub", f"t{n}") for n in range(50)), *((f"x{n}", f"y{n}") for n in range(10)))
    _, part = split_off(rows, 0.15, texts_of=lambda row: (row["a"], row["b"]), class_of=lambda row: "", seed=3)
    assert part
    assert all(row["a"] != "hub" for row in part)


def test_a_job_splits_pairs_without_leaks(pairs_file):
    prepared = prepare(Job(str(pairs_file)))
    assert (prepared.task.name, prepared.outputs[0].kind) == ("similarity", "vector")
    sides = [
        {text for one in own for text in (one.text, one.pair)} for own in (prepared.train, prepared.dev, prepared.test)
    ]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert sum(map(len, (prepared.train, prepared.dev, prepared.test))) == 60


def test_training_pairs_with_a_text_of_test_leave_training(tmp_path):
    train = write(tmp_path / "a.csv", ("text1", "text2", "score"), [(f"t{n}", f"u{n}", n) for n in range(20)])
    test = write(tmp_path / "b.csv", ("text1", "text2", "score"), [("U3", "new", 1), ("other", "t5", 2)])
    prepared = prepare(Job(str(train), test=str(test)))
    assert not {"t3", "t5"} & {one.text for one in [*prepared.train, *prepared.dev]}
    assert any("2 training rows also in test" in note for note in prepared.about["notes"])


def test_texts_with_labels_or_alone_are_similarity_where_it_is_asked_for(csv_file, tmp_path):
    prepared = prepare(Job(str(csv_file), task="similarity"))
    assert prepared.task.name == "retrieval"
    assert prepared.test[0].labels
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"a line {n} of text\n" for n in range(30)), "utf-8")
    alone = prepare(Job(str(path), task="similarity"))
    assert alone.task.name == "similarity"
    assert (alone.train[0].labels, alone.train[0].pair, alone.train[0].score) == ((), "", None)


@pytest.mark.parametrize(
    ("names", "cells", "job", "says"),
    [
        (("text1", "text2", "score"), [(f"t{n}", f"u{n}", 3) for n in range(9)], {}, "every pair has the score 3"),
        (("text", "label"), [(f"t{n}", "x") for n in range(9)], {"task": "similarity"}, "one label only \\(x\\)"),
        (("text", "label"), [(f"t{n}", f"l{n % 4}") for n in range(20)], {"task": "similarity"}, "no two of its texts"),
        (
            ("text1", "text2", "score"),
            [(f"t{n}", f"u{n}", int(n > 17)) for n in range(20)],
            {},
            "has the same score, so",
        ),
        (("text", "label"), [("a", "x"), ("b", "y")], {"task": "tagging"}, "holds classification rows"),
        (("text", "label"), [("a", "x"), ("b", "y")], {"task": "similarity", "tags": "label"}, "not for similarity"),
    ],
)
def test_jobs_that_cannot_be(names, cells, job, says, tmp_path):
    path = write(tmp_path / "rows.csv", names, cells)
    with pytest.raises(DataError, match=says):
        prepare(Job(str(path), **job))


def test_an_unknown_task_is_named(csv_file):
    with pytest.raises(UnknownNameError, match="Did you mean 'similarity'"):
        prepare(Job(str(csv_file), task="simlarity"))


def test_vectors_can_be_judged_by_rows_of_any_form(pairs_file, csv_file):
    assert read_labelled(str(pairs_file), "retrieval", None, None)[0].score is not None
    assert read_labelled(str(csv_file), "similarity", None, None)[0].labels
