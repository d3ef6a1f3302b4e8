"""How a sentence encoder makes one vector of its pieces' states, as sentence-transformers writes it beside a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pocketlm.errors import TeacherError
from pocketlm.model.readout import POOLINGS


def sentence_pooling(source: str) -> str:
    """One of POOLINGS, for the model folder or hub name `source`; "mean" where nothing is said beside the model.

    Raises TeacherError for another pooling, and for layers after it, such as LaBSE's Dense: their vectors would be
    others than those the model is known for. Normalization changes no angle and does not matter.
    """
    modules = _read(source, "modules.json") or []
    kinds = {str(one.get("type", "")).rsplit(".", 1)[-1]: one for one in modules}
    unknown = sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"})
    if unknown:
        raise TeacherError(f"teacher {source}: has a module {unknown[0]} after its encoder, which PocketLM cannot run")
    if "Pooling" not in kinds:
        return "mean"
    return _pooling(_read(source, "config.json", str(kinds["Pooling"].get("path", "1_Pooling"))) or {}, source)


def _pooling(about: Mapping[str, Any], source: str) -> str:
    """From {"pooling_mode": …} as newer files have it, or {"pooling_mode_mean_tokens": true, …}."""
    said = about.get("pooling_mode")
    given = [said] if isinstance(said, str) else [name for name, on in about.items() if on is True]
    modes = [name.removeprefix("pooling_mode_").removesuffix("_token").removesuffix("_tokens") for name in given]
    # the square root of the length changes no angle
    modes = [
        {"mean_sqrt_len": "mean", "lasttoken": "last"}.get(mode, mode) for mode in modes if mode != "include_prompt"
    ]
    if len(modes) > 1 or not set(modes) <= set(POOLINGS):
        raise TeacherError(
            f"teacher {source}: pools by {' and '.join(modes)}; PocketLM knows {', '.join(POOLINGS)}, one at a time"
        )
    return modes[0] if modes else "mean"


def _read(source: str, file: str, folder: str = "") -> Any:
    """The JSON file of the model, or None where it has none."""
    from transformers.utils import cached_file

    try:
        found = cached_file(
            source, file, subfolder=folder,
            _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False,
        )  # fmt: skip
        return None if found is None else json.loads(Path(found).read_text("utf-8"))
    except ValueError as error:
        raise TeacherError(f"teacher {source}: {folder or '.'}/{file} is not JSON ({error})") from None
