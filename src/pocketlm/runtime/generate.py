"""A Pocket that writes: text that goes on from a prompt, or that stands for a source in another form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pocketlm.errors import DataError, UserError
from pocketlm.runtime.beams import Limits, beam_search
from pocketlm.runtime.cached import Decoder, Graphs, Run
from pocketlm.runtime.chat import chat_prompt
from pocketlm.runtime.choose import Ids, Rows, Writing, choose
from pocketlm.runtime.shortlist import MEMBER, Shortlist
from pocketlm.runtime.unfold import Unfolding

# Tokens of a text that are read at once: bounds the memory of attention and of logits.
CHUNK = 256
# Tokens before what is written that its first token is decoded with.
BEFORE = 8
TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class Written:
    """A text, its tokens without the one that ends it, and why it ends: "end", "length" or "stop"."""

    text: str
    ids: tuple[int, ...]
    finish: str


class Generator:
    """What writes text with the graphs of a Pocket of kind "generator".

    context: the most tokens it has places for, prompt included; of an encoder-decoder, of each side.
    writing: how it writes where nothing is said.
    """

    def __init__(self, about: Mapping[str, Any], members: Mapping[str, bytes], threads: int) -> None:
        from tokenizers import Tokenizer

        self.about = dict(about)
        self.context = int(about["context"])
        self.writing = Writing(**{**about["writing"], "stop": tuple(about["writing"]["stop"])})
        self.tokenizer = Tokenizer.from_str(members["tokenizer.json"].decode())
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.shortlist = Shortlist.from_bytes(members[MEMBER]) if MEMBER in members else None
        self.template = members[TEMPLATE].decode() if TEMPLATE in members else None
        self.ends = frozenset(about["ends"])
        self.translates = about["form"] == "encoder-decoder"
        self._never = frozenset(about["never"])
        self.decoder = Decoder(Graphs(members, threads), about)

    @property
    def cache_bytes(self) -> int:
        """Memory that a token of context takes for its keys and values."""
        return sum(2 * 4 * heads * size for heads, size in self.about["caches"])

    def write(
        self, texts: Sequence[str], how: Writing | None = None, chosen: Sequence[int] | None = None, first: int = 0
    ) -> list[Written]:
        """What is written for each prompt or source, all of them at once.

        chosen: of an encoder-decoder, the only tokens that may be written (a vocabulary shortlist), which spares the
        rest of the head; the tokens that end a text are among them whether named or not. Where the Pocket holds a
        shortlist of its own, absent ones are what that allows these texts together. first: the number of the first
        text, by which, and by the seed, each draws. Raises UserError for a prompt
        that is longer than the context, unless `how.cut`.
        """
        how = how or self.writing
        prompts = [self._fitting(self.read(text), how) for text in texts]
        words = self._words(prompts, chosen)
        written: dict[int, Written] = {}
        for rows in self._together(prompts, how):
            begun = self._begin([prompts[row] for row in rows], how, words)
            made = (
                self._searched(begun, how) if how.beams > 1 else self._chosen(begun, how, [first + row for row in rows])
            )
            written |= dict(zip(rows, made, strict=True))
        return [written[row] for row in range(len(texts))]

    def stream(self, text: str, how: Writing | None = None, number: int = 0) -> Iterator[str]:
        """Pieces of what is written, whole characters each, as soon as they are certain. number: as `write` counts."""
        how = how or self.writing
        if how.beams > 1:
            raise UserError("beam search knows its text at the end only: stream with beams 1")
        prompts = [self._fitting(self.read(text), how)]
        begun = self._begin(prompts, how, self._words(prompts, None))
        unfolding = Unfolding(self.decode, how.stop, begun.before(0))
        for (token,) in begun.tokens(how, [number]):
            if token in self.ends:
                break
            if piece := unfolding.add(token):
                yield piece
            if unfolding.stopped:
                return
        if piece := unfolding.end():
            yield piece

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The prompt of a conversation of {"role", "content"}, by the Pocket's own template."""
        return chat_prompt(self.template, messages, self.about["names"])

    def read(self, text: str) -> list[int]:
        """Ids of a prompt or source; special tokens as the tokenizer adds them, but none twice after a template.

        Raises DataError for a source that is empty.
        """
        if self.translates and not text.strip():
            raise DataError("the text is empty; give it some words")
        begins = self.template is not None and any(
            name and text.startswith(name) for name in (self.about["names"].get("bos_token"),)
        )
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=not begins).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def _together(self, prompts: Sequence[Sequence[int]], how: Writing) -> list[list[int]]:
        """Rows that are written at once: those with as many places left, so that none takes another's."""
        groups: dict[int, list[int]] = {}
        for row, prompt in enumerate(prompts):
            left = how.max_tokens if self.translates else min(how.max_tokens, self.context - len(prompt))
            groups.setdefault(left, []).append(row)
        return list(groups.values())

    def _searched(self, begun: _Begun, how: Writing) -> list[Written]:
        """What beam search finds for each row."""
        found = beam_search(begun, begun.logits, begun.seen, how, begun.limits)
        return [self._ended(begun.ids_of(one), how, begun.before(row)) for row, one in enumerate(found)]

    def _chosen(self, begun: _Begun, how: Writing, rows: Sequence[int]) -> list[Written]:
        """What is written token by token in each row. rows: their numbers, by which they draw."""
        count = len(rows)
        unfolding = [Unfolding(self.decode, how.stop, begun.before(row)) for row in range(count)]
        ids: list[list[int]] = [[] for _ in rows]
        pieces: list[list[str]] = [[] for _ in rows]
        finish = [""] * count
        for tokens in begun.tokens(how, rows):
            for row, token in enumerate(tokens):
                if not finish[row] and token in self.ends:
                    finish[row] = "end"
                elif not finish[row]:
                    ids[row].append(token)
                    pieces[row].append(unfolding[row].add(token))
                    finish[row] = "stop" if unfolding[row].stopped else ""
            if all(finish):
                break
        for row, one in enumerate(unfolding):
            pieces[row].append(one.end())
            finish[row] = "stop" if one.stopped else finish[row] or "length"
        return [Written("".join(pieces[row]), tuple(ids[row]), finish[row]) for row in range(count)]

    def _words(self, prompts: Sequence[Sequence[int]], chosen: Sequence[int] | None) -> Ids | None:
        """The only tokens that may be written, those that end a text among them; None for all."""
        if chosen is None and self.shortlist is not None:
            chosen = self.shortlist.allowed([piece for prompt in prompts for piece in prompt]).tolist()
        if chosen is None:
            return None
        if not self.translates:
            raise UserError("a shortlist is for encoder-decoders; this Pocket goes on from a prompt")
        ids = np.unique(np.array([*chosen, *self.ends], np.int64))
        if ids[0] < 0 or ids[-1] >= self.decoder.words:
            raise UserError(f"shortlist: ids are from 0 to {self.decoder.words - 1:,}, got {ids[0]} to {ids[-1]}")
        return ids

    def _begin(self, prompts: list[list[int]], how: Writing, chosen: Ids | None) -> _Begun:
        if self.translates:
            starts = np.tile(np.array(self.about["starts"], np.int64), (len(prompts), 1))
            most = min(how.max_tokens, self.context - starts.shape[1])
            run = self.decoder.begin_from(*_filled(prompts, self.about["pad"]), starts.shape[1] + most, chosen)
            seen = starts if chosen is None else [np.flatnonzero(np.isin(chosen, one)) for one in starts]
            return _Begun(run, run.read(starts), list(seen), self._limits(most, chosen), chosen, False)
        longest = max(map(len, prompts))
        most = min(how.max_tokens, self.context - longest)
        run = self.decoder.begin(len(prompts), longest + most)
        ids, mask = _filled(prompts, self.about["pad"])
        logits = self._read_prompt(run, ids, mask.sum(axis=1))
        return _Begun(run, logits, [np.array(one) for one in prompts], self._limits(most, None), None, True)

    def _limits(self, most: int, chosen: Ids | None) -> Limits:
        ends, never = (
            sorted(one) if chosen is None else np.flatnonzero(np.isin(chosen, sorted(one))).tolist()
            for one in (self.ends, self._never)
        )
        return Limits(tuple(ends), tuple(never), most)

    def _read_prompt(self, run: Run, ids: Ids, counts: Ids) -> Rows:
        """Logits after the last token of each prompt; a single long one is read part by part."""
        if len(ids) > 1:
            return run.read(ids, counts)
        for begin in range(0, ids.shape[1] - CHUNK, CHUNK):
            run.read(ids[:, begin : begin + CHUNK])
        done = int(run.lengths[0])
        return run.read(ids[:, done:])

    def _fitting(self, prompt: list[int], how: Writing) -> list[int]:
        """The prompt, which must leave a place for what is written; of one that is cut, the end stays."""
        room = self.context if self.translates else self.context - 1
        if not prompt:
            if self.translates or self.about["begins"] is None:
                raise DataError("the prompt is empty; give it some text")
            return [int(self.about["begins"])]
        if len(prompt) <= room:
            return prompt
        if not how.cut:
            raise UserError(
                f"the prompt has {len(prompt):,} tokens and the model reads at most {room:,}; shorten it, or have "
                f"its {'end' if self.translates else 'beginning'} cut with --cut (cut=True)"
            )
        if self.translates:
            return [*prompt[: room - 1], prompt[-1]]
        count = max(1, room + 1 - how.max_tokens) if how.max_tokens < room else room // 2 or 1
        if count > 1 and prompt[0] == self.about["begins"]:
            return [prompt[0], *prompt[1 - count :]]
        return prompt[-count:]

    def _ended(self, ids: list[int], how: Writing, before: Sequence[int]) -> Written:
        finish = "end" if ids and ids[-1] in self.ends else "length"
        kept = ids[:-1] if finish == "end" else ids
        unfolding, pieces = Unfolding(self.decode, how.stop, before), []
        for place, token in enumerate(kept):
            pieces.append(unfolding.add(token))
            if unfolding.stopped:
                return Written("".join(pieces), tuple(kept[: place + 1]), "stop")
        return Written("".join([*pieces, unfolding.end()]), tuple(kept), finish)


