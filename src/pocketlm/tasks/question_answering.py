"""Extractive question answering: where in a context the answer is, or that it is not there."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pocketlm.errors import DataError
from pocketlm.outputs import Example, Output
from pocketlm.tasks.answers import Floats, Predictions, check_rows, distinct
from pocketlm.tasks.scores import Scores, figures_with_intervals

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_ASCII_MARKS = frozenset(string.punctuation)
# Scripts written without spaces between words, as Unicode names their letters.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


def normal_answer(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, single spaces: `normalize_answer` of SQuAD."""
    bare = "".join(char for char in text.lower() if char not in _ASCII_MARKS)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def words_of(text: str) -> list[str]:
    """What F1 counts in a text: the words of its normal form."""
    return normal_answer(text).split()


def letters_of(text: str) -> list[str]:
    """What F1 counts in scripts without spaces: each of their letters alone, other words whole, no punctuation.

    As MLQA's script segments Chinese (Lewis et al. 2020, arXiv:1910.07475).
    """
    bare = "".join(" " if unicodedata.category(char)[0] == "P" else char for char in text.lower())
    return "".join(f" {char} " if unspaced(char) else char for char in bare).split()


@lru_cache(maxsize=65536)
def unspaced(char: str) -> bool:
    """Whether a character is a letter of a script that is written without spaces."""
    return not char.isascii() and unicodedata.name(char, "").startswith(_UNSPACED)


def f1_of(answer: Sequence[str], gold: Sequence[str], empty_is_right: bool) -> float:
    """F1 of two bags of words. empty_is_right: where one is empty, whether both are (version 2), else 0 (1.1)."""
    if empty_is_right and (not answer or not gold):
        return float(list(answer) == list(gold))
    same = sum((Counter(answer) & Counter(gold)).values())
    return 2 * same / (len(answer) + len(gold)) if same else 0.0


@dataclass(frozen=True)
class _Judged:
    """Exact match and F1 of each row, and whether it has an answer: (rows,) each."""

    exact: Floats
    f1: Floats
    answerable: Floats

    def at(self, rows: np.ndarray) -> _Judged:
        """Some of the rows."""
        return _Judged(self.exact[rows], self.f1[rows], self.answerable[rows])

    def measure(self, weights: Floats) -> dict[str, Floats]:
        """Every metric for each row of weights."""
        figures = {name: _mean(one, weights) for name, one in (("exact_match", self.exact), ("f1", self.f1))}
        if not 0 < self.answerable.sum() < len(self.answerable):
            return figures
        has = weights * self.answerable
        return {
            **figures,
            "has_answer_exact_match": _mean(self.exact, has),
            "has_answer_f1": _mean(self.f1, has),
            "no_answer_accuracy": _mean(self.exact, weights - has),
        }


def _mean(values: Floats, weights: Floats) -> Floats:
    mean: Floats = weights @ values / np.maximum(weights.sum(axis=1), 1e-12)
    return mean


@dataclass(frozen=True)
class QuestionAnswering:
    """Where in a context the answer to a question is, or that it is not there.

    Judged by F1 of the words of the answer, the best over the accepted answers, as the official script of SQuAD
    counts it: that of version 2 where some questions have no answer, else that of 1.1. Exact match is of normal
    forms: lower case, no punctuation, no articles. Where most answers are in scripts without spaces F1 is over
    letters, as in MLQA's script; the scores say which. Where questions with and without answers are mixed, there are
    figures of each.
    """

    name: str = "question-answering"
    main_metric: str = "f1"

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """{metric: whether more is better}."""
        return dict.fromkeys(
            ("exact_match", "f1", "has_answer_exact_match", "has_answer_f1", "no_answer_accuracy"), True
        )

    def outputs(self, examples: Sequence[Example]) -> tuple[Output, ...]:
        """One output, a span. Raises DataError where no question has an answer."""
        if not any(example.answers for example in examples):
            raise DataError("no training question has an answer; answers are parts of their contexts")
        return (Output("answer", "span", ("start", "end")),)

    def figures(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]
    ) -> dict[str, float]:
        """Every metric, without intervals."""
        judged = _judge(examples, predictions, outputs)
        return {name: float(value[0]) for name, value in judged.measure(np.ones((1, len(examples)))).items()}

    def score(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output], seed: int = 0
    ) -> Scores:
        """Every metric with intervals."""
        judged = _judge(examples, predictions, outputs)
        one, times = distinct(judged.exact, judged.f1, judged.answerable)
        figures = figures_with_intervals(judged.at(one).measure, times, seed, of_rows=("exact_match", "f1"))
        how = scoring_note(examples)
        return Scores(len(examples), figures, [], signatures=dict.fromkeys(("exact_match", "f1"), how))


def scoring_note(examples: Sequence[Example]) -> str:
    """Which of the official ways of counting the examples are judged by."""
    if by_letters(examples):
        return "over letters, as in MLQA's script: most answers are in a script without spaces"
    version = "2" if any(not example.answers for example in examples) else "1.1"
    return f"over words, as in the official script of SQuAD {version}"


def by_letters(examples: Sequence[Example]) -> bool:
    """Whether most letters of the accepted answers are of scripts without spaces."""
    letters = [char for one in examples for text in gold_of(one) for char in text if char.isalpha()]
    return 2 * sum(map(unspaced, letters)) > len(letters)


def gold_of(example: Example) -> list[str]:
    """The accepted answers as texts, none where there is no answer."""
    return [example.pair[start:end] for start, end in example.answers]


def _judge(examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]) -> _Judged:
    check_rows(examples, predictions)
    said = [one[outputs[0].name] for one in predictions]
    rows = judge_texts(said, [gold_of(example) for example in examples], letters=by_letters(examples))
    exact, f1 = np.array(rows, float).T
    return _Judged(exact, f1, np.array([bool(example.answers) for example in examples], float))


def judge_texts(
    said: Sequence[str], gold: Sequence[Sequence[str]], *, letters: bool = False
) -> list[tuple[float, float]]:
    """(exact match, F1) of each answer against its accepted ones; none of these is "no answer".

    Version 2 leaves accepted answers out whose normal form is empty, and counts by it where a question has none.
    """
    cut = letters_of if letters else words_of
    version_2 = not all(gold)
    rows = []
    for answer, accepted in zip(said, gold, strict=True):
        own, kept = cut(answer), [cut(one) for one in accepted]
        if version_2:
            kept = [one for one in kept if one] or [[]]
        rows.append((max(float(own == one) for one in kept), max(f1_of(own, one, version_2) for one in kept)))
    return rows


QUESTION_ANSWERING = QuestionAnswering()
