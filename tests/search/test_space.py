"""What a search may try: sizes against what is written, rules of thumb, and what a study asks for."""

from dataclasses import replace

import optuna
import pytest
from helpers import make_context

from pocketlm.budget import Budget
from pocketlm.errors import RecipeError
from pocketlm.export.bag import bag_members
from pocketlm.knobs import parse_setting
from pocketlm.recipe.recipe import Recipe
from pocketlm.search.facts import Facts
from pocketlm.search.ngram_families import LEXICON_ROWS, READ
from pocketlm.search.space import FAMILIES, FEW_TEXTS, Space, check_in_space, check_settings, fast_enough
from pocketlm.students.allocation import Allocation
from pocketlm.students.passes import STUDENT_PASSES
from pocketlm.students.pieces import student_pieces
from pocketlm.students.quantize import Quantize


@pytest.mark.parametrize("file", ["csv_file", "conll_file"])
def test_a_static_bag_takes_the_bytes_that_are_expected_of_it(file, request, tmp_path):
    context = make_context(request.getfixturevalue(file), None, tmp_path)
    facts = replace(Facts.of(context, len(student_pieces(context, None).counts)), texts=FEW_TEXTS)
    tried = Space(facts, Budget.parse(max_size="1MB")).starts
    (one,) = [one for one in tried if one.recipe.family == "static-embeddings"]
    model = Quantize(bits=8)(one.recipe.steps[0](None, context), context)
    _, members = bag_members(model)
    written = sum(len(data) for data in members.values())
    assert 0.9 * written < one.expected_bytes < 1.15 * written + 4000  # and the frame, which is not written here


def test_kinds_that_few_texts_teach_little_are_tried_where_they_are_named():
    facts = Facts(500, 7, False, 2_000, 192, 2, 6, 384, single=True)
    assert set(Space(facts, Budget(), ["search.family=bag,convnet"]).families) == {"bag", "convnet"}
    with pytest.raises(RecipeError, match="bag is not tried beside an encoder"):
        Space(replace(facts, frozen=True), Budget(), ["search.family=bag"])
    with pytest.raises(RecipeError, match="allocated needs a teacher"):
        Space(facts, Budget(), ["search.family=allocated"])  # it has no teacher to be a part of


def test_few_texts_without_a_teacher_are_for_linear_ngrams_alone():
    facts = Facts(500, 7, False, 2_000, 192, 2, 6, 384, single=True)
    assert {one.recipe.steps[1].name for one in Space(facts, Budget()).starts} == {"solve"}
    assert len({one.recipe.family for one in Space(replace(facts, taught=True), Budget()).starts}) > 2
    assert len({one.recipe.family for one in Space(replace(facts, texts=FEW_TEXTS), Budget()).starts}) > 2
    assert all(one.recipe.steps[1].name != "solve" for one in Space(replace(facts, single=False), Budget()).starts)


def test_beside_an_encoder_that_stays_as_it_is_only_what_is_solved_competes():
    facts = Facts(500, 7, False, 2_000, 192, 2, 6, 384, single=True, frozen=True, encoder=True)
    tried = Space(facts, Budget()).starts
    assert all(one.recipe.steps[1].name == "solve" for one in tried)
    assert all(one.recipe.steps[1].words for one in tried)
    many = Space(replace(facts, taught=True, frozen=False, labelled=LEXICON_ROWS + 1), Budget()).starts
    assert not any(step.words for one in many for step in one.recipe.steps if step.name == "solve")


def test_of_many_rows_no_student_learns_vectors_beside_ngrams():
    few = Facts(50_000, 7, False, 2_000, 192, 2, 6, 384, single=True, taught=True, encoder=True, labelled=LEXICON_ROWS)
    assert "stack" in Space(few, Budget()).families
    assert "stack" not in Space(replace(few, labelled=LEXICON_ROWS + 1), Budget()).families


