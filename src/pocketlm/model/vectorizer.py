"""Words as Keras's TextVectorization reads them: standardized, split, numbered; 0 is padding and 1 any other word.

It is a `tokenizers` tokenizer without special tokens, so that tokenizer.json alone holds it and the runtime reads it.
What TensorFlow's string operations do is kept to the letter: only the 26 letters of ASCII become lower case, and only
ASCII's white space splits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Normalizer, Replace
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.pre_tokenizers import Split
from torch import Tensor

from pocketlm.errors import ModelError

STANDARDIZE = ("lower_and_strip_punctuation", "lower", "strip_punctuation", None)
SPLIT = ("whitespace", "character", None)
# What Keras strips, and what TensorFlow splits at.
PUNCTUATION, SPACE = r"""[!"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~']""", r"[ \t\n\x0B\f\r]+"
# Names of ids 0 and 1 that no text holds, as it is standardized and split.
PADDING, OTHER = "\n<padding>\n", "\n<other>\n"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Vectorizer:
    """Texts to ids. backend: of `word_tokenizer`. length: ids that texts are cut or filled up to, or None."""

    model_input_names = ("input_ids", "attention_mask")
    # padding and any other word
    all_special_ids = (0, 1)

    def __init__(self, backend: Tokenizer, length: int | None = None, masked: bool = False) -> None:
        self.backend, self.length, self.masked = backend, length, masked
        backend.no_padding()
        backend.no_truncation()

    def __len__(self) -> int:
        return int(self.backend.get_vocab_size())

    def __call__(
        self, texts: Sequence[str], padding: bool = True, truncation: bool = True, max_length: int | None = None,
        return_tensors: str = "pt", padding_side: str = "right",
    ) -> dict[str, Tensor]:  # fmt: skip
        """input_ids and attention_mask (texts, ids), filled up with 0 on the right: to the length, or the longest.

        Without a mask in the model padding is read as words are, and then counts in attention_mask.
        """
        most = self.length or (max_length if truncation else None)
        found = [one.ids[:most] for one in self.backend.encode_batch_fast(list(texts))]
        width = self.length or max(1, *map(len, found))
        ids = torch.zeros(len(found), width, dtype=torch.long)
        for row, one in enumerate(found):
            ids[row, : len(one)] = torch.tensor(one, dtype=torch.long)
        mask = (ids != 0).long() if self.masked else torch.ones_like(ids)
        mask[:, 0] = 1  # of a text without words something is read all the same
        return {"input_ids": ids, "attention_mask": mask}

    @property
    def vocabulary(self) -> list[str]:
        """Every word in order, those of ids 0 and 1 as Keras names them."""
        numbered = sorted(self.backend.get_vocab().items(), key=lambda one: one[1])
        return ["", "[UNK]", *(word for word, _ in numbered[2:])]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write tokenizer.json."""
        self.backend.save(str(Path(folder) / "tokenizer.json"), pretty=False)

    @classmethod
    def adapted(
        cls, texts: Iterable[str], max_tokens: int | None = None, length: int | None = None,
        standardize: str | None = STANDARDIZE[0], split: str | None = SPLIT[0],
    ) -> Vectorizer:  # fmt: skip
        """With the words of these texts, the most frequent first (of two as frequent the later in order, as Keras)."""
        empty = word_tokenizer(["", "[UNK]"], standardize, split)
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(words_of(empty, text))
        ordered = sorted(counts, key=lambda word: (counts[word], word.encode()), reverse=True)
        kept = ordered[: None if max_tokens is None else max_tokens - 2]
        return cls(word_tokenizer(["", "[UNK]", *kept], standardize, split), length)


def words_of(tokenizer: Tokenizer, text: str) -> list[str]:
    """A text's words, whether they are known or not."""
    shown = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer is not None else text
    parts = tokenizer.pre_tokenizer.pre_tokenize_str(shown) if tokenizer.pre_tokenizer is not None else [(shown, ())]
    return [word for word, _ in parts]


def word_tokenizer(vocabulary: Sequence[str], standardize: str | None, split: str | None) -> Tokenizer:
    """The tokenizer of a vocabulary that begins with padding and any other word.

    standardize, split: of STANDARDIZE and SPLIT. Raises ModelError for others, and for a vocabulary with a word twice.
    """
    for name, value, known in (("standardize", standardize, STANDARDIZE), ("split", split, SPLIT)):
        if value not in known:
            there = ", ".join(map(str, known))
            raise ModelError(f"TextVectorization: {name}={value!r} is not supported; there is {there}")
    numbers = {word: place for place, word in enumerate(vocabulary)}
    if len(numbers) < len(vocabulary) or list(vocabulary[:2]) != ["", "[UNK]"]:
        raise ModelError("vocabulary: begins with an empty word and [UNK], and has each word once")
    for old, new in zip(vocabulary[:2], (PADDING, OTHER), strict=True):
        numbers[new] = numbers.pop(old)
    made = Tokenizer(WordLevel(numbers, unk_token=OTHER))
    steps: list[Normalizer] = []
    if standardize in ("lower", "lower_and_strip_punctuation"):
        steps += [Replace(letter, letter.lower()) for letter in LETTERS]
    if standardize in ("strip_punctuation", "lower_and_strip_punctuation"):
        steps.append(Replace(Regex(PUNCTUATION), ""))
    if steps:
        made.normalizer = Normalizers(steps)
    if split is not None:
        whole = split == "whitespace"
        pattern = Regex(SPACE if whole else r"(?m).")
        made.pre_tokenizer = Split(pattern, "removed" if whole else "isolated")
    return made
