"""Give a linear bag of n-grams the best weights there are, in closed form, instead of training it step by step.

A few hundred rows decide little between tens of thousands of n-grams: what counts is how weights are held small, how
much more a rare n-gram tells than a frequent one, how much a frequent label is preferred and, of a stack, how much an
encoder's vectors tell beside them. All are chosen by rows that each solution did not see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pocketlm.errors import RecipeError
from pocketlm.knobs import Choice, knob
from pocketlm.model.bag import BagModule
from pocketlm.model.stack import StackModule, unstack
from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import Output, texts_of
from pocketlm.runtime.inputs import BagInputs, Text, plain_text
from pocketlm.runtime.ngrams import ngram_words
from pocketlm.students.least_squares import MOST_ROWS, Sparse, products, solve_by_products, solve_by_steps
from pocketlm.students.lexicon import learn_lexicon, lexicon_texts, lexicon_words, seen_vectors
from pocketlm.tasks.metrics import macro, single_counts
from pocketlm.train.context import FitContext
from pocketlm.train.frozen import pooled_vectors
from pocketlm.train.lesson import Lesson, lesson

Floats = NDArray[np.float32]
Labels = Mapping[str, NDArray[np.int64]]

# Texts are long for a beginning of so many words where they have this many times as many.
LONG = 4
# Logits are scores times one of these, so that their softmax says how often they are right.
_SHARPNESS = np.geomspace(0.5, 60, 49)


@dataclass(frozen=True)
class Solve:
    """Regularized least squares on the labels, each text's vector of unit length.

    penalties: on weights, in shares of a text's own product. rarities: exponents of the n-grams' inverse document
    frequency; () leaves their importance as it is. balances: exponents of a label's share by which its scores are
    divided; 0 for none. Of each the one is taken whose held-out labels have the best weighted F1: each row, or of many
    each of a sample, is left out in turn with all that repeat it. prior: of a label's share, added to its scores.
    leads: `Ngrams.lead` of long texts; the one is taken whose held-out labels have the best weighted F1, () leaves it.
    words: so many of the lesson's, which with its texts teach n-grams what they mean to the teacher as it was
    pretrained (`students.lexicon`); 0 for none, and a stack has none. shares: of a stack,
    or with words, mean squared lengths of the vectors where that of n-grams is 1; the one is taken that says dev's
    labels best, since what was learnt from is seen better than other texts. A stack's encoder stays as it is but for
    its heads. heads: whether they are solved, too; else n-grams are solved as if they stood alone (see `weigh`).
    """

    name: ClassVar[str] = "solve"
    penalties: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0)
    rarities: tuple[float, ...] = (1.0, 2.0)
    balances: tuple[float, ...] = (0.0, 0.5)
    prior: float = 0.5
    leads: tuple[int, ...] = (0, 16, 32)
    words: int = knob(0, Choice((0, 20_000)))
    shares: tuple[float, ...] = (0.03, 0.1, 0.3)
    heads: bool = True

    def __post_init__(self) -> None:
        if not self.shares or min(self.shares) <= 0:
            raise ValueError(f"shares are above 0, got {self.shares}")
        if not self.penalties or min(self.penalties) <= 0:
            raise ValueError(f"penalties are above 0, got {self.penalties}")
        if not self.balances:
            raise ValueError("balances holds at least one exponent, such as 0")
        if self.words < 0:
            raise ValueError(f"words is a number of words, at least 0, got {self.words}")
        if self.words and not self.heads:
            raise ValueError("words teach n-grams that stand alone: beside an encoder that keeps its heads it is 0")
        if any(lead < 0 for lead in self.leads):
            raise ValueError(f"leads are numbers of words, at least 0, got {self.leads}")

    def __call__(self, model: TaskModel | None, context: FitContext) -> TaskModel:
        """The model with its table solved, and its scores scaled to tell how sure they are."""
        return self.with_held_out(model, context)[0]

    def with_held_out(self, model: TaskModel | None, context: FitContext) -> tuple[TaskModel, Floats | None]:
        """The solved model, and the logits (labelled texts, all labels) of each text by the others; None for many."""
        encoder, bag = (None, model) if model is None or not isinstance(model.module, StackModule) else unstack(model)
        counted = bag is not None and isinstance(bag.inputs, BagInputs)
        if bag is None or not counted or not solvable(bag.module, context.outputs):
            raise RecipeError(
                "solve works on texts with one label an output; put it after hashed-ngrams with width 0, hidden false, "
                "or after beside-ngrams"
            )
        assert model is not None
        module: Any = bag.module
        known, labels = labelled(context.lesson, context.outputs)
        texts = [context.lesson.texts[place] for place in known]
        self._find_lead(bag, texts, labels, context.outputs)
        rows = features(bag, texts)
        first, again, counts = distinct(rows, labels)
        rows, labels, weights = rows[first], {name: own[first] for name, own in labels.items()}, np.sqrt(counts)
        given = [rarity(rows) ** np.float32(power) for power in self.rarities] or [module.importance.numpy()]
        sight: _Sight | _Meaning | None = None
        if encoder is not None and self.heads:
            sight = _Sight.of(encoder, [texts[place] for place in first])
        elif self.words:
            sight = _Meaning.of(bag, rows, self.words, context)
        vectors = np.zeros((len(first), 0), np.float32) if sight is None else sight.vectors
        few = rows.shape[0] <= MOST_ROWS
        sample = np.linspace(0, rows.shape[0] - 1, min(rows.shape[0], MOST_ROWS)).astype(int)
        seen = _Rows(
            rows[sample], vectors[sample], {name: own[sample] for name, own in labels.items()}, weights[sample]
        )
        found = [
            max(
                (one for importance in given for one in self._tries(importance, share, seen, context.outputs)),
                key=lambda one: one.figure,
            )
            for share in ((0.0,) if sight is None else self.shares)
        ]
        best = found[0]
        if not few or len(found) > 1:
            places, right = labelled(lesson(context.dev, context.outputs), context.outputs)
            read = [texts_of(context.dev, context.outputs)[place] for place in places]
            unseen = features(bag, read), vectors[:0] if sight is None else sight.see(read)
            # what an encoder has learnt it sees better than other texts: only those can say how much it tells
            best = min(found, key=lambda one: _loss(one.scores(*unseen) + one.bias, right, context.outputs))
            if not few:
                others = first < len(labelled((context.searched or context).lesson, context.outputs)[0])
                best = self._of_all(best, _Rows(rows, vectors, labels, weights), others, unseen, right, context.outputs)
        _store(module, best, rows)
        if sight is not None:
            sight.store(best.table[rows.shape[1] :] * np.float32(np.sqrt(best.share)))
            model = model.settled(shares=(best.share,))
        return model, best.logits[again] if few else None

    def _find_lead(self, bag: TaskModel, texts: Sequence[Text], labels: Labels, outputs: Sequence[Output]) -> None:
        """Let the beginning of long texts count as much as is best for labels that are held out, by n-grams alone."""
        assert isinstance(bag.inputs, BagInputs)
        some = texts[:: max(1, len(texts) // MOST_ROWS)] if self.leads else []
        words = float(np.mean([len(ngram_words(plain_text(text))) for text in some] or [0]))
        leads = [lead for lead in self.leads if LONG * lead <= min(bag.inputs.max_words, words)]
        plain, figures = bag.inputs.ngrams, []
        if len(leads) < 2:
            bag.inputs.ngrams = replace(plain, lead=leads[0]) if leads else plain
            return
        first, _, counts = distinct(features(bag, texts), labels)
        places = np.linspace(0, len(first) - 1, min(len(first), MOST_ROWS)).astype(int)
        sample, weights = first[places], np.sqrt(counts[places])
        read = [texts[place] for place in sample]
        for lead in leads:
            bag.inputs.ngrams = replace(plain, lead=lead)
            rows = features(bag, read)
            own = {name: numbers[sample] for name, numbers in labels.items()}
            seen = _Rows(rows, np.zeros((len(read), 0), np.float32), own, weights)
            importance = rarity(rows) ** np.float32(next(iter(self.rarities), 1.0))
            figures.append(max(one.figure for one in self._tries(importance, 0.0, seen, outputs)))
        bag.inputs.ngrams = replace(plain, lead=leads[int(np.argmax(figures))])

    def _tries(self, importance: Floats, share: float, given: _Rows, outputs: Sequence[Output]) -> Iterator[_Try]:
        """Every penalty with this importance of n-grams and this share of vectors."""
        targets, shares = _targets(given.labels, outputs)
        read = beside(unit_rows(given.rows, importance), given.vectors, share)
        scaled, heavy = weighted(read, given.weights), given.weights[:, None]
        solved = solve_by_products(products(scaled), targets * heavy, self.penalties)
        for penalty, one in zip(self.penalties, solved, strict=True):
            start = _Try(importance, share, penalty)
            yield self._judged(start, scaled.T @ one.duals, one.held_out / heavy, given.labels, shares)

    def _of_all(
        self, best: _Try, given: _Rows, others: NDArray[np.bool_], unseen: tuple[Sparse, Floats], right: Labels,
        outputs: Sequence[Output],
    ) -> _Try:  # fmt: skip
        """The solution of all rows, scaled by what one of the `others`, which are not dev's, says of dev's texts.

        Scores of texts that were learnt from are nearer to their labels than those of new ones will be.
        """
        targets, shares = _targets(given.labels, outputs)
        read = beside(unit_rows(given.rows, best.importance), given.vectors, best.share)
        whole, wanted = weighted(read, given.weights), targets * given.weights[:, None]
        table = whole.T @ solve_by_steps(whole, wanted, best.penalty)
        judging = table
        if not others.all():
            judging = whole[others].T @ solve_by_steps(whole[others], wanted[others], best.penalty)
        return self._judged(best, table, replace(best, table=judging).scores(*unseen), right, shares)

    def _judged(
        self, start: _Try, table: Floats, held_out: Floats, labels: Labels, shares: Mapping[str, Floats]
    ) -> _Try:
        """A solution with what its scores are multiplied by and raised by, chosen on held-out scores (rows, labels)."""
        edges = np.cumsum([len(own) for own in shares.values()])[:-1]
        factors, raised, figures, said = [], [], [], []
        for scores, (name, share) in zip(np.split(held_out, edges, axis=1), shares.items(), strict=True):
            floor, gold = np.maximum(share, 0.5 / len(held_out)), labels[name]
            tried = []
            for balance in self.balances:
                factor = (len(share) * floor) ** np.float32(-balance)
                logits = scores * factor + self.prior * share
                tried.append((weighted_f1(gold, logits.argmax(axis=1), len(share)), -balance, factor, logits))
            figure, _, factor, logits = max(tried, key=lambda one: one[:2])
            sharp = sharpness(logits, gold)
            factors.append(sharp * factor)
            raised.append(sharp * self.prior * share)
            figures.append(figure)
            said.append(sharp * logits)
        table, bias = table * np.concatenate(factors), np.concatenate(raised)
        return replace(
            start, table=table, bias=bias, figure=float(np.mean(figures)), logits=np.concatenate(said, axis=1)
        )


@dataclass(frozen=True)
class _Rows:
    """N-grams of distinct texts, (rows, features), and their label numbers.

    vectors: beside the n-grams, (rows, width or 0). weights: the roots of how often each row comes.
    """

    rows: Sparse
    vectors: Floats
    labels: Labels
    weights: Floats


@dataclass(frozen=True)
class _Try:
    """Settings and what they come to: figure, logits are held-out weighted F1, and what it is of.

    importance: (features,). table: (features and vectors' width, labels). bias: (labels,).
    """

    importance: Floats
    share: float
    penalty: float
    table: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    bias: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    figure: float = 0.0
    logits: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def scores(self, rows: Sparse, vectors: Floats) -> Floats:
        """Products of other texts with the table, before the bias: (texts, labels)."""
        found: Floats = beside(unit_rows(rows, self.importance), vectors, self.share) @ self.table
        return found


@dataclass(frozen=True)
class _Sight:
    """How an encoder sees texts: vectors of its readout, centred and of mean squared length 1 over the first ones."""

    encoder: TaskModel
    mean: Floats
    scale: np.float32
    vectors: Floats

    @classmethod
    def of(cls, encoder: TaskModel, texts: Sequence[Text]) -> _Sight:
        """By these texts."""
        vectors = pooled_vectors(encoder, texts)
        mean = vectors.mean(axis=0)
        scale = np.float32(1 / np.sqrt(max(1e-12, float(np.square(vectors - mean).sum(axis=1).mean()))))
        return cls(encoder, mean, scale, (vectors - mean) * scale)

    def see(self, texts: Sequence[Text]) -> Floats:
        """Vectors of other texts."""
        found: Floats = (pooled_vectors(self.encoder, texts) - self.mean) * self.scale
        return found

    @torch.no_grad()
    def store(self, table: Floats) -> None:
        """Heads that say these scores of its vectors: (width, labels of all outputs)."""
        module: Any = self.encoder.module
        weight, at = table.T * self.scale, 0
        for head in module.readout.heads.values():
            own = weight[at : at + head.out_features]
            head.weight.copy_(torch.from_numpy(np.ascontiguousarray(own, np.float32)))
            head.bias.copy_(torch.from_numpy(np.asarray(-own @ self.mean, np.float32)))
            at += head.out_features


@dataclass(frozen=True)
class _Meaning:
    """How n-grams see texts that have vectors of their own: centred, of mean squared length 1 over the rows given.

    importance: of n-grams to these vectors, (features,), which is not that to the labels. length: of the rows given,
    so weighted, on average. lexicon: (features, width).
    """

    bag: TaskModel
    importance: Floats
    length: np.float32
    lexicon: Floats
    mean: Floats
    scale: np.float32
    vectors: Floats

    @classmethod
    def of(cls, bag: TaskModel, rows: Sparse, words: int, context: FitContext) -> _Meaning:
        """Learnt from at most so many words of the lesson and its texts; rows: of labelled texts, (texts, features)."""
        from scipy.sparse import vstack

        texts = lexicon_texts(context)
        single = lexicon_words(context.lesson.texts, words)
        read = features(bag, texts)
        importance = rarity(read)
        parts = [unit_rows(rows, importance) for rows in ([features(bag, single)] if single else []) + [read]]
        taught = vstack(parts).tocsr()
        context.progress.stage(f"learning what n-grams mean from {len(single):,} words and {len(texts):,} texts")
        lexicon = learn_lexicon(taught, seen_vectors(single, texts, context))
        vectors = unit_rows(rows, importance) @ lexicon
        mean = vectors.mean(axis=0)
        scale = np.float32(1 / np.sqrt(max(1e-12, float(np.square(vectors - mean).sum(axis=1).mean()))))
        length = _weighted_lengths(rows, importance).mean()
        return cls(bag, importance, length, lexicon, mean, scale, (vectors - mean) * scale)

    def see(self, texts: Sequence[Text]) -> Floats:
        """Vectors of other texts."""
        found: Floats = (unit_rows(features(self.bag, texts), self.importance) @ self.lexicon - self.mean) * self.scale
        return found

    @torch.no_grad()
    def store(self, table: Floats) -> None:
        """Add to the n-grams' weights what these scores of their vectors are: (width, labels of all outputs)."""
        module: Any = self.bag.module
        # a row is read with its importance to the labels, not with that to the vectors
        again = self.importance / self.length / np.maximum(module.importance.numpy(), 1e-12)
        module.table += torch.from_numpy((self.lexicon @ (table * self.scale)) * again[:, None])
        shift = torch.from_numpy(np.asarray((self.mean * self.scale) @ table, np.float32))
        at = 0
        for head in module.heads.values():
            head.bias -= shift[at : at + head.out_features]
            at += head.out_features


def _loss(logits: Floats, gold: Labels, outputs: Sequence[Output]) -> float:
    """Cross-entropy with the labels, as sure as suits them, mean over the outputs. logits: (texts, all labels)."""
    parts = np.split(logits, np.cumsum([output.size for output in outputs])[:-1], axis=1)
    pairs = [(part, gold[output.name]) for part, output in zip(parts, outputs, strict=True)]
    return float(np.mean([cross_entropy(sharpness(part, right) * part, right) for part, right in pairs]))


def cross_entropy(logits: Floats, gold: NDArray[np.int64]) -> float:
    """Mean over rows, in nats. logits: (rows, labels)."""
    below = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(below).sum(axis=1)) - below[np.arange(len(gold)), gold]).mean())


