"""Ask a reader about questions with long contexts, and find out when it had better not answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pocketlm.outputs import Example
from pocketlm.runtime.spans import Found, answer_of, best_span
from pocketlm.runtime.windows import QuestionInputs, Reading
from pocketlm.tasks.question_answering import by_letters, gold_of, judge_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from pocketlm.runtime.inputs import Text
    from pocketlm.train.lesson import Taught


def found_spans(inputs: QuestionInputs, texts: Sequence[Text], ask: Callable[[list[Text]], Taught]) -> list[Found]:
    """The best span of each question over the windows of its context. ask: the model's logits of windows."""
    windows = inputs.windows(texts)
    rows = ask([part for own in windows for part, _ in own])
    logits = list(next(iter(rows.logits.values())))
    ends = np.cumsum([len(own) for own in windows]).tolist()
    return [
        best_span(own, logits[end - len(own) : end], inputs.reading.longest)
        for own, end in zip(windows, ends, strict=True)
    ]


def with_threshold(reading: Reading, examples: Sequence[Example], found: Sequence[Found]) -> Reading:
    """The reading with the threshold of no answer that gives the best F1 on these examples.

    None where every question has an answer. As find_best_thresh of the official script of SQuAD 2: between the margins
    of two neighbours; of equally good ones the lowest.
    """
    if all(example.answers for example in examples):
        return replace(reading, threshold=None)
    always = replace(reading, threshold=None)
    said = [str(answer_of(one.pair, own, always)["answer"]) for one, own in zip(examples, found, strict=True)]
    gold, letters = [gold_of(example) for example in examples], by_letters(examples)
    answered = np.array([f1 for _, f1 in judge_texts(said, gold, letters=letters)])
    silent = np.array([0.0 if own else 1.0 for own in gold])
    margins = np.array([one.margin for one in found])
    order = np.argsort(-margins, kind="stable")
    # gains[k]: the sum of F1 where the k questions with the largest margins are answered
    gains = silent.sum() + np.concatenate([[0.0], np.cumsum((answered - silent)[order])])
    ranked = np.concatenate([[margins.max() + 1], margins[order], [margins.min() - 1]])
    between = (ranked[:-1] + ranked[1:]) / 2
    apart = ranked[:-1] > ranked[1:]
    best = max(np.flatnonzero(apart), key=lambda place: (gains[place], place))
    return replace(reading, threshold=round(float(between[best]), 4))
