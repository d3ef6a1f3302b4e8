"""Trim the vocabulary to what a text needs: rows of tables go, pieces are numbered anew, the tokenizer shrinks too.

In small multilingual models most weights are embeddings of pieces that one language never uses (Abdaoui et al. 2020,
arXiv:2010.05609). On covered text, which is any that the whole tokenizer cuts into kept pieces, the smaller tokenizer
cuts as the whole one does, and the outputs are equal to the bit. Other text is cut into smaller pieces, at last into
characters or bytes. `prune-vocabulary` keeps all numbers and writes zeros, for where the tokenizer is fixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

from tokenizers import Tokenizer

from pocketlm.compress.context import Context
from pocketlm.compress.words import rules_of
from pocketlm.errors import DataError, ModelError, TeacherError
from pocketlm.model.pretrained import Model
from pocketlm.model.tokenizer_files import with_rules
from pocketlm.model.vocabulary import TrimmedVocabulary, trim, usual_pieces
from pocketlm.model.word_rows import fixed_pieces, keep_words, word_layers
from pocketlm.scripts import script_of

_BATCH = 1_000


@dataclass(frozen=True)
class TrimVocabulary:
    """Keep only the pieces that the text needs.

    text: UTF-8 files, a text a line, or tables with a column of texts, all of which count; without, the calibration.
    coverage: share of the text's pieces, counted as often as they occur, that is kept at least; the rarest go first.
    pieces: at most so many beside what must stay: special pieces, single characters of the text's scripts, bytes.
    at_least: so many are kept, as far as there are, for words to come: beside those of the text the tokenizer's most
    usual ones in its scripts, of each as large a part as its share of the text's letters.
    """

    name: ClassVar[str] = "trim-vocabulary"
    kind: ClassVar[str] = "structure"
    text: tuple[str, ...] = ()
    coverage: float = 1.0
    pieces: int | None = None
    at_least: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.text, str):
            object.__setattr__(self, "text", (self.text,))
        if not 0 < self.coverage <= 1:
            raise ValueError(f"coverage is a share above 0 and at most 1, got {self.coverage}")
        if self.pieces is not None and self.pieces < 1:
            raise ValueError(f"pieces is at least 1, got {self.pieces}")
        if self.at_least < 0 or (self.at_least and (self.pieces is not None or self.coverage < 1)):
            raise ValueError(
                "at_least is a number of pieces, and goes without pieces and coverage, which ask for fewer"
            )

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with fewer pieces. Raises ModelError for a tokenizer that cannot be trimmed."""
        rules, fixed = rules_of(model), fixed_pieces(model)
        texts = read_texts(self.text) if self.text else context.calibrated(self.name).texts
        whole = unlimited(rules)
        counts, scripts = count_text(whole, texts)
        letters = {piece for piece in _letters(whole) if script_of(piece) in scripts}
        try:
            trimmed = trim(rules, counts, self.pieces, self.coverage, letters, fixed)
            if self.at_least > len(trimmed.kept):
                to_come = _usual(rules, set(trimmed.kept), scripts, self.at_least - len(trimmed.kept))
                trimmed = trim(rules, counts, None, 1.0, letters, {*fixed, *trimmed.kept, *to_come})
                if len(trimmed.kept) < self.at_least:
                    context.journal.note(
                        f"the tokenizer has no more than {len(trimmed.kept):,} pieces of these scripts"
                    )
        except TeacherError as error:
            raise ModelError(f"model {model.spec.source}: {error}") from None
        rows = int(model.module.get_input_embeddings().weight.shape[0])
        if len(trimmed.kept) >= rows:
            context.journal.note("every piece is needed")
            return model
        tokenizer = with_rules(model.tokenizer, trimmed.tokenizer_json)
        _prove(whole, unlimited(tokenizer.backend_tokenizer.to_str()), trimmed, texts)
        names = word_layers(model)
        made = keep_words(model, trimmed.kept, tokenizer)
        _record(context, made, names, rows)
        kept = set(trimmed.kept)
        share = sum(count for piece, count in counts.items() if piece in kept) / max(1, sum(counts.values()))
        context.journal.note(
            f"{len(trimmed.kept):,} of {rows:,} pieces are left, which {share:.2%} of the text's are; the tokenizer "
            f"has {len(trimmed.tokenizer_json.encode()):,} bytes of {len(rules.encode()):,}"
        )
        return made


