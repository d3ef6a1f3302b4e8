"""Exact match and F1 of answers: as the official scripts of SQuAD and MLQA are described to count them."""

import random
import re
import string
from collections import Counter

import numpy as np
import pytest

from pocketlm.errors import DataError
from pocketlm.outputs import Example, Output
from pocketlm.tasks.lost import lost_examples
from pocketlm.tasks.question_answering import QUESTION_ANSWERING, by_letters, judge_texts, letters_of, normal_answer

OUTPUTS = (Output("answer", "span", ("start", "end")),)


def official(said, accepted, version):
    """(exact, F1) as Rajpurkar et al. 2016, section 6.1, and their scripts define them; a plain transcription."""

    def normalize(text):
        text = "".join(char for char in text.lower() if char not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())

    def f1(one, other):
        one, other = normalize(one).split(), normalize(other).split()
        if version == 2 and (not one or not other):
            return float(one == other)
        same = sum((Counter(one) & Counter(other)).values())
        if same == 0:
            return 0.0
        precision, recall = same / len(one), same / len(other)
        return 2 * precision * recall / (precision + recall)

    if version == 2:
        accepted = [one for one in accepted if normalize(one)] or [""]
    return max(float(normalize(said) == normalize(one)) for one in accepted), max(f1(said, one) for one in accepted)


def texts(seed):
    words = ["the", "a", "An", "cat", "Cat,", "(sat)", "on", "--", "mat.", "mat", "état", "7", "U.S.", "don't", "’s"]
    chosen = random.Random(seed)
    return lambda least: " ".join(chosen.choice(words) for _ in range(chosen.randint(least, 5)))


@pytest.mark.parametrize("version", [1, 2])
def test_every_answer_is_judged_as_the_official_script_does(version):
    make = texts(version)
    said = [make(0) for _ in range(400)]
    gold = [[make(1) for _ in range(1 + place % 3)] if version == 1 or place % 4 else [] for place in range(400)]
    expected = [official(one, own, version) for one, own in zip(said, gold, strict=True)]
    assert np.allclose(judge_texts(said, gold), expected, atol=1e-12)
    assert 0 < sum(exact for exact, _ in expected) < 400


def test_figures_are_means_of_the_best_accepted_answer():
    examples = [
        Example("q", pair="the red cat sat", answers=((8, 11), (4, 11))),
        Example("q", pair="one two three four", answers=((0, 7),)),
    ]
    figures = QUESTION_ANSWERING.figures(examples, [{"answer": "The red cat"}, {"answer": "two three"}], OUTPUTS)
    assert figures == {"exact_match": 0.5, "f1": pytest.approx((1 + 0.5) / 2)}


def test_questions_without_answers_have_figures_of_their_own():
    examples = [Example("q", pair="red cat", answers=((0, 7),)), Example("q", pair="x"), Example("q", pair="x")]
    scores = QUESTION_ANSWERING.score(examples, [{"answer": "cat"}, {"answer": ""}, {"answer": "x"}], OUTPUTS)
    values = {name: figure.value for name, figure in scores.metrics.items()}
    assert values == pytest.approx(
        {
            "exact_match": 1 / 3, "f1": (2 / 3 + 1) / 3, "has_answer_exact_match": 0, "has_answer_f1": 2 / 3,
            "no_answer_accuracy": 0.5,
        },
        abs=1e-6,
    )  # fmt: skip
    assert "SQuAD 2" in scores.signatures["f1"]
    assert all(one.low <= one.value <= one.high for one in scores.metrics.values())


def test_articles_and_punctuation_count_for_nothing():
    assert normal_answer("The  Cat, an owl & theirs (a)!") == "cat owl theirs"


def test_scripts_without_spaces_are_judged_by_letters():
    examples = [Example("何処", pair="彼は東京都にいる。", answers=((2, 5),))]
    assert by_letters(examples)
    scores = QUESTION_ANSWERING.score(examples, [{"answer": "東京"}], OUTPUTS)
    assert scores.metrics["f1"].value == pytest.approx(2 * 2 / 5)
    assert "letters" in scores.signatures["f1"]
    assert letters_of("2008年北京Olympics、") == ["2008", "年", "北", "京", "olympics"]
    assert not by_letters([Example("kde", pair="sana 東 lakini nyumba", answers=((0, 4), (7, 21)))])


def test_training_questions_need_an_answer():
    with pytest.raises(DataError, match="no training question has an answer"):
        QUESTION_ANSWERING.outputs([Example("q", pair="c")])
    assert QUESTION_ANSWERING.outputs([Example("q", pair="c", answers=((0, 1),))]) == OUTPUTS


def test_lost_examples_show_every_accepted_answer():
    examples = [Example("who", pair="a cat | dog", answers=((2, 5), (0, 5))), Example("why", pair="no")]
    said, taught = [{"answer": "dog"}, {"answer": "no"}], [{"answer": "a cat"}, {"answer": ""}]
    assert lost_examples(examples, said, taught, OUTPUTS) == [
        {"text": "who\na cat | dog", "gold": "cat | a cat", "teacher": "a cat", "student": "dog"},
        {"text": "why\nno", "gold": "(no answer)", "teacher": "(no answer)", "student": "no"},
    ]
