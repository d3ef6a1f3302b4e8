import itertools

from pocketlm.compress.ranks import Choice, allocate, choices, hull


def test_choices_cost_less_than_the_layer_and_lose_the_tail():
    found = choices((4, 3), [9.0, 4.0, 1.0], pivoted=False)
    assert found == [Choice(1, 7, 5.0), Choice(0, 12, 0.0)]  # rank 2 would store 14 of 12


def test_multiples_are_kept():
    assert {one.rank % 4 for one in choices((64, 64), [1.0] * 64, True, 4) if one.rank > 1} == {0}


def test_the_hull_buys_less_and_less():
    points = [Choice(1, 10, 8.0), Choice(2, 20, 7.5), Choice(3, 30, 2.0), Choice(0, 40, 0.0)]
    assert [one.rank for one in hull(points)] == [1, 3, 0]


def test_allocation_keeps_the_budget_and_comes_near_the_best_of_all_combinations():
    offers = {
        "a": choices((6, 6), [50.0, 20, 9, 4, 1, 0.1], False),
        "b": choices((6, 6), [5.0, 4, 3, 2, 1.5, 1], False),
        "c": choices((9, 4), [900.0, 1, 0.5, 0.2], True),
    }
    for budget in range(45, 110, 5):
        found = allocate(offers, budget)
        assert sum(one.weights for one in found.values()) <= budget
        best = min(
            sum(one.loss for one in combination)
            for combination in itertools.product(*offers.values())
            if sum(one.weights for one in combination) <= budget
        )
        assert best <= sum(one.loss for one in found.values()) <= best + 12


def test_enough_for_all_leaves_all_as_they_are():
    offers = {"a": choices((6, 6), [3.0] * 6, False), "b": choices((6, 6), [2.0] * 6, False)}
    assert {one.rank for one in allocate(offers, 72).values()} == {0}
    assert {one.rank for one in allocate(offers, 0).values()} == {1}  # the least there is


def test_a_layer_that_matters_more_gets_the_greater_rank():
    offers = {"a": choices((32, 32), [1.0] * 32, True), "b": choices((32, 32), [0.01] * 32, True)}
    found = allocate(offers, 1600)
    assert found["a"].rank == 0 and 0 < found["b"].rank < 32
