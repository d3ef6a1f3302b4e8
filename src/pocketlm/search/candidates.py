"""The recipes tried for a budget, from cheap to dear; sizes are chosen so that each fits the bytes allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from pocketlm.budget import Budget
from pocketlm.errors import RecipeError
from pocketlm.pocket.format import read_pocket
from pocketlm.recipe.recipe import Recipe, recipe_in
from pocketlm.runtime.inputs import plain_text
from pocketlm.search.embedders import embedders
from pocketlm.students.beside import BesideNgrams
from pocketlm.students.convnet import SmallConvnet
from pocketlm.students.distill import Distill
from pocketlm.students.imitate import Imitate
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.passes import STUDENT_PASSES
from pocketlm.students.prune_rows import PruneRows
from pocketlm.students.quantize import Quantize
from pocketlm.students.solve import Solve, labelled
from pocketlm.students.static import StaticEmbeddings
from pocketlm.students.transformer import SmallTransformer
from pocketlm.train.context import FitContext

# Texts a student sees in all, epochs times rows: bags are cheap to train, encoders are not. Where every word
# is a label too, a sixth of them teaches as much.
BAG_TEXTS = 1_200_000
ENCODER_TEXTS = 290_000
TAGGING_SHARE = 6
# A bag begins with so many times the rows it will keep, as far as the texts fill them.
ROWS_BEFORE_PRUNING = 5
BAG_BITS: Final = 4
# A linear bag keeps every n-gram of some thousand rows in so many bytes; its table has a column a label before pruning.
LARGEST_LINEAR = 5_000_000
LINEAR_WEIGHTS = 30_000_000
# From so many bytes on its weights have 8 bits, and its n-grams more buckets.
ROOMY = 700_000
# Fewer texts than these teach a network with random weights less than n-grams know, where no teacher helps it.
FEW_TEXTS = 3_000
# Linear n-grams of so many labelled rows learn from a teacher what so many words mean, and how much that tells; of more
# rows the labels say it themselves.
LEXICON_ROWS, LEXICON_WORDS, LEXICON_SHARES = 8_000, 20_000, (0.03, 0.1, 0.3, 1.0)
# Words that linear n-grams read of long texts, of which the most are read that time allows; texts have many times their
# mean number at most. Their length is told from so many.
READ, READ_ON, SAMPLED = (48, 96, 192, 320, 512), 3, 1_000
# An encoder keeps at least this share of the pieces that the texts and their variants use; others are spelt out.
FEWEST_PIECES = 0.4
# Bags beyond this gain nothing more; a transformer makes better use of the bytes.
LARGEST_BAG = 1_600_000
SMALLEST_BAG = 12_000
# A reader has nearly all of its teacher and less to learn, which a higher rate would undo.
READER_TEXTS = 100_000
READING_RATE = 2e-4
# Softer shares teach which label is like which; of two places of a text none is like the other.
READING_TEMPERATURE = 2.0
# Texts that a student of vectors sees in all, buckets of the n-grams beside it, their share of the bytes allowed, and
# what they take where many are allowed.
IMITATED_TEXTS = 120_000
BESIDE_BUCKETS = 2**18
BESIDE_SHARE, BESIDE_BYTES = 0.4, 1_500_000
# Bytes of a file that are no weights: manifest, card, zip frames.
FRAME = 4_000


@dataclass(frozen=True)
class Candidate:
    """A recipe with the bytes it is expected to take.

    ladder: a name that students of one kind and several sizes share, of which only the largest that is fast enough is
    worth training; "" for one that stands alone.
    """

    recipe: Recipe
    expected_bytes: int
    ladder: str = ""


def fast_enough(tried: Sequence[Candidate], too_slow: Callable[[Recipe], str]) -> list[Candidate]:
    """The candidates without those of a ladder that is slower than allowed or has a larger one that is not.

    The smallest of a ladder stays where all are too slow, so that the reader of a report is told.
    """
    found: list[Candidate] = []
    for one in tried:
        rungs = [other for other in tried if one.ladder and other.ladder == one.ladder]
        if not rungs:
            found.append(one)
        elif one is rungs[0]:
            fast = (rung for rung in reversed(rungs) if not too_slow(rung.recipe))
            found.append(next(fast, one))
    return found


@dataclass(frozen=True)
class Facts:
    """What sizes depend on.

    texts: of the lesson. labels: over all outputs, or a vector's dimensions. pieces: of the trimmed vocabulary. asking:
    whether questions are answered from contexts. max_length: pieces read at once. single: whether every output is one
    label of several. taught: whether a teacher is listened to. frozen: whether it is an encoder as it was pretrained.
    labelled: texts that have every label. encoder: whether there is a pretrained one. words: of a text, on average.
    """

    texts: int
    labels: int
    tagging: bool
    pieces: int
    width: int
    layers: int
    heads: int
    ffn: int
    vectors: bool = False
    asking: bool = False
    max_length: int = 64
    single: bool = False
    taught: bool = False
    frozen: bool = False
    labelled: int = 0
    encoder: bool = False
    words: float = 0.0

    @classmethod
    def of(cls, context: FitContext, pieces: int) -> Facts:
        """The facts of a job."""
        config: Any = None if context.pretrained is None else context.pretrained.config
        some = context.lesson.texts[:SAMPLED]
        single = all(output.kind == "single" for output in context.outputs)
        return cls(
            len(context.lesson),
            sum(output.size for output in context.outputs),
            context.tagging,
            pieces,
            getattr(config, "hidden_size", 192),
            getattr(config, "num_hidden_layers", getattr(config, "n_layers", 2)),
            getattr(config, "num_attention_heads", 6),
            getattr(config, "intermediate_size", 384),
            context.vectors,
            context.asking,
            context.max_length,
            single,
            context.lesson.taught is not None,
            context.frozen,
            len(labelled(context.lesson, context.outputs)[0]) if single else 0,
            context.pretrained is not None,
            float(np.mean([len(plain_text(text).split()) for text in some])) if single and some else 0.0,
        )

    def epochs(self, seen: int) -> int:
        """Epochs after which `seen` texts were seen, within reason."""
        seen = seen // TAGGING_SHARE if self.tagging else seen
        return max(2, min(60, round(seen / max(1, self.texts))))

    def fitting_pieces(self, size: int | None, rest: int, a_piece: int) -> int:
        """As many of the teacher's pieces as fit beside `rest` bytes, or 0 where too few do. size: None for any."""
        fitting = self.pieces if size is None else int((size - rest) / a_piece)
        return 0 if fitting < FEWEST_PIECES * self.pieces else min(fitting, self.pieces)


