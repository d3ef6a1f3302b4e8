"""A line of a stream: what is predicted, what is given back, what is refused."""

import pytest

from pocketlm.errors import DataError
from pocketlm.runtime.lines import read_line


@pytest.mark.parametrize(
    ("line", "row", "text"),
    [
        ("plain words", {}, "plain words"),
        ("[1] stays plain", {}, "[1] stays plain"),
        ('"a string"', {}, "a string"),
        ('{"text": "a", "id": 7}', {"text": "a", "id": 7}, "a"),
        ('{"tokens": ["a", "b"], "text": "c"}', {"tokens": ["a", "b"], "text": "c"}, ["a", "b"]),
        ('{"tokens": [], "text": "c"}', {"tokens": [], "text": "c"}, "c"),
        ('{"tokens": "ab", "text": "c"}', {"tokens": "ab", "text": "c"}, "c"),
        (r'"\ud83d\ude00"', {}, "\U0001f600"),
    ],
)
def test_lines_are_read(line, row, text):
    assert read_line(line, "line 1") == (row, text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": ', "line 1 begins like JSON but is not"),
        ('{"text": "a", "x": Infinity}', "Infinity is no JSON"),
        ('{"text": "a", "x": "\\uD83d"}', "surrogates not allowed"),
        ('{"a": ' * 100_000, "line 1 begins like JSON but is not"),
        ('{"text": ["a"]}', 'line 1: an object needs "text"'),
        ('{"tokens": ["a", 7]}', 'line 1: an object needs "text"'),
    ],
)
def test_lines_that_cannot_be_answered_are_refused(line, message):
    with pytest.raises(DataError, match=message):
        read_line(line, "line 1")
