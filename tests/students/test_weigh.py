"""What an encoder and n-grams say together, weighed on dev."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import make_context, write_exported

from pocketlm.errors import RecipeError
from pocketlm.export.pocket import export
from pocketlm.model.stack import unstack
from pocketlm.outputs import texts_of
from pocketlm.recipe.recipe import Recipe
from pocketlm.recipe.run import TRAINED, run_recipe
from pocketlm.runtime.load import load
from pocketlm.students.beside import BesideNgrams
from pocketlm.students.distill import Distill
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.passes import STUDENT_PASSES
from pocketlm.students.prune_rows import PruneRows
from pocketlm.students.quantize import Quantize
from pocketlm.students.solve import Solve
from pocketlm.students.transformer import SmallTransformer
from pocketlm.students.weigh import Weigh
from pocketlm.train.lesson import join, lesson, with_labels
from pocketlm.train.teach import ask

SMALL = SmallTransformer(depth=1, heads=2, ffn=16, rank=16, dropout=0.0)
NGRAMS = BesideNgrams(buckets=2**12)
ALONE = Solve(heads=False)


@pytest.fixture(scope="module")
def context(csv_file, teacher_folder, tmp_path_factory):
    return make_context(csv_file, teacher_folder, tmp_path_factory.mktemp("work"), text="text", label="category")


@pytest.fixture(scope="module")
def taught(context):
    return Distill(epochs=2, rate=1e-3)(SMALL(None, context), context)


@pytest.fixture
def model(taught, context):
    return ALONE(NGRAMS(taught.copy(), context), context)


def logits(model, texts):
    return np.stack(list(ask(model, texts).logits["label"]))


def entropy(said, gold):
    shares = np.exp(said - said.max(1, keepdims=True))
    return -np.log((shares / shares.sum(1, keepdims=True))[np.arange(len(gold)), gold]).mean()


def test_ngrams_beside_a_taught_encoder_are_solved_as_if_they_stood_alone(context, model, taught):
    encoder, bag = unstack(model)
    for name, weight in encoder.module.state_dict().items():
        assert torch.equal(weight, taught.module.state_dict()[name]), name
    plain = HashedNgrams(2**12, width=0, hidden=False, rows=100_000, min_texts=1, dropout=0.0)
    own = Solve()(plain(None, replace(context, lesson=with_labels(context.lesson, context.outputs))), context)
    assert torch.equal(bag.module.table, own.module.table)


def test_the_pair_is_the_one_by_which_dev_is_likeliest_and_both_are_in_the_weights(context, model):
    texts = texts_of(context.dev, context.outputs)
    gold = np.asarray(lesson(context.dev, context.outputs).labels["label"])
    own, other = (logits(part, texts) for part in unstack(model))
    tried = Weigh(encoder=(0.5, 1.0, 2.0), ngrams=(0.1, 0.6, 3.0))
    found = tried(model, context)
    losses = {(a, b): entropy(a * own + b * other, gold) for a in tried.encoder for b in tried.ngrams}
    (first,), (second,) = found.spec.settled["encoder"], found.spec.settled["ngrams"]
    assert losses[first, second] == min(losses.values())
    np.testing.assert_allclose(logits(found, texts), first * own + second * other, atol=1e-4)


def test_what_was_chosen_on_dev_is_settled_when_the_recipe_runs_again_on_dev_rows_too(context, tmp_path):
    recipe = Recipe((SMALL, Distill(epochs=2, rate=1e-3), NGRAMS, ALONE, PruneRows(500), ALONE, Weigh(), Quantize()))
    first = run_recipe(recipe, context, tmp_path)
    weighed = first.recipe.steps[6]
    assert len(weighed.encoder) == len(weighed.ngrams) == 1
    assert Recipe.from_json(first.recipe.to_json(), STUDENT_PASSES).steps == first.recipe.steps
    more = join(context.lesson, lesson(context.dev, context.outputs).with_teacher(context.lesson.taught))
    whole = replace(context, lesson=more, searched=context, trained=tmp_path / TRAINED)
    again = run_recipe(first.recipe, whole)
    assert again.recipe.steps[6] == weighed
    tables = [unstack(one.model)[1].module.table for one in (first, again)]
    assert tables[0].shape != tables[1].shape or not torch.equal(*tables)


def test_the_runtime_says_what_torch_says(context, model, tmp_path):
    weighed = Quantize(bits=8)(Weigh()(model, context), context)
    exported = export(weighed, context)
    pocket = load(write_exported(context, exported, tmp_path / "a.pocket"))
    texts = texts_of(context.dev, context.outputs)
    said, own = logits(weighed, texts), pocket.logits(texts)["label"]
    np.testing.assert_allclose(own, said, atol=0.15 * np.abs(said).max())


def test_it_weighs_nothing_else(context, taught):
    with pytest.raises(RecipeError, match="put it after beside-ngrams and solve"):
        Weigh()(None, context)
    with pytest.raises(RecipeError, match="put it after beside-ngrams and solve"):
        Weigh()(taught, context)
    with pytest.raises(ValueError, match="ngrams holds weights above 0"):
        Weigh(ngrams=(0.0,))
    with pytest.raises(ValueError, match="words teach n-grams that stand alone"):
        Solve(words=10, heads=False)
    with pytest.raises(ValueError, match="encoder holds weights above 0"):
        Weigh(encoder=())
