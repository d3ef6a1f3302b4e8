"""A tokenizer like a given one, its vocabulary learnt from other text: same kind, same special pieces, same rules."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

from pocketlm.errors import ModelError
from pocketlm.model.tokenizer_files import with_rules
from pocketlm.model.vocabulary import Rules, learn_wordpieces, renumber_processor

_BATCH = 1_000


def learn_alike(tokenizer: Any, texts: Sequence[str], pieces: int) -> Any:
    """The new tokenizer, of at most `pieces` pieces. Raises ModelError where its kind cannot be trained.

    A tokenizer that falls back to bytes keeps all of them.
    """
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    kind, by_bytes = rules["model"]["type"], bool(rules["model"].get("byte_fallback"))
    if kind == "WordPiece":
        return with_rules(tokenizer, json.dumps(_wordpieces(rules, texts, pieces), ensure_ascii=False))
    batches = (list(texts[at : at + _BATCH]) for at in range(0, len(texts), _BATCH))
    try:
        learnt = tokenizer.train_new_from_iterator(batches, pieces - 256 * by_bytes, show_progress=False)
    except Exception as error:  # of the tokenizers library, which raises no narrower one
        raise ModelError(
            f"no {kind} vocabulary of {pieces:,} pieces can be learnt from this text: "
            f"{' '.join(str(error).split())[:200]}"
        ) from None
    made = json.loads(learnt.backend_tokenizer.to_str())
    made["padding"] = made["truncation"] = None
    if kind == "Unigram":
        _settle(made)
    if by_bytes:
        _add_bytes(made["model"])
    return with_rules(tokenizer, json.dumps(made, ensure_ascii=False, separators=(",", ":")))


def _wordpieces(rules: Rules, texts: Sequence[str], pieces: int) -> Rules:
    """The rules with WordPiece pieces learnt anew, the same ones each time, after the added tokens."""
    tokenizer = Tokenizer.from_str(json.dumps(rules))
    words: Counter[str] = Counter()
    for text in texts:
        plain = text if tokenizer.normalizer is None else tokenizer.normalizer.normalize_str(text)
        cut = [(plain, None)] if tokenizer.pre_tokenizer is None else tokenizer.pre_tokenizer.pre_tokenize_str(plain)
        words.update(word for word, _ in cut)
    added = [token["content"] for token in rules["added_tokens"]]
    unknown = rules["model"]["unk_token"]
    first = added if unknown in added else [*added, unknown]
    inner = rules["model"]["continuing_subword_prefix"]
    learnt = [
        inner + piece.removeprefix("##") if piece.startswith("##") else piece
        for piece in learn_wordpieces(words, max(0, pieces - len(first)))
        if piece not in first
    ]
    places = {piece: place for place, piece in enumerate([*first, *learnt])}
    for token in rules["added_tokens"]:
        token["id"] = places[token["content"]]
    renumber_processor(rules.get("post_processor"), places)
    return {**rules, "model": {**rules["model"], "vocab": places}, "padding": None, "truncation": None}


def _settle(rules: Rules) -> None:
    """Round scores and order pieces of equal ones: the trainer adds up over hash maps, each time in another order."""
    vocabulary = rules["model"]["vocab"]
    first = 1 + max((token["id"] for token in rules["added_tokens"]), default=rules["model"]["unk_id"] or 0)
    rest = sorted(([piece, round(score, 6)] for piece, score in vocabulary[first:]), key=lambda one: (-one[1], one[0]))
    rules["model"]["vocab"] = [*vocabulary[:first], *rest]


def _add_bytes(model: dict[str, Any]) -> None:
    """Pieces for all bytes, which no trainer makes, after the others and less likely than any."""
    vocabulary = model["vocab"]
    known = {one[0] for one in vocabulary} if isinstance(vocabulary, list) else set(vocabulary)
    missing = [piece for piece in (f"<0x{byte:02X}>" for byte in range(256)) if piece not in known]
    if isinstance(vocabulary, list):
        least = min(score for _, score in vocabulary)
        vocabulary += [[piece, least - 1.0] for piece in missing]
    else:
        first = max(vocabulary.values()) + 1
        vocabulary.update({piece: first + place for place, piece in enumerate(missing)})