def test_of_long_texts_as_much_is_read_as_time_allows():
    facts = Facts(500, 7, False, 2_000, 192, 2, 6, 384, single=True, words=300)
    tried = Space(facts, Budget.parse(max_size="1MB", max_latency="1ms")).starts
    assert [one.recipe.steps[0].max_words for one in tried] == list(READ)
    assert len({one.ladder for one in tried}) == 1
    (one,) = fast_enough(tried, lambda recipe: "slow" if recipe.steps[0].max_words > 200 else "")
    assert one.recipe.steps[0].max_words == 192 and "192 words read" in one.recipe.name
    for other, budget in (
        (facts, Budget.parse(max_size="1MB")),
        (replace(facts, words=20), Budget.parse("1MB", "1ms")),
    ):
        (one,) = Space(other, budget).starts
        assert one.recipe.steps[0].max_words == READ[-1] and not one.ladder


@pytest.mark.parametrize(("size", "width"), [("20kB", 16), ("30kB", 32), ("100kB", 64)])
def test_a_bag_is_narrower_where_its_matrices_leave_little_room(size, width):
    facts, budget = Facts(1_600, 90, True, 900, 192, 2, 6, 384), Budget.parse(size)
    bag = [one for one in Space(facts, budget).starts if one.family == "bag"][-1]
    assert bag.recipe.steps[0].width == width and bag.expected_bytes <= budget.max_size


@pytest.mark.parametrize("size", ["20kB", "300kB", "5MB"])
@pytest.mark.parametrize("labels", [2, 77])
def test_linear_ngrams_fill_the_bytes_allowed_and_no_more(size, labels):
    budget = Budget.parse(max_size=size)
    (one,) = Space(Facts(500, labels, False, 2_000, 192, 2, 6, 384, single=True), budget).starts
    assert one.expected_bytes <= budget.max_size
    student, pruned = one.recipe.steps[0], one.recipe.steps[2]
    assert student.rows >= pruned.rows or student.rows == student.buckets


TAUGHT = Facts(5_000, 7, False, 6_000, 384, 12, 12, 1536, single=True, taught=True, encoder=True)


def test_only_the_largest_of_a_ladder_that_is_fast_enough_is_trained():
    tried = Space(TAUGHT, Budget.parse(max_size="5MB", max_latency="1ms")).starts
    ladders = {name: [one for one in tried if one.ladder == name] for name in ("transformer", "stack")}
    assert all(len(rungs) > 2 for rungs in ladders.values())

    def deep(recipe, most):
        return f"{recipe.steps[0].depth} layers" if recipe.family == "small-transformer" and most < 9 else ""

    every = fast_enough(tried, lambda recipe: deep(recipe, 9))
    assert [one.recipe for one in every if one.ladder] == [rungs[-1].recipe for rungs in ladders.values()]
    shallow = fast_enough(tried, lambda recipe: deep(recipe, 2) if recipe.steps[0].depth > 2 else "")
    assert all(one.recipe.steps[0].depth == 2 for one in shallow if one.ladder)
    none = fast_enough(tried, lambda recipe: deep(recipe, 0))
    assert [one.recipe for one in none if one.ladder] == [rungs[0].recipe for rungs in ladders.values()]
    assert [one for one in every if not one.ladder] == [one for one in none if not one.ladder]


@pytest.mark.parametrize("size", ["2MB", "5MB"])
def test_an_encoder_and_its_ngrams_share_the_bytes_allowed(size):
    budget = Budget.parse(max_size=size)
    stacks = [one for one in Space(TAUGHT, budget).starts if one.recipe.steps[-1].name == "quantize"]
    stacks = [one for one in stacks if any(step.name == "beside-ngrams" for step in one.recipe.steps)]
    assert stacks and all(one.expected_bytes <= budget.max_size for one in stacks)
    for facts in (replace(TAUGHT, taught=False), replace(TAUGHT, single=False)):
        assert all(step.name != "beside-ngrams" for one in Space(facts, budget).starts for step in one.recipe.steps)


