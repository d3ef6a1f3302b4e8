"""An encoder that sees texts as its teacher does, with linear n-grams beside it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import make_context, write_exported

from pocketlm.errors import RecipeError
from pocketlm.export.pocket import export
from pocketlm.model.stack import unstack
from pocketlm.outputs import texts_of
from pocketlm.progress import Silent
from pocketlm.recipe.recipe import Recipe
from pocketlm.recipe.run import TRAINED, Prefixes, run_recipe
from pocketlm.runtime.load import load
from pocketlm.runtime.vectors import cosine
from pocketlm.students import distill, solve
from pocketlm.students.beside import BesideNgrams
from pocketlm.students.distill import Distill
from pocketlm.students.imitate import Imitate
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.passes import STUDENT_PASSES
from pocketlm.students.prune_rows import PruneRows
from pocketlm.students.quantize import Quantize
from pocketlm.students.solve import Solve, beside, features, labelled, unit_rows
from pocketlm.students.transformer import SmallTransformer
from pocketlm.train.frozen import Seen, pooled_vectors
from pocketlm.train.lesson import join, lesson
from pocketlm.train.loop import train
from pocketlm.train.teach import ask

SMALL = SmallTransformer(depth=1, heads=2, ffn=16, rank=16, dropout=0.0)
NGRAMS = BesideNgrams(buckets=2**12)
ONE = Solve(penalties=(0.3,), rarities=(1.0,), balances=(0.0,), prior=0.0, shares=(0.5,))


@pytest.fixture(scope="module")
def tuned(csv_file, teacher_folder, tmp_path_factory):
    return make_context(csv_file, teacher_folder, tmp_path_factory.mktemp("work"), text="text", label="category")


@pytest.fixture(scope="module")
def context(tuned):
    """As recipes that imitate get it."""
    return tuned.as_pretrained


@pytest.fixture(scope="module")
def imitating(context):
    return Imitate(epochs=4)(SMALL(None, context), context)


@pytest.fixture
def model(imitating, context):
    return NGRAMS(imitating.copy(), context)


def test_it_comes_to_see_texts_as_the_teacher_does(context, imitating):
    texts = texts_of(context.dev, context.outputs)
    mean = pooled_vectors(context.teacher, context.lesson.texts).mean(0)
    given = pooled_vectors(context.teacher, texts) - mean

    def near(model):
        return cosine(pooled_vectors(model, texts) - mean, given).mean()

    assert near(imitating) > near(SMALL(None, context)) + 0.1


def test_imitation_looks_at_no_label(context, imitating):
    other = {"label": [0] * len(context.lesson)}
    blind = replace(
        context, lesson=replace(context.lesson, labels=other), dev=[replace(one, labels=()) for one in context.dev]
    )
    again = Imitate(epochs=4)(SMALL(None, blind), blind)
    for name, weight in again.module.state_dict().items():
        if "readout" not in name:
            assert torch.equal(weight, imitating.module.state_dict()[name]), name


def test_what_a_stack_would_say_of_a_row_without_it_by_hand(context, model):
    known, _ = labelled(context.lesson, context.outputs)
    few = known[:40]
    lesson = replace(
        context.lesson, texts=tuple(context.lesson.texts[place] for place in few),
        labels={"label": [context.lesson.labels["label"][place] for place in few]}, taught=None,
    )  # fmt: skip
    small = replace(context, lesson=lesson)
    solved, held_out = ONE.with_held_out(model, small)
    encoder, bag = unstack(solved)
    rows = features(bag, lesson.texts)
    vectors = pooled_vectors(encoder, lesson.texts)
    vectors = vectors - vectors.mean(0)
    vectors /= np.sqrt(np.square(vectors).sum(1).mean())
    x = beside(unit_rows(rows, solve.rarity(rows)), vectors, 0.5).toarray()
    y = np.eye(context.outputs[0].size, dtype=np.float32)[np.asarray(lesson.labels["label"])]
    y = y - y.mean(0)
    for place in (0, 17):
        rest = np.arange(len(x)) != place
        duals = np.linalg.solve(x[rest] @ x[rest].T + 0.3 * np.eye(rest.sum()), y[rest])
        own = x[place] @ x[rest].T @ duals
        ratio = held_out[place] / own  # sharpness, the same for all labels
        np.testing.assert_allclose(ratio, ratio[0], rtol=2e-2)


def test_the_encoder_stays_as_it_is_but_for_its_heads(context, model, imitating):
    solved = Solve()(model, context)
    for name, weight in unstack(solved)[0].module.state_dict().items():
        same = torch.equal(weight, imitating.module.state_dict()[name])
        assert same != name.startswith("readout.heads"), name
    assert context.figure(solved) > 0.9


def test_many_rows_come_to_what_few_rows_come_to(context, imitating, monkeypatch):
    few = ONE(NGRAMS(imitating.copy(), context), context)
    monkeypatch.setattr(solve, "MOST_ROWS", 1)
    many = ONE(NGRAMS(imitating.copy(), context), context)
    for part in (0, 1):
        own, other = (unstack(one)[part].module.state_dict() for one in (few, many))
        name = ("readout.heads.label.weight", "table")[part]
        assert torch.nn.functional.cosine_similarity(own[name].flatten(), other[name].flatten(), dim=0) > 0.99


def test_the_share_chosen_on_dev_is_settled(context, imitating):
    steps = (
        SMALL,
        Imitate(epochs=1),
        NGRAMS,
        Solve(shares=(0.1, 0.4)),
        PruneRows(2000),
        Solve(rarities=()),
        Quantize(),
    )
    built = run_recipe(Recipe(steps), context)
    chosen = built.recipe.steps[3].shares
    assert chosen in ((0.1,), (0.4,))
    assert len(built.recipe.steps[5].shares) == 1
    assert built.recipe.steps[6].activations == built.exported.int8.kind
    assert [one for one in built.recipe.to_json() if one["pass"] not in ("solve", "quantize")] == [
        one for one in Recipe(steps).to_json() if one["pass"] not in ("solve", "quantize")
    ]
    again = Recipe.from_json(built.recipe.to_json(), STUDENT_PASSES)
    assert again.steps == built.recipe.steps


def test_the_runtime_says_what_torch_says(context, model, tmp_path):
    solved = Quantize(bits=8)(Solve(rarities=())(PruneRows(1500)(Solve()(model, context), context), context), context)
    exported = export(solved, context)
    assert exported.about["kind"] == "stack"
    pocket = load(write_exported(context, exported, tmp_path / "a.pocket"))
    texts = texts_of(context.dev, context.outputs)
    said = np.stack(list(ask(solved, texts).logits["label"]))
    own = pocket.logits(texts)["label"]
    assert (own.argmax(1) == said.argmax(1)).mean() > 0.97
    alone = np.concatenate([pocket.logits([text])["label"] for text in texts])
    assert (alone.argmax(1) == own.argmax(1)).mean() > 0.97
    np.testing.assert_allclose(own, said, atol=0.15 * np.abs(said).max())


def test_order_matters(context):
    with pytest.raises(RecipeError, match="after imitate"):
        BesideNgrams()(None, context)
    with pytest.raises(RecipeError, match="put it after small-transformer"):
        Imitate()(HashedNgrams(buckets=2**12)(None, context), context)
    with pytest.raises(RecipeError, match="beside-ngrams"):
        Solve()(SMALL(None, context), context)
    with pytest.raises(RecipeError, match="teacher"):
        Imitate()(SMALL(None, context), replace(context, teacher=None))
    with pytest.raises(ValueError, match="shares"):
        Solve(shares=())
    assert Distill(epochs=1)(NGRAMS(SMALL(None, context), context), context).module.bag is not None


def test_a_recipe_that_imitates_learns_from_the_encoder_as_it_was_pretrained(tuned, context):
    assert context.lesson.taught is None and tuned.lesson.taught is not None
    own, other = (one.teacher.module.backbone.state_dict() for one in (context, tuned))
    assert any(not torch.equal(weight, other[name]) for name, weight in own.items())
    tuned = replace(tuned, seen=Seen())
    built = run_recipe(Recipe((SMALL, Imitate(epochs=1), NGRAMS, Solve())), tuned)
    texts = list(tuned.lesson.texts)
    given = pooled_vectors(context.teacher, texts)
    np.testing.assert_allclose(tuned.seen.of(context.teacher, texts, Silent()), given, atol=1e-4)
    assert tuned.figure(built.model) > 0.8


def test_what_learns_from_texts_alone_stays_when_a_recipe_runs_again_on_more_rows(tuned):
    recipe = Recipe((SMALL, Imitate(epochs=1), NGRAMS, ONE))
    more = join(tuned.lesson, lesson(tuned.dev, tuned.outputs).with_teacher(tuned.lesson.taught))
    whole = replace(tuned, lesson=more, searched=tuned)
    prefixes = Prefixes()
    first = run_recipe(recipe, tuned, prefixes=prefixes)
    again = run_recipe(recipe, whole, prefixes=prefixes)
    anew = run_recipe(recipe, whole)
    assert again.records[1].seconds == first.records[1].seconds  # it was not learnt again
    encoders = [unstack(one.model)[0] for one in (first, again, anew)]
    states = [one.module.embedding.state_dict() for one in encoders]
    for name, weight in states[0].items():
        assert torch.equal(weight, states[1][name]) and torch.equal(weight, states[2][name])
    tables = [unstack(one.model)[1].module.table for one in (first, again, anew)]
    assert tables[1].shape != tables[0].shape or not torch.equal(tables[0], tables[1])
    assert torch.equal(tables[1], tables[2])


def test_a_recipe_of_labels_begins_anew_on_more_rows(tuned):
    recipe = Recipe((HashedNgrams(buckets=2**12, width=8), Distill(epochs=1), Distill(epochs=1)))
    more = join(tuned.lesson, lesson(tuned.dev, tuned.outputs).with_teacher(tuned.lesson.taught))
    prefixes = Prefixes()
    run_recipe(recipe, tuned, prefixes=prefixes)
    again = run_recipe(recipe, replace(tuned, lesson=more, searched=tuned), prefixes=prefixes)
    anew = run_recipe(recipe, replace(tuned, lesson=more))
    assert torch.equal(again.model.module.table, anew.model.module.table)


def test_an_encoder_that_was_chosen_goes_on_from_its_weights(tuned, tmp_path, monkeypatch):
    recipe = Recipe((SMALL, Distill(epochs=3, rate=1e-3), Quantize(bits=8)))
    more = join(tuned.lesson, lesson(tuned.dev, tuned.outputs).with_teacher(tuned.lesson.taught))
    prefixes = Prefixes()
    first = run_recipe(recipe, tuned, tmp_path, prefixes)
    kept, begun = torch.load(tmp_path / TRAINED, weights_only=True), []
    (tmp_path / TRAINED).unlink()
    run_recipe(replace(recipe, steps=(*recipe.steps[:2], Quantize(bits=4))), tuned, tmp_path, prefixes)  # began alike

    def seen(model, given, objective, schedule, *rest, **settings):
        weights = {name: one.clone() for name, one in model.module.state_dict().items()}
        begun.append((weights, given, schedule.epochs, schedule.rate))
        return train(model, given, objective, schedule, *rest, **settings)

    monkeypatch.setattr(distill, "train", seen)
    whole = replace(tuned, lesson=more, searched=tuned, trained=tmp_path / TRAINED)
    again = run_recipe(recipe, whole, prefixes=prefixes)  # of the search, which has the student after its training
    assert again.recipe.steps[1] == first.recipe.steps[1] == recipe.steps[1]
    weights, given, *how = begun[0]
    assert how == [1, 5e-4]
    new, known = len(tuned.dev), len(tuned.lesson)
    assert given.texts[-new:] == more.texts[known:] and len(given) == 3 * new
    places = {text: place for place, text in enumerate(more.texts)}
    assert len({places[text] for text in given.texts[:-new]} & set(range(known))) == 2 * new
    (name,) = given.labels
    for place, text in enumerate(given.texts):
        assert given.labels[name][place] == more.labels[name][places[text]]
        assert np.array_equal(given.taught.logits[name][place], more.taught.logits[name][places[text]])
    for name, weight in weights.items():
        assert torch.equal(weight, kept[name].float())
    alone = run_recipe(recipe, whole).model.module.state_dict()
    assert all(torch.equal(weight, alone[name]) for name, weight in again.model.module.state_dict().items())
    (tmp_path / TRAINED).unlink()
    run_recipe(recipe, replace(whole, trained=None))
    assert (len(begun[2][1]), *begun[2][2:]) == (len(more), 3, 1e-3)
    run_recipe(Recipe((HashedNgrams(buckets=2**12, width=8), Distill(epochs=1))), tuned, tmp_path)
    assert not (tmp_path / TRAINED).exists()


def test_students_that_began_alike_keep_what_was_chosen_then(tuned):
    begun = (HashedNgrams(buckets=2**12, width=0, hidden=False, min_texts=1, dropout=0.0), Solve(words=50))
    prefixes = Prefixes()
    first, second = (
        run_recipe(Recipe((*begun, PruneRows(rows=rows))), tuned, prefixes=prefixes).recipe for rows in (200, 300)
    )
    assert len(first.steps[1].shares) == 1 and first.steps[1] == second.steps[1]
