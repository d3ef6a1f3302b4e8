"""Put linear n-grams beside an encoder: what texts literally say, beside what they mean.

Solved together they learn the labels from what the encoder sees and the n-grams (`solve`); or the n-grams are solved
alone and both are weighed (`solve` with heads=False, then `weigh`), as with an encoder that has learnt its heads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from pocketlm.errors import RecipeError
from pocketlm.knobs import Choice, knob
from pocketlm.model.stack import stack
from pocketlm.model.task_model import TaskModel
from pocketlm.model.transformer import SmallEncoder
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.train.context import FitContext
from pocketlm.train.lesson import with_labels


@dataclass(frozen=True)
class BesideNgrams:
    """The encoder and hashed n-grams whose logits are added; `solve` finds what both say.

    buckets: a power of two. rows: at most so many of them, the ones in most texts that have labels: others teach
    n-grams nothing. max_words: read of a long text.
    """

    name: ClassVar[str] = "beside-ngrams"
    buckets: int = 2**18
    rows: int = 100_000
    max_words: int = knob(512, Choice((48, 96, 192, 320, 512)), decisive=True)

    def __post_init__(self) -> None:
        self.ngrams()

    def ngrams(self) -> HashedNgrams:
        """The student that stands beside it."""
        return HashedNgrams(
            self.buckets, width=0, hidden=False, rows=self.rows, min_texts=1, dropout=0.0, max_words=self.max_words
        )

    def __call__(self, model: TaskModel | None, context: FitContext) -> TaskModel:
        """The stack of both. Raises RecipeError where the model is no encoder."""
        if model is None or not isinstance(model.module, SmallEncoder):
            raise RecipeError("beside-ngrams stands beside an encoder; put it after imitate or distill")
        own = replace(context, lesson=with_labels(context.lesson, context.outputs))
        return stack(model, self.ngrams()(None, own))
