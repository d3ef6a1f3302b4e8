"""Splits do not depend on order, keep equal texts together, and leak nothing."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pocketlm.data.splits import drop_shared, normal_text, split_off

rows_of = st.lists(
    st.builds(
        lambda text, label: {"text": text, "label": label},
        st.text("abcAB ", min_size=1, max_size=5),
        st.sampled_from("xyz"),
    ),
    max_size=60,
)


def split(rows, seed=0, share=0.2):
    return split_off(rows, share, texts_of=lambda row: (row["text"],), class_of=lambda row: row["label"], seed=seed)


@given(rows_of)
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost_and_no_text_is_on_both_sides(rows):
    rest, part = split(rows)
    assert sorted(map(str, rest + part)) == sorted(map(str, rows))
    assert not {normal_text(row["text"]) for row in rest} & {normal_text(row["text"]) for row in part}


def test_order_does_not_matter_and_the_seed_does():
    rows = [{"text": f"text {n}", "label": "xy"[n % 2]} for n in range(100)]
    shuffled = random.Random(1).sample(rows, len(rows))
    keys = [{row["text"] for row in split(own, seed)[1]} for own, seed in ((rows, 0), (shuffled, 0), (rows, 1))]
    assert keys[0] == keys[1] != keys[2]


def test_classes_keep_their_share():
    rows = [{"text": f"text {n}", "label": "x" if n < 80 else "y"} for n in range(100)]
    _, part = split(rows)
    assert sorted(row["label"] for row in part) == ["x"] * 16 + ["y"] * 4


def test_shared_rows_leave_training_and_are_said():
    train = [{"text": "Hello  There"}, {"text": "bye"}]
    kept, note = drop_shared(train, [{"text": "hello there"}], texts_of=lambda row: (row["text"],), name="test")
    assert kept == [{"text": "bye"}]
    assert note == "1 training row also in test left out of training, such as 'Hello  There'"
    assert drop_shared(kept, [], texts_of=lambda row: (row["text"],), name="test") == (kept, None)


@given(rows_of, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_never_matters_even_where_one_text_has_two_classes(rows, shuffle):
    shuffled = shuffle.sample(rows, len(rows))
    assert sorted(map(str, split(rows)[1])) == sorted(map(str, split(shuffled)[1]))


@given(rows_of)
@settings(max_examples=60, deadline=None)
def test_no_class_of_two_texts_is_left_out_of_either_side(rows):
    rows = list({normal_text(row["text"]): row for row in rows}.values())
    rest, part = split(rows)
    for label in "xyz":
        if sum(row["label"] == label for row in rows) >= 2:
            assert {label} <= {row["label"] for row in rest} & {row["label"] for row in part}


def test_a_part_is_bounded():
    rows = [{"text": f"text {n}", "label": "xy"[n % 2]} for n in range(1000)]
    _, part = split_off(
        rows, 0.5, texts_of=lambda row: (row["text"],), class_of=lambda row: row["label"], seed=0, most=100
    )
    assert len(part) == 100
