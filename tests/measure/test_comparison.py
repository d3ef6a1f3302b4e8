"""Pockets side by side on the same rows, and the page that shows them."""

import json

import pytest
from measure.made_pocket import LABELS, make_pocket

from pocketlm.errors import OutputError, UserError
from pocketlm.measure import comparison
from pocketlm.measure.comparison import compare
from pocketlm.measure.quality import evaluate
from pocketlm.report.comparison import render_comparison, write_comparison
from pocketlm.runtime.load import load
from pocketlm.tasks.prepare import read_labelled


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    lines = [f"turn {place} on,{LABELS[place % 3] if place else '<b>'}" for place in range(60)]
    path.write_text("text,label\n" + "\n".join(lines) + "\n", "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def found(pocket, rows, tmp_path_factory):
    other = make_pocket(tmp_path_factory.mktemp("other") / "o.pocket", seed=1)
    return compare([str(pocket), str(other), str(pocket)], rows)


def test_each_is_judged_as_evaluate_does(found, pocket, rows):
    alone = evaluate(load(str(pocket)), read_labelled(rows, "classification", None, None))
    assert found.systems[0].scores == alone
    assert found.n == 60 and found.metric == "accuracy"
    assert all(one.size_bytes > 0 and one.latency_p50_ms > 0 and one.memory_bytes > 0 for one in found.systems)


def test_the_difference_is_that_of_the_figures(found):
    figures = [one.scores.metrics["accuracy"].value for one in found.systems]
    assert found.differences[0].gain.value == pytest.approx(figures[0] - figures[1], abs=1e-5)
    assert found.differences[0].won - found.differences[0].lost == round(60 * (figures[0] - figures[1]))
    assert found.differences[1].gain.value == 0 and not found.differences[1].real


def test_files_of_one_name_are_told_by_their_paths(found, pocket):
    assert [one.name for one in found.systems].count(str(pocket)) == 2


def test_the_page_shows_all_of_it_and_nothing_of_others(found, tmp_path):
    page = render_comparison(found.to_json()).replace("\u00a0", " ")
    assert page.count("<svg") >= 2 and "McNemar" in page and "no sure difference" in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "<b>" not in page
    json.dumps(found.to_json())
    path = write_comparison(found.to_json(), tmp_path / "c.html", replace=False)
    with pytest.raises(OutputError):
        write_comparison(found.to_json(), path, replace=False)


def test_what_cannot_be_compared_is_refused(pocket, tagger, rows, monkeypatch):
    with pytest.raises(UserError, match="two Pockets or more"):
        compare([str(pocket)], rows)
    monkeypatch.setattr(comparison, "UNPAIRED", (load(str(pocket)).task,))
    with pytest.raises(UserError, match="judged by `pocketlm evaluate`, one by one"):
        compare([str(pocket), str(pocket)], rows)
    monkeypatch.undo()
    with pytest.raises(UserError, match="Pockets of one task"):
        compare([str(pocket), str(tagger)], rows)
