"""Translations are taught the vectors of what they translate."""

import numpy as np

from pocketlm.outputs import Example
from pocketlm.train.lesson import Lesson, Taught
from pocketlm.train.translations import as_translations, said_of_translations, sources


def test_a_text_that_is_translated_itself_keeps_its_vector():
    texts = ("lamp", "taa", "radio", "more")
    vectors = [np.full(2, float(place), np.float32) for place in range(len(texts))]
    given = Lesson(texts, {"vector": [-1] * 4}, Taught({"vector": vectors}, [np.zeros((1, 2), np.float16)] * 4))
    made = as_translations(given, [Example("lamp", pair="taa"), Example("radio", pair="radio")])
    assert [one.tolist() for one in made.taught.logits["vector"]] == [[0, 0], [0, 0], [2, 2], [3, 3]]
    assert made.taught.hidden == () and made.texts == texts
    assert given.taught.logits["vector"][1] is vectors[1]


def test_a_translation_of_two_texts_has_the_mean_of_their_vectors():
    texts = ("one", "moja", "two", "mbili")
    vectors = [np.array([place, -place], np.float32) for place in (3, 50, 7, 60)]
    pairs = [Example("one", pair="moja"), Example("two", pair="mbili"), Example("two", pair="moja")]
    made = as_translations(Lesson(texts, {"vector": [-1] * 4}, Taught({"vector": vectors})), pairs)
    assert [one.tolist() for one in made.taught.logits["vector"]] == [[3, -3], [5, -5], [7, -7], [7, -7]]
    assert sources(pairs) == ["one", "two"]


def test_answers_to_translations_are_those_to_their_texts():
    assert said_of_translations([{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}]) == [{"a": 1}, {"a": 1}, {"a": 3}, {"a": 3}]