def given_recipe(path: str) -> Recipe:
    """The students' recipe in a YAML file, or of a Pocket. Raises RecipeError, PocketFileError."""
    if not path.endswith(".pocket"):
        return recipe_in(path, STUDENT_PASSES)
    steps = read_pocket(Path(path)).manifest.get("provenance", {}).get("recipe")
    if not steps:
        raise RecipeError(f"{path}: says nothing of the recipe it was made by")
    return Recipe.from_json(steps, STUDENT_PASSES, f"the recipe of {Path(path).name}")


def candidates(facts: Facts, budget: Budget) -> list[Candidate]:
    """Recipes that may fit `budget`, cheap ones first."""
    if facts.vectors:
        found = [Candidate(recipe, size) for recipe, size in embedders(facts, budget)]
    elif facts.asking:
        found = _readers(facts, budget)
    elif facts.single and (facts.frozen or (not facts.taught and facts.texts < FEW_TEXTS)):
        found = _linears(facts, budget)
    else:
        found = [*_linears(facts, budget), *_bags(facts, budget), *_statics(facts, budget)]
        found += [*_convnets(facts, budget), *_transformers(facts, budget), *_stacks(facts, budget)]
    allowed = budget.max_size
    fitting = [one for one in found if allowed is None or one.expected_bytes <= allowed]
    order = {"hashed-ngrams": 0, "static-embeddings": 0, "small-convnet": 1, "small-transformer": 2}
    return sorted(fitting, key=lambda one: (order[one.recipe.family], one.expected_bytes))


def _bags(facts: Facts, budget: Budget) -> list[Candidate]:
    """Hashed n-grams filling the bytes allowed; without a limit, a small, a middle and a large one."""
    if budget.max_size is None:
        return [_bag(facts, size) for size in (60_000, 250_000, 1_000_000)]
    return [_bag(facts, max(SMALLEST_BAG, min(LARGEST_BAG, budget.max_size)))]


def _linears(facts: Facts, budget: Budget) -> list[Candidate]:
    """Linear n-grams filling the bytes allowed; without a limit, a small, a middle and a large one."""
    if not facts.single:
        return []
    sizes = (60_000, 250_000, 1_000_000) if budget.max_size is None else (min(LARGEST_LINEAR, budget.max_size),)
    words = LEXICON_WORDS if facts.encoder and facts.labelled <= LEXICON_ROWS else 0
    timed = budget.max_latency is not None
    read = [most for most in READ if most < READ_ON * facts.words] if timed and facts.words > READ[0] else [READ[-1]]
    ladder = "linear" if len(read) > 1 else ""
    return [
        replace(_linear(facts, max(SMALLEST_BAG, size), words, most), ladder=f"{ladder} {size}" if ladder else "")
        for size in sizes
        for most in read
    ]


