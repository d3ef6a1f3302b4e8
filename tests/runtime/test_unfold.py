import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from pocketlm.runtime.unfold import Unfolding

LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())


@pytest.fixture(scope="module")
def of_bytes():
    """A tokenizer whose every token is a byte."""
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(LETTERS)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def unfold(tokenizer, ids, stops=(), before=()):
    one = Unfolding(lambda ids: tokenizer.decode(ids), stops, before)
    pieces = []
    for token in ids:
        pieces.append(one.add(token))
        if one.stopped:
            return pieces
    return [*pieces, one.end()]


@pytest.mark.parametrize("text", ["ቤት 🙂 é", "ಕನ್ನಡ", "a 👩‍👩‍👧 b", "plain"])
def test_no_piece_holds_half_a_character(of_bytes, text):
    pieces = unfold(of_bytes, of_bytes.encode(text).ids)
    assert "".join(pieces) == text and not any("\ufffd" in piece for piece in pieces)
    assert sum(map(bool, pieces)) == len(text)


def test_bytes_that_never_become_a_character_come_at_the_end(of_bytes):
    whole = of_bytes.encode("aé").ids
    assert "".join(unfold(of_bytes, whole[:2])) == "a\ufffd"
    assert "".join(unfold(of_bytes, [*whole[:2], *of_bytes.encode("b").ids])) == "a\ufffdb"


@pytest.mark.parametrize(
    ("text", "stops", "wanted"),
    [
        ("one END two", ("END",), "one "),
        ("one EN two", ("END",), "one EN two"),
        ("one EN", ("END",), "one EN"),
        ("aaab", ("aab",), "a"),
        ("x\n\ny", ("y", "\n\n"), "x"),
        ("é!?", ("!?",), "é"),
        ("abc", ("abc",), ""),
    ],
)
def test_a_stop_string_ends_the_text_however_tokens_cut_it(of_bytes, text, stops, wanted):
    pieces = unfold(of_bytes, of_bytes.encode(text).ids, stops)
    assert "".join(pieces) == wanted


def test_a_stop_string_within_one_token_ends_the_text():
    words = Tokenizer(models.WordLevel({"one": 0, "twoENDthree": 1, "four": 2}, "one"))
    words.decoder = decoders.Fuse()
    one = Unfolding(lambda ids: words.decode(ids), ("END",))
    assert [one.add(0), one.add(1), one.stopped] == ["one", "two", True] and one.end() == ""


def test_a_word_after_a_prompt_keeps_its_space():
    tokenizer = Tokenizer(models.WordLevel({"▁on": 0, "▁the": 1}, "▁on"))
    tokenizer.decoder = decoders.Metaspace()
    assert unfold(tokenizer, [1], before=[0]) == [" the", ""]
    assert unfold(tokenizer, [1]) == ["the", ""]
