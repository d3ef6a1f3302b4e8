"""Put linear n-grams beside an encoder: what texts literally say, beside what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pocketlm.errors import RecipeError
from pocketlm.knobs import Choice, knob
from pocketlm.model.stack import stack
from pocketlm.model.task_model import TaskModel
from pocketlm.model.transformer import SmallEncoder
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.train.context import FitContext


@dataclass(frozen=True)
class BesideNgrams:
    """The encoder and hashed n-grams whose logits are added; `solve` finds what both say.

    buckets: a power of two. rows: at most so many of them, the ones in most texts. max_words: read of a long text.
    """

    name: ClassVar[str] = "beside-ngrams"
    buckets: int = 2**18
    rows: int = 100_000
    max_words: int = knob(512, Choice((48, 96, 192, 320, 512)))

    def __post_init__(self) -> None:
        self._ngrams()

    def _ngrams(self) -> HashedNgrams:
        return HashedNgrams(
            self.buckets, width=0, hidden=False, rows=self.rows, min_texts=1, dropout=0.0, max_words=self.max_words
        )

    def __call__(self, model: TaskModel | None, context: FitContext) -> TaskModel:
        """The stack of both. Raises RecipeError where the model is no encoder."""
        if model is None or not isinstance(model.module, SmallEncoder):
            raise RecipeError("beside-ngrams stands beside an encoder; put it after imitate or distill")
        return stack(model, self._ngrams()(None, context))
