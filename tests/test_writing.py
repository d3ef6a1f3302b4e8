"""Pairs of texts go through `fit` to a Pocket that writes, with its report, and back from what is remembered."""

import json

import pytest
from made_language import made_pairs

import pocketlm
from pocketlm import build
from pocketlm.errors import BudgetMissed
from pocketlm.pocket.format import read_pocket


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
