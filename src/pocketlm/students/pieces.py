"""What students on subword pieces share: a trimmed vocabulary and embeddings factorized from the teacher's."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from pocketlm.errors import RecipeError
from pocketlm.knobs import Whole
from pocketlm.model.encoder import Pretrained, question_inputs
from pocketlm.model.vocabulary import TrimmedVocabulary, count_pieces, learn_wordpieces, reopen, trim
from pocketlm.runtime.inputs import PieceInputs, plain_text
from pocketlm.runtime.windows import QuestionInputs
from pocketlm.train.context import FitContext

# A vocabulary learnt from the training texts, where there is no teacher to take one from.
_SCRATCH_PIECES = 4096
# Pieces that a student may have at most.
VOCABULARY = Whole(1, 500_000, log=True)


@dataclass(frozen=True)
class Pieces:
    """A student's way of reading. counts: (pieces,) in the training texts. old: (pieces,) teacher's ids, if any."""

    inputs: PieceInputs | QuestionInputs
    counts: np.ndarray
    old: np.ndarray | None


def student_pieces(context: FitContext, limit: int | None) -> Pieces:
    """The teacher's tokenizer cut to the training texts (at most `limit` pieces), or one learnt from them."""
    if context.pretrained is None:
        tokenizer = _learn_tokenizer(context, limit or _SCRATCH_PIECES)
        inputs = PieceInputs(tokenizer, context.tagging, context.max_length, tokenizer.token_to_id("[PAD]") or 0)
        return Pieces(inputs, _count(inputs, context), None)
    if context.asking:
        return _question_pieces(context, context.pretrained, limit)
    whole = PieceInputs(
        Tokenizer.from_str(_tokenizer_json(context)), context.tagging, context.max_length, context.pretrained.pad_id
    )
    counts = count_pieces(one.arrays[0] for one in whole.encode(context.lesson.texts))
    trimmed: TrimmedVocabulary = trim(whole.tokenizer.to_str(), counts, limit)
    old = np.array(trimmed.kept)
    pad = int(np.flatnonzero(old == context.pretrained.pad_id)[0])
    inputs = PieceInputs(reopen(trimmed), context.tagging, context.max_length, pad)
    return Pieces(inputs, _count(inputs, context), old)


def _tokenizer_json(context: FitContext) -> str:
    if context.teacher is not None and isinstance(context.teacher.inputs, (PieceInputs, QuestionInputs)):
        return context.teacher.inputs.tokenizer.to_str()
    assert context.pretrained is not None
    return context.pretrained.tokenizer_json


def _question_pieces(context: FitContext, pretrained: Pretrained, limit: int | None) -> Pieces:
    """As for texts, but of the whole vocabulary: contexts to come have words that no training text has.

    Pieces that training texts lack come in the vocabulary's order, which is mostly that of frequency.
    """
    whole = question_inputs(pretrained, context.max_length)
    counts = count_pieces(one.arrays[0] for one in whole.encode(context.lesson.texts))
    counts.update(dict.fromkeys(range(whole.tokenizer.get_vocab_size()), 0))
    trimmed = trim(whole.tokenizer.to_str(), counts, limit)
    old = np.array(trimmed.kept)
    pad = int(np.flatnonzero(old == pretrained.pad_id)[0])
    inputs = QuestionInputs(reopen(trimmed), whole.max_length, pad, replace(whole.reading, focus=context.focus))
    return Pieces(inputs, _count(inputs, context), old)


def _count(inputs: PieceInputs | QuestionInputs, context: FitContext) -> np.ndarray:
    ids = np.concatenate([one.arrays[0] for one in inputs.encode(context.lesson.texts)])
    return np.bincount(ids, minlength=inputs.tokenizer.get_vocab_size())


def _learn_tokenizer(context: FitContext, limit: int) -> Tokenizer:
    """A WordPiece tokenizer of the training texts, NFC and lower case, marks kept."""
    from tokenizers import models, normalizers, pre_tokenizers, processors

    normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    splitter = pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in context.lesson.texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(plain_text(text))))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    pieces = [*special, *learn_wordpieces(words, limit - len(special))]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def teacher_embeddings(pretrained: Pretrained | None) -> Tensor | None:
    """The teacher's piece embeddings, (pieces, width), or None without a teacher."""
    if pretrained is None:
        return None
    embedding = pretrained.backbone.get_input_embeddings()
    weight = getattr(embedding, "weight", None)
    if not isinstance(weight, Tensor):
        raise RecipeError(f"teacher {pretrained.name}: its piece embeddings are not a plain table")
    return weight.detach().float()


def factor_spread(values: Tensor, rank: int) -> Tensor:
    """What the right factor of singular values takes of them, (rank,).

    The factors share the spread, so that neither trains much faster than the other.
    """
    return (values[:rank] / values[:rank].mean()).clamp(min=1e-3).sqrt()


def factorize(matrix: Tensor, weights: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(rows, rank) and (rank, columns) whose product is nearest to `matrix`, rows weighted by `weights` (rows,).

    Weighted Eckart-Young: SVD of diag(√w) M, then the weights are taken off the left factor.
    """
    root = weights.clamp(min=1e-6).sqrt()[:, None]
    _, values, right = torch.linalg.svd(matrix * root, full_matrices=False)
    basis, spread = right[:rank], factor_spread(values, rank)
    return matrix @ basis.T / spread, basis * spread[:, None]