@dataclass(frozen=True)
class _Begun:
    """Prompts that were read. logits: of their next tokens. seen: tokens of each, as places in the logits.

    chosen: ids that logits are for, or None. goes_on: whether the text written goes on from the prompt's.
    """

    run: Run
    logits: Rows
    seen: list[Ids]
    limits: Limits
    chosen: Ids | None
    goes_on: bool

    def before(self, row: int) -> list[int]:
        """Tokens that the text goes on from."""
        return [int(one) for one in self.seen[row][-BEFORE:]] if self.goes_on else []

    def ids_of(self, places: Sequence[int]) -> list[int]:
        """Ids of places in the logits."""
        return list(places) if self.chosen is None else [int(self.chosen[place]) for place in places]

    def read(self, places: Ids) -> Rows:
        """Logits after one more token of each row, (rows, 1)."""
        return self.run.read(places if self.chosen is None else self.chosen[places])

    def take(self, order: Ids) -> None:
        """Rows become these of them."""
        self.run.take(order)

    def tokens(self, how: Writing, numbers: Sequence[int]) -> Iterator[list[int]]:
        """One more token of every row at a time, up to the most. numbers: of the rows, by which they draw."""
        draws = [np.random.default_rng([how.seed, number]) for number in numbers]
        logits, seen, never = self.logits, self.seen, list(self.limits.never)
        for step in range(self.limits.most):
            if never:
                logits[:, never] = -np.inf
            picked = choose(logits, seen, how, draws)
            yield self.ids_of(picked.tolist())
            if how.repetition_penalty != 1:
                seen = [np.append(own, token) for own, token in zip(seen, picked, strict=True)]
            if step + 1 < self.limits.most:
                logits = self.read(picked[:, None])


def _filled(rows: Sequence[Sequence[int]], pad: int) -> tuple[Ids, Ids]:
    """Rows filled up on the right, (rows, longest), and 1 where they have a token."""
    width = max(map(len, rows))
    ids, mask = np.full((len(rows), width), pad, np.int64), np.zeros((len(rows), width), np.int64)
    for row, one in enumerate(rows):
        ids[row, : len(one)], mask[row, : len(one)] = one, 1
    return ids, mask


def with_settings(how: Writing, **changes: Any) -> Writing:
    """The same way of writing but for what is given; None changes nothing."""
    return replace(how, **{name: value for name, value in changes.items() if value is not None})
