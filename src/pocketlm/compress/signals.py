"""What two models say of the same rows: logits, hidden states after blocks that match, queries, keys and values.

A student whose blocks were dropped is compared where it stands in for the teacher: the state after its block is to be
what the teacher's next kept block reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.rows import Row, collate
from pocketlm.model.anatomy import is_linear, stacks
from pocketlm.model.pretrained import Model
from pocketlm.train.losses import TopTail, top_tail

# Last parts of the names of query, key and value layers, and of one layer that makes all three.
ATTENTION = (("query", "key", "value"), ("q_proj", "k_proj", "v_proj"), ("q_lin", "k_lin", "v_lin"), ("q", "k", "v"))
FUSED = ("c_attn",)


@dataclass
class Said:
    """Answers to one batch. logits: (places, classes), padding left out; None of a model without a head.

    states: of each stack, after every block (texts, tokens, width), the embeddings' first. relations: of each stack's
    last block, queries, keys and values. masks: of each stack, where no padding is. per_row: a row has one place.
    """

    logits: Tensor | None
    states: list[tuple[Tensor, ...]] = field(default_factory=list)
    relations: list[tuple[Tensor, ...]] = field(default_factory=list)
    masks: list[Tensor] = field(default_factory=list)
    per_row: bool = False


def ask(model: Model, batch: Mapping[str, Tensor], *, states: bool = False, relations: Sequence[str] = ()) -> Said:
    """What the model says of a batch, with gradients where they are on. relations: a block of each stack."""
    options: dict[str, Any] = {} if model.spec.kind == "encoder" else {"use_cache": False}
    heard: list[list[Tensor]] = [[] for _ in relations]
    with _listening(model.module, relations, heard):
        out = model.module(**batch, **options, output_hidden_states=states)
    said = Said(None, masks=stack_masks(model, batch))
    logits = getattr(out, "logits", None)
    if logits is not None:
        said.per_row = logits.ndim == 2
        said.logits = logits if said.per_row else unpadded(logits, said.masks[-1])
    if states:
        names = ("hidden_states",) if len(said.masks) == 1 else ("encoder_hidden_states", "decoder_hidden_states")
        said.states = [getattr(out, name) for name in names]
    said.relations = [_three(one) for one in heard]
    return said


def unpadded(logits: Tensor, mask: Tensor) -> Tensor:
    """Logits (rows, tokens, classes) where `mask` (rows, tokens) is true: (places, classes)."""
    return logits.flatten(0, 1) if mask.all() else logits[mask]


def _three(vectors: list[Tensor]) -> tuple[Tensor, ...]:
    return tuple(vectors[0].chunk(3, -1)) if len(vectors) == 1 else tuple(vectors)


def stack_masks(model: Model, batch: Mapping[str, Tensor]) -> list[Tensor]:
    """Where no padding is, of each stack of blocks: of the encoder, the decoder, or the only one."""
    found = []
    for ids, mask in (("input_ids", "attention_mask"), ("decoder_input_ids", "decoder_attention_mask")):
        if ids in batch:
            found.append(batch[mask].bool() if mask in batch else torch.ones(batch[ids].shape, dtype=torch.bool))
    if model.spec.kind == "speech":  # every frame of speech counts; two frames of features are one of the encoder
        features = batch["input_features"]
        found.insert(0, torch.ones(len(features), features.shape[-1] // 2, dtype=torch.bool))
    return found


@contextmanager
def _listening(module: nn.Module, blocks: Sequence[str], heard: list[list[Tensor]]) -> Iterator[None]:
    handles = []
    for block, own in zip(blocks, heard, strict=True):
        for layer in attention_layers(module.get_submodule(block)):
            handles.append(layer.register_forward_hook(lambda _module, _given, out, own=own: own.append(out)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def attention_layers(block: nn.Module) -> list[nn.Module]:
    """Layers that make queries, keys and values of a block's first attention, or one that makes all three, or none."""
    named = {name: child for name, child in block.named_modules() if is_linear(child)}
    for name in named:
        path, _, last = name.rpartition(".")
        if last in FUSED:
            return [named[name]]
        for names in ATTENTION:
            parts = [f"{path}.{one}".strip(".") for one in names]
            if last == names[0] and all(part in named for part in parts):
                return [named[part] for part in parts]
    return []


def matching(student: Model, teacher: Model) -> list[list[tuple[int, int]]]:
    """Of each stack: pairs of places in `Said.states` whose states are to be alike."""
    found = []
    for own, given in zip(stacks(student.module), stacks(teacher.module), strict=True):
        path = own[0].rpartition(".")[0]
        kept = list(student.spec.kept.get(path, range(len(own))))
        before = list(teacher.spec.kept.get(path, range(len(given))))
        reads = [before.index(number) for number in kept[1:]] + [len(given)]
        found.append([(place + 1, read) for place, read in enumerate(reads)])
    return found


def last_blocks(student: Model, teacher: Model) -> tuple[list[str], list[str]]:
    """Paths of each stack's last block in the student, and of the same block in the teacher."""
    ours, theirs = [], []
    for own, given in zip(stacks(student.module), stacks(teacher.module), strict=True):
        path = own[0].rpartition(".")[0]
        kept = student.spec.kept.get(path)
        before = list(teacher.spec.kept.get(path, range(len(given))))
        ours.append(own[-1])
        theirs.append(given[before.index(kept[-1])] if kept else given[-1])
    return ours, theirs


@dataclass
class Answers:
    """A teacher's logits of rows, asked for once and kept as top shares and tail: float16, in memory or a folder."""

    teacher: Model
    rows: Sequence[Row]
    top: int
    temperature: float
    fast: bool
    folder: Path | None = None
    known: dict[int, TopTail | Path] = field(default_factory=dict)

    def of(self, places: Sequence[int]) -> TopTail:
        """What the teacher says of these rows, one after the other."""
        missing = [place for place in places if place not in self.known]
        if missing:
            self._ask(missing)
        found = [self._load(place) for place in places]
        with torch.autocast("cpu", enabled=False):  # which does not join float16
            return TopTail(torch.cat([one.indices for one in found]), torch.cat([one.shares for one in found]))

    def _load(self, place: int) -> TopTail:
        one = self.known[place]
        return TopTail(*torch.load(one)) if isinstance(one, Path) else one

    def _ask(self, places: list[int]) -> None:
        batch = collate([self.rows[place] for place in places])
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.fast):
            said = ask(self.teacher, batch)
        assert said.logits is not None
        counts = [1] * len(places) if said.per_row else said.masks[-1].sum(1).tolist()
        for place, logits in zip(places, torch.split(said.logits, counts), strict=True):
            found = top_tail(logits, self.top, self.temperature)
            if self.folder is not None:
                path = self.folder / f"teacher-{place}.pt"
                torch.save((found.indices, found.shares), path)
                self.known[place] = path
            else:
                self.known[place] = found
