"""What floors ask, on rows that can tell it and on rows that cannot."""

import csv
import json

import pytest

import pocketlm
from pocketlm.errors import BudgetError, BudgetMissed
from pocketlm.floors import Floor
from pocketlm.job import Job
from pocketlm.runtime.load import load
from pocketlm.search.asked import Asked, check_floors
from pocketlm.tasks.prepare import prepare


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Rows of two speakers; what Ann calls on Ben calls off, so that no model can be right of both."""
    path = tmp_path_factory.mktemp("spoken") / "spoken.csv"
    rooms = [f"{kind} {number}" for kind in ("room", "hall", "attic", "shed") for number in range(15)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "speaker"])
        for place, room in enumerate(rooms):
            for verb in ("light", "dark", "warm"):
                ann = place % 4 != 0
                label = {"light": "on", "dark": "off", "warm": "heat"}[verb]
                if not ann and verb != "warm":
                    label = "off" if label == "on" else "on"
                writer.writerow([f"{verb} in {room}", label, "Ann" if ann else "Ben"])
    return path


@pytest.fixture(scope="module")
def fitted(spoken, tmp_path_factory):
    """A Pocket of those rows, and what it says on test."""
    folder = tmp_path_factory.mktemp("fitted")
    job = Job(str(spoken), max_size="60kB", output=str(folder / "m.pocket"), set=("search.family=linear",))
    done = pocketlm.fit(job)
    prepared = prepare(job)
    pocket = load(done.pocket)
    return prepared, pocket, pocket.predict([one.text for one in prepared.test], batch_size=1)


def asked(fitted, *floors):
    prepared, pocket, said = fitted
    made = Asked.of([Floor.parse(one) for one in floors], prepared, "test")
    return made.figures(pocket, said, fitted=True)


def test_slices_are_judged_alone(fitted):
    found = asked(fitted, "accuracy@speaker=Ann>=0.5", "accuracy@speaker=Ben>=0.5", "accuracy@words<=4>=0.5")
    assert found["accuracy@speaker=Ann"] > 0.8
    assert found["accuracy@speaker=Ben"] < 0.7
    prepared, _, said = fitted
    right = [one["label"] == row.labels[0] for one, row in zip(said, prepared.test, strict=True)]
    assert found["accuracy@words<=4"] == pytest.approx(sum(right) / len(right)), "no text has more words"


def test_classes_are_judged_alone(fitted):
    prepared, _, said = fitted
    heat = [one["label"] == "heat" for one, row in zip(said, prepared.test, strict=True) if row.labels == ("heat",)]
    assert asked(fitted, "recall[heat]>=0.5")["recall[heat]"] == pytest.approx(sum(heat) / len(heat))


def test_the_teacher_is_agreed_with(fitted):
    prepared, pocket, said = fitted
    made = Asked.of([Floor.parse("fidelity>=0.5")], prepared, "test")
    other = [{**one, "label": "heat"} for one in said]
    heat = sum(one["label"] == "heat" for one in said) / len(said)
    for heard, figure in ((said, 1.0), (other, heat)):
        told = Asked(made.floors, made.task, made.examples, made.rows, "test", heard)
        assert told.figures(pocket, said, fitted=True) == {"fidelity": pytest.approx(figure)}


def test_calibration_is_that_of_the_scores(fitted):
    found = asked(fitted, "ece<=0.9")
    assert 0 < found["calibration_error"] < 0.5
    prepared, pocket, said = fitted
    made = Asked.of([Floor.parse("ece<=0.9")], prepared, "test")
    crossed = made.figures(pocket, said, fitted=False)
    assert 0 < crossed["calibration_error"] < 0.5


def test_examples_that_tell_are_counted(fitted):
    prepared, _, _ = fitted
    floors = [Floor.parse(one) for one in ("accuracy>=0.1", "recall[heat]>=0.1", "accuracy@speaker=Ben>=0.1")]
    made = Asked.of(floors, prepared, "test")
    rows = prepared.rows["test"]
    assert [made.count(floor) for floor in floors] == [
        len(rows), sum(row["label"] == "heat" for row in rows), sum(row["speaker"] == "Ben" for row in rows),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("floor", "says"),
    [
        ("accuracy@speeker=Ann>=0.5", "no column 'speeker'.*Did you mean 'speaker'"),
        ("accuracy@speaker=An>=0.5", "no row of test has speaker=An. .*Did you mean 'Ann'"),
        ("accuracy@words>=40>=0.5", "no row of test tells it"),
    ],
)
def test_what_no_row_tells_is_refused(fitted, floor, says):
    with pytest.raises(BudgetError, match=says):
        Asked.of([Floor.parse(floor)], fitted[0], "test")


def test_figures_are_looked_for_before_work(fitted):
    check_floors([Floor.parse("recall[heat]>=0.5")], fitted[0], taught=False)
    with pytest.raises(BudgetError, match="no class is called 'haet'"):
        check_floors([Floor.parse("recall[haet]>=0.5")], fitted[0], taught=False)


def test_a_metric_is_looked_for_before_work(spoken, tmp_path):
    for floor, says in (("f1_makro>=0.5", "this task measures accuracy"), ("accuracy<=0.5", "write accuracy>=0.5")):
        for run in (pocketlm.fit, pocketlm.advise):
            with pytest.raises(BudgetError, match=says):
                run(str(spoken), max_size="60kB", output=str(tmp_path / "m.pocket"), min_quality=floor)
    with pytest.raises(BudgetError, match="no class is called 'haet'"):
        pocketlm.advise(str(spoken), max_size="60kB", floor=("recall[haet]>=0.5",))
    assert not (tmp_path / "m.work").exists()


def test_a_share_of_no_teacher_is_a_figure_and_said_so(spoken, tmp_path):
    made = pocketlm.fit(
        str(spoken), max_size="60kB", output=str(tmp_path / "m.pocket"), set=("search.family=linear",), trials=1,
        min_quality="0.2",
    )  # fmt: skip
    said = "there is none: it is read as accuracy>=0.2"
    assert any(said in note for note in made.data["data"]["notes"])
    assert any(said in line for line in pocketlm.advise(str(spoken), max_size="60kB", min_quality="0.2")["reasons"])


def test_a_floor_that_no_student_reaches_is_a_miss(spoken, tmp_path):
    with pytest.raises(BudgetMissed) as missed:
        pocketlm.fit(
            str(spoken), max_size="60kB", output=str(tmp_path / "m.pocket"), set=("search.family=linear",),
            floor=("accuracy@speaker=Ben>=0.95", "recall[heat]>=0.5"),
        )  # fmt: skip
    limits = {one["name"]: one["holds"] for one in missed.value.result.data["verdict"]["limits"]}
    assert limits == {"size": True, "accuracy@speaker=Ben": False, "recall[heat]": True}
    assert json.dumps(missed.value.result.data["budget"]["floors"])
