"""Subword pieces learnt from texts: byte-level BPE for translators and for language models, and BPE-dropout.

Small joint vocabularies suit little data (Sennrich and Zhang 2019, arXiv:1905.11901). Bytes are the alphabet, so that
no text has an unknown piece; words keep combining marks and apostrophes whatever their script, digits stand alone.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from pocketlm.errors import DataError

PAD, END, START, MASK = "<pad>", "</s>", "<s>", "<mask>"
PAD_ID, END_ID = 0, 1
# The alphabet and the two specials.
LEAST_PIECES = 258
_WORDS = r" ?[\p{L}\p{M}]+(?:['’ʼ][\p{L}\p{M}]+)*| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+"
# Segmentations drawn for a word, at most: epochs choose among them.
MOST_FORMS = 12


def pieces_for(pairs: int) -> int:
    """A vocabulary that so many pairs can teach: 2,000 for few, 8,000 for many."""
    return 2_000 if pairs < 10_000 else 4_000 if pairs < 100_000 else 8_000


def learn_subwords(texts: Iterable[str], pieces: int) -> Any:
    """A `transformers` tokenizer with at most `pieces` pieces; every text ends in "</s>". Raises DataError."""
    from transformers import PreTrainedTokenizerFast

    if pieces < LEAST_PIECES:
        raise DataError(f"a vocabulary of {pieces} pieces is too small: bytes and specials take {LEAST_PIECES}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip(), normalizers.Prepend(" ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=pieces, special_tokens=[PAD, END], initial_alphabet=letters, show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, END_ID)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False
    )


def learn_pieces(texts: Iterable[str], pieces: int, *, masked: bool = False) -> Any:
    """A `transformers` tokenizer of at most `pieces` byte-level pieces that keeps every space and line of a text.

    masked: with "<s>", "<mask>" and an end around each text, as encoders read them. Raises DataError.
    """
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": PAD, "eos_token": END, "bos_token": START, **({"mask_token": MASK} if masked else {})}
    least = 256 + len(special)
    if pieces < least:
        raise DataError(f"a vocabulary of {pieces} pieces is too small: bytes and specials take {least}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=pieces, special_tokens=list(special.values()), show_progress=False, min_frequency=2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    if masked:
        ends = [(one, tokenizer.token_to_id(one)) for one in (START, END)]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special, clean_up_tokenization_spaces=False)


class DroppedSubwords:
    """Texts cut anew on each call, each merge left out with probability `dropout`.

    BPE-dropout, Provilkov et al. 2020, arXiv:1910.13267, alg. 1; segmentations are drawn once a word, up to
    MOST_FORMS of them, and epochs choose among them: the same seed gives the same pieces on every machine.
    """

    def __init__(self, tokenizer: Any, texts: Sequence[str], dropout: float, seed: int = 0) -> None:
        backend: Tokenizer = tokenizer.backend_tokenizer
        model = json.loads(backend.to_str())["model"]
        assert model["type"] == "BPE", "only BPE can drop merges"
        ranks = {tuple(pair): rank for rank, pair in enumerate(model["merges"])}
        words = [_words(backend, text) for text in texts]
        counts = Counter(word for own in words for word in own)
        chance = random.Random(f"{seed}:forms")  # noqa: S311  (no secret)
        forms: dict[str, list[list[int]]] = {}
        for word in sorted(counts):
            drawn = [merged(word, ranks, dropout, chance) for _ in range(min(MOST_FORMS, 2 * counts[word]))]
            forms[word] = [[model["vocab"][piece] for piece in cut] for cut in drawn]
        self._texts = [[forms[word] for word in own] for own in words]
        self._seed = seed

    def ids(self, epoch: int) -> list[list[int]]:
        """The texts' pieces in this epoch, each text with its end."""
        draw = random.Random(f"{self._seed}:{epoch}").random  # noqa: S311  (no secret)
        rows = []
        for words in self._texts:
            row: list[int] = []
            for forms in words:
                row += forms[int(draw() * len(forms))] if len(forms) > 1 else forms[0]
            row.append(END_ID)
            rows.append(row)
        return rows


def _words(backend: Tokenizer, text: str) -> list[str]:
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))]


def merged(word: str, ranks: dict[tuple[str, ...], int], dropout: float, chance: random.Random) -> list[str]:
    """The pieces of a word: the best merge left is done until none is, each ignored with probability `dropout`."""
    pieces = list(word)
    while len(pieces) > 1:
        best, place = len(ranks), -1
        for at, pair in enumerate(itertools.pairwise(pieces)):
            rank = ranks.get(pair)
            if rank is not None and rank < best and (dropout == 0 or chance.random() >= dropout):
                best, place = rank, at
        if place < 0:
            break
        pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
    return pieces
