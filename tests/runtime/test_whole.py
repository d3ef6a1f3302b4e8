"""Words beyond what a model reads at once are read in further parts, each word once."""

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from pocketlm.outputs import Output
from pocketlm.runtime.inputs import BagInputs, PieceInputs
from pocketlm.runtime.load import predict_all
from pocketlm.runtime.ngrams import Ngrams
from pocketlm.runtime.whole import OVERLAP, in_parts

TAGS = Output("tags", "tags", ("O", "B-x", "I-x"))
LABEL = Output("label", "single", ("a", "b"))
TEXT = "one two three four five six seven"


class Says:
    """A model that tags the first word of each part and the tenth B-x, the ninth O, the others I-x."""

    def run(self, arrays):
        places = [place for count in arrays["word_counts"] for place in range(count)]
        rows = [[0, 1, 0] if place in (0, 9) else [1, 0, 0] if place == 8 else [0, 0, 1] for place in places]
        return {"tags": np.array(rows, np.float32).reshape(-1, 3)}


def bags(words):
    return BagInputs(Ngrams(2**8), tagging=True, max_words=words)


def test_every_word_is_in_one_part():
    parts = in_parts(bags(3), (TAGS,), [TEXT, "", "one"])
    assert [[part.words for part in own] for own in parts] == [[3, 3, 1], [0], [1]]
    assert parts[0][2].text == ["seven"]


def test_words_before_a_part_are_read_again_and_answered_once():
    words = [f"w{place}" for place in range(25)]
    (parts,) = in_parts(bags(10), (TAGS,), [words])
    assert [(part.again, part.words) for part in parts] == [(0, 10), *[(OVERLAP, 2)] * 7, (OVERLAP, 1)]
    assert [word for part in parts for word in part.text[part.again :][: part.words]] == words
    said = predict_all(bags(10), Says(), (TAGS,), [words, "w"])
    # the ninth word of every part is the first one that it answers
    assert said[0]["tags"] == ["B-x", *["I-x"] * 7, "O", "B-x", *["O", "B-x"] * 7, "O"]
    assert said[1]["tags"] == ["B-x"]


def test_the_answer_is_of_the_whole_text_and_its_offsets_too():
    said = predict_all(bags(3), Says(), (TAGS,), ["", TEXT, ["a", "b"]])
    assert said[0]["tags"] == []
    assert said[1]["tags"] == ["B-x", "I-x", "I-x"] * 2 + ["B-x"]
    assert [TEXT[one["start"] : one["end"]] for one in said[1]["entities"]] == [
        "one two three",
        "four five six",
        "seven",
    ]
    assert [one["value"] for one in said[2]["entities"]] == ["a b"]


def test_a_text_with_a_label_of_its_own_is_cut_and_stays_one():
    parts = in_parts(bags(3), (LABEL, TAGS), [TEXT])
    assert [part.words for part in parts[0]] == [3]


def test_words_without_a_piece_do_not_keep_it_reading():
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "one": 1, "two": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inputs = PieceInputs(tokenizer, tagging=True, max_length=2)
    parts = in_parts(inputs, (TAGS,), [["one", "two", "one", " ", " "]])
    assert [part.words for part in parts[0]] == [2, 1, 0]
