"""What tokenizers make of texts in 65 languages, and back: nothing is lost, whatever the script."""

import json
import unicodedata
from importlib import resources

import pytest
from made_tokenizers import tokenizer_of
from tokenizers import normalizers

from pocketlm.data.foreign import main_scripts, scripts_of
from pocketlm.data.smart_home import languages
from pocketlm.model.subwords import learn_subwords
from pocketlm.model.vocabulary import count_pieces, reopen, trim

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
