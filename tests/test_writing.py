"""Pairs of texts go through `fit` to a Pocket that writes, with its report, and back from what is remembered."""

import json
from dataclasses import replace

import pytest
from made_language import made_pairs

import pocketlm
from pocketlm import build, writing
from pocketlm.errors import BudgetMissed, RecipeError
from pocketlm.pocket.format import read_pocket
from pocketlm.train import translator


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    pairs = made_pairs(160)
    for ending, side in (("en", pairs.sources), ("sw", pairs.targets)):
        (folder / f"train.{ending}").write_text("\n".join(side), "utf-8")
    return f"{folder}/train.en,{folder}/train.sw"


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    return pocketlm.fit(data, max_size="900kB", time_limit="3s", output=str(folder / "a.pocket")), folder


def test_the_pocket_meets_its_size_and_writes(fitted):
    result, folder = fitted
    assert result.met
    assert (folder / "a.pocket").stat().st_size <= 900_000
    said = pocketlm.load(result.pocket).predict(["seven two nine", "one one"])
    assert [set(one) >= {"translation", "tokens", "finish"} for one in said] == [True, True]


def test_bench_holds_the_latency_of_a_text_against_its_limit(fitted, capsys):
    from pocketlm.cli.main import main

    with pytest.raises(SystemExit) as ended:
        main(["bench", str(fitted[0].pocket), "--json", "--max-latency", "10s"])
    found = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and found["met"]
    assert found["latency_p50_ms"] > found["token_p50_ms"]  # a text has several tokens, and is read first


def test_the_result_says_what_was_reached_and_how_it_was_taken(fitted):
    data = fitted[0].data
    test = data["chosen"]["test"]
    assert (data["task"], data["main_metric"]) == ("translation", "chrf++")
    assert "nw:2" in test["signatures"]["chrf++"]
    assert set(data["teacher"]["quality"]["test"]) == {"chrf++", "bleu"}
    assert list(data["chosen"]["against_teacher"]["systems"]) == ["teacher", "student"]
    assert 0 <= data["chosen"]["shortlist"]["same"] <= 1
    assert data["data"]["splits"]["test"]["rows"] == test["n"]
    json.dumps(data)


def test_the_pocket_says_where_it_came_from(fitted):
    manifest = read_pocket(fitted[0].pocket).manifest
    assert manifest["task"] == "translation"
    assert manifest["provenance"]["teacher"]["name"] == "made from the pairs"
    assert set(manifest["quality"]["test"]["metrics"]) == {"chrf++", "bleu"}


def test_the_report_is_a_page(fitted):
    page = fitted[0].report.read_text("utf-8")
    assert "chrf++" in page.lower()


def test_a_size_that_no_student_has_is_missed_and_said(data, fitted):
    _, folder = fitted
    with pytest.raises(BudgetMissed, match="misses: size"):
        build.fit(data, max_size="60kB", time_limit="3s", output=str(folder / "b.pocket"), work=str(folder / "a.work"))
    assert not (folder / "b.pocket").exists()


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"effort": 0.5}, "effort: models for translation are no students; --time-limit bounds them"),
        ({"workers": 2}, "workers: models for translation are made without a study of recipes"),
        ({"trials": 20}, "trials: models for translation are made without"),
        ({"add_trials": 2}, "add-trials: models for translation are made without"),
        ({"set": ("quantize.bits=4",)}, "set: models for translation are made without"),
        ({"storage": "sqlite:///a.db"}, "storage: models for translation are made without"),
        ({"sampler": "random"}, "sampler: models for translation are made without"),
    ],
)
def test_what_is_for_students_alone_is_refused(data, tmp_path, setting, why):
    with pytest.raises(RecipeError, match=why):
        build.fit(data, max_size="900kB", output=str(tmp_path / "b.pocket"), **setting)
    assert not list(tmp_path.iterdir())


def test_the_size_told_is_that_of_the_file(fitted):
    result, folder = fitted
    size = (folder / "a.pocket").stat().st_size
    assert result.data["chosen"]["measurement"]["size_bytes"] == size == result.data["candidates"][0]["size_bytes"]


def test_what_was_trained_and_what_is_remembered_give_the_same_bytes(data, tmp_path, monkeypatch):
    usual = translator.lecture_for

    def short(pairs, **how):
        lecture = usual(pairs, **how)
        return replace(lecture, schedule=replace(lecture.schedule, epochs=1))

    monkeypatch.setattr(translator, "lecture_for", short)
    settings = {"max_size": "900kB", "work": str(tmp_path / "work")}
    first, again = (pocketlm.fit(data, output=str(tmp_path / f"{name}.pocket"), **settings) for name in "ab")
    assert first.pocket.read_bytes() == again.pocket.read_bytes()
    assert "made from pairs of texts alone" in read_pocket(first.pocket).members["CARD.md"].decode()


def test_a_limit_on_time_chooses_a_smaller_student(data, fitted, monkeypatch):
    asked = []

    def costs(desk, prepared, vocabulary, shape):
        asked.append(shape.width)
        return {
            "size_bytes": 0,
            "memory_bytes": 10**8,
            **dict.fromkeys(("latency_p50_ms", "latency_p95_ms"), shape.width),
        }

    monkeypatch.setattr(writing, "_price", costs)
    monkeypatch.setattr(writing, "train_student", lambda desk, shape, *given: shape)
    monkeypatch.setattr(writing, "_exported", lambda desk, prepared, student, vocabulary: student)
    monkeypatch.setattr(writing, "_conclude", lambda job, prepared, teacher, student, exported: student)
    monkeypatch.setattr(build, "finished", lambda result, job, began: result)
    settings = {"time_limit": "3s", "work": str(fitted[1] / "a.work"), "output": str(fitted[1] / "c.pocket")}
    assert build.fit(data, max_latency="130ms", **settings).width == 128
    assert asked == [256, 192, 128]
    assert build.fit(data, max_latency="1ms", **settings).width == 64


def test_what_a_student_costs_is_measured_before_it_is_trained(data, fitted):
    folder = fitted[1]
    settings = {"time_limit": "3s", "work": str(folder / "a.work"), "output": str(folder / "d.pocket")}
    met = pocketlm.fit(data, max_latency="60s", **settings)
    assert met.met and len(list((folder / "a.work").glob("price*"))) == 1
