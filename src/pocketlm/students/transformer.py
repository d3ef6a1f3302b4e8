"""Cut a small transformer out of the teacher: layers, heads, feed-forward units, pieces and embedding rank.

DistilBERT (Sanh et al. 2019, arXiv:1910.01108) starts from the teacher's own layers; which heads and units are kept,
and how they make up for the others, is found on the job's texts (see `students.thinning`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from torch import Tensor

from pocketlm.errors import RecipeError
from pocketlm.knobs import Choice, Whole, knob
from pocketlm.model.encoder import EncoderModule
from pocketlm.model.task_model import TaskModel, TaskSpec
from pocketlm.model.transformer import Shape, SmallEncoder, TransformerLayer
from pocketlm.runtime.windows import QuestionInputs
from pocketlm.students.pieces import VOCABULARY, Pieces, factorize, student_pieces, teacher_embeddings
from pocketlm.students.thinning import kept_heads, kept_units, what_they_read
from pocketlm.train.context import FitContext

logger = logging.getLogger(__name__)

# Where BERT-like models of `transformers` keep each matrix of layer {}: BERT, RoBERTa and kin, then DistilBERT.
_LAYOUTS = (
    {
        "query": "encoder.layer.{}.attention.self.query",
        "key": "encoder.layer.{}.attention.self.key",
        "value": "encoder.layer.{}.attention.self.value",
        "out": "encoder.layer.{}.attention.output.dense",
        "attention_norm": "encoder.layer.{}.attention.output.LayerNorm",
        "up": "encoder.layer.{}.intermediate.dense",
        "down": "encoder.layer.{}.output.dense",
        "norm": "encoder.layer.{}.output.LayerNorm",
    },
    {
        "query": "transformer.layer.{}.attention.q_lin",
        "key": "transformer.layer.{}.attention.k_lin",
        "value": "transformer.layer.{}.attention.v_lin",
        "out": "transformer.layer.{}.attention.out_lin",
        "attention_norm": "transformer.layer.{}.sa_layer_norm",
        "up": "transformer.layer.{}.ffn.lin1",
        "down": "transformer.layer.{}.ffn.lin2",
        "norm": "transformer.layer.{}.output_layer_norm",
    },
)
# Which of so many layers of a teacher a student of so many starts from.
TAKEN: Final[Mapping[str, Callable[[int, int], list[int]]]] = {
    "spread": lambda depth, layers: [round((place + 1) * layers / depth) - 1 for place in range(depth)],
    "first": lambda depth, layers: [min(place, layers - 1) for place in range(depth)],
    "last": lambda depth, layers: [max(0, layers - depth + place) for place in range(depth)],
}
_LAYER = re.compile(r"(\d+):(\d+)x(\d+)")


def layout_of(state: Mapping[str, Tensor]) -> Mapping[str, str] | None:
    """Where a teacher with these weights keeps the matrices of a layer; None where that is not known."""
    return next((one for one in _LAYOUTS if f"{one['query'].format(0)}.weight" in state), None)


@dataclass(frozen=True)
class SmallTransformer:
    """A BERT-like student with every size free.

    depth: layers. taken: which of the teacher's these are: "spread" over all, its last among them, its "first", which
    see most of what words are, or its "last" (Sajjad et al. 2023, arXiv:2004.03844). width: of the hidden states, None
    for the teacher's. heads, ffn: kept in each layer. rank: of the embeddings. pieces: at most so many. layers: of
    which of the teacher's layers, counted from 0, how many heads and units are kept, in place of depth, taken, heads
    and ffn: "1:4x512 3:12x1536" (see `students.allocation`). Raises ValueError for what none of them can be.
    """

    name: ClassVar[str] = "small-transformer"
    depth: int = knob(2, Whole(1, 12))
    width: int | None = None
    heads: int = knob(4, Whole(1, 16))
    ffn: int = knob(384, Whole(64, 4096, log=True))
    rank: int = knob(96, Whole(32, 256, 16))
    pieces: int | None = knob(None, VOCABULARY, quiet=True)
    dropout: float = 0.1
    layers: str | None = None
    taken: str = knob("spread", Choice(tuple(TAKEN)), quiet=True)

    def __post_init__(self) -> None:
        if min(self.depth, self.heads, self.ffn, self.rank) < 1:
            raise ValueError("depth, heads, ffn and rank are at least 1")
        if (self.pieces is not None and self.pieces < 1) or not 0 <= self.dropout < 1:
            raise ValueError("pieces are at least 1, and dropout is from 0 to below 1")
        if self.taken not in TAKEN:
            raise ValueError(f"taken is one of {', '.join(TAKEN)}, got {self.taken!r}")
        _ = self.cut

    @property
    def cut(self) -> tuple[tuple[int, int, int], ...] | None:
        """(teacher's layer, heads, units) of each layer that `layers` names. Raises ValueError for another form."""
        if self.layers is None:
            return None
        found = []
        for one in self.layers.split():
            match = _LAYER.fullmatch(one)
            if match is None:
                raise ValueError(f"layers are written as 1:4x512 (the teacher's layer, heads, units), not {one!r}")
            found.append((int(match[1]), int(match[2]), int(match[3])))
        if not found or any(min(heads, units) < 1 for _, heads, units in found):
            raise ValueError(f"layers: every layer that is kept has a head and a unit at least, not {self.layers!r}")
        return tuple(found)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Heads and units of each layer."""
        if self.cut is None:
            return ((self.heads, self.ffn),) * self.depth
        return tuple((heads, units) for _, heads, units in self.cut)

    def __call__(self, model: TaskModel | None, context: FitContext) -> TaskModel:
        """A student that starts from the teacher's weights where its layout is known, else from noise."""
        torch.manual_seed(context.seed)
        pieces = student_pieces(context, self.pieces)
        config = None if context.pretrained is None else context.pretrained.config
        width = self.width or (config.hidden_size if config is not None else 192)
        head_width = config.hidden_size // config.num_attention_heads if config is not None else 32
        shape = Shape(
            pieces=len(pieces.counts), rank=min(self.rank, width), width=width, depth=len(self.sizes),
            max_length=pieces.inputs.max_length, heads=self.heads, head_width=head_width, ffn=self.ffn,
            layers=self.sizes if self.cut else (),
            types=2 if isinstance(pieces.inputs, QuestionInputs) and pieces.inputs.reading.types else 0,
        )  # fmt: skip
        pooling = "mean" if context.pretrained is None else context.pretrained.pooling
        module = SmallEncoder(shape, context.outputs, self.dropout, pooling if context.vectors else "mean")
        if context.pretrained is not None:
            source = context.teacher.module if context.teacher is not None else None
            tuned = source if isinstance(source, EncoderModule) else None
            _start_from_teacher(module, self, pieces, context, tuned)
        return TaskModel(module, pieces.inputs, TaskSpec("transformer", context.outputs))


def _start_from_teacher(
    student: SmallEncoder, asked: SmallTransformer, pieces: Pieces, context: FitContext, tuned: EncoderModule | None
) -> None:
    assert context.pretrained is not None
    backbone = tuned.backbone if tuned is not None else context.pretrained.backbone
    state = {name: weight.detach().float() for name, weight in backbone.state_dict().items()}
    columns = start_embeddings(student, pieces, context, state)
    layers = int(backbone.config.num_hidden_layers)
    depth = student.shape.depth
    chosen = TAKEN[asked.taken](depth, layers)
    if asked.cut is not None:
        chosen = [source for source, _, _ in asked.cut]
        if max(chosen) >= layers:
            raise RecipeError(f"layers: the teacher has the layers 0 to {layers - 1}, not {max(chosen)}")
    layout = layout_of(state)
    if layout is None:
        logger.warning(
            "the layers of %s have an unknown layout: the student's start from noise", context.pretrained.name
        )
        return
    paths = [{key: path.format(max(0, source)) for key, path in layout.items()} for source in chosen]
    read = what_they_read([one[key] for one in paths for key in ("out", "down")], backbone, context)
    for layer, own in zip(student.layers, paths, strict=True):
        assert isinstance(layer, TransformerLayer)
        _cut_layer(layer, own, state, columns, read)
    if tuned is not None and len(columns) == backbone.config.hidden_size:
        student.readout.start_from(tuned.readout)


@torch.no_grad()
def start_embeddings(student: SmallEncoder, pieces: Pieces, context: FitContext, state: Mapping[str, Tensor]) -> Tensor:
    """Fill the student's embeddings from the teacher's; which of the teacher's columns it keeps: (width,)."""
    whole = teacher_embeddings(context.pretrained)
    assert whole is not None and pieces.old is not None
    vectors = state.get("embeddings.word_embeddings.weight", whole)[torch.from_numpy(pieces.old)]
    counts = torch.from_numpy(pieces.counts).float() + 1
    width, rank = student.shape.width, student.shape.rank
    columns = torch.arange(vectors.shape[1])
    if width < vectors.shape[1]:
        spread = (vectors.square() * counts[:, None]).sum(0)
        columns = spread.topk(width).indices.sort().values
    if width > vectors.shape[1]:
        return columns
    rows = _position_rows(state, student.shape.max_length, vectors.shape[1], context)
    kinds = _type_rows(state, student.shape.types, vectors.shape[1])
    both = torch.cat([vectors, rows, kinds])[:, columns]
    weights = torch.cat([counts, torch.full((len(rows) + len(kinds),), float(counts.sum() / len(rows)))])
    left, right = factorize(both, weights, rank)
    tables = torch.split(left, [len(vectors), len(rows), len(kinds)])
    student.embedding.pieces.weight.copy_(tables[0])
    student.embedding.positions.weight.copy_(tables[1])
    if student.embedding.types is not None:
        student.embedding.types.weight.copy_(tables[2])
    student.embedding.map.weight.copy_(right.T)
    for kind in ("weight", "bias"):
        if f"embeddings.LayerNorm.{kind}" in state:
            getattr(student.embedding.norm, kind).copy_(state[f"embeddings.LayerNorm.{kind}"][columns])
    return columns


def _type_rows(state: Mapping[str, Tensor], types: int, width: int) -> Tensor:
    """What BERT-like teachers add to the pieces of each text more than to those of the first one: (types, width)."""
    added = state.get("embeddings.token_type_embeddings.weight")
    if added is None or len(added) < types:
        return torch.zeros(types, width)
    return added[:types] - added[:1]


def _position_rows(state: Mapping[str, Tensor], length: int, width: int, context: FitContext) -> Tensor:
    """What BERT-like teachers add to each place of a text, the first segment's vector included: (length, width)."""
    positions = state.get("embeddings.position_embeddings.weight")
    if positions is None:
        return torch.zeros(length, width)
    # RoBERTa-like models begin their positions after the padding index
    pretrained = context.pretrained
    roberta = pretrained is not None and "roberta" in str(getattr(pretrained.config, "model_type", ""))
    first = pretrained.pad_id + 1 if roberta and pretrained is not None else 0
    if len(positions) < first + length:
        return torch.zeros(length, width)
    types = state.get("embeddings.token_type_embeddings.weight")
    return positions[first : first + length] + (0 if types is None else types[0])


@torch.no_grad()
def _cut_layer(
    layer: TransformerLayer, path: Mapping[str, str], state: Mapping[str, Tensor], columns: Tensor,
    read: Mapping[str, Tensor],
) -> None:  # fmt: skip
    """Copy the heads and units that matter most into the student's layer. read: XXᵀ of each layer's inputs."""

    def of(key: str, kind: str = "weight") -> Tensor:
        return state[f"{path[key]}.{kind}"]

    rows, out = kept_heads(of("out"), read[path["out"]], layer.heads, layer.head_width)
    size = len(rows)
    for place, key in enumerate(("query", "key", "value")):
        begin = place * layer.heads * layer.head_width
        layer.qkv.weight[begin : begin + size] = of(key)[rows][:, columns]
        layer.qkv.bias[begin : begin + size] = of(key, "bias")[rows]
    layer.out.weight[:, :size] = out[columns]
    layer.out.bias.copy_(of("out", "bias")[columns])
    units, down = kept_units(of("down"), read[path["down"]], layer.up.out_features)
    layer.up.weight[: len(units)] = of("up")[units][:, columns]
    layer.up.bias[: len(units)] = of("up", "bias")[units]
    layer.down.weight[:, : len(units)] = down[columns]
    layer.down.bias.copy_(of("down", "bias")[columns])
    for norm, key in ((layer.attention_norm, "attention_norm"), (layer.norm, "norm")):
        norm.weight.copy_(of(key)[columns])
        norm.bias.copy_(of(key, "bias")[columns])
