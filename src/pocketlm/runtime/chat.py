"""A conversation as the prompt that a model was trained on, by the template that its Pocket has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pocketlm.errors import MissingExtraError, UserError


def chat_prompt(template: str | None, messages: Sequence[Mapping[str, str]], names: Mapping[str, str]) -> str:
    """The prompt of a conversation, up to where the answer begins.

    messages: {"role", "content"} each. names: of special tokens, such as bos_token. The template comes out of a file
    from anywhere: it runs in a sandbox that changes nothing. Raises UserError where there is none or it refuses.
    """
    if template is None:
        raise UserError("the Pocket has no chat template; give it plain text")
    try:
        from jinja2 import TemplateError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise MissingExtraError("a chat template", "chat") from None

    def refuse(message: str) -> Any:
        raise TemplateError(message)

    room = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    room.globals |= {"raise_exception": refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
    room.filters["tojson"] = lambda value, **how: json.dumps(value, **{"ensure_ascii": False, **how})
    try:
        return room.from_string(template).render(messages=list(messages), add_generation_prompt=True, **names)
    except TemplateError as error:
        raise UserError(f"the chat template refuses this conversation: {error}") from None
