"""Trimmed vocabularies split covered text as before; learnt ones are the same every time."""

import json
from itertools import pairwise

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from pocketlm.errors import TeacherError
from pocketlm.model.vocabulary import count_pieces, learn_wordpieces, reopen, trim, whole_words

TEXTS = ["the lamp in the kitchen", "turn the kitchen lamps off", "brighter lamps, please", "off off on"]
MORE = ["unrelated words about zebras and mountains", "zebra mountains rising", "relating words"]


def make(kind):
    """A tokenizer of each kind that can be trimmed, trained on more text than will be kept."""
    if kind == "WordPiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", "[CLS]"], show_progress=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    elif kind == "Unigram":
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(
            vocab_size=120, special_tokens=["<unk>", "[CLS]"], unk_token="<unk>", show_progress=False
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        tokenizer = Tokenizer(models.BPE())
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=["[CLS]"], initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
        tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(TEXTS * 3 + MORE * 3, trainer)
    place = tokenizer.token_to_id("[CLS]")
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", place)])
    return tokenizer


@pytest.mark.parametrize("kind", ["WordPiece", "Unigram", "BPE"])
def test_covered_text_is_split_as_before(kind):
    whole = make(kind)
    ids = [one.ids for one in whole.encode_batch(TEXTS)]
    trimmed = trim(whole.to_str(), count_pieces(ids))
    assert len(trimmed.kept) < whole.get_vocab_size()
    small = reopen(trimmed)
    assert small.get_vocab_size() == len(trimmed.kept)
    for own, text in zip(ids, TEXTS, strict=True):
        assert [trimmed.kept[piece] for piece in small.encode(text).ids] == own


@pytest.mark.parametrize("kind", ["WordPiece", "Unigram", "BPE"])
def test_a_limit_keeps_what_must_stay(kind):
    whole = make(kind)
    ids = [one.ids for one in whole.encode_batch(TEXTS)]
    few, many = (trim(whole.to_str(), count_pieces(ids), limit) for limit in (1, None))
    assert len(few.kept) < len(many.kept)
    small = reopen(few)
    assert small.token_to_id("[CLS]") is not None
    assert small.encode(TEXTS[0]).ids[0] == small.token_to_id("[CLS]")


def test_other_tokenizers_are_named():
    rules = json.dumps({"model": {"type": "WordLevel", "vocab": {}}})
    with pytest.raises(TeacherError, match="cannot trim a WordLevel tokenizer"):
        trim(rules, {})


def naive(words, limit):
    """Byte-pair encoding that counts everything anew for each merge."""
    spelled = {word: [word[0], *(f"##{char}" for char in word[1:])] for word in words}
    pieces = sorted({piece for own in spelled.values() for piece in own})
    while len(pieces) < limit:
        pairs = {}
        for word, own in spelled.items():
            for pair in pairwise(own):
                pairs[pair] = pairs.get(pair, 0) + words[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] < 2:
            break
        merged = best[0] + best[1].removeprefix("##")
        pieces.append(merged)
        for own in spelled.values():
            at = 0
            while at < len(own) - 1:
                if (own[at], own[at + 1]) == best:
                    own[at : at + 2] = [merged]
                at += 1
    return list(dict.fromkeys(pieces))


def test_learnt_pieces_equal_a_naive_count_and_do_not_depend_on_order():
    words = {"lamp": 4, "lamps": 3, "bright": 2, "brighter": 2, "light": 5, "night": 1, "aaaa": 3}
    found = learn_wordpieces(words, 40)
    assert found == naive(words, 40)
    assert found == learn_wordpieces(dict(reversed(words.items())), 40)
    assert "lamp" in found


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (models.WordPiece({"[UNK]": 0, "lamp": 1, "##s": 2, "on": 3}, unk_token="[UNK]"), ["[UNK]", "lamp", "on"]),
        (models.Unigram([("<unk>", 0.0), ("▁lamp", -1.0), ("s", -2.0), ("▁on", -3.0)], 0), ["lamp", "on"]),
        (models.BPE({"Ġ": 0, "lamp": 1, "Ġlamp": 2, "ĠcafÃ©": 3}, []), ["", "lamp", "café"]),
    ],
)
def test_whole_words_of_each_kind_of_vocabulary(model, expected):
    tokenizer = Tokenizer(model)
    kinds = {"Unigram": decoders.Metaspace(), "BPE": decoders.ByteLevel(), "WordPiece": decoders.WordPiece()}
    tokenizer.decoder = kinds[type(model).__name__]
    assert whole_words(tokenizer.to_str()) == expected