def _linear(facts: Facts, size: int, words: int, read: int) -> Candidate:
    """words: whose meaning to the teacher n-grams learn; 0 for what labels alone teach. read: words of a long text."""
    roomy = size >= ROOMY
    bits: Final = 8 if roomy else BAG_BITS
    buckets = 2**20 if roomy else 2**18
    rest = FRAME + facts.labels * (facts.labels + 16)
    a_row = 0.95 * facts.labels * bits / 8 + 2 + 1.1
    rows = max(64, int((size * 0.97 - rest) / a_row))
    most = min(buckets, LINEAR_WEIGHTS // facts.labels)
    student = HashedNgrams(
        buckets, width=0, hidden=False, rows=max(rows, most), min_texts=1, dropout=0.0, max_words=read
    )
    solve = Solve(words=words, shares=LEXICON_SHARES) if words else Solve()
    steps = (student, solve, PruneRows(rows=rows), replace(solve, rarities=(), leads=()), Quantize(bits=bits))
    name = f"linear n-grams ≤ {rows:,}{' that mean what words mean' if words else ''}, {bits} bit"
    name += f", {read} words read" if read < READ[-1] else ""
    return Candidate(Recipe(steps, name=name), min(round(rows * a_row + rest), size))


def _heads(facts: Facts, width: int) -> int:
    """Bytes of a bag's heads and, where it tags, of the matrix that reads a word, its neighbours and the text."""
    context = max(width, 64)
    return facts.labels * (context + 4 + 14) + (6 * width * context if facts.tagging else 0)


def _bag(facts: Facts, size: int) -> Candidate:
    width = 48 if size < 60_000 else 64 if size < 700_000 else 96
    heads = _heads(facts, width)
    # weights (the zip takes a tenth off 4-bit ones), scale, and its place in the map of kept buckets
    a_row = 0.9 * width * BAG_BITS / 8 + 2 + 1.1
    rows = int((size * 0.97 - FRAME - heads) / a_row)
    rows = max(64, min(60_000, rows))
    expected = round(rows * a_row + heads + FRAME)
    epochs = facts.epochs(BAG_TEXTS)
    recipe = Recipe(
        (
            HashedNgrams(width=width, rows=min(60_000, ROWS_BEFORE_PRUNING * rows)),
            Distill(epochs=epochs, rate=5e-3, patience=epochs),
            PruneRows(rows=rows),
            Distill(epochs=epochs, rate=5e-3, patience=epochs),
            Quantize(bits=BAG_BITS, epochs=max(2, epochs // 3), rate=1e-3),
        ),
        name=f"n-grams ≤ {rows:,}×{width}, {BAG_BITS} bit",
    )
    return Candidate(recipe, expected)


def _statics(facts: Facts, budget: Budget) -> list[Candidate]:
    width = 96
    rest, a_piece = _heads(facts, width) + FRAME, width + 2 + 6
    pieces = facts.fitting_pieces(budget.max_size, rest, a_piece)
    if not pieces:
        return []
    epochs = facts.epochs(BAG_TEXTS // 4)
    recipe = Recipe(
        (
            StaticEmbeddings(width=width, pieces=pieces),
            Distill(epochs=epochs, rate=3e-3, patience=epochs),
            Quantize(bits=8, epochs=2),
        ),
        name=f"static embeddings {width}, 8 bit",
    )
    return [Candidate(recipe, rest + pieces * a_piece)]


def _encoder(
    name: str, student: Any, facts: Facts, budget: Budget, weights: int, *, reading: bool = False
) -> list[Candidate]:
    """The student with as many of the teacher's pieces as fit, or none where too few do."""
    # matrices in int8 (a zip takes a little off), the heads, the graph's own nodes; then embeddings and tokenizer
    rest = weights + facts.labels * (facts.width + 18) + 25_000 + FRAME
    if facts.asking:  # long texts have many places, stored in 16 bits
        rest += 2 * facts.max_length * student.rank
    a_piece = student.rank + 10
    pieces = facts.fitting_pieces(budget.max_size, rest, a_piece)
    if not pieces:
        return []
    student = replace(student, pieces=pieces)
    epochs = facts.epochs(READER_TEXTS if reading else ENCODER_TEXTS)
    recipe = Recipe(
        (
            student,
            Distill(
                epochs=epochs,
                rate=READING_RATE if reading else 5e-4,
                batch_size=32,
                beta=1.0,
                decay=0.01,
                patience=max(4, epochs // 3),
                temperature=READING_TEMPERATURE if reading else Distill.temperature,
            ),
            Quantize(bits=8),
        ),
        name=name,
    )
    return [Candidate(recipe, round(rest + pieces * a_piece))]


def _convnets(facts: Facts, budget: Budget) -> list[Candidate]:
    student = SmallConvnet(depth=2, width=128, reach=1, rank=64)
    return _encoder("convnet 2×128", student, facts, budget, 2 * 3 * 128 * 128 + 64 * 128)


def _transformers(facts: Facts, budget: Budget) -> list[Candidate]:
    """The largest of a ladder that fits, or all that fit where time is limited, too; without a limit, two."""
    ladder: list[Mapping[str, int]] = [
        {"depth": 1, "heads": 4, "ffn": 256, "rank": 64},
        {"depth": 2, "heads": 4, "ffn": 256, "rank": 64},
        {"depth": 3, "heads": 4, "ffn": 256, "rank": 96},
        {"depth": 3, "heads": 6, "ffn": 512, "rank": 128},
        {"depth": min(6, facts.layers), "heads": facts.heads, "ffn": facts.ffn, "rank": 256},
    ]
    made = [one for sizes in ladder for one in _transformer(sizes, facts, budget)]
    if budget.max_latency is not None:
        fitting = [one for one in made if budget.max_size is None or one.expected_bytes <= budget.max_size]
        return [replace(one, ladder="transformer") for one in fitting]
    return [made[0], made[2]] if budget.max_size is None else made[-1:]


def _stacks(facts: Facts, budget: Budget) -> list[Candidate]:
    """Encoders that see texts as the teacher does, each with linear n-grams beside it that learn the labels with it."""
    if not facts.single or not facts.taught:
        return []
    size = BESIDE_BYTES if budget.max_size is None else min(BESIDE_BYTES, round(BESIDE_SHARE * budget.max_size))
    rows = max(64, int((size - facts.labels * 16) / (0.95 * facts.labels + 2 + 1.1)))
    most = min(BESIDE_BUCKETS, LINEAR_WEIGHTS // facts.labels)
    rest = None if budget.max_size is None else budget.max_size - size
    found = []
    for one in _transformers(facts, replace(budget, max_size=rest)):
        student = one.recipe.steps[0]
        steps = (
            replace(student, dropout=0.0), Imitate(facts.epochs(IMITATED_TEXTS)),
            BesideNgrams(BESIDE_BUCKETS, rows=max(rows, most)), Solve(), PruneRows(rows), Solve(rarities=(), leads=()),
            Quantize(bits=8),
        )  # fmt: skip
        name = f"{one.recipe.name} beside linear n-grams ≤ {rows:,}"
        ladder = "stack" if one.ladder else ""
        found.append(Candidate(Recipe(steps, name=name), one.expected_bytes + size, ladder))
    return found


def _readers(facts: Facts, budget: Budget) -> list[Candidate]:
    """Transformers with the teacher's layers and heads and fewer of its units, and shallow ones below them.

    What a question asks for is found by layers that attend to all of the context: units go first, then layers, then
    heads. The largest that fits the bytes allowed is tried, and all where a time is allowed too; without a limit, one
    with half the layers and the largest.
    """
    half = max(1, facts.heads // 2)
    whole = {"depth": facts.layers, "heads": facts.heads}
    ladder: list[Mapping[str, int]] = [
        {"depth": 1, "heads": half, "ffn": facts.ffn // 2, "rank": 64},
        {"depth": 2, "heads": half, "ffn": facts.ffn // 2, "rank": 96},
        {"depth": max(1, facts.layers // 2), "heads": facts.heads, "ffn": facts.ffn // 2, "rank": 128},
        {**whole, "ffn": facts.ffn // 4, "rank": 192},
        {**whole, "ffn": facts.ffn // 2, "rank": 192},
        {**whole, "ffn": facts.ffn * 3 // 4, "rank": 192},
        {**whole, "ffn": facts.ffn, "rank": 256},
    ]
    made = [one for sizes in ladder for one in _transformer(sizes, facts, budget, reading=True)]
    if budget.max_size is None:
        return [made[2], made[-1]] if budget.max_latency is None else made
    fitting = [one for one in made if one.expected_bytes <= budget.max_size]
    return fitting[-1:] if budget.max_latency is None else fitting


def _transformer(sizes: Mapping[str, int], facts: Facts, budget: Budget, *, reading: bool = False) -> list[Candidate]:
    """A transformer cut to these sizes, or none where it has no room for its pieces. reading: contexts of questions."""
    student = SmallTransformer(**{**sizes, "heads": min(sizes["heads"], facts.heads)})
    head_width = facts.width // facts.heads
    layer = 4 * facts.width * student.heads * head_width + 2 * facts.width * student.ffn
    weights = student.depth * layer + student.rank * facts.width
    name = f"transformer {student.depth} layers, {student.heads} heads, ffn {student.ffn}"
    return _encoder(name, student, facts, budget, weights, reading=reading)