class Counted:
    """N-grams of some texts: so many, half of them in a single one."""

    def __init__(self, count):
        self.count = count

    def rows(self, ngrams, max_words, min_texts):
        return self.count // min_texts


def test_pinned_settings_that_take_more_fill_more():
    facts = replace(TAUGHT, texts=1_500, labelled=1_500, grams=Counted(30_000), labelled_grams=Counted(30_000))
    budget = Budget.parse(max_size="1MB")

    def bag(*narrowed):
        return next(one for one in Space(facts, budget, narrowed).starts if one.family == "bag")

    usual = bag()
    assert usual.recipe.steps[2].rows == 15_000 and usual.expected_bytes < 0.75 * budget.max_size
    for pinned in ("quantize.bits=8", "hashed-ngrams.width=160"):
        assert 0.9 * budget.max_size < bag(pinned).expected_bytes <= budget.max_size
    for several in ("quantize.bits=4,8", "hashed-ngrams.width=128..160"):
        assert Space(facts, budget, [several]).knobs["bag"]["size"].high == budget.max_size


def test_what_means_nothing_to_linear_ngrams_keeps_none_of_their_other_settings_away():
    facts = replace(TAUGHT, texts=1_500, labelled=1_500, encoder=False, labelled_grams=Counted(30_000))
    narrowed = ["search.family=linear", "quantize.bits=8"]
    (alone,), (both,) = (
        Space(facts, Budget.parse(max_size="280kB"), [*narrowed, *more]).starts
        for more in ([], ["hashed-ngrams.hidden=true"])
    )
    assert both.expected_bytes == alone.expected_bytes


