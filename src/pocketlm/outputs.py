"""What a model says about a text: named outputs, each with a kind and its labels.

Heads, losses, distillation and decoding are all driven by an output's kind, so a new task is a new
combination of outputs rather than new code along the whole way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pocketlm.runtime.question import Question

# single: one label a text (softmax); multi: any number of labels a text (a sigmoid each);
# tags: one tag a word (softmax each); whether tags are of spans, their labels say (runtime.tags);
# span: where in a second text the answer begins and ends (a softmax over its pieces each);
# vector: a direction a text, whose angles to others say how alike texts are (runtime.vectors);
# text: written token by token, without labels.
Kind = Literal["single", "multi", "tags", "span", "vector", "text"]


@dataclass(frozen=True)
class Output:
    """One named output.

    Its logits are (labels,) a text, (words, labels) for tags, (pieces, labels) for a span, or (width,) for a vector.
    width: dimensions of a vector, which has no labels. temperature: what the logits of one label a text are divided by,
    so that a score is the share of texts so sure that are right; the label is the same under any.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    width: int = 0
    temperature: float = 1.0

    @property
    def size(self) -> int:
        """How many logits there are of a text, or of a word."""
        return self.width or len(self.labels)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as the manifest holds it."""
        about: dict[str, Any] = {"name": self.name, "kind": self.kind, "labels": list(self.labels)}
        if self.width:
            about["width"] = self.width
        if self.temperature != 1:
            about["temperature"] = self.temperature
        return about

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Output:
        """The output that `to_json` described. Raises ValueError for a temperature that is none."""
        width, temperature = value.get("width", 0), value.get("temperature", 1.0)
        if not 0 < temperature < float("inf"):
            raise ValueError(f"a temperature is above 0, not {temperature}")
        return cls(value["name"], value["kind"], tuple(value["labels"]), width, temperature)


@dataclass(frozen=True)
class Example:
    """One labelled text, as every task of words and labels sees it.

    labels: one for single-label tasks and intents, any number for multi-label ones; empty for unlabelled text
    and where words alone are tagged. tokens, tags: the words and their tags, equally many; empty where the task
    has none. pair: the other text of a pair, such as a question's context. answers: accepted answers, as begin and end
    in characters of `pair`; none where the question cannot be answered from it. target: the text to write, where one is
    written. score: how alike the two of a pair are, the more the larger; None where that is not said.
    """

    text: str
    labels: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    pair: str = ""
    answers: tuple[tuple[int, int], ...] = ()
    target: str = ""
    score: float | None = None


def texts_of(examples: Sequence[Example], outputs: Sequence[Output]) -> list[str | tuple[str, ...] | Question]:
    """What a model reads of examples, in order: their tokens where words are tagged and they are given, else the text.

    Where answers are spans, it is the question with its context. Where texts become vectors, an example with a pair is
    two texts, one after the other.
    """
    kinds = {output.kind for output in outputs}
    if "span" in kinds:
        return [Question(one.text, one.pair) for one in examples]
    if "vector" in kinds:
        return [text for one in examples for text in ((one.text, one.pair) if one.pair else (one.text,))]
    tagging = "tags" in kinds
    return [one.tokens if tagging and one.tokens else one.text for one in examples]
