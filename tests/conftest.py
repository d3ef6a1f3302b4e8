"""Small data and a small teacher, made here so that nothing is downloaded."""

import os

# Tests run in parallel: more threads in each only get in each other's way. Set before numpy and torch are imported.
os.environ.update({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"})

import csv
import itertools
import random
from pathlib import Path

import pytest
from families import byte_tokenizer, calibrated, family, family_folder  # noqa: F401  fixtures: tiny models of every family
from generators import writer  # noqa: F401

COLOURS = ("red", "green", "blue", "white")
ROOMS = ("kitchen", "bedroom", "garage", "hall", "office", "attic")


def command_rows():
    """Rows of a small understanding task that words decide."""
    rows = []
    for verb, intent in (
        ("turn on", "on"),
        ("switch on", "on"),
        ("turn off", "off"),
        ("switch off", "off"),
        ("dim", "dim"),
    ):
        for room, colour in itertools.product(ROOMS, COLOURS):
            tokens = [*verb.split(), "the", room, colour, "lamp"]
            tags = ["O"] * len(tokens)
            tags[-3], tags[-2] = "B-room", "B-colour"
            rows.append({"text": " ".join(tokens), "tokens": tokens, "intent": intent, "slots": tags})
    random.Random(0).shuffle(rows)
    return rows


def pytest_collection_modifyitems(items):
    """Modules with slow tests come first, so that no worker begins one when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def rules_of_thumb_alone():
    """Fits in tests try what rules of thumb say; a test of the search says how many trials there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pocketlm.search.study.AROUND", 0)
        yield


@pytest.fixture(scope="session", autouse=True)
def known_machine(tmp_path_factory):
    """This machine as if it was calibrated before, for processes that tests start, too."""
    from pocketlm.measure import calibrate
    from pocketlm.measure.device import Device

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        kept = calibrate.kept_at()
        kept.parent.mkdir(parents=True)
        usual = calibrate.described()["usual"]
        kept.write_text(
            Device("this machine", usual, runtime_bytes=60_000_000, light_bytes=40_000_000).to_yaml(), "utf-8"
        )
        yield


@pytest.fixture(scope="session")
def understanding_rows():
    return command_rows()


@pytest.fixture(scope="session")
def csv_file(tmp_path_factory):
    """120 rows of three classes as CSV."""
    path = tmp_path_factory.mktemp("data") / "commands.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "category"])
        writer.writerows([row["text"], row["intent"]] for row in command_rows())
    return path


@pytest.fixture(scope="session")
def jsonl_file(tmp_path_factory):
    """The same rows with tokens and slots as JSON Lines."""
    import json

    path = tmp_path_factory.mktemp("data") / "commands.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in command_rows()), "utf-8")
    return path


@pytest.fixture(scope="session")
def conll_file(tmp_path_factory):
    """The same sentences in CoNLL columns: word, part of speech, and spans: a room, and a lamp with its colour."""
    kinds = {"the": "DET", "lamp": "NOUN", "on": "ADP", "off": "ADP"}
    kinds |= dict.fromkeys(ROOMS, "NOUN") | dict.fromkeys(COLOURS, "ADJ")
    lines = ["-DOCSTART- -X- O", ""]
    for row in command_rows():
        spans = ["O"] * (len(row["tokens"]) - 3) + ["B-room", "B-thing", "I-thing"]
        lines += [f"{word} {kinds.get(word, 'VERB')} {tag}" for word, tag in zip(row["tokens"], spans, strict=True)]
        lines.append("")
    path = tmp_path_factory.mktemp("data") / "commands.conll"
    path.write_text("\n".join(lines), "utf-8")
    return path


def question_rows():
    """Rows of questions about the same sentences; some ask for what their context does not say."""
    rows = []
    for place, row in enumerate(command_rows()):
        for asked, tag in (("which room", "B-room"), ("which colour", "B-colour")):
            word = row["tokens"][row["slots"].index(tag)]
            answers = {"text": [word], "answer_start": [row["text"].index(word)]}
            rows.append({"question": asked, "context": row["text"], "answers": answers})
        if place % 3 == 0:
            nothing = {"text": [], "answer_start": []}
            rows.append({"question": "hello zebra", "context": row["text"], "answers": nothing})
    return rows


@pytest.fixture(scope="session")
def questions_file(tmp_path_factory):
    """Questions with contexts as JSON Lines, a seventh of them without an answer."""
    import json

    path = tmp_path_factory.mktemp("data") / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in question_rows()), "utf-8")
    return path


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory):
    """A BERT of two layers with random weights and a WordPiece tokenizer of the rows' words."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("teacher")
    # as training left it once: it breaks ties at random, and sizes would differ from run to run
    pieces = Path(__file__).with_name("wordpieces.txt").read_text("utf-8").split()
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory):
    """60 pairs of the same sentences with the number of things they share, as STS files write them."""
    rows = command_rows()
    path = tmp_path_factory.mktemp("data") / "pairs.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sentence1", "sentence2", "score"])
        for one, other in zip(rows[0::2], rows[1::2], strict=True):
            shared = set(one["tokens"]) & set(other["tokens"]) - {"the", "lamp"}
            writer.writerow([one["text"], other["text"], len(shared) / 2])
    return path


@pytest.fixture
def quick_gains(monkeypatch):
    """Gains of augmentation by a student that trains in no time, with few resamples."""
    from pocketlm.search import gains
    from pocketlm.students.ngrams import HashedNgrams

    monkeypatch.setattr(gains, "STUDENT", HashedNgrams(buckets=2**12, rows=4_096, width=8, min_texts=1))
    monkeypatch.setattr(gains, "MOST_EPOCHS", 5)
    monkeypatch.setattr(gains, "RESAMPLES", 30)
