"""A database that cannot be used is said before any work, and one process at a time searches a study."""

import optuna
import pytest

from pocketlm.errors import RecipeError
from pocketlm.search import storage as room
from pocketlm.search.storage import OWNER, Claim, check_storage


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
