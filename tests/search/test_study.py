"""The search as a study: what is asked, in which order, and what is left when it stops and goes on."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from made_searches import BUDGET, FACTS, SPACE, World, explore, names
from optuna.trial import TrialState

from pocketlm.budget import Budget, Measurement
from pocketlm.errors import PocketLMError, RecipeError
from pocketlm.progress import Deadline, Silent
from pocketlm.search.attempt import Gate, Here, attempt
from pocketlm.search.opened import Plan
from pocketlm.search.space import Space
from pocketlm.search.study import SMALLER
from pocketlm.search.trial import Trial
from pocketlm.train.loop import Paused


def test_rules_of_thumb_come_first_and_others_follow():
    _, outcomes, _ = explore(World(), Plan(trials=len(SPACE.starts) + 4))
    assert names(outcomes)[: len(SPACE.starts)] == names(SPACE.starts)
    assert len(outcomes) == len(SPACE.starts) + 4
    assert len(set(map(str, (one.recipe.to_json() for one in outcomes)))) == len(outcomes), "none is tried twice"


@pytest.mark.parametrize(("texts", "around"), [(8_000, 6), (16_000, 3), (500_000, 0)])
def test_of_many_texts_fewer_recipes_are_tried_unasked(texts, around, monkeypatch):
    monkeypatch.setattr("pocketlm.search.study.AROUND", 6)
    space = Space(replace(FACTS, texts=texts), BUDGET)
    _, outcomes, made = explore(World(), Plan(), space=space)
    assert len(outcomes) == made.wanted == len(space.starts) + around


@pytest.mark.parametrize(("dev_rows", "around"), [(240, 6), (100, 2), (10, 0)])
def test_where_dev_tells_little_fewer_recipes_are_tried_unasked(dev_rows, around, monkeypatch):
    monkeypatch.setattr("pocketlm.search.study.AROUND", 6)
    space = Space(replace(FACTS, texts=8_000), BUDGET)
    _, outcomes, made = explore(World(), Plan(), space=space, dev_rows=dev_rows)
    assert len(outcomes) == len(made.space.starts) + around
    assert bool(around) == (not made.unsearched)
    assert around or "10 dev rows tell little" in made.unsearched
    assert {one.recipe.name for one in outcomes if one.trusted} == set(names(made.starts))


def test_chance_asks_for_one_recipe_at_least(monkeypatch):
    monkeypatch.setattr("pocketlm.search.study.AROUND", 6)
    _, outcomes, _ = explore(World(), Plan(sampler="random"), space=Space(replace(FACTS, texts=500_000), BUDGET))
    assert len(outcomes) == 1


def test_a_search_finds_better_than_rules_of_thumb():
    best, _outcomes, _ = explore(World(), Plan(trials=30))
    world = World()
    assert world.figure(best.recipe) > max(world.figure(one.recipe) for one in SPACE.starts)


def test_the_same_seed_asks_the_same_and_another_does_not():
    found = [names(explore(World(), Plan(trials=12, seed=seed))[1]) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_a_study_that_was_stopped_goes_on_as_if_it_had_not(tmp_path):
    whole = names(explore(World(), Plan(trials=12))[1])
    plan = Plan(trials=12, storage=f"sqlite:///{tmp_path}/study.db")
    with pytest.raises(KeyboardInterrupt):
        explore(World(stop_after=5), plan)
    _, outcomes, made = explore(World(), plan)
    assert sorted(names(outcomes)) == sorted(whole)
    states = [one.state for one in made.study.get_trials()]
    assert states.count(optuna.trial.TrialState.RUNNING) == 0


def test_only_what_was_begun_can_be_resumed(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    with pytest.raises(RecipeError, match="no search was begun"):
        explore(World(), Plan(trials=6, storage=storage, resume=True))
    explore(World(), Plan(trials=6, storage=storage))
    assert len(explore(World(), Plan(trials=8, storage=storage, resume=True))[1]) == 8


def test_more_trials_can_be_added(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    _, first, _ = explore(World(), Plan(trials=8, storage=storage))
    _, second, _ = explore(World(), Plan(more=3, storage=storage))
    assert len(first) == 8 and len(second) == 11
    assert set(names(first)) <= set(names(second))


def test_what_failed_or_is_too_slow_is_said_and_not_tried_again(tmp_path):
    def fails(recipe, pace):
        raise PocketLMError("does not export")

    plan = Plan(trials=6, storage=f"sqlite:///{tmp_path}/study.db")
    slow = SPACE.starts[1].recipe.name
    chosen, outcomes, _ = explore(fails, plan, hopeless=lambda one: "too slow" if one.recipe.name == slow else "")
    assert chosen is None
    assert {(one.status, one.why) for one in outcomes} == {("failed", "does not export"), ("skipped", "too slow")}
    world = World()
    _, again, _ = explore(world, plan)
    assert not world.ran and [one.status for one in again] == [one.status for one in outcomes]


def test_time_that_is_up_leaves_the_rest():
    _, outcomes, _ = explore(World(), Plan(), deadline=Deadline.after(0))
    assert [one.status for one in outcomes] == ["measured"] + ["skipped"] * (len(SPACE.starts) - 1)
    assert outcomes[-1].why == "time was up"


def test_what_another_folder_holds_is_made_again_at_once_until_time_is_up(tmp_path):
    plan = Plan(trials=6, storage=f"sqlite:///{tmp_path}/study.db")
    _, first, _ = explore(World(), plan)
    measured = [one.recipe.name for one in first if one.status == "measured"]
    late = World()
    _, outcomes, _ = explore(late, plan, deadline=Deadline.after(0), known=lambda recipe: False)
    assert len(late.ran) == 1 and [one.status for one in outcomes].count("measured") == 1, "one is made in any case"
    again = [one.recipe.name for one in outcomes if one.why == "time was up before it was made again"]
    assert sorted([*again, *late.ran]) == sorted(measured)
    there = World()
    _, again, _ = explore(there, plan, deadline=Deadline.after(0))
    assert names(again)[: len(first)] == names(first), "what is remembered is told whatever the time"

    begun = []

    class Crew:
        width, at_once = 3, True

        def begin(self, recipe, gate):
            begun.append(recipe.name)
            return lambda: told.append(len(begun)) or Here(there, self.remembers).begin(recipe, gate)()

        def remembers(self, recipe):
            return False

    told = []
    _, wide, _ = explore(there, plan, crew=Crew())
    assert names(wide)[: len(first)] == names(first) and begun[: len(measured)] == measured
    assert told[0] == 3, "three were begun before the first was waited for"


def test_a_floor_on_quality_alone_is_for_the_smallest_that_reaches_it():
    budget = Budget.parse(min_quality="accuracy>=0.9")
    space = Space(FACTS, budget)

    class Sized(Here):
        """Every file takes what was expected of it; some kinds of student reach the floor."""

        def begin(self, recipe, gate):
            def run(recipe, pace):
                figure = 0.95 if recipe.family in ("hashed-ngrams", "small-convnet") else 0.5
                tried.append((gate.size, figure))
                costs = {"latency_p50_ms": 0.1, "latency_p95_ms": 0.2, "memory_bytes": 40_000_000}
                measured = Measurement({"accuracy": figure}, size_bytes=gate.size, **costs)
                return Trial(recipe, Path("x"), measured, {"seconds": 1.0})

            return Here(run, lambda recipe: False).begin(recipe, None)

    tried = []
    best, outcomes, _ = explore(None, Plan(trials=8), budget, space=space, crew=Sized(None, 1))
    skipped = [one for one in outcomes if one.status == "skipped"]
    assert {one.why for one in skipped} == {"a smaller one reaches the quality"}
    assert 2 < len(tried) <= 8, "those that are only larger are no trials"
    smallest = min(
        one.expected_bytes for one in space.starts if one.recipe.family in ("hashed-ngrams", "small-convnet")
    )
    assert best.trial.measurement.size_bytes == min(size for size, figure in tried if figure > 0.9) < smallest
    for place, (size, _) in enumerate(tried):
        assert all(size < before for before, figure in tried[:place] if figure > 0.9), "no larger one is trained"


def test_where_nothing_has_room_nothing_is_asked_for():
    budget = Budget.parse("3kB")
    chosen, outcomes, _ = explore(World(), Plan(trials=5), budget, space=Space(FACTS, budget))
    assert chosen is None and not outcomes


def test_a_random_search_knows_no_rules_and_does_not_stand_still():
    _, outcomes, made = explore(World(), Plan(trials=9, sampler="random"))
    assert not made.starts and len(outcomes) == 9
    assert len({str(one.recipe.to_json()) for one in outcomes}) == 9


def test_recipes_that_someone_gave_compete():
    recipe = SPACE.starts[0].recipe
    _, outcomes, _ = explore(World(), Plan(trials=0), own=(recipe,))
    assert [(one.recipe.name, one.status) for one in outcomes] == [(recipe.name, "measured")]
    _, outcomes, _ = explore(World(), Plan(trials=3), own=(recipe,))
    assert names(outcomes)[0] == recipe.name and [one.status for one in outcomes].count("measured") == 3
    _, _, made = explore(World(), Plan(trials=3), own=(replace(recipe, name="mine"),))
    first, second, *_ = made.story(recipe)["trials"]
    assert (first["name"], first["family"], first["status"], first["chosen"]) == ("mine", "given", "measured", True)
    assert first["figures"]["quality"] > 0.5 and second["begin"] >= first["seconds"] == 1.0
    told = made.story(recipe)["trials"]
    assert len({one["key"] for one in told}) == len(told) and sum(one["chosen"] for one in told) == 1


def test_a_student_goes_on_where_few_others_of_its_size_are_better():
    seen = ((100, 0.5), (100, 0.6), (100, 0.7), (1_000, 0.9))
    assert Gate(100, seen).promising(0.65) and not Gate(100, seen).promising(0.55)
    assert Gate(1_000, seen).promising(0.75), "one of four is better"
    assert Gate(100, ((1_000, 0.9),) * 9).promising(0.1), "larger ones tell nothing of it"
    assert Gate(100, seen, always=True).promising(0.0)


def test_students_that_were_left_go_on_once_they_promise_much(tmp_path, monkeypatch):
    storage = f"sqlite:///{tmp_path}/study.db"
    monkeypatch.setattr(Gate, "promising", lambda self, figure: self.always)
    _, outcomes, _ = explore(World(), Plan(trials=25, storage=storage))
    left = [one.recipe for one in outcomes if one.status == "paused"]
    assert left and all("third of its training" in one.why for one in outcomes if one.status == "paused")
    world = World()
    monkeypatch.setattr(Gate, "promising", lambda self, figure: True)
    explore(world, Plan(trials=1, storage=storage))
    assert {one.name for one in left} <= set(world.ran)


class Learning(World):
    """A third of a training leaves a tenth to be learnt."""

    def __call__(self, recipe, pace):
        if pace is not None and not pace(2, 6, self.figure(recipe) - 0.1):
            raise Paused(self.figure(recipe) - 0.1)
        return super().__call__(recipe, None)


def test_what_was_left_is_expected_to_learn_as_much_more_as_others_did(monkeypatch):
    monkeypatch.setattr(Gate, "promising", lambda self, figure: self.always)
    _, outcomes, made = explore(Learning(), Plan(trials=25))
    known = made._known(made.study.get_trials())
    guessed = {made.space.asked(one.params).recipe.name: one.quality for one in known if not one.whole}
    left = [one.recipe for one in outcomes if one.status == "paused"]
    assert left and guessed == {one.name: pytest.approx(World().figure(one)) for one in left}
    monkeypatch.setattr(Gate, "promising", lambda self, figure: True)
    made.plan = Plan(trials=25)
    made.outcomes_of(Silent(), Deadline())
    assert all(one.whole for one in made._known(made.study.get_trials()))


def test_a_student_that_died_before_the_study_was_told_is_not_taken_for_measured():
    _, _, made = explore(World(), Plan(trials=8))
    told = next(one for one in made.study.get_trials() if one.user_attrs.get("status") == "measured")
    died = optuna.trial.create_trial(
        state=TrialState.RUNNING, params=told.params, distributions=told.distributions, user_attrs=told.user_attrs
    )
    assert sum(one.whole for one in made._known([told])) == 1 and not any(one.whole for one in made._known([died]))


@pytest.mark.parametrize("width", [1, 3])
def test_they_go_on_within_a_search_too(width, monkeypatch):
    gone_on = []
    begin = Here.begin
    monkeypatch.setattr(Gate, "promising", lambda self, figure: self.always or len(self.seen) > 12)
    monkeypatch.setattr(
        Here, "begin", lambda self, recipe, gate: gone_on.append(str(recipe)) or begin(self, recipe, gate)
    )
    _, outcomes, _ = explore(World(), Plan(trials=25), width=width)
    assert len(outcomes) == 25 and {one.status for one in outcomes} == {"measured"}
    assert {gone_on.count(one) for one in gone_on} == {1, 2}, "some were left first"


def test_a_student_that_dies_while_it_goes_on_goes_on_again(tmp_path, monkeypatch):
    storage = f"sqlite:///{tmp_path}/study.db"
    monkeypatch.setattr(Gate, "promising", lambda self, figure: self.always)
    _, outcomes, _ = explore(World(), Plan(trials=25, storage=storage))
    left = {one.recipe.name for one in outcomes if one.status == "paused"}
    known = sum(one.status == "measured" for one in outcomes)
    monkeypatch.setattr(Gate, "promising", lambda self, figure: True)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            explore(World(stop_after=known), Plan(trials=1, storage=storage))
    _, outcomes, _ = explore(World(), Plan(trials=1, storage=storage))
    assert left and {one.recipe.name: one.status for one in outcomes if one.recipe.name in left} == dict.fromkeys(
        left, "measured"
    )


def test_a_rule_of_thumb_stays_one_however_often_it_dies(tmp_path, monkeypatch):
    plan = Plan(trials=len(SPACE.starts) + 6, storage=f"sqlite:///{tmp_path}/study.db")
    monkeypatch.setattr(Gate, "promising", lambda self, figure: self.always)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            explore(World(stop_after=1), plan)
    best, outcomes, made = explore(World(), plan)
    starts = [one["name"] for one in made.story(best.recipe)["trials"] if one["start"]]
    assert sorted(starts) == sorted(names(SPACE.starts)) == sorted(names(made.starts))
    assert [one.status for one in outcomes if one.trusted] == ["measured"] * len(starts)


def test_no_rule_of_thumb_is_lost_where_asking_for_them_was_stopped(tmp_path, monkeypatch):
    plan = Plan(trials=len(SPACE.starts), storage=f"sqlite:///{tmp_path}/study.db")
    enqueue, asked = optuna.Study.enqueue_trial, []

    def stopped(self, params, *more, **options):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(params)
        enqueue(self, params, *more, **options)

    with monkeypatch.context() as patched:
        patched.setattr(optuna.Study, "enqueue_trial", stopped)
        with pytest.raises(KeyboardInterrupt):
            explore(World(), plan)
    assert names(explore(World(), plan)[1]) == names(SPACE.starts)


def test_trials_that_were_added_are_not_added_twice(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    explore(World(), Plan(trials=len(SPACE.starts), storage=storage))
    more = Plan(more=4, storage=storage)
    with pytest.raises(KeyboardInterrupt):
        explore(World(stop_after=len(SPACE.starts) + 2), more)
    assert len(explore(World(), more)[1]) == len(SPACE.starts) + 4
    assert len(explore(World(), more)[1]) == len(SPACE.starts) + 8, "four were wanted anew"


def test_rules_of_thumb_that_added_trials_left_out_are_said_to_be(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    explore(World(), Plan(trials=1, storage=storage))
    _, outcomes, made = explore(World(), Plan(more=1, storage=storage))
    assert {one.why for one in outcomes if one.status == "skipped"} == {"so many trials were wanted"}
    assert made.study.user_attrs["adding"] == {"more": 1, "wanted": 2}, "the end of a search asks for no more"


class Threads:
    """A crew that tries several recipes at once, whose later ones are ready first."""

    def __init__(self, world, width):
        self.world, self.width, self.pool, self.begun = world, width, ThreadPoolExecutor(width), 0
        self.at_once = True

    def begin(self, recipe, gate):
        self.begun += 1
        return self.pool.submit(self._slow, recipe, gate, 0.03 / self.begun).result

    def _slow(self, recipe, gate, seconds):
        time.sleep(seconds)
        return attempt(self.world, recipe, gate)


def test_who_tries_recipes_does_not_matter_only_how_many_are_asked_for_ahead():
    plan = Plan(trials=22)
    alone, ahead, beside = World(), World(), World()
    one = names(explore(alone, plan)[1])
    several = explore(ahead, plan, width=4)[1]
    at_once = explore(beside, plan, crew=Threads(beside, 4))[1]
    assert [(o.recipe.name, o.status) for o in several] == [(o.recipe.name, o.status) for o in at_once]
    assert sorted(ahead.ran) == sorted(beside.ran)
    assert one != names(several), "what is asked for ahead knows less"


def test_what_was_not_begun_when_time_was_up_is_not_begun():
    world = World()
    _, outcomes, made = explore(world, Plan(trials=12), deadline=Deadline.after(0), width=4)
    assert len(world.ran) == 1 and made.pending
    assert sum(one.status == "measured" for one in outcomes) == 1


def test_a_study_without_a_choice_has_a_story():
    def fails(recipe, pace):
        raise PocketLMError("does not export")

    _, _, made = explore(fails, Plan(trials=1))
    told = made.story(None)
    assert [one["status"] for one in told["trials"]] == ["failed"] and not any(one["chosen"] for one in told["trials"])
    best, _, made = explore(World(), Plan(trials=8))
    assert [one["name"] for one in made.story(best.recipe)["trials"] if one["chosen"]] == [best.recipe.name]


def test_nothing_is_tried_twice_by_several():
    world = World()
    _, outcomes, made = explore(world, Plan(trials=25), width=6)
    keys = [str(one.recipe.to_json()) for one in outcomes]
    assert len(set(keys)) == len(keys) == 25
    moved = [one.user_attrs["key"] for one in made.study.get_trials() if "moved" in one.user_attrs]
    assert moved and len(set(moved)) == len(moved), "what is being tried is not asked for again"
    assert len(world.ran) == sum(one.status == "measured" for one in outcomes)
    assert not made.pending


def test_the_search_moves_on_from_what_is_known():
    _, _, made = explore(World(), Plan(trials=len(SPACE.starts) + 8))
    # but what is gone on with
    marked = ["moved" in one.user_attrs for one in made.study.get_trials() if "again" not in one.user_attrs]
    assert not any(marked[: len(SPACE.starts)]) and all(marked[len(SPACE.starts) :])
    chance = explore(World(), Plan(trials=8, sampler="random"))[2]
    assert not any("moved" in one.user_attrs for one in chance.study.get_trials())


def test_where_a_floor_alone_is_asked_for_moves_go_to_what_is_smaller():
    _, _, made = explore(World(), Plan(trials=len(SPACE.starts) + 8), Budget.parse(min_quality="accuracy>=0.7"))
    larger = [one for one in made.study.get_trials() if one.user_attrs.get("why") == SMALLER]
    assert not [one for one in larger if "moved" in one.user_attrs]


def test_a_study_goes_on_where_a_family_has_no_room_any_more(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    explore(World(), Plan(trials=8, storage=storage))
    fewer = Space(FACTS, BUDGET, ["search.family=bag,static"])
    _, outcomes, made = explore(World(), Plan(more=4, storage=storage), space=fewer)
    assert made.space.named == tuple(SPACE.knobs)
    assert {one.recipe.family for one in outcomes[-4:]} <= {"hashed-ngrams", "static-embeddings"}


def test_a_student_that_is_remembered_was_looked_at_as_any_other():
    measured = World()(SPACE.starts[0].recipe, None)
    known = replace(measured, details={"looks": [(1, 6, 0.3), (2, 6, 0.4), (3, 6, 0.5)]})
    assert attempt(lambda recipe, pace: known, known.recipe, Gate(1)).rung == 0.4
    assert attempt(lambda recipe, pace: known, known.recipe, None).rung is None
