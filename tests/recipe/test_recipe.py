"""Names of recipes for people."""

from pocketlm.recipe.recipe import Recipe, told_apart
from pocketlm.students.distill import Distill
from pocketlm.students.ngrams import HashedNgrams


def test_recipes_of_one_name_are_told_by_settings_that_differ():
    def made(name, rate, buckets=2**18, again=0.01):
        steps = HashedNgrams(buckets=buckets), Distill(rate=rate), Distill(rate=again)
        return Recipe(steps, name)

    alone, same = made("alone", 0.01), made("bag", 0.01)
    assert told_apart([alone, same]) == ["alone", "bag"]
    assert told_apart([same, made("bag", 0.02), alone]) == [
        "bag (distill.rate 0.01)",
        "bag (distill.rate 0.02)",
        "alone",
    ]
    # a second pass of a kind has settings of its own, and what tells no more apart is left out
    assert told_apart([same, made("bag", 0.01, again=0.02)])[1] == "bag (distill.rate.2 0.02)"
    assert told_apart([made("bag", 0.010012), made("bag", 0.010034)])[1] == "bag (distill.rate 0.010034)"
    rates = [made("bag", 0.01), made("bag", 0.02), made("bag", 0.03, 2**20)]
    assert told_apart(rates)[2] == "bag (distill.rate 0.03)", "which tells all of them"
    three = [same, made("bag", 0.01, 2**20), made("bag", 0.02, 2**20)]
    assert told_apart(three)[2] == "bag (hashed-ngrams.buckets 1048576, distill.rate 0.02)"
    assert told_apart([same, same]) == ["bag", "bag"], "the same recipe"
    # settings of a pass that one of them lacks
    assert told_apart([same, Recipe(same.steps[:2], "bag")])[1].startswith("bag (distill.epochs.2 none")
