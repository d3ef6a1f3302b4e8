"""What a pass is, and the table of them.

A pass is a frozen dataclass: its fields are its settings, calling it maps a model to a model. It may work
in place on the model it is given (the caller's own model was copied before), and it never looks at test data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, Protocol

from pocketlm.errors import RecipeError
from pocketlm.model.model import Model
from pocketlm.tables import Table, did_you_mean
from pocketlm.train.context import Context


class Pass(Protocol):
    """A step of a recipe."""

    name: ClassVar[str]

    def __call__(self, model: Model | None, context: Context) -> Model:
        """The changed model. Passes that build a student take whatever came before as nothing."""
        ...


PASSES = Table(
    "pass",
    {
        "hashed-ngrams": "pocketlm.compress.ngrams:HashedNgrams",
        "static-embeddings": "pocketlm.compress.static:StaticEmbeddings",
        "small-transformer": "pocketlm.compress.transformer:SmallTransformer",
        "small-convnet": "pocketlm.compress.convnet:SmallConvnet",
        "distill": "pocketlm.compress.distill:Distill",
        "prune-rows": "pocketlm.compress.prune_rows:PruneRows",
        "quantize": "pocketlm.compress.quantize:Quantize",
    },
)


def pass_to_json(step: Any) -> dict[str, Any]:
    """{"pass": name, setting: value, …} of a pass."""
    return {"pass": step.name, **asdict(step)}


def pass_from_json(value: Mapping[str, Any]) -> Any:
    """The pass described by `value`. Raises RecipeError for unknown settings, with the nearest name."""
    if "pass" not in value:
        raise RecipeError(f"a recipe step needs the key 'pass'; got {', '.join(value) or 'nothing'}")
    kind = PASSES[value["pass"]]
    allowed = [one.name for one in fields(kind)]
    settings = {key: setting for key, setting in value.items() if key != "pass"}
    for key in settings:
        if key not in allowed:
            raise RecipeError(
                f"pass {value['pass']}: unknown setting {key!r}; there is {', '.join(allowed)}."
                f"{did_you_mean(key, allowed)}"
            )
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"pass {value['pass']}: {error}") from None
