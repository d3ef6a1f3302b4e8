"""What n-grams mean, in closed form: vectors for them that add up to how an encoder sees words and texts.

Labels of few rows say nothing of words that no row has. An encoder that was pretrained does: its vectors of single
words and of texts are regressed on their n-grams, M minimizing Σ_i ‖v_i − x_i M‖² + λ ‖M‖² (as the linear maps between
embeddings of Mikolov et al. 2013, arXiv:1309.4168; vectors of n-grams that add up to those of words are of Bojanowski
et al. 2017, arXiv:1607.04606). x M is then a second view of a text, in which words of like meaning are alike; and since
it is linear in the n-grams too, weights on it are weights of n-grams: it costs no byte and no time at runtime.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pocketlm.errors import RecipeError
from pocketlm.model.encoder import EncoderModule
from pocketlm.runtime.inputs import Text, plain_text
from pocketlm.runtime.ngrams import ngram_words
from pocketlm.students.least_squares import Floats, Sparse
from pocketlm.train.context import FitContext

# Change this when what is learnt changes: students that were remembered are then made anew.
LEXICON_VERSION = 2
# Dimensions of the vectors that are learnt, at most: the first principal ones of the encoder's.
WIDTH = 384
# N-grams that get vectors, at most, those of most words and texts; and dimensions solved at once, which bound memory.
MOST_FEATURES, BLOCK = 300_000, 128
# λ, where x and v have unit length and mean square length 1; more steps than these fit what is chance.
PENALTY, STEPS = 0.1, 15
# Texts read, at most: labelled ones first.
MOST_TEXTS = 12_000


def lexicon_words(texts: Sequence[Text], most: int) -> list[str]:
    """The words with a letter that are in most texts, at most so many, frequent ones first."""
    often: Counter[str] = Counter()
    for text in texts:
        often.update(list(dict.fromkeys(ngram_words(plain_text(text)))))
    found = sorted((word for word in often if any(sign.isalpha() for sign in word)), key=lambda one: (-often[one], one))
    return found[:most]


def lexicon_texts(context: FitContext) -> list[Text]:
    """The lesson's texts, each once; of more than MOST_TEXTS the first ones that have a label, and others spread."""
    columns = [np.asarray(column) for column in context.lesson.labels.values()]
    known = np.all([column >= 0 for column in columns], axis=0)
    labelled = [text for text, has in zip(context.lesson.texts, known, strict=True) if has]
    others = [text for text, has in zip(context.lesson.texts, known, strict=True) if not has]
    first = list(dict.fromkeys(labelled))[:MOST_TEXTS]
    taken = set(first)
    rest = [text for text in dict.fromkeys(others) if text not in taken]
    places = np.linspace(0, len(rest) - 1, min(len(rest), MOST_TEXTS - len(first))).astype(int)
    return [*first, *(rest[place] for place in places)]


def seen_vectors(words: Sequence[str], texts: Sequence[Text], context: FitContext) -> Floats:
    """Vectors of words, then of texts, by the teacher as it was pretrained, in WIDTH dimensions: (all, WIDTH).

    Words and texts are centred apart, since single words lie elsewhere. Raises RecipeError without an encoder.
    """
    teacher = context.teacher
    if teacher is None or not isinstance(teacher.module, EncoderModule):
        raise RecipeError("solve: words are seen by a teacher, an encoder; there is none")
    found = context.seen.of(teacher, [*words, *texts], context.progress)
    parts = [part - part.mean(axis=0) for part in np.split(found, [len(words)]) if len(part)]
    vectors = np.concatenate(parts)
    directions = np.linalg.eigh(vectors.T @ vectors)[1][:, ::-1][:, :WIDTH]
    vectors = vectors @ directions
    scaled: Floats = vectors / np.sqrt(max(1e-12, float(np.square(vectors).sum(axis=1).mean())))
    return scaled


def learn_lexicon(rows: Sparse, vectors: Floats, penalty: float = PENALTY, steps: int = STEPS) -> Floats:
    """M, (features, width), by conjugate gradients on the normal equations (Hestenes and Stiefel 1952).

    rows: (texts, features), each of unit length. vectors: (texts, width). A feature of one text alone gets zeros, as do
    those beyond MOST_FEATURES.
    """
    often = np.bincount(rows.indices, minlength=rows.shape[1])
    shared = np.sort(np.argsort(-often, kind="stable")[: min(MOST_FEATURES, int((often > 1).sum()))])
    own = rows[:, shared].astype(np.float32)
    turned = own.T.tocsr()
    whole = np.zeros((rows.shape[1], vectors.shape[1]), np.float32)
    for begin in range(0, vectors.shape[1], BLOCK):
        block = slice(begin, begin + BLOCK)
        whole[shared, block] = _solved(own, turned, vectors[:, block], penalty, steps)
    return whole


def _solved(own: Sparse, turned: Sparse, vectors: Floats, penalty: float, steps: int) -> Floats:
    """The map for some dimensions. turned: `own` transposed."""
    rest = turned @ vectors
    found, step = np.zeros_like(rest), rest.copy()
    energy = np.square(rest).sum(axis=0)
    for _ in range(steps):
        product = turned @ (own @ step)
        product += np.float32(penalty) * step
        length = energy / np.maximum((step * product).sum(axis=0), 1e-30)
        found += length * step
        rest -= length * product
        before, energy = energy, np.square(rest).sum(axis=0)
        step *= energy / np.maximum(before, 1e-30)
        step += rest
    solved: Floats = found
    return solved
