"""The recipes tried for vectors: wide tables without a hidden layer, and encoders that start from the teacher's layers.

A vector needs more dimensions than a handful of labels does, and larger batches show a student more neighbours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pocketlm.budget import Budget
from pocketlm.recipe.recipe import Recipe
from pocketlm.students.convnet import SmallConvnet
from pocketlm.students.distill import Distill
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.prune_rows import PruneRows
from pocketlm.students.quantize import Quantize
from pocketlm.students.static import StaticEmbeddings
from pocketlm.students.transformer import SmallTransformer

if TYPE_CHECKING:
    from pocketlm.search.candidates import Facts

# Texts a student sees in all: tables take steps as large as they are, encoders passes.
TABLE_TEXTS = 500_000
ENCODER_TEXTS = 120_000
BATCH, ENCODER_BATCH = 256, 64
# Bytes of a file that are no weights: manifest, card, zip frames; of a graph its nodes too.
FRAME, GRAPH = 4_000, 25_000
# Bits of a row, and how many times the rows it will keep a table begins with.
TABLE_BITS: Final = 4
MORE_ROWS = 2
MOST_ROWS = 40_000
LARGEST_TABLE = 3_000_000

# Transformers from small to large: layers, one of so many heads and feed-forward units, rank of the embeddings.
LADDER = ((1, 2, 4, 64), (2, 2, 4, 64), (2, 1, 2, 96), (3, 1, 2, 96), (4, 1, 2, 96), (6, 1, 1, 256))

Sized = tuple[Recipe, int]


def embedders(facts: Facts, budget: Budget) -> list[Sized]:
    """Recipes for vectors with the bytes each is expected to take."""
    size = budget.max_size
    tables = (100_000, 400_000, 1_500_000) if size is None else (min(size, LARGEST_TABLE),)
    made = [_ngrams(facts, one) for one in tables]
    made += _static(facts, size)
    made += _convnet(facts, size)
    return made + _transformers(facts, size)


def _ngrams(facts: Facts, size: int) -> Sized:
    """Hashed n-grams whose table fills `size` bytes."""
    width = min(facts.labels, 48 if size < 60_000 else 64 if size < 300_000 else 96 if size < 1_000_000 else 128)
    head = width * facts.labels + 18 * facts.labels
    a_row = 0.9 * width * TABLE_BITS / 8 + 2 + 1.1
    rows = max(64, min(MOST_ROWS, int((size * 0.97 - FRAME - head) / a_row)))
    epochs = facts.epochs(TABLE_TEXTS)
    taught = Distill(epochs, rate=5e-3, batch_size=BATCH, alpha=1.0, patience=epochs)
    recipe = Recipe(
        (
            HashedNgrams(width=width, hidden=False, rows=min(MOST_ROWS, MORE_ROWS * rows)),
            taught,
            PruneRows(rows=rows),
            taught,
            Quantize(bits=TABLE_BITS, epochs=max(2, epochs // 3), rate=1e-3),
        ),
        name=f"n-grams ≤ {rows:,}×{width}, {TABLE_BITS} bit",
    )
    return recipe, round(rows * a_row + head + FRAME)


def _static(facts: Facts, size: int | None) -> list[Sized]:
    """A vector a piece, of as many dimensions as fit."""
    for width in (256, 192, 128, 96, 64, 48):
        width = min(width, facts.labels)
        rest, a_piece = width * facts.labels + 18 * facts.labels + FRAME, width + 2 + 6
        pieces = facts.fitting_pieces(size, rest, a_piece)
        if pieces:
            epochs = facts.epochs(TABLE_TEXTS)
            recipe = Recipe(
                (
                    StaticEmbeddings(width=width, pieces=pieces, hidden=False),
                    Distill(epochs, rate=3e-3, batch_size=BATCH, alpha=1.0, patience=epochs),
                    Quantize(bits=8, epochs=2),
                ),
                name=f"static embeddings {width}, 8 bit",
            )
            return [(recipe, rest + pieces * a_piece)]
    return []


def _convnet(facts: Facts, size: int | None) -> list[Sized]:
    student = SmallConvnet(depth=2, width=192, reach=1, rank=96, dropout=0.0)
    return _encoder("convnet 2×192", student, facts, size, 2 * 3 * 192 * 192 + 96 * 192)


def _transformers(facts: Facts, size: int | None) -> list[Sized]:
    """The largest of a ladder that fits; without a limit, a small and a middle one."""
    made: list[Sized] = []
    for depth, fewer_heads, fewer_units, rank in LADDER:
        if depth > facts.layers:
            break
        heads, ffn = max(1, facts.heads // fewer_heads), max(1, facts.ffn // fewer_units)
        student = SmallTransformer(depth, heads=heads, ffn=ffn, rank=rank, dropout=0.0)
        layer = 4 * facts.width * student.heads * (facts.width // facts.heads) + 2 * facts.width * student.ffn
        name = f"transformer {depth} layers, {student.heads} heads, ffn {student.ffn}"
        made += _encoder(name, student, facts, size, depth * layer + rank * facts.width)
    return [made[0], *made[2:3]] if size is None and made else made[-1:]


def _encoder(
    name: str, student: SmallTransformer | SmallConvnet, facts: Facts, size: int | None, weights: int
) -> list[Sized]:
    """The student with as many of the teacher's pieces as fit, or none where too few do."""
    rest = weights + facts.labels * (facts.width + 18) + GRAPH + FRAME
    a_piece = student.rank + 10
    pieces = facts.fitting_pieces(size, rest, a_piece)
    if not pieces:
        return []
    epochs = facts.epochs(ENCODER_TEXTS)
    recipe = Recipe(
        (
            replace(student, pieces=pieces),
            Distill(
                epochs, rate=5e-4, batch_size=ENCODER_BATCH, alpha=1.0, beta=1.0, decay=0.01,
                patience=max(4, epochs // 3),
            ),
            Quantize(bits=8),
        ),
        name=name,
    )  # fmt: skip
    return [(recipe, round(rest + pieces * a_piece))]
