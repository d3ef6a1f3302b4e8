"""Sources beside the data: shares by temperature, labels that fit, nothing of what is judged."""

import pytest

from pocketlm.data.mixing import Other, evenly, fitted, known_labels, mixed, repeats, some_rows
from pocketlm.errors import DataError
from pocketlm.outputs import Example


def texts(word, count, label="on"):
    return [Example(f"{word} {place}", (label,)) for place in range(count)]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_shares_grow_as_the_root_of_the_sizes(temperature):
    sizes = [10, 1_000, 250]
    seen = [size * often for size, often in zip(sizes, repeats(sizes, temperature), strict=True)]
    wanted = [size ** (1 / temperature) for size in sizes]
    assert [one / sum(seen) for one in seen] == pytest.approx([one / sum(wanted) for one in wanted])
    assert repeats(sizes, temperature)[1] == 1  # no row of the largest is left out


def test_a_mixture_has_every_example_and_the_few_many_times():
    few, many = texts("few", 4), texts("many", 64)
    made = mixed([few, many], 2.0, seed=0)
    assert [made.count(one) for one in few] == [4] * 4  # (4 / 64) ** -0.5
    assert all(made.count(one) == 1 for one in many)
    made = mixed([texts("few", 5), many], 2.0, seed=0)
    counts = sorted(made.count(one) for one in texts("few", 5))
    assert set(counts) == {3, 4} and sum(counts) == round(5 * (5 / 64) ** -0.5)
    assert mixed([[], many], 5.0, seed=0) == many


def test_rows_with_labels_that_the_data_has_not_are_left_out_and_named():
    other = Other("b", [*texts("a", 2), *texts("b", 3, "On!"), *texts("c", 1, "zebra")], texts("d", 1, "zebra"))
    found, notes = fitted(other, {"on", "off"}, [])
    assert found == Other("b", texts("a", 2), [])
    assert notes == ["b: 4 rows left out, having labels that the data has not: 'On!', 'zebra'"]  # it has 'on', too
    _, notes = fitted(Other("b", other.train[2:] + texts("e", 1, "off"), []), {"on", "off"}, [])
    assert notes == ["b: 4 rows left out, having labels that the data has not: 'On!' (did you mean 'on'?), 'zebra'"]


def test_a_source_without_a_label_of_the_data_is_refused():
    with pytest.raises(DataError, match=r"none of its rows .* 'ON' \(did you mean 'on'\?\), the data 'off', 'on'"):
        fitted(Other("b", texts("a", 2, "ON"), []), {"on", "off"}, [])


def test_texts_that_are_judged_are_not_learnt_from():
    other = Other("b", texts("Wash", 5), texts("wash", 5))
    found, notes = fitted(other, {"on"}, [Example("wash  3", ("on",))])
    assert [len(found.train), len(found.dev)] == [4, 4]
    assert notes == ["b: 1 rows left out, their texts being in dev or test"]


def test_types_of_tags_are_labels_too():
    tagged = [Example("a b", ("on",), ("a", "b"), ("B-room", "I-room")), Example("c", ("on",), ("c",), ("B-time",))]
    assert known_labels(tagged) == {"on", "room", "time"}
    assert fitted(Other("b", tagged, []), {"on", "room"}, [])[0].train == tagged[:1]


def test_some_rows_have_one_of_each_class_before_a_second_of_any():
    rows = [{"text": f"t{place}", "label": "ab"[place % 2] if place < 40 else "c"} for place in range(42)]
    chosen = some_rows(rows, 3, lambda row: row["label"], seed=1)
    assert sorted(row["label"] for row in chosen) == ["a", "b", "c"]
    assert len(some_rows(rows, 20, lambda row: row["label"], seed=1)) == 20
    again = some_rows(rows[::-1], 20, lambda row: row["label"], seed=1)
    assert {row["text"] for row in again} == {row["text"] for row in some_rows(rows, 20, lambda r: r["label"], seed=1)}
    with pytest.raises(DataError, match="50 training rows were asked for, there are 42"):
        some_rows(rows, 50, lambda row: row["label"], seed=1)


def test_evenly_takes_as_many_of_each():
    assert [one.text[0] for one in evenly([texts("a", 9), texts("b", 3)], 4, 0)] == ["a", "a", "b", "b"]
