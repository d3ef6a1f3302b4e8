"""Windows over long contexts, and answers as characters of the context in any script."""

from itertools import pairwise

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from pocketlm.errors import DataError
from pocketlm.runtime.focus import likeliest_part
from pocketlm.runtime.question import Question, question_of, whole_characters
from pocketlm.runtime.spans import answer_of, best_span
from pocketlm.runtime.windows import QuestionInputs, Reading, placed


def letters(*texts):
    """A WordPiece tokenizer of single letters that drops accents, as BERT's does."""
    normalizer = normalizers.BertNormalizer(lowercase=True)
    own = sorted({char for text in texts for char in normalizer.normalize_str(text)} - {" "})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *own, *(f"##{char}" for char in own)]
    tokenizer = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def inputs(question, context, length=400, **reading):
    return QuestionInputs(letters(question, context), length, 0, Reading(**reading))


def pointing(windows, start, end):
    """Logits that say the span of characters of the whole context, in the windows that hold it; else no answer."""
    rows = []
    for part, encoded in windows:
        logits = np.zeros((encoded.length, 2), np.float32)
        inside = part.at <= start and end - part.at <= len(part.context)
        pieces = placed(encoded, start - part.at, end - part.at) if inside else None
        for side, place in enumerate(pieces or (0, 0)):
            logits[place, side] = 9
        rows.append(logits)
    return rows


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ("Il vit à São Paulo, au Brésil.", "São Paulo"),
        ("Cafe\u0301 Noe\u0308l est ferme\u0301.", "Noe\u0308l"),
        ("वह नई दिल्ली में रहती है।", "नई दिल्ली"),
        ("تقع مَدِينَةُ القاهِرَةِ على النيل", "القاهِرَةِ"),
        ("เธออยู่ที่กรุงเทพ มาก", "กรุงเทพ"),
        ("彼は東京都にいる。", "東京都"),
        ("They sent 👩‍👩‍👧‍👦 and 🇰🇪🇺🇬 ok", "👩‍👩‍👧‍👦"),
        ("She waved 👋🏽 twice", "👋🏽"),
        ("Straße und STRASSE", "Straße"),
    ],
)
def test_offsets_are_right_in_any_script(context, said):
    start = context.index(said)
    reads = inputs("?", context)
    windows = reads.windows([Question("?", context)])[0]
    found = best_span(windows, pointing(windows, start, start + len(said)), 300)
    answer = answer_of(context, found, reads.reading)
    assert (answer["answer"], answer["start"], answer["end"]) == (said, start, start + len(said))
    assert answer["score"] > 0.5


CONTEXT = " ".join(f"w{place}" for place in range(200))


@pytest.mark.parametrize("word", [0, 7, 41, 99, 150, 199])
def test_every_word_of_a_long_context_can_be_the_answer(word):
    reads = inputs("w?", CONTEXT, 64)
    windows = reads.windows([Question("w?", CONTEXT)])[0]
    assert len(windows) > 10
    assert all(encoded.length <= 64 for _, encoded in windows)
    for part, _ in windows:
        assert CONTEXT[part.at : part.at + len(part.context)] == part.context
        assert part.context.strip().startswith("w"), "a window begins with a word"
    said = f"w{word}"
    start = f"{CONTEXT} ".index(f"{said} ")
    found = best_span(windows, pointing(windows, start, start + len(said)), 30)
    assert answer_of(CONTEXT, found, reads.reading)["answer"] == said


def test_windows_overlap_and_leave_nothing_out():
    reads = inputs("w?", CONTEXT, 64, overlap=12)
    parts = [part for part, _ in reads.windows([Question("w?", CONTEXT)])[0]]
    for before, after in pairwise(parts):
        assert before.at < after.at < before.at + len(before.context)
    assert parts[-1].at + len(parts[-1].context) == len(CONTEXT)
    spans = [before.at + len(before.context) - after.at for before, after in pairwise(parts)]
    assert all(12 <= shared <= 12 + 16 for shared in spans)


