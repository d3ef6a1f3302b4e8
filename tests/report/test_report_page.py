"""The page: complete, well formed, closed to the network and to what the data says."""

import base64
import hashlib
import json
import os
import re
import shlex
from html.parser import HTMLParser

import pytest
from report.report_results import (
    LABELS,
    POISON,
    TEXT,
    VARIATIONS,
    bare,
    full,
    hostile,
    many_labels,
    missed,
    multi_label,
    nothing_measured,
    searched,
    tagging,
    understanding,
    without_measurements,
    without_teacher,
)

from pocketlm.errors import OutputError
from pocketlm.recipe.recipe import Recipe
from pocketlm.report.commands import commands
from pocketlm.report.html import SECTIONS, render, write_report
from pocketlm.report.search import KIND
from pocketlm.report.summary import kept_share, sentence
from pocketlm.search.space import given_recipe
from pocketlm.students.distill import Distill
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.prune_rows import PruneRows
from pocketlm.students.quantize import Quantize
from pocketlm.units import format_duration, format_latency, format_size, parse_size

VOID = {"br", "col", "hr", "img", "meta", "wbr", "link"}
LOADING = {"src", "href", "data", "poster", "srcset", "action", "xlink:href"}


class Page(HTMLParser):
    """What is on a page: text (without scripts), tags with attributes, ids; it fails where a tag is left open."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.codes: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, text):
        kind = {"script": self.scripts, "style": self.styles}.get(self.open[-1] if self.open else "", self.said)
        kind.append(text)
        if self.open and self.open[-1] == "code":
            self.codes.append(text)

    @property
    def text(self) -> str:
        return "".join(self.said).replace("\u00a0", " ")

    def values(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags if name in attributes]


@pytest.mark.parametrize("make", VARIATIONS, ids=lambda make: make.__name__)
def test_every_shape_of_result_is_a_whole_page(make):
    text = render(make())
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert [tag for tag, _ in page.tags].count("h1") == 1
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in page.values("href") if value.startswith("#")} <= set(ids)
    assert "None" not in page.text
    assert "nan" not in page.text.split()


@pytest.mark.parametrize("make", VARIATIONS, ids=lambda make: make.__name__)
def test_nothing_is_loaded(make):
    page = Page(render(make()))
    loaded = [value for name in LOADING for value in page.values(name)]
    assert all(value.startswith(("#", "data:")) for value in loaded), loaded
    styles = "".join(page.styles + page.values("style"))
    assert "url(" not in styles
    assert "@import" not in styles
    assert not [tag for tag, _ in page.tags if tag in {"img", "iframe", "object", "embed", "audio", "video", "base"}]


def test_only_the_page_s_own_script_may_run():
    page = Page(render(hostile()))
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert [one.get("type") for one in scripts] == ["application/json", None]
    own = page.scripts[-1]
    policy = next(value for value in page.values("content") if "script-src" in value)
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_hostile_text_stays_text():
    page = Page(render(hostile()))
    shown = POISON.replace("\x00", "�").replace("\ud800", "�")
    assert page.text.count(shown) >= 20
    assert render(hostile()).encode("utf-8")
    tips = [json.loads(tip) for tip in page.values("data-tip")]
    assert any("alert(1)" in line for tip in tips for line in tip)


@pytest.mark.parametrize("make", [full, hostile, without_measurements], ids=lambda make: make.__name__)
def test_the_page_carries_its_result(make):
    inlined = Page(render(make())).scripts[0]
    assert "<" not in inlined
    expected = json.dumps(make(), allow_nan=True).replace("NaN", "null")
    assert json.loads(inlined) == json.loads(expected)


def test_every_candidate_and_its_figures_are_shown():
    result = full()
    text = Page(render(result)).text
    for one in result["candidates"]:
        assert one["name"] in text
        assert one["why"] in text
        if one["status"] == "measured":
            assert f"{100 * one['quality']['accuracy']:.2f} %" in text
            assert format_size(one["size_bytes"]) in text
            assert format_latency(one["latency_p50_ms"]) in text
            assert format_latency(one["latency_p95_ms"]) in text


def test_figures_of_the_chosen_one_are_shown():
    text = Page(render(full())).text
    for shown in (
        "1.58 MB", "1,581,530 bytes", format_latency(0.0581), format_latency(0.0934), "52.3 MB", "92.7 %",
        "91.8 to 93.6 %", "n = 3,080", "99.4 %", "teacher: 93.3 % on test", "58× larger", "kept int8", "0.71×",
        "5,765,000", "−0.07 points", format_duration(71.5), "a note on quantize", "ab" * 32, "9,003",
        "dev: 1000 rows split off training, stratified", "torch 2.13.0", "A processor", format_duration(1902.4),
        TEXT, "stopped early", "91.0 %",
    ):  # fmt: skip
        assert shown in text, shown
    assert all(label in text for label in LABELS)


def test_sections_stand_in_order_and_empty_ones_are_left_out():
    order = [place for place, _, _ in SECTIONS]
    assert [one for one in Page(render(searched())).values("id") if one in order] == order
    shown = Page(render(bare())).values("id")
    assert [one for one in shown if one in order] == ["candidates", "how"]


def test_verdicts():
    assert "Budget met. n-grams 60,000×96, 4 bit takes 1.58 MB" in Page(render(full())).text
    assert "Best trade-off. No limit was set" in Page(render(without_teacher())).text
    text = Page(render(missed())).text
    assert "misses latency by 16.2 % (58.1 µs, wanted ≤ 50 µs)" in text
    assert "No file was written." in text
    assert "--keep-best" in text
    assert "no candidate fits the budget: too slow" in Page(render(nothing_measured())).text
    assert "No file was written" not in sentence({**missed(), "pocket": "bank.pocket"})


def test_limits_are_chips():
    page = Page(render(full()))
    chips = [attributes for tag, attributes in page.tags if (attributes.get("class") or "").startswith("chip ")]
    assert [one["class"] for one in chips] == ["chip good"] * 3
    assert "✓ accuracy 92.73 % ≥ 90.51 % holds" in page.text
    assert "no limit was set" in Page(render(without_teacher())).text
    unjudged = Page(render(nothing_measured())).text
    assert all(limit in unjudged for limit in ("size ≤ 2 MB", "latency ≤ 500 µs", "at least 0.97 of the teacher's"))
    assert "✗ latency 58.1 µs ≤ 50 µs missed" in Page(render(missed())).text


def test_the_share_kept_is_of_the_same_split():
    assert kept_share(full()) == (pytest.approx(0.9273 / 0.9331), "test")
    result = full()
    result["teacher"]["quality"]["test"] = {}
    assert kept_share(result) == (pytest.approx(0.9254 / 0.9335), "dev")
    assert kept_share(without_teacher()) is None


def test_commands_can_be_pasted():
    written = {what: command for what, command in commands({**missed(), "pocket": "my models/it's.pocket"})}
    one, python, many, bench = written.values()
    assert shlex.split(one) == ["pocketlm", "run", "my models/it's.pocket", "your text"]
    compile(python, "snippet", "exec")
    assert "my models/it's.pocket" in python
    assert shlex.split(many)[2:] == ["my models/it's.pocket", "<", "texts.jsonl", ">", "predictions.jsonl"]
    flags = shlex.split(bench)[3:]
    assert flags == ["--max-size", "1234567B", "--max-memory", "100MB", "--max-latency", "0.05ms"]
    assert parse_size(flags[1]) == 1_234_567
    assert 'answer["labels"]' in dict(commands(multi_label()))["From Python (the base install is enough)"]


def test_slots_confusions_and_frames():
    text = Page(render(understanding())).text
    assert "Per slot, on test" in text
    assert "intent: HassLightSet; slots: brightness: 40" in text
    assert "Confusions on test" not in Page(render(multi_label())).text
    page = Page(render(many_labels()))
    assert "Most confused pairs" in page.text
    assert "10 more" in page.text


def test_tags_are_told_by_type():
    text = Page(render(tagging())).text
    assert "Per type of span, on test" in text
    assert "Confusions on test" not in text
    assert 'answer["entities"]' in dict(commands(tagging()))["From Python (the base install is enough)"]


def test_a_report_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "bank.report.html"
    assert write_report(full(), path, replace=False) == path
    first = path.read_text("utf-8")
    assert first == render(full())
    with pytest.raises(OutputError, match="exists already"):
        write_report(missed(), path, replace=False)
    assert path.read_text("utf-8") == first
    write_report(missed(), path, replace=True)
    assert path.read_text("utf-8") == render(missed())

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        write_report(full(), path, replace=True)
    assert path.read_text("utf-8") == render(missed())
    assert os.listdir(tmp_path) == ["bank.report.html"]


def test_a_page_is_the_same_every_time():
    assert render(full()) == render(full())


def test_tables_sort_by_figures_not_by_text():
    rows = re.findall(r'data-sort="([^"]+)"[^>]*>61\.2\u00a0kB<', render(full()))
    assert rows == ["61234.0"]


def test_bars_and_lines_of_trials_lead_to_their_recipes():
    result = searched()
    trials = result["search"]["trials"]
    for one, candidate in zip(trials, result["candidates"], strict=False):
        one["key"] = candidate["key"] = f"key {one['number']}"
    page = Page(render(result))
    rows = [attributes["data-row"] for _, attributes in page.tags if attributes.get("data-row")]
    known = {attributes.get("id") for tag, attributes in page.tags if tag == "tr"}
    assert set(rows) <= known
    measured = [one for one in trials if "figures" in one]
    more = len(rows) - len([one for _, one in Page(render(searched())).tags if one.get("data-row")])
    assert more >= len(measured), "a bar each, and lines"


def test_the_search_is_drawn_and_what_is_estimated_says_so():
    page = Page(render(searched()))
    assert "3 recipes in 1m 00s: 2 measured, 1 paused; 2 of them by rules of thumb." in page.text
    assert "quantize.bits" in page.text and "70" in page.text
    drawn = [attributes.get("class") for tag, attributes in page.tags if tag == "svg"]
    assert any("parallel" in str(one) for one in drawn) and any("timeline" in str(one) for one in drawn)
    assert any("timed" in str(one) for one in drawn), "times after passes"
    assert "Times were measured here, not on board." in page.text
    untimed = searched()
    for one in untimed["chosen"]["passes"]:
        one["latency_ms"] = None
    assert "trained again on train and dev, which this was not" in Page(render(untimed)).text
    assert "p50, estimated for board (log scale)" in page.text
    assert "are estimates for board, from what was measured here" in page.text
    assert "answers in ≈" in page.text
    assert "calibration error" in page.text and "≤" in page.text
    assert "12 % (median), 30 % at worst" in page.text
    assert "4 % (median), 21 % at worst" in page.text and "kind of student80 %" in page.text


def test_kinds_that_were_tried_once_each_are_drawn_side_by_side():
    result = searched()
    for place, one in enumerate(result["search"]["trials"]):
        one["family"] = f"kind {place}"
    page = Page(render(result))
    assert "The measured students of all kinds" in page.text
    assert any(f"across {KIND}, bytes" in str(attributes.get("aria-label")) for _, attributes in page.tags)


def test_too_few_students_to_weigh_knobs_are_said():
    result = searched()
    result["search"] |= {"importance": {}, "weighed_from": 8}
    page = Page(render(result))
    assert "told from 8 measured bag students on (--add-trials); there are 2." in page.text
    assert "What decided among bag students" not in page.text


def test_marks_lead_to_their_rows():
    page = Page(render(full()))
    ids = {attributes["id"] for _, attributes in page.tags if attributes.get("id")}
    leads = {attributes["data-row"] for _, attributes in page.tags if attributes.get("data-row")}
    assert leads and leads <= ids


def test_one_trial_is_no_search():
    result = searched()
    result["search"]["trials"] = result["search"]["trials"][:1]
    assert "The search" not in Page(render(result)).text


def test_a_recipe_unfolds_to_a_file_that_fit_takes(tmp_path):
    result = full()
    recipe = Recipe((HashedNgrams(width=32), Distill(epochs=3), PruneRows(500), Quantize(bits=4)))
    result["candidates"][0]["recipe"] = recipe.to_json()
    page = Page(render(result))
    (text,) = [one for one in page.codes if "rows: 500" in one]
    (tmp_path / "mine.yaml").write_text(text, "utf-8")
    assert given_recipe(str(tmp_path / "mine.yaml")).steps == recipe.steps
