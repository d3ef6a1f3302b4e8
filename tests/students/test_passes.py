"""Every pass in the table, on a whole small model: the promise is kept, the same twice, settings round-trip."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import make_context

from pocketlm.errors import RecipeError
from pocketlm.runtime.packed import quantize_rows
from pocketlm.students.distill import Distill, thinned
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.passes import STUDENT_PASSES
from pocketlm.students.pieces import factorize
from pocketlm.students.prune_rows import CRITERIA, PruneRows
from pocketlm.students.quantize import Quantize
from pocketlm.students.transformer import SmallTransformer
from pocketlm.tables import pass_from_json, pass_to_json
from pocketlm.train.lesson import have_labels, tensors, unlabelled_labels
from pocketlm.train.teach import ask

SETTINGS = {
    "hashed-ngrams": {"buckets": 2**12, "width": 16, "min_texts": 1},
    "static-embeddings": {"width": 12},
    "small-convnet": {"depth": 1, "width": 16, "rank": 8},
    "small-transformer": {"depth": 1, "heads": 2, "ffn": 16, "rank": 8},
    "distill": {"epochs": 1},
    "imitate": {"epochs": 1},
    "beside-ngrams": {"buckets": 2**12},
    "prune-rows": {"rows": 40},
    "solve": {"penalties": (0.1, 1.0)},
    "weigh": {"encoder": (0.5, 1.0), "ngrams": (0.5,)},
    "quantize": {"bits": 4, "epochs": 1},
}
STUDENTS = ["hashed-ngrams", "static-embeddings", "small-convnet", "small-transformer"]


@pytest.fixture(scope="module")
def context(jsonl_file, teacher_folder, tmp_path_factory):
    return make_context(jsonl_file, teacher_folder, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def labelled(csv_file, tmp_path_factory):
    return make_context(csv_file, None, tmp_path_factory.mktemp("work"), text="text", label="category")


@pytest.fixture(scope="module")
def taught(csv_file, teacher_folder, tmp_path_factory):
    return make_context(csv_file, teacher_folder, tmp_path_factory.mktemp("work"), text="text", label="category")


@pytest.fixture(scope="module")
def scratch(jsonl_file, tmp_path_factory):
    return make_context(jsonl_file, None, tmp_path_factory.mktemp("work"))


def make(name):
    return STUDENT_PASSES[name](**SETTINGS[name])


LINEAR = {"buckets": 2**12, "width": 0, "hidden": False, "min_texts": 1, "dropout": 0.0}


def before(step, context):
    if step.name in ("imitate", "beside-ngrams"):
        return make("small-transformer")(None, context)
    if step.name == "weigh":
        return make("beside-ngrams")(make("small-transformer")(None, context), context)
    if step.name == "solve":
        return HashedNgrams(**LINEAR)(None, context)
    return None if step.name in STUDENTS else HashedNgrams(**SETTINGS["hashed-ngrams"])(None, context)


def test_every_pass_is_in_this_suite():
    assert set(STUDENT_PASSES) == set(SETTINGS)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_the_same_twice_finite_and_right_shapes(name, context, labelled, taught):
    step = make(name)
    context = {"solve": labelled, "beside-ngrams": taught, "weigh": taught}.get(name, context)  # which tag no words
    said = []
    for _ in range(2):
        model = step(before(step, context), context)
        said.append(ask(model, context.lesson.texts[:20]))
    for output in context.outputs:
        first, second = (np.concatenate([np.atleast_2d(row) for row in one.logits[output.name]]) for one in said)
        assert np.isfinite(first).all()
        assert first.shape[1] == len(output.labels)
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_settings_round_trip(name):
    step = make(name)
    assert pass_from_json(pass_to_json(step), STUDENT_PASSES) == step


@pytest.mark.parametrize("name", STUDENTS)
def test_students_work_without_a_teacher(name, scratch):
    model = make(name)(None, scratch)
    assert model.parameters > 0
    assert 0 <= scratch.figure(model) <= 1


def test_unknown_settings_name_the_nearest():
    with pytest.raises(RecipeError, match="'epoch'.*Did you mean 'epochs'"):
        pass_from_json({"pass": "distill", "epoch": 3}, STUDENT_PASSES)
    with pytest.raises(RecipeError, match="temperature"):
        pass_from_json({"pass": "distill", "temperature": 0}, STUDENT_PASSES)


@pytest.mark.parametrize("name", ["beside-ngrams", "distill", "imitate", "prune-rows", "quantize", "solve"])
def test_passes_that_need_a_student_say_so(name, context):
    with pytest.raises(RecipeError, match="put it after"):
        make(name)(None, context)


def test_pruning_keeps_the_rows_that_matter_most(context):
    model = before(make("prune-rows"), context)
    table = model.module.stored_table().detach().clone()
    lookup = model.inputs.lookup.copy()
    pruned = PruneRows(rows=40)(model, context)
    assert len(pruned.module.table) == 40
    kept = np.flatnonzero(pruned.inputs.lookup >= 0)
    torch.testing.assert_close(pruned.module.stored_table(), table[lookup[kept]])


def test_pruning_nothing_changes_nothing(context):
    model = before(make("prune-rows"), context)
    said = ask(model.copy(), context.lesson.texts[:5])
    again = ask(PruneRows(rows=10**6)(model, context), context.lesson.texts[:5])
    np.testing.assert_array_equal(said.logits["intent"][0], again.logits["intent"][0])


@pytest.mark.parametrize(
    ("criterion", "scores"), [("energy", [50.0, 10.0]), ("magnitude", [25.0, 1.0]), ("frequency", [2.0, 10.0])]
)
def test_scores_of_rows_by_hand(criterion, scores):
    table = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    assert CRITERIA[criterion](table, torch.tensor([2.0, 10.0])).tolist() == scores


def test_rows_are_kept_by_what_counts(context):
    model = before(make("prune-rows"), context)
    table, lookup = model.module.stored_table().detach().clone(), model.inputs.lookup.copy()
    pruned = PruneRows(rows=40, criterion="magnitude")(model, context)
    kept = lookup[np.flatnonzero(pruned.inputs.lookup >= 0)]
    least = table[kept].norm(dim=1).min()
    others = np.setdiff1d(np.arange(len(table)), kept)
    assert (table[others].norm(dim=1) <= least + 1e-6).all()


def test_of_texts_without_labels_a_share_is_read_with_what_their_teacher_says(taught):
    known = have_labels(taught.lesson, taught.outputs)
    count = int((~known).sum())
    assert known.any() and count > 10
    some, none = thinned(taught, 0.3), thinned(taught, 0.0)
    assert len(some) == known.sum() + round(0.3 * count)
    assert none.texts == taught.lesson.at(np.flatnonzero(known).tolist()).texts
    assert thinned(taught, 0.3).texts == some.texts, "the same each time"
    places = {text: place for place, text in enumerate(taught.lesson.texts)}
    for output in taught.outputs:
        told = taught.lesson.taught.logits[output.name]
        for text, said in zip(some.texts, some.taught.logits[output.name], strict=True):
            np.testing.assert_array_equal(said, told[places[text]])
    step = Distill(epochs=1, unlabelled=0.0)
    alone = step(make("hashed-ngrams")(None, taught), taught)
    same = Distill(epochs=1)(make("hashed-ngrams")(None, taught), replace(taught, lesson=none))
    said = [np.stack(ask(one, none.texts[:5]).logits["label"]) for one in (alone, same)]
    np.testing.assert_array_equal(*said)


def test_texts_of_every_kind_have_labels_or_not(context):
    assert have_labels(context.lesson, context.outputs).any()
    none = {output.name: unlabelled_labels(len(context.lesson), output) for output in context.outputs}
    assert not have_labels(replace(context.lesson, labels=none), context.outputs).any()


def test_blended_texts_teach_another_student(context):
    said = []
    for mixup in (0.0, 0.4):
        model = Distill(epochs=1, mixup=mixup)(make("hashed-ngrams")(None, context), context)
        said.append(ask(model, context.lesson.texts[:5]))
    assert not np.allclose(said[0].logits["intent"][0], said[1].logits["intent"][0])


def test_quantized_training_sees_the_stored_values(context):
    model = Quantize(bits=4, epochs=1)(before(make("quantize"), context), context)
    module = model.module
    rounded = module._rounded().detach()
    steps = rounded / module.table_scale
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
    assert steps.abs().max() <= 7.001


def test_full_rank_factors_reproduce_the_matrix():
    matrix = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    left, right = factorize(matrix, torch.rand(20) + 0.1, 6)
    torch.testing.assert_close(left @ right, matrix, atol=1e-4, rtol=1e-4)


def test_lower_ranks_err_more_and_weighted_rows_err_less():
    generator = torch.Generator().manual_seed(0)
    matrix, weights = torch.randn(30, 8, generator=generator), torch.ones(30)
    errors = [float((matrix - torch.matmul(*factorize(matrix, weights, rank))).square().sum()) for rank in range(1, 9)]
    assert errors == sorted(errors, reverse=True)
    heavy = weights.clone()
    heavy[0] = 1e4
    first = [(matrix - torch.matmul(*factorize(matrix, own, 2)))[0].norm() for own in (weights, heavy)]
    assert first[1] < first[0] * 0.1


def test_a_whole_cut_is_the_teacher(context):
    """All layers, heads, units, pieces and ranks kept: the student says what the teacher says."""
    whole = SmallTransformer(depth=2, heads=4, ffn=64, rank=32)(None, context)
    texts = context.lesson.texts[:30]
    mine, theirs = ask(whole, texts), ask(context.teacher, texts)
    for output in context.outputs:
        for own, given in zip(mine.logits[output.name], theirs.logits[output.name], strict=True):
            np.testing.assert_allclose(own, given, atol=2e-4)


def test_int8_storage_rows_have_one_scale_each():
    integers, scales = quantize_rows(np.array([[1.0, -2.0], [0.0, 100.0]], np.float32), 8)
    assert np.abs(integers).max(axis=1).tolist() == [127, 127]
    assert scales.shape == (2,)
    assert tensors({"x": integers})["x"].dtype == torch.int8