def test_a_short_context_is_one_window_and_has_the_models_marks():
    reads = inputs("ab", "cd ef")
    (part, encoded), = reads.windows([Question("ab", "cd ef")])[0]  # fmt: skip
    assert part == Question("ab", "cd ef")
    arrays = reads.collate([encoded, encoded])
    assert arrays["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 1]] * 2
    assert arrays["places"].tolist() == [[1, 0, 0, 0, 1, 1, 1, 1, 0]] * 2
    reads.reading = Reading(types=False)
    assert "token_type_ids" not in reads.collate([encoded])


def test_the_best_span_is_that_of_a_slow_oracle():
    reads = inputs("ab", "cd ef gh ij")
    windows = reads.windows([Question("ab", "cd ef gh ij")])[0]
    encoded = windows[0][1]
    random = np.random.default_rng(0)
    for longest in (1, 2, 5):
        logits = random.normal(size=(encoded.length, 2)).astype(np.float32)
        found = best_span(windows, [logits], longest)
        context = [place for place in range(1, encoded.length) if encoded.arrays[2][place]]
        pairs = [(a, b) for a in context for b in context if a <= b < a + longest]
        first, last = max(pairs, key=lambda pair: logits[pair[0], 0] + logits[pair[1], 1])
        assert (found.start, found.end) == (encoded.arrays[3][first, 0], encoded.arrays[3][last, 1])
        assert found.margin == pytest.approx(logits[first, 0] + logits[last, 1] - logits[0].sum(), abs=1e-5)
        shares = np.exp(logits) / np.exp(logits).sum(0)
        assert found.share == pytest.approx(shares[first, 0] * shares[last, 1], rel=1e-4)


def test_no_answer_is_said_below_the_threshold():
    reads = inputs("ab", "cd ef")
    windows = reads.windows([Question("ab", "cd ef")])[0]
    logits = np.zeros((windows[0][1].length, 2), np.float32)
    logits[0] = 3
    found = best_span(windows, [logits], 30)
    assert answer_of("cd ef", found, Reading(threshold=-7.0))["answer"] == "c"
    assert answer_of("cd ef", found, Reading())["answer"] == "c"
    nothing = answer_of("cd ef", found, Reading(threshold=0.0))
    assert (nothing["answer"], nothing["start"], nothing["end"]) == ("", None, None)


def test_a_question_longer_than_the_window_is_refused():
    reads = inputs("abcdefgh", "ij", 24)
    with pytest.raises(DataError, match="the question and its marks are 11 pieces, longer than the window of 24"):
        reads.windows([Question("abcdefgh", "ij")])
    assert not reads.fits(Question("abcdefgh", "ij"))
    assert reads.fits(Question("abcde", "ij"))
    assert reads.encode([Question("abcdefgh" * 4, "ij")])[0].length == 24
    with pytest.raises(DataError, match="the context has no piece"):
        reads.windows([Question("ab", "\u200b\u00ad")])


def test_focus_reads_the_part_that_shares_most_with_the_question():
    context = " ".join([*["aa bb cc"] * 30, "the zz lies at qq", *["aa bb cc"] * 30])
    reads = inputs("where zz", context, 400, focus=40)
    (part, encoded), = reads.windows([Question("where zz", context)])[0]  # fmt: skip
    assert encoded.length <= 40
    assert "zz lies at qq" in part.context
    assert context[part.at : part.at + len(part.context)] == part.context
    start = context.index("qq")
    found = best_span([(part, encoded)], pointing([(part, encoded)], start, start + 2), 30)
    assert answer_of(context, found, reads.reading)["start"] == start
    short = Question("where zz", "the zz")
    assert reads.windows([short])[0][0][0] == short


def test_the_likeliest_part_is_that_of_a_slow_oracle():
    random = np.random.default_rng(1)
    for length in (3, 8, 50):
        context, question = random.integers(0, 12, 40).tolist(), random.integers(0, 20, 6).tolist()
        begin = likeliest_part(question, context, length)

        def score(at, length=length, context=context, question=question):
            part = context[at : at + length]
            return sum(1 / context.count(piece) for piece in set(question) if piece in part)

        places = range(max(1, len(context) - length + 1))
        assert score(begin) == pytest.approx(max(map(score, places)))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"question": "?", "context": " "}, "line 3: the context is empty"),
        ({"question": "", "context": "c"}, "line 3: the question is empty"),
        ({"question": "?"}, 'line 3: a question is an object with "question" and "context"'),
        ("just text", 'line 3: a question is an object with "question" and "context"'),
    ],
)
def test_what_is_no_question_is_named(value, said):
    with pytest.raises(DataError, match=said):
        question_of(value, "line 3")


def test_characters_stay_whole():
    assert whole_characters("e\u0301a", 0, 1) == (0, 2)
    assert whole_characters("a  b", 1, 3) == (1, 1)
    assert whole_characters("xe\u0301a", 2, 4) == (1, 4)
    assert whole_characters(" ab ", 0, 4) == (1, 3)
    assert whole_characters("🇰🇪🇺🇬", 0, 1) == (0, 2)
    assert whole_characters("🇰🇪🇺🇬", 2, 3) == (2, 4)
    assert whole_characters("\u1100\u1161\u11a8\u1100", 0, 1) == (0, 3)
