"""Rows that n-grams fill are counted as they are made."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import make_context

from pocketlm.budget import Budget
from pocketlm.runtime.ngrams import Ngrams
from pocketlm.search import grams
from pocketlm.search.facts import Facts
from pocketlm.search.grams import GramCounts
from pocketlm.search.space import Space
from pocketlm.students.ngrams import HashedNgrams


@pytest.fixture(scope="module")
def context(csv_file, tmp_path_factory):
    return make_context(csv_file, None, tmp_path_factory.mktemp("work"), text="text", label="category")


@pytest.fixture(scope="module")
def tagged(jsonl_file, tmp_path_factory):
    return make_context(jsonl_file, None, tmp_path_factory.mktemp("work"))


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"min_texts": 1}, {"char_max": 3, "word_max": 3, "min_texts": 1}, {"char_min": 6, "char_max": 6},
        {"word_max": 1, "max_words": 3, "min_texts": 1}, {"buckets": 2**8, "min_texts": 1},
    ],
)  # fmt: skip
@pytest.mark.parametrize("which", ["context", "tagged"])
def test_as_many_as_a_student_has(which, settings, request):
    given = request.getfixturevalue(which)
    student = HashedNgrams(**settings)
    counts = GramCounts(given.lesson.texts, tagging=given.tagging)
    made = len(student(None, given).module.table)
    assert counts.rows(student.ngrams(), student.max_words, student.min_texts) == pytest.approx(made, rel=0.03, abs=2)


def test_of_very_many_words_none_are_counted(context, monkeypatch):
    monkeypatch.setattr(grams, "MOST_WORDS", 10)
    assert GramCounts(context.lesson.texts, tagging=False).rows(Ngrams(), 512, 1) is None
    assert GramCounts([], tagging=False).rows(Ngrams(), 512, 1) is None


@pytest.mark.parametrize(("which", "family"), [("context", "linear"), ("tagged", "bag")])
def test_no_more_bytes_are_filled_than_there_are_ngrams(which, family, request):
    given = request.getfixturevalue(which)
    space = Space(Facts.of(given, 500), Budget.parse("20MB"), [f"search.family={family}"])
    most = max(space.starts, key=lambda one: one.size)
    made = len(most.recipe.steps[0](None, given).module.table)
    pruned = next(step.rows for step in most.recipe.steps if step.name == "prune-rows")
    assert pruned <= 1.03 * made + 2 and most.size < 10**6
    whole = space.asked({**space.params(most), f"{family}/size": 10**7})
    assert whole.recipe == most.recipe, "more bytes hold nothing more"


def test_of_a_few_short_texts_a_bag_is_as_wide_as_usual(tagged):
    few = replace(tagged, lesson=tagged.lesson.at([0, 1]))
    facts = Facts.of(few, 500)
    for size, width in (("30kB", 48), ("2MB", 96)):
        most = Space(facts, Budget.parse(size), ["search.family=bag"]).starts[-1]
        assert most.recipe.steps[0].width == width, "few n-grams are no reason for narrow ones, or for none"


def test_rows_that_add_nothing_are_not_kept(context):
    from pocketlm.students.prune_rows import PruneRows

    model = HashedNgrams(width=8, min_texts=1)(None, context)
    rows = len(model.module.table)
    silent = np.arange(0, rows, 2)
    model.module.table.data[silent] = 0
    kept = PruneRows(rows - 1)(model.copy(), context)
    assert len(kept.module.table) == rows - len(silent)
    model.module.table.data[:] = 0
    assert len(PruneRows(3)(model, context).module.table) == 1
