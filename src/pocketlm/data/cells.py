"""Cells of a row that hold nothing."""

from __future__ import annotations

import math
from typing import Any


def is_null(value: Any) -> bool:
    """Whether a cell is null or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def missing(value: Any) -> bool:
    """Whether a cell is null, or a text that says nothing: blank, or "nan"."""
    return is_null(value) or (isinstance(value, str) and (not value.strip() or value.strip().lower() == "nan"))


def unlabelled(value: Any, multi_label: bool) -> bool:
    """Whether a cell is no label; where several are allowed, none is allowed too, but not null."""
    if isinstance(value, list):
        return any(missing(label) for label in value)
    return missing(value) and not (multi_label and value == "")