def _usual(rules: str, kept: set[int], scripts: Counter[str], count: int) -> list[int]:
    """So many of the most usual pieces in these scripts that are not kept yet, of each script by its share.

    A text's few foreign words do not take the places of its own: where a script has fewer pieces, others follow.
    """
    found: dict[str, list[int]] = {}
    for place, piece in usual_pieces(rules):
        own = [script_of(char) for char in piece]
        if piece and place not in kept and scripts.keys() >= {*own}:
            found.setdefault(next(filter(None, own), ""), []).append(place)
    total = max(1, sum(scripts.values()))
    taken = {script: places[: round(count * scripts[script] / total)] for script, places in found.items()}
    first = [place for places in taken.values() for place in places][:count]
    usual = (place for place, _ in usual_pieces(rules))
    others = {place for script, places in found.items() for place in places[len(taken[script]) :]}
    return [*first, *islice((place for place in usual if place in others), count - len(first))]


def _record(context: Context, made: Model, names: Sequence[str], rows: int) -> None:
    for name in names:
        shape = tuple(made.module.get_submodule(name).weight.shape)
        context.journal.layer(name, "trimmed", rows=shape[0], rows_before=rows)
        context.journal.promise(name, "shape", shape)


def read_texts(paths: Sequence[str]) -> tuple[str, ...]:
    """The texts of these files. Raises DataError where one cannot be read, or there is none."""
    from pocketlm.data.texts import iter_texts

    texts = tuple(text for path in paths for text in iter_texts(Path(path)))
    if not texts:
        raise DataError(f"{', '.join(paths)}: has no text")
    return texts


def unlimited(rules: str) -> Tokenizer:
    """The tokenizer of a tokenizer.json, which cuts texts off nowhere and pads none."""
    tokenizer = Tokenizer.from_str(rules)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def count_text(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Counter[int], Counter[str]]:
    """How often each piece occurs in the texts, and each script among their letters; "" is of no script."""
    counts: Counter[int] = Counter()
    for start in range(0, len(texts), _BATCH):
        for one in tokenizer.encode_batch(list(texts[start : start + _BATCH])):
            counts.update(one.ids)
    letters = Counter(char for text in texts for char in text)
    scripts: Counter[str] = Counter({"": 0})
    for char, times in letters.items():
        scripts[script_of(char)] += times if script_of(char) else 0
    return counts, scripts


def _letters(tokenizer: Tokenizer) -> list[str]:
    """Characters that are pieces, at the start of a word or inside."""
    bare = {piece.removeprefix("##").removeprefix("▁") for piece in tokenizer.get_vocab()}
    return [piece for piece in bare if len(piece) == 1]


def _prove(whole: Tokenizer, small: Tokenizer, trimmed: TrimmedVocabulary, texts: Sequence[str]) -> None:
    """Raise ModelError where covered text is cut in another way than before."""
    kept = set(trimmed.kept)
    for start in range(0, len(texts), _BATCH):
        batch = list(texts[start : start + _BATCH])
        pairs = zip(whole.encode_batch(batch), small.encode_batch(batch), strict=True)
        for text, (old, new) in zip(batch, pairs, strict=True):
            if kept.issuperset(old.ids) and [trimmed.kept[piece] for piece in new.ids] != old.ids:
                raise ModelError(
                    f"the tokenizer's {type(whole.model).__name__} cannot be trimmed: {text[:60]!r} would be cut in "
                    "another way"
                )
