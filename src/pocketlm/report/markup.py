"""HTML and SVG that cannot be broken out of: plain strings are escaped, only `Markup` goes in as it is."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

# Characters HTML does not allow (controls, lone surrogates) show as U+FFFD instead of damaging the page.
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_VOID = frozenset({"br", "col", "hr", "img", "meta", "wbr"})

Attribute = str | float | bool | None


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """`text` as HTML: itself where it is Markup, escaped (quotes too) otherwise."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(_NOT_TEXT.sub("�", str(text))))


def join(parts: Iterable[object], between: str = "") -> Markup:
    """The parts as HTML, one after the other."""
    return Markup(escape(between).join(escape(part) for part in parts))


def element(tag: str, *children: object, **attributes: Attribute) -> Markup:
    """`<tag attributes>children</tag>`.

    Attributes: a trailing underscore is dropped, others become hyphens (class_, text_anchor); None and False
    leave the attribute out, True writes it bare. Children that are None are left out.
    """
    written = "".join(
        f" {_attribute_name(key)}" if value is True else f' {_attribute_name(key)}="{_attribute_value(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in _VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{join(child for child in children if child is not None)}</{tag}>")


def data(text: object) -> Markup:
    """Text that came with the data: isolated, so that its direction does not turn its neighbours'."""
    return element("bdi", text)


def label(text: object) -> Markup:
    """A label of the data, which may be broken between its words: a_b, a.b, a/b, aB."""
    pieces = re.split(r"(?<=[_./])(?=\w)|(?<=[a-z])(?=[A-Z])", str(text))
    return element("bdi", join(pieces, Markup("<wbr>")))


def inline_json(value: object) -> Markup:
    """JSON that may stand inside a <script> element: no character of it can end the element.

    Figures that are not finite become null: JSON has no word for them.
    """
    text = json.dumps(_finite(value), ensure_ascii=True, separators=(",", ":"), default=str, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _finite(value: object) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def _attribute_name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _attribute_value(value: Attribute) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return escape(value)
