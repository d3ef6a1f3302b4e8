"""A tokenizer as llama.cpp reads it from a GGUF: byte-level BPE, or SentencePiece's BPE with bytes to fall back on.

How a text is split before BPE is not in the file but in llama.cpp, by name: those names are known here of the ways that
GPT-2, SmolLM, Llama 3 and Qwen2 split. Any other way is refused, as the model would read other tokens there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pocketlm.errors import ModelError

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Names that llama.cpp has for ways to split a text, by the steps that do it here.
SPLITS: Mapping[tuple[str, ...], str] = {
    ("words",): "gpt-2",
    ("digits", "words"): "smollm",
    (f"{_WORDS}\\p{{N}}{{1,3}}{_REST}", "bytes"): "llama-bpe",
    (f"{_WORDS}\\p{{N}}{_REST}", "bytes"): "qwen2",
}


def write_tokenizer(writer: Any, tokenizer: Any, vocabulary: int) -> None:
    """Put the tokenizer into a `gguf.GGUFWriter`; vocabulary: rows of the embedding, at least as many as tokens.

    Raises ModelError for one that llama.cpp would not run alike.
    """
    if tokenizer is None:
        writer.add_tokenizer_model("none")
        return
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(f"tokenizer {type(tokenizer).__name__}: has no tokenizer.json, which GGUF export reads")
    said = json.loads(backend.to_str())
    model = said["model"]
    if model["type"] != "BPE":
        raise ModelError(f"tokenizer: is of type {model['type']}; GGUF export is for BPE (byte-level or SentencePiece)")
    _tokens(writer, said, vocabulary)
    if model.get("byte_fallback"):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(_scores(model, vocabulary))
        writer.add_add_space_prefix(_prefixed(said))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(name := _split(said))
        if model.get("ignore_merges") and name != "llama-bpe":
            raise ModelError(f"tokenizer: takes whole words as they are, which llama.cpp does not for splits as {name}")
        writer.add_token_merges([" ".join(pair) for pair in _merges(model)])
        writer.add_add_space_prefix(False)
    _special(writer, tokenizer)


def _tokens(writer: Any, said: Mapping[str, Any], vocabulary: int) -> None:
    """Texts of all tokens by number, and of what kind each is; rows without a token are filled up."""
    from gguf import TokenType

    model, added = said["model"], said["added_tokens"]
    known = {number: text for text, number in model["vocab"].items()} | {one["id"]: one["content"] for one in added}
    if max(known) >= vocabulary:
        raise ModelError(f"tokenizer: has a token {max(known)}, and the embedding {vocabulary} rows")
    kinds = {number: TokenType.NORMAL for number in known}
    if model.get("byte_fallback"):
        kinds |= {number: TokenType.BYTE for number, text in known.items() if _is_byte(text)}
    kinds |= {one["id"]: TokenType.CONTROL if one["special"] else TokenType.USER_DEFINED for one in added}
    if model.get("unk_token") is not None and model.get("byte_fallback"):
        kinds[model["vocab"][model["unk_token"]]] = TokenType.UNKNOWN
    writer.add_token_list([known.get(number, f"[PAD{number}]") for number in range(vocabulary)])
    writer.add_token_types([kinds.get(number, TokenType.UNUSED) for number in range(vocabulary)])


def _is_byte(text: str) -> bool:
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")


def _merges(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs in the order they are merged."""
    pairs = (one.split(" ") if isinstance(one, str) else one for one in model["merges"])
    return [(left, right) for left, right in pairs]


def _scores(model: Mapping[str, Any], vocabulary: int) -> list[float]:
    """What llama.cpp merges by: of a token, less the place of the first merge that makes it; others come last."""
    places: dict[str, int] = {}
    for place, pair in enumerate(_merges(model)):
        places.setdefault("".join(pair), place)
    found = [float(-len(places) - 1)] * vocabulary
    for text, number in model["vocab"].items():
        if text in places:
            found[number] = float(-places[text])
    return found


def _steps(step: Mapping[str, Any] | None, parts: str) -> list[Mapping[str, Any]]:
    """A step, or those of a sequence of them."""
    if step is None:
        return []
    return [inner for one in step[parts] for inner in _steps(one, parts)] if step["type"] == "Sequence" else [step]


def _prefixed(said: Mapping[str, Any]) -> bool:
    """Whether a text begins as if after a space. Raises ModelError where more is done to it than to spaces."""
    before = _steps(said["normalizer"], "normalizers") + _steps(said["pre_tokenizer"], "pretokenizers")
    others = [one["type"] for one in before if not _of_spaces(one)]
    if others:
        raise ModelError(
            f"tokenizer: changes or splits a text by {', '.join(others)}, which llama.cpp does not; GGUF export of "
            "SentencePiece's BPE is for tokenizers that write spaces as ▁ and leave all else as it is"
        )
    return any(
        one["type"] == "Prepend" or (one["type"] == "Metaspace" and one.get("prepend_scheme") != "never")
        for one in before
    )


def _of_spaces(step: Mapping[str, Any]) -> bool:
    """Whether a step does no more than write spaces as ▁, or put one before a text."""
    if step["type"] == "Replace":
        return bool(step["pattern"].get("String") == " " and step["content"] == "▁")
    return bool("▁" in (step.get("prepend"), step.get("replacement")))


def _split(said: Mapping[str, Any]) -> str:
    """The name in llama.cpp of how a text is split. Raises ModelError where none is known."""
    changes = [one["type"] for one in _steps(said["normalizer"], "normalizers") if one["type"] != "NFC"]
    found, plain = [], True
    for one in _steps(said["pre_tokenizer"], "pretokenizers"):
        if one["type"] == "Split":
            found.append(str(one["pattern"].get("Regex")))
        elif one["type"] == "ByteLevel":
            found.append("words" if one.get("use_regex", True) else "bytes")
            plain = plain and not one.get("add_prefix_space")
        else:
            whole = one["type"] == "Digits" and one.get("individual_digits")
            found.append("digits" if whole else one["type"])
    if changes or not plain or tuple(found) not in SPLITS:
        shown = ", ".join([*changes, *found, *([] if plain else ["a space before"])])[:120]
        raise ModelError(
            f"tokenizer: splits a text by {shown or 'nothing'}, which has no name in llama.cpp that is known here; "
            f"GGUF export is for splits as {', '.join(SPLITS.values())} have them"
        )
    return SPLITS[tuple(found)]


def _special(writer: Any, tokenizer: Any) -> None:
    """Numbers of tokens that mean something, whether any are added to a text, and the chat template."""
    for name in ("bos", "eos", "unk", "pad"):
        number = getattr(tokenizer, f"{name}_token_id", None)
        if number is not None:
            getattr(writer, f"add_{name}_token_id")(int(number))
    ids = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(bool(ids) and ids[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(bool(ids) and ids[-1] == tokenizer.eos_token_id)
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, str):
        writer.add_chat_template(template)
