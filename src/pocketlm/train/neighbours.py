"""Words of like meaning, as a pretrained encoder sees them: nearest by the cosine of their pooled states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from pocketlm.model.encoder import Pretrained
from pocketlm.model.readout import pool
from pocketlm.model.vocabulary import whole_words
from pocketlm.runtime.inputs import PieceInputs
from pocketlm.runtime.ngrams import ngram_words
from pocketlm.train.lesson import tensors
from pocketlm.train.loop import gains_from_bf16

# Whole words of the vocabulary that may be neighbours; vocabularies begin with the frequent ones.
MOST_CANDIDATES = 30_000
NEAREST = 10
LONGEST = 16


def is_word(word: str) -> bool:
    """Whether `word` is one lower-case word of at least two letters, without digits."""
    return len(word) > 1 and word[0].isalpha() and ngram_words(word) == [word] and not any(map(str.isdigit, word))


def neighbours(pretrained: Pretrained, words: Iterable[str]) -> dict[str, list[str]]:
    """For each of `words` (lower case) the NEAREST words among them and the encoder's vocabulary, nearest first."""
    own = sorted({word for word in words if is_word(word)})
    known = dict.fromkeys(own)
    others = [word for word in whole_words(pretrained.tokenizer_json) if is_word(word) and word not in known]
    candidates = [*own, *others[:MOST_CANDIDATES]]
    if len(candidates) <= NEAREST:
        return {}
    vectors = _word_vectors(pretrained, candidates)
    found: dict[str, list[str]] = {}
    for begin in range(0, len(own), 1024):
        near = vectors[begin : begin + 1024][: len(own) - begin] @ vectors.T
        for row, scores in enumerate(near):
            scores[begin + row] = -np.inf
            places = np.argpartition(-scores, NEAREST)[:NEAREST]
            found[own[begin + row]] = [candidates[place] for place in places[np.argsort(-scores[places])]]
    return found


@torch.no_grad()
def _word_vectors(pretrained: Pretrained, words: Sequence[str]) -> NDArray[np.float32]:
    """Pooled last states of each word read alone, centred and of unit length: (words, width)."""
    inputs = PieceInputs(Tokenizer.from_str(pretrained.tokenizer_json), False, LONGEST, pretrained.pad_id)
    encoded = inputs.encode(words)
    order = sorted(range(len(words)), key=lambda place: encoded[place].length)
    backbone = pretrained.backbone.eval()
    vectors = torch.zeros(len(words), int(pretrained.config.hidden_size))
    with torch.autocast("cpu", torch.bfloat16, enabled=gains_from_bf16()):
        for begin in range(0, len(order), 256):
            places = order[begin : begin + 256]
            batch = tensors(inputs.collate([encoded[place] for place in places]))
            states: Tensor = backbone(**batch).last_hidden_state
            vectors[places] = pool(states.float(), batch["attention_mask"], pretrained.reads_at)
    vectors -= vectors.mean(0)
    unit: NDArray[np.float32] = torch.nn.functional.normalize(vectors, dim=1).numpy()
    return unit
