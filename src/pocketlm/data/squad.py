"""Rows of a SQuAD file: articles of paragraphs of questions, as one flat row a question.

Rajpurkar et al. 2016, arXiv:1606.05250; unanswerable questions as in version 2 (2018, arXiv:1806.03822). XQuAD, MLQA
and others have the same form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pocketlm.errors import DataError


def is_squad(value: Any) -> bool:
    """Whether a JSON document is an object whose "data" are articles with paragraphs."""
    articles = value.get("data") if isinstance(value, Mapping) else None
    return isinstance(articles, list) and any(isinstance(one, Mapping) and "paragraphs" in one for one in articles)


def squad_rows(value: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    """{"id", "title", "context", "question", "answers": {"text", "answer_start"}} of every question in order.

    A question that is_impossible has no answers. Raises DataError, which names the question or the place.
    """
    return [
        row for number, article in enumerate(value["data"], 1) for row in _article(article, f"{path}: article {number}")
    ]


def _article(article: Any, where: str) -> Iterator[dict[str, Any]]:
    for number, paragraph in enumerate(_list(article, "paragraphs", where), 1):
        place = f"{where}, paragraph {number}"
        context = paragraph.get("context") if isinstance(paragraph, Mapping) else None
        if not isinstance(context, str):
            raise DataError(f'{place}: has no "context", which is a text')
        for asked, question in enumerate(_list(paragraph, "qas", place), 1):
            text = question.get("question") if isinstance(question, Mapping) else None
            if not isinstance(text, str):
                raise DataError(f'{place}, question {asked}: has no "question", which is a text')
            yield {
                "id": str(question.get("id", "")),
                "title": str(article.get("title", "")),
                "context": context,
                "question": text,
                "answers": _answers(question, f"{place}, question {question.get('id', asked)}"),
            }


def _answers(question: Mapping[str, Any], where: str) -> dict[str, list[Any]]:
    answers = [] if question.get("is_impossible") else question.get("answers")
    if answers is None:
        raise DataError(f'{where}: has no "answers"; a question without any has an empty list')
    if not isinstance(answers, list) or not all(isinstance(one, Mapping) and "text" in one for one in answers):
        raise DataError(f'{where}: "answers" is a list of {{"text": …, "answer_start": …}}')
    return {"text": [one["text"] for one in answers], "answer_start": [one.get("answer_start") for one in answers]}


def _list(holder: Any, name: str, where: str) -> list[Any]:
    found = holder.get(name) if isinstance(holder, Mapping) else None
    if not isinstance(found, list):
        raise DataError(f'{where}: has no list "{name}"; a SQuAD file has data, paragraphs, and qas in each')
    return found
