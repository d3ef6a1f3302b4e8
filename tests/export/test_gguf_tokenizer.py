"""What a GGUF says of a tokenizer is enough to tokenize as it does; ways that llama.cpp has not are refused."""

import json

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from pocketlm.errors import ModelError
from pocketlm.export.gguf_tokenizer import SPLITS, write_tokenizer

TEXTS = ["turn on the red lamp", "the attic lamp is  dim", "türn 1234 off, now!", "zebra zebra"]
BYTE, CONTROL, UNKNOWN, NORMAL, USER, UNUSED = 6, 3, 2, 1, 4, 5


class Writer:
    """Keeps what is added: writer.token_list and so on."""

    def __getattr__(self, name):
        return lambda value: setattr(self, name.removeprefix("add_"), value)


def written(tokenizer, rows=None):
    writer = Writer()
    write_tokenizer(writer, tokenizer, rows or len(tokenizer))
    return writer


def sentencepiece():
    """A BPE such as Llama 2's: spaces are ▁, one stands before the text, and unknown letters fall back on bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{number:02X}>" for number in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXTS[:2] * 3, trainer)
    said = json.loads(tokenizer.to_str())
    said["added_tokens"] = said["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(said))
    tokenizer.decoder = decoders.ByteFallback()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def pieces(text, writer):
    """As llama.cpp tokenizes with scores: again and again the pair whose token scores best, the leftmost of equals."""
    number = {one: place for place, one in enumerate(writer.token_list)}
    parts = list(("▁" if writer.add_space_prefix else "") + text.replace(" ", "▁"))
    while True:
        pairs = [
            (-writer.token_scores[number[left + right]], place)
            for place, (left, right) in enumerate(zip(parts, parts[1:], strict=False))
            if left + right in number
        ]
        if not pairs:
            break
        place = min(pairs)[1]
        parts[place : place + 2] = ["".join(parts[place : place + 2])]
    found = []
    for part in parts:
        found += [number[part]] if part in number else [number[f"<0x{byte:02X}>"] for byte in part.encode()]
    return found


def test_scores_and_types_of_sentencepiece_tokenize_alike():
    tokenizer = sentencepiece()
    writer = written(tokenizer, len(tokenizer) + 3)
    assert (writer.tokenizer_model, writer.tokenizer_pre, writer.add_space_prefix) == ("llama", "default", True)
    for text in TEXTS:
        assert [1, *pieces(text, writer)] == tokenizer(text)["input_ids"], text
    types = [int(one) for one in writer.token_types]
    assert types[:3] == [UNKNOWN, CONTROL, CONTROL] and set(types[3:259]) == {BYTE}
    assert set(types[259:-3]) == {NORMAL} and types[-3:] == [UNUSED] * 3
    assert writer.token_list[-1] == f"[PAD{len(tokenizer) + 2}]"
    assert (writer.bos_token_id, writer.eos_token_id, writer.unk_token_id) == (1, 2, 0)
    assert (writer.add_bos_token, writer.add_eos_token) == (True, False)


def test_byte_level_tokens_and_merges_are_the_tokenizers(byte_tokenizer):
    byte_tokenizer.chat_template = "{{ messages }}"
    try:
        writer = written(byte_tokenizer)
    finally:
        byte_tokenizer.chat_template = None
    assert (writer.tokenizer_model, writer.tokenizer_pre, writer.add_space_prefix) == ("gpt2", "smollm", False)
    assert writer.token_list == byte_tokenizer.convert_ids_to_tokens(range(len(byte_tokenizer)))
    again = Tokenizer(
        models.BPE(
            {one: place for place, one in enumerate(writer.token_list)},
            [tuple(one.split(" ")) for one in writer.token_merges],
        )
    )
    again.pre_tokenizer = byte_tokenizer.backend_tokenizer.pre_tokenizer
    for text in TEXTS:
        assert again.encode(text).ids == byte_tokenizer(text)["input_ids"]
    assert [int(one) for one in writer.token_types[:4]] == [CONTROL] * 4
    assert (writer.add_bos_token, writer.add_eos_token) == (False, False)
    assert writer.chat_template == "{{ messages }}" and "token_scores" not in vars(writer)


def split(byte_tokenizer, pre, normalizer=None):
    """The byte-level tokenizer with another way to split."""
    backend = Tokenizer.from_str(byte_tokenizer.backend_tokenizer.to_str())
    backend.pre_tokenizer = pre
    if normalizer is not None:
        backend.normalizer = normalizer
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def byte_level(**settings):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, **settings)


@pytest.mark.parametrize("steps", SPLITS, ids=SPLITS.values())
def test_ways_to_split_have_the_name_that_llama_cpp_has(byte_tokenizer, steps):
    parts = {"words": byte_level(), "bytes": byte_level(use_regex=False), "digits": pre_tokenizers.Digits(True)}
    made = [parts[one] if one in parts else pre_tokenizers.Split(Regex(one), "isolated") for one in steps]
    assert written(split(byte_tokenizer, pre_tokenizers.Sequence(made))).tokenizer_pre == SPLITS[steps]


def test_other_tokenizers_are_refused(byte_tokenizer):
    named = "which has no name in llama.cpp that is known here; GGUF export is for splits as gpt-2, smollm"
    for pre, normalizer, why in (
        (pre_tokenizers.ByteLevel(add_prefix_space=True), None, f"words, a space before, {named}"),
        (byte_level(use_regex=False), None, f"bytes, {named}"),
        (pre_tokenizers.Whitespace(), None, f"Whitespace, {named}"),
        (byte_level(), normalizers.Lowercase(), f"Lowercase, words, {named}"),
    ):
        with pytest.raises(ModelError, match=f"tokenizer: splits a text by {why}"):
            written(split(byte_tokenizer, pre, normalizer))
    with pytest.raises(ModelError, match="has a token 299, and the embedding 299 rows"):
        written(byte_tokenizer, 299)
    with pytest.raises(ModelError, match=r"has no tokenizer.json"):
        written(object(), 5)


def test_a_sentencepiece_that_changes_more_than_spaces_is_refused():
    tokenizer = sentencepiece().backend_tokenizer
    before = tokenizer.normalizer
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), before])
    with pytest.raises(ModelError, match="changes or splits a text by Lowercase, which llama.cpp does not"):
        written(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    tokenizer.normalizer, tokenizer.pre_tokenizer = before, pre_tokenizers.Digits(True)
    with pytest.raises(ModelError, match="by Digits"):
        written(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    tokenizer.normalizer, tokenizer.pre_tokenizer = None, pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    assert written(PreTrainedTokenizerFast(tokenizer_object=tokenizer)).add_space_prefix is False


def test_words_that_are_taken_whole_are_so_in_llama_3_only(byte_tokenizer):
    said = json.loads(byte_tokenizer.backend_tokenizer.to_str())
    said["model"]["ignore_merges"] = True
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(said)))
    with pytest.raises(
        ModelError, match="takes whole words as they are, which llama.cpp does not for splits as smollm"
    ):
        written(tokenizer)


def test_a_model_without_a_tokenizer_says_so():
    writer = Writer()
    write_tokenizer(writer, None, 5)
    assert writer.tokenizer_model == "none"


def test_tokens_that_users_add_keep_their_kind(byte_tokenizer):
    backend = Tokenizer.from_str(byte_tokenizer.backend_tokenizer.to_str())
    backend.add_tokens([AddedToken("<place>", special=False)])
    writer = written(PreTrainedTokenizerFast(tokenizer_object=backend))
    assert writer.token_list[-1] == "<place>" and int(writer.token_types[-1]) == USER