def _targets(labels: Labels, outputs: Sequence[Output]) -> tuple[Floats, dict[str, Floats]]:
    """What each label's score is to be, (rows, labels of all outputs), and every label's share."""
    shares = {one.name: _hot(labels[one.name], one.size).mean(axis=0) for one in outputs}
    return np.concatenate([_hot(labels[name], len(own)) - own for name, own in shares.items()], axis=1), shares


def solvable(module: nn.Module, outputs: Sequence[Output]) -> bool:
    """Whether a table's columns are the labels' own scores, and every output is one label of several."""
    sizes = sum(output.size for output in outputs)
    return (
        isinstance(module, BagModule)
        and not module.hidden
        and module.table.shape[1] == sizes
        and all(one.kind == "single" for one in outputs)
    )


def rarity(rows: Sparse) -> Floats:
    """ln((1 + n) / (1 + texts with it)) + 1 of every feature."""
    texts = np.bincount(rows.indices, minlength=rows.shape[1])
    found: Floats = (np.log((1 + rows.shape[0]) / (1 + texts)) + 1).astype(np.float32)
    return found


def unit_rows(rows: Sparse, importance: Floats) -> Sparse:
    """The rows with features weighted by their importance, each row of unit length."""
    scaled = rows.copy()
    scaled.data = rows.data * importance[rows.indices]
    scaled.data = scaled.data / np.repeat(_weighted_lengths(rows, importance), np.diff(scaled.indptr))
    return scaled


