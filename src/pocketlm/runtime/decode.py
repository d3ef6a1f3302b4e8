"""Logits to predictions: labels with scores, tags of words with their offsets in the text, and unit vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlm.outputs import Output
from pocketlm.runtime.inputs import Text, plain_text, tokens_of
from pocketlm.runtime.tags import best_tags, label_scheme, tag_spans, unread
from pocketlm.runtime.vectors import DIGITS, unit
from pocketlm.runtime.words import split_words

Floats = NDArray[np.float32]
Prediction = dict[str, Any]
MULTI_THRESHOLD = 0.5


def decode(
    texts: Sequence[Text], outputs: Sequence[Output], logits: Mapping[str, Floats], words: Sequence[int]
) -> list[Prediction]:
    """One prediction a text. words: how many words of each text were tagged (0 without tagging)."""
    predictions: list[Prediction] = [{} for _ in texts]
    for output in outputs:
        if output.kind == "tags":
            _decode_tags(texts, output, logits[output.name], words, predictions)
        elif output.kind == "multi":
            _decode_multi(output, logits[output.name], predictions)
        elif output.kind == "vector":
            for prediction, vector in zip(predictions, unit(logits[output.name]), strict=True):
                prediction[output.name] = np.round(vector.astype(np.float64), DIGITS).tolist()
        else:
            _decode_single(output, logits[output.name], predictions)
    return predictions


def _decode_single(output: Output, logits: Floats, predictions: list[Prediction]) -> None:
    for own, prediction in zip(logits, predictions, strict=True):
        best = int(own.argmax())
        prediction[output.name] = output.labels[best]
        # the best label's softmax, in as few calls as it takes: they add up beside a graph of 0.1 ms
        prediction["score"] = round(1 / float(np.exp((own - own[best]) / output.temperature).sum()), 4)


def _decode_multi(output: Output, logits: Floats, predictions: list[Prediction]) -> None:
    shares = 1 / (1 + np.exp(-logits))
    for row, own in enumerate(shares):
        scores = {label: round(float(share), 4) for label, share in zip(output.labels, own, strict=True)}
        predictions[row]["labels"] = [label for label, share in scores.items() if share >= MULTI_THRESHOLD]
        predictions[row]["scores"] = scores


def _decode_tags(
    texts: Sequence[Text], output: Output, logits: Floats, words: Sequence[int], predictions: list[Prediction]
) -> None:
    begin, scheme = 0, label_scheme(output.labels)
    for row, (text, count) in enumerate(zip(texts, words, strict=True)):
        tags = best_tags(logits[begin : begin + count], output.labels)
        begin += count
        tokens, offsets = _tokens_and_offsets(text)
        tags += [unread(scheme)] * (len(tokens) - len(tags))
        predictions[row]["tokens"] = tokens
        predictions[row][output.name] = tags
        whole = plain_text(text)
        if scheme is None:
            spans = [(tag, place, place) for place, tag in enumerate(tags)]
            predictions[row]["words"] = _in_text(whole, "label", spans, offsets)
        else:
            # "slot" where they are slots, as Pockets have always said; whatever else is tagged has labels
            key = "slot" if output.name == "slots" else "label"
            predictions[row]["entities"] = _in_text(whole, key, tag_spans(tags), offsets)


def _in_text(
    text: str, key: str, spans: Sequence[tuple[str, int, int]], offsets: Sequence[tuple[int, int]]
) -> list[dict[str, Any]]:
    """Spans of words as spans of characters. key: what their label is called."""
    found = [(label, offsets[first][0], offsets[last][1]) for label, first, last in spans]
    return [{key: label, "value": text[start:end], "start": start, "end": end} for label, start, end in found]


def _tokens_and_offsets(text: Text) -> tuple[list[str], list[tuple[int, int]]]:
    if isinstance(text, str):
        spans = split_words(text)
        return [text[start:end] for start, end in spans], spans
    spans, at, tokens = [], 0, tokens_of(text)
    for token in tokens:
        spans.append((at, at + len(token)))
        at += len(token) + 1
    return tokens, spans
