"""Linear n-grams solved in closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import make_context

from pocketlm.errors import RecipeError
from pocketlm.export.bag import bag_members
from pocketlm.outputs import Example, texts_of
from pocketlm.runtime.bag import BagModel
from pocketlm.students import solve
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.prune_rows import PruneRows
from pocketlm.students.quantize import Quantize
from pocketlm.students.solve import Solve, features, labelled, rarity, sharpness, unit_rows
from pocketlm.train.lesson import join, lesson
from pocketlm.train.teach import ask

LINEAR = {"buckets": 2**12, "width": 0, "hidden": False, "min_texts": 1, "dropout": 0.0}


@pytest.fixture(scope="module")
def context(csv_file, tmp_path_factory):
    return make_context(csv_file, None, tmp_path_factory.mktemp("work"), text="text", label="category")


def said(model, context):
    return np.stack(ask(model, texts_of(context.dev, context.outputs)).logits["label"])


def test_a_solved_model_is_good_at_once(context):
    model = HashedNgrams(**LINEAR)(None, context)
    assert context.figure(Solve()(model, context)) > 0.9


def test_many_rows_come_to_what_few_rows_come_to(context, monkeypatch):
    step = Solve(penalties=(0.3,), rarities=(1.0,), balances=(0.5,))
    few = step(HashedNgrams(**LINEAR)(None, context), context)
    monkeypatch.setattr(solve, "MOST_ROWS", 1)
    many = step(HashedNgrams(**LINEAR)(None, context), context)
    cosine = torch.nn.functional.cosine_similarity(few.module.table.flatten(), many.module.table.flatten(), dim=0)
    assert cosine > 0.999


def test_scores_are_as_sure_as_of_texts_that_none_of_them_learnt_from(context, monkeypatch):
    monkeypatch.setattr(solve, "MOST_ROWS", 1)
    step, prior, rng = Solve(penalties=(0.03,), rarities=(1.0,), balances=(0.0,)), 0.5, np.random.default_rng(0)
    # of labels that texts do not tell, only those learnt by heart are known
    labels = {"label": rng.permutation(context.lesson.labels["label"]).tolist()}
    told = rng.permutation(len(context.dev))
    dev = [replace(one, labels=context.dev[at].labels) for one, at in zip(context.dev, told, strict=True)]
    context = replace(context, lesson=replace(context.lesson, labels=labels), dev=dev)
    more = join(context.lesson, lesson(dev, context.outputs))

    def sure(given):
        bias = step(HashedNgrams(**LINEAR)(None, given), given).module.heads["label"].bias.detach().numpy()
        share = np.bincount(given.lesson.labels["label"], minlength=len(bias)) / len(given.lesson)
        return float(np.median(bias / (prior * share)))

    first, again = sure(context), sure(replace(context, lesson=more, searched=context))
    assert again == pytest.approx(first, rel=0.25), "dev's texts are new to what says how sure the scores are"
    assert sure(replace(context, lesson=more)) > 1.5 * again, "and seem easy to what has learnt from them"


def test_rows_that_repeat_weigh_more_and_are_held_out_together(context):
    step = Solve(penalties=(0.3,), rarities=(1.0,), balances=(0.0,))
    alone, once = step.with_held_out(HashedNgrams(**LINEAR)(None, context), context)
    given = context.lesson
    labels = {"label": [*given.labels["label"], *given.labels["label"]]}
    twice = replace(context, lesson=replace(given, texts=(*given.texts, *given.texts), labels=labels))
    doubled, both = replace(step, penalties=(0.6,)).with_held_out(HashedNgrams(**LINEAR)(None, twice), twice)
    np.testing.assert_allclose(both, np.concatenate([once, once]), rtol=1e-3, atol=1e-3)
    assert torch.allclose(doubled.module.stored_table(), alone.module.stored_table(), rtol=1e-2, atol=1e-3)


def test_pruned_rows_are_made_up_for(context):
    model = Solve()(HashedNgrams(**LINEAR)(None, context), context)
    before = said(model, context).argmax(axis=1)
    model = Solve(rarities=())(PruneRows(rows=len(model.module.table) // 2)(model, context), context)
    assert (said(model, context).argmax(axis=1) == before).mean() > 0.9


def test_the_runtime_says_in_eight_bits_what_torch_says(context):
    model = Quantize(bits=8)(Solve()(HashedNgrams(**LINEAR)(None, context), context), context)
    about, members = bag_members(model)
    encoded = model.inputs.encode(texts_of(context.dev, context.outputs))
    logits = BagModel(about, members, context.outputs).run(model.inputs.collate(encoded))["label"]
    assert (logits.argmax(axis=1) == said(model, context).argmax(axis=1)).mean() > 0.98


def test_texts_are_of_unit_length_whatever_counts(context):
    model = HashedNgrams(**LINEAR)(None, context)
    known, labels = labelled(context.lesson, context.outputs)
    rows = features(model, context.lesson.texts)
    assert known == list(range(len(context.lesson)))
    assert rows.shape == (len(context.lesson), len(model.module.table))
    assert len(labels["label"]) == len(context.lesson)
    for importance in (rarity(rows), rarity(rows) ** 2):
        lengths = np.sqrt(unit_rows(rows, importance).power(2).sum(axis=1))
        np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_rarity_by_hand(context):
    rows = features(HashedNgrams(**LINEAR)(None, context), context.lesson.texts)
    texts = (rows[:, 5] > 0).sum()
    assert rarity(rows)[5] == pytest.approx(np.log((1 + rows.shape[0]) / (1 + texts)) + 1)


def test_sharpness_makes_sure_answers_of_scores_that_are_always_right():
    scores, gold = np.eye(3, dtype=np.float32), np.arange(3)
    assert sharpness(scores, gold) > 20
    assert sharpness(scores, np.array([1, 2, 0])) == 0.5  # always wrong: as unsure as can be
    half = np.concatenate([scores, scores]), np.concatenate([gold, np.roll(gold, 1)])
    assert 0.5 <= sharpness(*half) < 3


def test_a_model_with_a_head_is_refused(context):
    with pytest.raises(RecipeError, match="width 0"):
        Solve()(HashedNgrams(buckets=2**12, width=8)(None, context), context)
    with pytest.raises(ValueError, match="hidden=False"):
        HashedNgrams(width=0)
    with pytest.raises(ValueError, match="penalties"):
        Solve(penalties=())


@pytest.mark.parametrize("told", ["begin", "anywhere"])
def test_the_beginning_of_long_texts_counts_where_it_tells_more(context, told):
    random = np.random.default_rng(0)
    labels = context.outputs[0].labels
    rows = []
    for place in range(240):
        label = labels[place % len(labels)]
        words = [f"w{number}" for number in random.integers(0, 400, 90)]
        others = [
            f"{one}{number}" for one, number in zip(random.choice(labels, 30), random.integers(0, 9, 30), strict=True)
        ]
        if told == "begin":  # later the words of every label stand as often
            words = [*(f"{label}{number}" for number in random.integers(0, 9, 3)), *words[:10], *others, *words]
        else:
            words[40:40] = [f"{label}{number}" for number in random.integers(0, 9, 3)]
        rows.append(Example(" ".join(words), (label,)))
    long = replace(context, lesson=lesson(rows[:160], context.outputs), dev=rows[160:])
    found = {}
    for leads in ((), (0, 16)):
        model = Solve(leads=leads)(HashedNgrams(**LINEAR | {"buckets": 2**16})(None, long), long)
        found[leads] = (long.figure(model), model.inputs.ngrams.lead)
    assert found[()][1] == 0
    if told == "begin":
        assert found[0, 16][1] == 16 and found[0, 16][0] > found[()][0] + 0.1
    else:
        assert found[0, 16] == found[()]