def weighted(rows: Sparse, weights: Floats) -> Sparse:
    """The rows times their weights (rows,)."""
    heavy = rows.copy()
    heavy.data = rows.data * np.repeat(weights, np.diff(rows.indptr))
    return heavy


def distinct(rows: Sparse, labels: Labels) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Where each row with its labels comes first, the number of that place for every row, and how often it comes."""
    numbers: dict[bytes, int] = {}
    columns = np.stack(list(labels.values()), axis=1)
    first: list[int] = []
    again: list[int] = []
    for place, (begin, end) in enumerate(pairwise(rows.indptr)):
        key = rows.indices[begin:end].tobytes() + rows.data[begin:end].tobytes() + columns[place].tobytes()
        if key not in numbers:
            numbers[key] = len(first)
            first.append(place)
        again.append(numbers[key])
    counts = np.bincount(again, minlength=len(first)).astype(np.float32)
    return np.array(first, np.intp), np.array(again, np.intp), counts


def sharpness(scores: Floats, gold: NDArray[np.int64]) -> float:
    """The factor whose softmax(factor * scores) has the lowest cross-entropy with labels. scores: (rows, labels)."""
    below = scores - scores.max(axis=1, keepdims=True)
    right = below[np.arange(len(gold)), gold]
    losses = [float((np.log(np.exp(one * below).sum(axis=1)) - one * right).mean()) for one in _SHARPNESS]
    return float(_SHARPNESS[int(np.argmin(losses))])


def weighted_f1(gold: NDArray[np.int64], said: NDArray[np.int64], labels: int) -> float:
    """F1 of each label, weighted by how often it is right."""
    return float(macro(single_counts(gold, said, labels, np.ones((1, len(gold)))), weighted=True)[2][0])


def beside(rows: Sparse, vectors: Floats, share: float) -> Sparse:
    """N-grams (rows, features) and vectors (rows, width) of this share as one matrix; the n-grams where width is 0."""
    from scipy.sparse import csr_matrix, hstack

    if not vectors.shape[1]:
        return rows
    return hstack([rows, csr_matrix(vectors * np.float32(np.sqrt(share)))]).tocsr()


def labelled(given: Lesson, outputs: Sequence[Output]) -> tuple[list[int], dict[str, NDArray[np.int64]]]:
    """Places of the texts that have every label, and their label numbers."""
    columns = {output.name: np.asarray(given.labels[output.name], np.int64) for output in outputs}
    known = np.flatnonzero(np.all([column >= 0 for column in columns.values()], axis=0))
    return known.tolist(), {name: column[known] for name, column in columns.items()}


def features(model: TaskModel, texts: Sequence[Text]) -> Sparse:
    """N-grams of texts before importance, (texts, table rows)."""
    from scipy.sparse import csr_matrix

    arrays = model.inputs.collate(model.inputs.encode(texts))
    module: Any = model.module
    return csr_matrix((arrays["weights"], arrays["ids"], arrays["offsets"]), shape=(len(texts), len(module.table)))


def _hot(numbers: NDArray[np.int64], labels: int) -> Floats:
    found: Floats = np.eye(labels, dtype=np.float32)[numbers]
    return found


def _weighted_lengths(rows: Sparse, importance: Floats) -> Floats:
    """Lengths of rows with features weighted by their importance: (rows,)."""
    squares = np.asarray(rows.multiply(rows) @ np.square(importance), np.float32).ravel()
    found: Floats = np.sqrt(np.maximum(squares, 1e-12)).astype(np.float32)
    return found


def _store(module: BagModule, best: _Try, rows: Sparse) -> None:
    """Table, importance and heads; vectors are not of unit length in the runtime, but on average they are."""
    module.importance = torch.from_numpy(best.importance / _weighted_lengths(rows, best.importance).mean())
    table = best.table[: rows.shape[1]]
    module.table = nn.Parameter(torch.from_numpy(np.ascontiguousarray(table, np.float32)))
    at = 0
    with torch.no_grad():
        for head in module.heads.values():
            assert isinstance(head, nn.Linear)
            size = head.out_features
            head.weight.zero_()
            head.weight[:, at : at + size] = torch.eye(size)
            head.bias.copy_(torch.from_numpy(best.bias[at : at + size]))
            at += size
