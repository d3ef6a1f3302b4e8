"""Every student of vectors comes nearer to its teacher's geometry, on texts it was not trained on."""

import pytest
from helpers import make_context

from pocketlm.budget import Budget
from pocketlm.recipe.recipe import Recipe
from pocketlm.search.facts import Facts
from pocketlm.search.space import Space
from pocketlm.students.distill import Distill
from pocketlm.students.passes import STUDENT_PASSES

STUDENTS = {
    "hashed-ngrams": {"buckets": 2**12, "width": 24, "hidden": False, "min_texts": 1, "dropout": 0.0},
    "static-embeddings": {"width": 24, "hidden": False, "dropout": 0.0},
    "small-convnet": {"depth": 1, "width": 24, "rank": 16, "dropout": 0.0},
    "small-transformer": {"depth": 1, "heads": 4, "ffn": 64, "rank": 32, "dropout": 0.0},
}


@pytest.fixture(scope="module")
def context(pairs_file, teacher_folder, tmp_path_factory):
    return make_context(pairs_file, teacher_folder, tmp_path_factory.mktemp("work"))


@pytest.mark.parametrize("name", STUDENTS)
def test_distilled_students_keep_the_geometry(name, context):
    model = STUDENT_PASSES[name](**STUDENTS[name])(None, context)
    before = context.watched(model)
    Distill(epochs=6, rate=3e-3, batch_size=32, alpha=1.0, beta=1.0)(model, context)
    after = context.watched(model)
    assert after > max(0.7, before - 0.01)  # a transformer begins with the teacher's own layer, and is near
    assert context.watched(context.teacher) == pytest.approx(1, abs=1e-5)


def test_candidates_fit_what_is_allowed():
    facts = Facts(20_000, 128, False, 5_000, 384, 6, 12, 1536, vectors=True)
    for size in (60_000, 300_000, 1_500_000, 6_000_000):
        found = Space(facts, Budget(max_size=size)).starts
        assert found
        assert all(one.expected_bytes <= size for one in found)
    families = {one.recipe.family for one in found}
    assert families == set(STUDENTS)
    largest = max(found, key=lambda one: one.expected_bytes)
    assert largest.recipe.family == "small-transformer"
    assert largest.expected_bytes > 4_000_000
    for one in Space(facts, Budget()).starts:
        assert isinstance(one.recipe, Recipe)
