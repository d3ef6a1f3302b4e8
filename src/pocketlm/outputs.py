"""What a model says about a text: named outputs, each with a kind and its labels.

Heads, losses, distillation and decoding are all driven by an output's kind, so a new task is a new
combination of outputs rather than new code along the whole way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

# single: one label a text (softmax); multi: any number of labels a text (a sigmoid each);
# tags: one tag a word (softmax each); whether tags are of spans, their labels say (runtime.tags);
# span: where in a second text the answer begins and ends (a softmax over its pieces each).
Kind = Literal["single", "multi", "tags", "span"]


@dataclass(frozen=True)
class Output:
    """One named output. Its logits are (labels,) a text, (words, labels) for tags, or (pieces, labels) for a span."""

    name: str
    kind: Kind
    labels: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data, as the manifest holds it."""
        return {"name": self.name, "kind": self.kind, "labels": list(self.labels)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Output:
        """The output that `to_json` described."""
        return cls(value["name"], value["kind"], tuple(value["labels"]))


@dataclass(frozen=True)
class Example:
    """One labelled text, as every task of words and labels sees it.

    labels: one for single-label tasks and intents, any number for multi-label ones; empty for unlabelled text
    and where words alone are tagged. tokens, tags: the words and their tags, equally many; empty where the task
    has none. pair: the second text, such as a question's context. answers: accepted answers, as begin and end in
    characters of `pair`; none where the question cannot be answered from it.
    """

    text: str
    labels: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    pair: str = ""
    answers: tuple[tuple[int, int], ...] = ()
