"""A session: nothing is lost, held-out rows stay honest, and the file is one that `fit` takes."""

import json

import pytest
from labelling.made_rows import made_rows

from pocketlm.errors import DataError, OutputError, RecipeError
from pocketlm.job import Job
from pocketlm.labelling.ledger import HELD_OUT, TRAIN
from pocketlm.labelling.session import Plan
from pocketlm.labelling.start import Wish, open_session
from pocketlm.tasks.prepare import prepare


def answer(session, gold, count):
    """The texts asked, each with its true label."""
    asked = []
    for _ in range(count):
        row = session.next()
        session.answer(gold[row.text])
        asked.append(row)
    return asked


def test_labels_are_on_disk_at_once_and_a_new_session_goes_on(opened, gold, lines):
    first = opened()
    asked = answer(first, gold, 13)
    assert [(one["text"], one["label"], one["split"]) for one in lines()] == [
        (one.text, gold[one.text], one.split) for one in asked
    ]
    again = opened()  # the first was never closed, as after kill -9
    assert again.counts() == first.counts() and sum(again.counts().values()) == 13
    more = answer(again, gold, 20)
    assert not {one.text for one in more} & {one.text for one in asked}


def test_a_line_cut_by_a_power_failure_is_dropped(opened, gold, lines, tmp_path):
    answer(opened(), gold, 3)
    with open(tmp_path / "labels.jsonl", "ab") as file:
        file.write(b'{"text": "half')
    assert sum(opened().counts().values()) == 3
    assert len(lines()) == 3


def test_held_out_rows_are_a_fixed_random_share_without_a_guess(opened, gold):
    asked = answer(opened(seed=4), gold, 60)
    held = [one for one in asked if one.split == HELD_OUT]
    assert len(held) == pytest.approx(12, abs=1)
    assert all(one.guess is None for one in held)
    assert any(one.guess for one in asked if one.split == TRAIN)
    whole = opened(seed=4)
    assert set(whole.texts[place] for place in whole._reserved) >= {one.text for one in held}
    assert answer(opened(seed=5, held_out=0.0), gold, 1)[0].split != HELD_OUT


def test_undo_goes_back_over_every_kind_of_answer(opened, gold, lines):
    session = opened()
    one = answer(session, gold, 1)[0]
    two = session.next()
    session.not_sure()
    three = session.next()
    session.skip()
    assert len({one.text, two.text, three.text}) == 3
    assert [session.undo(), session.next().text] == [three.text] * 2
    assert [session.undo(), session.next().text] == [two.text] * 2
    assert len(session.unsure.entries) == 0
    assert [session.undo(), session.next().text] == [one.text] * 2
    assert lines() == [] and session.undo() is None


def test_rows_not_sure_are_not_asked_again_and_skipped_ones_are(opened, gold):
    session, skipped = opened(), []
    unsure = session.next().text
    session.not_sure()
    skipped.append(session.next().text)
    session.skip()
    later = opened()  # another session
    asked = []
    while (row := later.next()) is not None:
        asked.append(row.text)
        later.answer(gold[row.text])
    assert unsure not in asked and skipped[0] in asked
    assert len(asked) <= 119


def test_near_duplicates_of_labelled_rows_are_not_asked(tmp_path):
    rows = [f"number {word} of a long and quite different row" for word in ("one", "seven", "twelve")]
    data = tmp_path / "rows.txt"
    data.write_text("\n".join([*rows, *(row.upper() + "  " for row in rows), rows[0]]), "utf-8")
    session = open_session(Wish(str(data), str(tmp_path / "l.jsonl"), plan=Plan(held_out=0)))
    texts = []
    while (row := session.next()) is not None:
        texts.append(row.text)
        session.answer("a")
    assert texts and len(texts) == session.distinct <= 3


def test_the_file_is_what_fit_takes(opened, gold, tmp_path):
    session = opened(batch=5)
    answer(session, gold, 40)
    while (row := session.next()).split != HELD_OUT:
        session.answer(gold[row.text])
    session.answer("a label of held-out rows alone")
    assert session.close() == ["a label of held-out rows alone"]
    prepared = prepare(Job(str(tmp_path / "labels.jsonl")))
    assert prepared.task.name == "classification"
    assert "split as the column 'split' says" in prepared.about["notes"]
    assert len(prepared.test) == sum(session.counts(HELD_OUT).values()) > 0
    assert session.close() == []


def test_given_rows_become_training_rows_once(opened, gold, tmp_path, lines):
    given = tmp_path / "given.csv"
    new = made_rows(12, seed=9)
    given.write_text("text,category\n" + "".join(f"{text},{label}\n" for text, label in new), "utf-8")
    session = opened(start=str(given))
    assert len(session.ledger.entries) == 12 and session.learner is not None
    answer(session, gold, 2)
    assert len(opened(start=str(given)).ledger.entries) == 14 == len(lines())


def test_a_wrong_label_is_found_and_corrected(opened, gold, lines):
    session = opened(held_out=0.0)
    asked = answer(session, gold, 60)
    wrong = next(one.text for one in asked if gold[one.text] == "card")
    session.correct([one.text for one in asked].index(wrong), "rate")
    found = session.suspects()
    assert found[0].entry.text == wrong and found[0].expected == "card"
    session.correct(found[0].place, found[0].expected)
    assert {one["text"]: one["label"] for one in lines()}[wrong] == "card"
    assert wrong not in [one.entry.text for one in session.suspects()]


def test_a_pocket_helps_from_the_first_row(opened, gold, tmp_path, made_classifier):
    session = opened(model=str(made_classifier), held_out=0.0)
    guess = session.next().guess
    assert guess is not None and guess[0] in session.labels and 0 < guess[1] <= 1
    answer(session, gold, 25)


def test_what_is_refused(opened, texts_file, tmp_path, gold):
    for settings in ({"strategy": "mixt"}, {"batch": 0}, {"held_out": 0.9}):
        with pytest.raises(RecipeError):
            Plan(**settings)
    with pytest.raises(RecipeError, match="Did you mean 'margin'"):
        Plan(strategy="margn")
    session = opened()
    session.next()
    with pytest.raises(DataError, match="at least one letter"):
        session.answer("  ")
    with pytest.raises(OutputError, match="as .jsonl"):
        open_session(Wish(str(texts_file), str(tmp_path / "labels.csv")))
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"text": "a", "label": "b"}) + "\n", "utf-8")
    with pytest.raises(DataError, match="--from"):
        open_session(Wish(str(texts_file), str(other)))
    with pytest.raises(DataError, match="never changed"):
        open_session(Wish(str(other), str(other)))
    answer(session, gold, 1)
    (tmp_path / "labels.jsonl").write_text("", "utf-8")
    with pytest.raises(OutputError, match="another program"):
        answer(session, gold, 1)
