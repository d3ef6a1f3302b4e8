"""A database that cannot be used is said before any work, and one process at a time searches a study."""

from dataclasses import replace

import optuna
import pytest
from made_searches import BUDGET, SPACE, World, explore

from pocketlm.errors import RecipeError
from pocketlm.search import storage as room
from pocketlm.search.attempt import Here
from pocketlm.search.judge import Judge
from pocketlm.search.opened import Plan
from pocketlm.search.storage import OWNER, Claim, check_storage
from pocketlm.search.study import Exploration


@pytest.fixture
def study(tmp_path):
    return optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db", study_name="one")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "storage nonsense: cannot be used"),
        ("sqlite:////no/such/folder/study.db", "unable to open database file"),
        ("postgresql+pg8000://me:secret@host/studies", "storage postgresql[+]pg8000://me@host/studies: "),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line_without_a_password(url, said):
    with pytest.raises(RecipeError, match=said) as error:
        check_storage(url)
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


def test_a_storage_that_can_be_used_is_let_be(tmp_path):
    check_storage(f"sqlite:///{tmp_path}/new.db")


def test_a_study_has_one_owner_until_it_is_released(study, tmp_path):
    first = Claim(study, tmp_path / "a.work")
    with pytest.raises(RecipeError, match="is being searched by process"):
        Claim(study, tmp_path / "b.work")
    first.release()
    assert study.user_attrs[OWNER] is None
    Claim(study, tmp_path / "b.work").release()


def test_an_owner_that_was_killed_is_followed(study, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "BEAT", 1e9)
    killed = Claim(study, tmp_path / "a.work")
    # whoever has the folder's lock now is not beside the one that had it
    Claim(study, tmp_path / "a.work").release()
    killed._beat()
    with pytest.raises(RecipeError):
        Claim(study, tmp_path / "b.work")
    monkeypatch.setattr(room, "GONE", 0.0)
    Claim(study, tmp_path / "b.work").release()
    killed.release()


def test_a_study_that_was_taken_up_by_another_is_left_to_it(study, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "GONE", 0.0)  # as after a sleep of the machine
    slept = Claim(study, tmp_path / "a.work")
    other = Claim(study, tmp_path / "b.work")
    with pytest.raises(RecipeError, match="taken up by another process"):
        slept.check()
    slept.release()
    other.check()
    other.release()


def test_a_search_that_cannot_begin_leaves_the_study(tmp_path):
    plan = Plan(trials=3, storage=f"sqlite:///{tmp_path}/study.db", work=tmp_path / "a.work")
    with pytest.raises(RecipeError, match="no search was begun"):
        explore(World(), replace(plan, resume=True))
    judge = Judge(BUDGET, "accuracy", None, 100)
    with pytest.raises(ZeroDivisionError):
        Exploration(SPACE, lambda: 1 // 0, Here(World(), lambda recipe: True), lambda recipe: "", judge, plan)
    outcomes = explore(World(), replace(plan, work=tmp_path / "b.work"))[1]
    assert sum(one.status != "skipped" for one in outcomes) == 3


def test_signs_of_life_go_on(study, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "BEAT", 0.01)
    claim = Claim(study, tmp_path)
    before = study.user_attrs[OWNER]["at"]
    for _ in range(1000):
        if study.user_attrs[OWNER]["at"] > before:
            break
        claim._over.wait(0.01)
    claim.release()
    assert claim.study.user_attrs[OWNER] is None and not claim._thread.is_alive()
