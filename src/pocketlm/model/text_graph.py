"""A small model that reads ids of words and says a class, as a graph of named operations: what a Keras model becomes.

The graph is cut wherever a single tensor goes on: what is before the first cut makes vectors of ids, what is between
two cuts and holds weights is a block, and the last linear layer is the classifier; so passes that walk from block to
block find what they know of transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pocketlm.errors import RecipeError
from pocketlm.model.layers import PackedEmbedding
from pocketlm.model.operations import make

IDS = "ids"


@dataclass(frozen=True)
class Node:
    """One operation. name: of its result. op: a key of OPERATIONS. inputs: names of results, or "ids".

    masked: whether it is told which ids are 0, as those are padding.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    masked: bool = False


@dataclass(frozen=True)
class GraphConfig:
    """What the graph is, as config.json holds it.

    nodes: in an order they can run in, the last one's result is the answer. length: ids that every text is filled up
    with 0 to, or None. vocab_size: how many ids there are. final: what makes shares of logits: "softmax", "sigmoid" (of
    one number: of two classes) or "linear". labels: names of classes.
    """

    nodes: tuple[Node, ...]
    length: int | None
    vocab_size: int
    classes: int
    final: str
    labels: tuple[str, ...] = ()
    model_type: str = "keras"

    @property
    def binary(self) -> bool:
        """Whether one number stands for two classes: its logit is that of the second, the first's is 0."""
        return self.classes == 2 and self.final != "softmax"

    @property
    def label2id(self) -> dict[str, int]:
        """Numbers of the classes by name; where they have none, their numbers are their names."""
        return {name: place for place, name in enumerate(self.labels or map(str, range(self.classes)))}

    @property
    def max_position_embeddings(self) -> int | None:
        """The most ids of a text."""
        return self.length

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json."""
        text = json.dumps({**asdict(self), "nodes": [asdict(one) for one in self.nodes]}, ensure_ascii=False)
        (Path(folder) / "config.json").write_text(text, "utf-8")

    @classmethod
    def from_folder(cls, folder: str | Path) -> GraphConfig:
        """As `save_pretrained` wrote it."""
        about = json.loads((Path(folder) / "config.json").read_text("utf-8"))
        nodes = tuple(Node(**{**one, "inputs": tuple(one["inputs"])}) for one in about.pop("nodes"))
        return cls(nodes, **{**about, "labels": tuple(about["labels"])})


class Answer(NamedTuple):
    """What the graph says. logits: (texts, classes), or (texts, places, classes)."""

    logits: Tensor


class Steps(nn.Module):
    """Some nodes in order, that read one tensor and give one. source: the name of what they read."""

    def __init__(self, nodes: Sequence[Node], source: str) -> None:
        super().__init__()
        self.nodes, self.source = tuple(nodes), source
        for node in nodes:
            self.add_module(node.name, make(node.op, dict(node.settings)))

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """The last node's result. mask: (texts, places), where ids are not 0."""
        values = {self.source: hidden}
        for node in self.nodes:
            given = [values[name] for name in node.inputs]
            extra = {"mask": mask} if node.masked else {}
            values[node.name] = hidden = self.get_submodule(node.name)(*given, **extra)
        return hidden


class TextGraph(nn.Module):
    """The graph as a module that compression and export know: ids in, logits out."""

    classifier: nn.Module | None

    def __init__(self, config: GraphConfig) -> None:
        super().__init__()
        self.config = config
        stem, blocks, classifier, tail = parted(config.nodes)
        self.stem = Steps(stem, IDS)
        source = stem[-1].name
        parts = []
        for block in blocks:
            parts.append(Steps(block, source))
            source = block[-1].name
        self.blocks = nn.ModuleList(parts)
        self.classifier = None if classifier is None else make("linear", dict(classifier.settings))
        self.tail = Steps(tail, source if classifier is None else classifier.name)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, output_hidden_states: bool = False,
        return_dict: bool = True,
    ) -> Answer:  # fmt: skip
        """Logits of ids (texts, places). attention_mask is not read: ids that are 0 are padding, where that matters."""
        if output_hidden_states:
            raise RecipeError("states of a Keras model have no shape in common to compare; set hidden to 0")
        if (length := self.config.length) is not None:
            input_ids = torch.cat([input_ids, input_ids.new_zeros(input_ids.shape[0], length)], 1)[:, :length]
        mask = input_ids != 0
        hidden = self.stem(input_ids, mask)
        for block in self.blocks:
            hidden = block(hidden, mask)
        if self.classifier is not None:
            hidden = self.classifier(hidden)
        hidden = self.tail(hidden, mask)
        if self.config.binary:
            hidden = torch.cat([torch.zeros_like(hidden), hidden], -1)
        return Answer(hidden)

    def get_input_embeddings(self) -> nn.Module:
        """What looks ids up; of a bag of words something of as many rows."""
        found = [one for one in self.stem.children() if isinstance(one, (nn.Embedding, PackedEmbedding))]
        return found[0] if found else nn.Embedding(self.config.vocab_size, 1, device="meta")

    def get_output_embeddings(self) -> None:
        """Nothing: it says classes, not words."""

    @property
    def paths(self) -> dict[str, str]:
        """Of every node the path of its module."""
        parts = {path: one for path, one in self.named_modules() if isinstance(one, Steps)}
        found = {node.name: f"{path}.{node.name}" for path, one in parts.items() for node in one.nodes}
        return {**{node.name: "classifier" for node in self.config.nodes}, **found}


def shares(logits: Tensor, final: str) -> Tensor:
    """Probabilities of logits: of classes, or of each label alone."""
    return logits.sigmoid() if final == "sigmoid" and logits.shape[-1] != 2 else logits.softmax(-1)


def weighted(nodes: Sequence[Node]) -> bool:
    """Whether they hold a matrix."""
    return any(one.op in ("linear", "convolution", "attention", "recurrent") for one in nodes)


Parts = tuple[list[Node], list[list[Node]], Node | None, list[Node]]


def parted(nodes: Sequence[Node]) -> Parts:
    """What makes vectors of ids, blocks, the classifier, what follows it.

    There is no classifier where the last layer is no linear one, or is the only one there is, which then is a block. Of
    what holds no matrix, that between blocks goes to the next one, that before the classifier to the one before.
    """
    stem, *rest = _pieces(nodes)
    tail: list[Node] = []
    while rest and not weighted(rest[-1]):
        tail = rest.pop() + tail
    classifier = None
    if rest and len(rest[-1]) == 1 and rest[-1][0].op == "linear":
        classifier = rest.pop()[0]
    if classifier is not None and not any(map(weighted, rest)):  # the only matrix there is makes a block
        rest, classifier = [*rest, [classifier]], None
    blocks: list[list[Node]] = []
    waiting: list[Node] = []
    for piece in rest:
        waiting += piece
        if weighted(piece):
            blocks.append(waiting)
            waiting = []
    (blocks[-1] if blocks else stem).extend(waiting)
    return stem, blocks, classifier, tail


def _pieces(nodes: Sequence[Node]) -> list[list[Node]]:
    """The nodes cut after each one whose result is all that later ones read."""
    last = {name: place for place, node in enumerate(nodes) for name in node.inputs}
    pieces: list[list[Node]] = [[]]
    alive = {IDS}
    for place, node in enumerate(nodes):
        pieces[-1].append(node)
        alive = {name for name in {*alive, node.name} if last.get(name, -1) > place}
        if alive == {node.name}:
            pieces.append([])
    return pieces