def test_ngrams_without_labels_have_rows_where_an_encoder_says_what_they_mean():
    facts = replace(TAUGHT, texts=9_000, labelled=200, grams=Counted(30_000), labelled_grams=Counted(9_000))
    budget = Budget.parse(max_size="1MB")
    for there, rows, more in (
        (facts, 30_000, []), (replace(facts, encoder=False), 9_000, []), (facts, 9_000, ["solve.words=0"]),
    ):  # fmt: skip
        space = Space(there, budget, ["search.family=linear", *more])
        (linear,) = space.starts
        assert _rows(linear) == rows
        size = space.knobs["linear"]["size"]
        assert size.high < 1.1 * linear.expected_bytes, "no more bytes than it has use for"
        assert _rows(space.candidate("linear", size.high // 2, linear.values)) < 0.6 * rows
        # those that no encoder explains have as few rows whatever others have
        silent = space.candidate("linear", size.low, {**linear.values, "solve.words": 0})
        assert _rows(silent) < 1_500


def _rows(candidate):
    return next(step.rows for step in candidate.recipe.steps if step.name == "prune-rows")


def test_bytes_that_few_ngrams_leave_are_the_encoders():
    facts = replace(TAUGHT, pieces=8_000, layers=6)

    def heads(count):
        there = Space(replace(facts, labelled_grams=Counted(count)), Budget.parse(max_size="4MB")).starts
        return next(one for one in there if one.family == "stack").recipe.steps[0].sizes

    assert heads(2_000) > heads(400_000)


FACTS = Facts(texts=10_000, labels=77, tagging=False, pieces=2_500, width=384, layers=6, heads=12, ffn=1536)


@pytest.mark.parametrize("size", ["20kB", "100kB", "300kB", "2MB", "40MB"])
def test_candidates_fit_and_come_from_cheap_to_dear(size):
    budget = Budget.parse(max_size=size)
    tried = Space(FACTS, budget).starts
    assert tried
    assert all(one.expected_bytes <= budget.max_size for one in tried)
    encoders = [one.recipe.family.startswith("small-") for one in tried]
    assert encoders == sorted(encoders)


@pytest.mark.parametrize("narrowed", [(), ("search.family=transformer",)])
def test_the_least_that_has_room_is_said(narrowed):
    least = Space(FACTS, Budget.parse(max_size="3kB"), narrowed).smallest(0)
    assert least is not None and not Space(FACTS, Budget.parse(max_size="3kB"), narrowed).starts
    assert Space(FACTS, Budget(max_size=least), narrowed).starts
    assert not Space(FACTS, Budget(max_size=round(0.9 * least)), narrowed).starts
    assert Space(replace(FACTS, graph_room=50_000), Budget(), narrowed).smallest(1_200) == least + 1_200, (
        "of any memory"
    )


def test_without_a_limit_every_family_is_tried():
    families = {one.recipe.family for one in Space(FACTS, Budget()).starts}
    assert families == {"hashed-ngrams", "static-embeddings", "small-convnet", "small-transformer"}


def test_recipes_round_trip():
    for one in Space(FACTS, Budget()).starts:
        assert Recipe.from_json(one.recipe.to_json(), STUDENT_PASSES, one.recipe.name) == one.recipe


KINDS = [
    FACTS,
    TAUGHT,
    replace(TAUGHT, frozen=True, encoder=True, labelled=500, words=300.0),
    replace(FACTS, vectors=True, labels=384),
    replace(FACTS, asking=True, labels=2, max_length=384),
    replace(FACTS, tagging=True),
]


@pytest.mark.parametrize("facts", KINDS, ids=["labels", "taught", "frozen", "vectors", "questions", "tags"])
@pytest.mark.parametrize("budget", [Budget(), Budget.parse("6MB"), Budget.parse("30MB", "1ms")], ids=str)
def test_a_study_can_ask_for_every_rule_of_thumb(facts, budget):
    space = Space(facts, budget)
    assert space.starts
    for start in space.starts:
        made = space.asked(space.params(start))
        assert made is not None
        assert made.recipe == start.recipe and made.expected_bytes == start.expected_bytes


@pytest.mark.parametrize("effort", [0.25, 2.0])
@pytest.mark.parametrize("facts", KINDS, ids=["labels", "taught", "frozen", "vectors", "questions", "tags"])
def test_effort_is_a_share_of_the_epochs_and_changes_no_student(facts, effort):
    budget = Budget.parse("6MB")
    both = zip(Space(facts, budget).starts, Space(replace(facts, effort=effort), budget).starts, strict=True)
    for usual, other in both:
        assert (other.recipe.steps[0], other.expected_bytes) == (usual.recipe.steps[0], usual.expected_bytes)
        for one, step in zip(usual.recipe.steps, other.recipe.steps, strict=True):
            if one.name in ("distill", "imitate"):
                assert step.epochs == max(1, round(effort * one.epochs))


@pytest.mark.parametrize("facts", KINDS, ids=["labels", "taught", "frozen", "vectors", "questions", "tags"])
def test_whatever_is_asked_for_fits_or_has_no_room(facts):
    space = Space(facts, Budget.parse("6MB"))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = [space.suggested(study.ask()) for _ in range(150)]
    made = [one for one in found if one is not None]
    assert made and all(one.expected_bytes <= 6_000_000 for one in made)
    assert {one.family for one in made} == set(space.knobs)
    for one in made:
        assert Recipe.from_json(one.recipe.to_json(), STUDENT_PASSES, one.recipe.name) == one.recipe


def test_what_is_set_holds_for_all_that_is_tried():
    settings = ["quantize.bits=8", "distill.temperature=2..4", "distill.batch_size=64", "search.family=bag,static"]
    space = Space(TAUGHT, Budget.parse("2MB"), settings)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    tried = [*space.starts, *filter(None, (space.suggested(study.ask()) for _ in range(20)))]
    assert {one.family for one in tried} == {"bag", "static"}
    for one in tried:
        assert one.recipe.steps[-1].bits == 8
        assert 2 <= one.recipe.steps[1].temperature <= 4 and one.recipe.steps[1].batch_size == 64


def proposal(size, bits):
    return Allocation("0:2x64", 32, bits[0], 90_000, 0.1, 0.0)


FAMILY_NAMES = [one.name for one in FAMILIES]


@pytest.mark.parametrize(
    ("settings", "families"),
    [
        (["quantize.bits=4,8"], set(FAMILY_NAMES)),
        (["quantize.bits=4,8", "distill.rate=1e-4..1e-2", "search.family=bag,linear"], {"bag", "linear"}),
        (["distill.rate=1e-4..1e-3"], set(FAMILY_NAMES)),
        (["distill.rate=1e-3"], set(FAMILY_NAMES)),
        (["small-transformer.depth=2,3"], set(FAMILY_NAMES) - {"allocated"}),
        (["small-transformer.layers=0:2x64 1:2x128"], set(FAMILY_NAMES) - {"allocated"}),
        (["hashed-ngrams.width=32,64"], set(FAMILY_NAMES)),
        (["hashed-ngrams.hidden=false,true"], set(FAMILY_NAMES)),
        (["prune-rows.rows=1000"], set(FAMILY_NAMES)),
        (["small-transformer.pieces=1000"], set(FAMILY_NAMES)),
        (["solve.leads=8,24"], set(FAMILY_NAMES)),
        (["search.size=100kB..400kB"], set(FAMILY_NAMES)),
        (["search.size=2000000"], set(FAMILY_NAMES) - {"bag"}),
        (["small-transformer.pieces=none"], set(FAMILY_NAMES)),
        (["small-transformer.pieces=800,1200", "static-embeddings.pieces=500..900"], set(FAMILY_NAMES)),
        (["small-transformer.taken=first,last"], set(FAMILY_NAMES) - {"allocated"}),
        (["distill.logits=divergence,squares", "distill.hidden=relations"], set(FAMILY_NAMES)),
        (["prune-rows.rows=10000"], set(FAMILY_NAMES)),
        (["hashed-ngrams.char_min=6", "hashed-ngrams.char_max=6"], set(FAMILY_NAMES)),
        (["prune-rows.criterion=energy,magnitude", "distill.unlabelled=0.3,1"], set(FAMILY_NAMES)),
        (["prune-rows.criterion=frequency", "distill.mixup=0.1..0.4"], set(FAMILY_NAMES)),
    ],
)
def test_every_pass_of_every_student_is_what_was_set(settings, families):
    facts = replace(TAUGHT, encoder=True, labelled=500, single=True, texts=5_000, allocator=proposal)
    check_settings(settings)
    space = Space(facts, Budget.parse("4MB"), settings)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    tried = [*space.starts, *filter(None, (space.suggested(study.ask()) for _ in range(200)))]
    assert {one.family for one in tried} == families
    for name, wanted in map(parse_setting, settings):
        kind, _, setting = name.partition(".")
        for one in tried:
            assert one.expected_bytes <= 4_000_000
            found = [getattr(step, setting) for step in one.recipe.steps if step.name == kind]
            if name in space.families[one.family].without or kind == "search" or wanted == (None,):
                continue
            if isinstance(wanted, slice):
                assert all(wanted.start <= value <= wanted.stop for value in found)
            elif name == "solve.leads":
                assert found[:1] in ([], [wanted])  # what is solved again is only what was kept
            else:
                assert all(value in wanted for value in found)


@pytest.mark.parametrize("limits", [{}, {"max_latency": "50ms"}])
def test_memory_leaves_graphs_fewer_bytes(limits):
    facts = replace(TAUGHT, single=True, encoder=True, labelled=500)
    budget = Budget.parse(max_size="30MB", **limits)
    roomy, tight = Space(facts, budget), Space(replace(facts, graph_room=3_000_000), budget)
    largest = {name: max(one.expected_bytes for one in tight.starts if one.family == name) for name in tight.knobs}
    assert largest.keys() == roomy.knobs.keys()
    assert all(largest[name] <= 3_000_000 for name in ("convnet", "transformer", "stack"))
    for name in ("bag", "linear"):
        assert largest[name] == max(one.expected_bytes for one in roomy.starts if one.family == name)
    nothing = Space(replace(facts, graph_room=-5_000_000), budget)
    assert [one.recipe for one in nothing.starts] == [one.recipe for one in roomy.starts], "the nearest miss is told"


def test_quiet_knobs_vary_where_someone_lets_them():
    def free(*settings):
        space = Space(replace(TAUGHT, single=True), Budget.parse("2MB"), settings)
        return {name for knobs in space.knobs.values() for name in knobs}

    quiet = {"prune-rows.criterion", "distill.mixup", "distill.unlabelled"}
    assert not quiet & free()
    assert free("prune-rows.criterion=energy,magnitude") - free() == {"prune-rows.criterion"}
    assert free("distill.mixup=0..0.4", "distill.unlabelled=0,1") - free() == {"distill.mixup", "distill.unlabelled"}


def test_quiet_knobs_vary_only_where_they_mean_something():
    def kinds(name, values, **more):
        space = Space(replace(TAUGHT, **more), Budget.parse("2MB"), [f"{name}={values}"])
        return {family for family, knobs in space.knobs.items() if name in knobs}

    taken = "small-transformer.taken", "first,last"
    assert {"transformer"} <= kinds(*taken, encoder=True) and not kinds(*taken, encoder=False)
    hidden = "distill.hidden", "states,relations"
    assert kinds(*hidden) == {"transformer"}, "bags have no states, and convolutions are narrower than any teacher"
    logits = "distill.logits", "divergence,squares"
    assert {"bag", "convnet", "transformer"} <= kinds(*logits, single=True)
    assert not kinds(*logits, single=False) and not kinds(*logits, single=True, taught=False)


def test_of_long_texts_bags_may_read_less_and_begin_with_the_most():
    facts = replace(TAUGHT, single=True, encoder=True, labelled=500)
    assert not {"hashed-ngrams.max_words"} & set(Space(facts, Budget.parse("2MB")).knobs["bag"])
    space = Space(replace(facts, words=60), Budget.parse("2MB"))
    assert space.knobs["bag"]["hashed-ngrams.max_words"].values == (48, 96, 512)
    assert space.knobs["stack"]["beside-ngrams.max_words"].values == (48, 96, 512)
    assert {one.recipe.steps[0].max_words for one in space.starts if one.family == "bag"} == {READ[-1]}


@pytest.mark.parametrize("limit", ["8MB", None])
def test_a_proposal_of_most_of_its_teacher_sees_each_of_very_many_texts_once(limit):
    def found(size, bits):
        layers = "0:12x1536 3:12x1536 5:12x1536" if size >= 4_000_000 else "0:2x64"
        return Allocation(layers, 32, bits[0], 90_000, 0.1, 0.0)

    facts = replace(FACTS, texts=75_500, single=True, taught=True, encoder=True, allocator=found)
    space = Space(facts, Budget.parse(limit))
    epochs = {}
    for own in (one for one in space.starts if one.family == "allocated"):
        for size in (own.size, 1_500_000):
            made = space.asked({**space.params(own), "allocated/size": size})
            epochs[made.recipe.steps[0].layers] = made.recipe.steps[1].epochs
            assert made.recipe.steps[0].dropout == 0, "no text is read often"
    assert epochs == {"0:12x1536 3:12x1536 5:12x1536": 1, "0:2x64": 2}
    for given, told in (("distill.epochs=5", (5, 0.1)), ("small-transformer.dropout=0.2", (1, 0.2))):
        starts = [one for one in Space(facts, Budget.parse(limit), [given]).starts if one.family == "allocated"]
        assert (starts[-1].recipe.steps[1].epochs, starts[-1].recipe.steps[0].dropout) == told


def test_a_vocabulary_is_the_largest_that_was_asked_for_and_has_room():
    facts = replace(TAUGHT, pieces=8_000)

    def started(wanted, size="700kB"):
        tried = Space(facts, Budget.parse(size), [f"small-transformer.pieces={wanted}", "search.family=transformer"])
        return [one.recipe.steps[0].pieces for one in tried.starts]

    (most,) = started("8000", "20MB")
    assert most == 8_000
    assert started("1000,2000,8000") == [2_000] and started("1000,8000") == [1_000]
    (some,) = started("1000..8000")
    assert 2_000 <= some < 8_000
    assert started("8000", "100kB") == []


def test_heads_that_are_not_solved_are_set_for_no_family_that_solves_them():
    usual, narrowed = (Space(TAUGHT, Budget.parse("2MB"), given).starts for given in ((), ("solve.heads=false",)))
    assert {"linear", "stack"} <= {one.family for one in usual}
    assert [one.recipe for one in narrowed] == [one.recipe for one in usual]


def test_what_no_student_can_be_is_refused():
    with pytest.raises(RecipeError, match="small-transformer.depth: no student that is tried here"):
        Space(replace(TAUGHT, layers=4), Budget(), ["small-transformer.depth=12", "search.family=transformer"])
    with pytest.raises(RecipeError, match="search.size: no student that is tried here has that size: bag takes"):
        _ = Space(TAUGHT, Budget.parse("3MB"), ["search.size=2000000", "search.family=bag"]).starts


@pytest.mark.parametrize(
    ("family", "facts", "said"),
    [
        (
            "stack",
            Facts(5_000, 7, False, 2_000, 192, 2, 6, 384, single=True),
            "stack needs a teacher that students hear",
        ),
        (
            "allocated",
            Facts(5_000, 7, False, 2_000, 192, 2, 6, 384, single=True),
            "allocated needs a teacher that students hear",
        ),
        ("stack,linear", Facts(5_000, 7, True, 2_000, 192, 2, 6, 384), "stack does not do this task; linear does not"),
        (
            "bag",
            Facts(50, 7, False, 2_000, 192, 2, 6, 384, single=True, frozen=True),
            "bag is not tried beside an encoder",
        ),
    ],
)
def test_why_a_family_that_was_named_is_not_tried_is_said(family, facts, said):
    with pytest.raises(RecipeError, match=f"set search.family: {said}.*Tried here: "):
        check_in_space([f"search.family={family}"], facts)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("distill.epochs=abc", "is a whole number, got abc"),
        ("distill.batch_size=1.5", "is a whole number, got 1.5"),
        ("distill.batch_size=16,32", "is no knob of a search; give it one value"),
        ("small-transformer.layers=5", "is a text or none, got 5"),
        ("small-transformer.layers=5x5", "layers are written as"),
        ("solve.leads=a,b", "is a list, each a whole number"),
        ("search.size=0", "no whole number from 1"),
        ("distill.batch_size=0", "set distill.batch_size: epochs, batch_size and patience are at least 1"),
        ("small-transformer.pieces=-3", "is no whole number from 1 to 500000"),
        ("hashed-ngrams.dropout=1.5", "dropout is from 0 to below 1"),
        ("bits=4", "write PASS.SETTING=VALUE"),
        ("quantise.bits=4", "Did you mean 'quantize'"),
        ("quantize.bit=4", "Did you mean 'bits'"),
        ("quantize.bits=5", "5 is none of 4, 8"),
        ("distill.rate=1..2", "is no part of"),
        ("search.family=bags", "Did you mean 'bag'"),
    ],
)
def test_what_cannot_be_set_is_refused(setting, said):
    with pytest.raises(RecipeError, match=said):
        check_settings([setting])


def test_a_setting_that_nothing_tried_here_has_is_refused():
    with pytest.raises(RecipeError, match="no pass of a student tried here"):
        Space(replace(TAUGHT, frozen=True), Budget(), ["small-convnet.depth=2"])


def test_a_small_teacher_has_rules_of_thumb_of_its_own_size():
    facts = Facts(100, 2, False, 60, 32, 2, 4, 64, asking=True, max_length=64, taught=True, encoder=True)
    assert len(Space(facts, Budget(max_size=60_000)).starts) == 1, "units are not raised to what larger ones have"
