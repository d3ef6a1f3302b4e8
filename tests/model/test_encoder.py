"""Decoders as teachers: told apart by what they see, read at the last piece, whatever is padded."""

import json

import pytest
import torch
from families import make_family
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from pocketlm.errors import TeacherError
from pocketlm.model.encoder import ended, load_pretrained, question_inputs, teacher_model
from pocketlm.model.readout import pool
from pocketlm.model.vocabulary import trim
from pocketlm.outputs import Output
from pocketlm.train.lesson import tensors

SINGLE = (Output("label", "single", ("a", "b", "c")),)
TAGS = (Output("tags", "tags", ("O", "B-x")),)


@pytest.fixture(scope="module")
def byte_folder(byte_tokenizer, tmp_path_factory):
    """A mixture of experts whose tokenizer adds no special piece of itself."""
    return make_family("mixtral", tmp_path_factory.mktemp("bytes"), byte_tokenizer)


@pytest.mark.parametrize(
    ("name", "causal"), [("bert", False), ("distilbert", False), ("gpt2", True), ("llama", True), ("qwen2_moe", True)]
)
def test_a_decoder_is_told_by_what_its_pieces_see(name, causal, family_folder):
    pretrained = load_pretrained(str(family_folder(name)))
    assert pretrained.causal is causal
    module = teacher_model(pretrained, SINGLE, 32).module
    assert (module.readout.pooling == "last") is causal


def test_an_encoder_decoder_is_none(family_folder):
    with pytest.raises(TeacherError, match="takes an encoder .* or a decoder"):
        load_pretrained(str(family_folder("t5")))


def test_every_text_of_a_decoder_ends_with_the_end(byte_tokenizer):
    before = byte_tokenizer.backend_tokenizer.to_str()
    tokenizer = Tokenizer.from_str(ended(before, "</s>", "x"))
    assert tokenizer.encode("").tokens == ["</s>"]
    assert tokenizer.encode("dim the lamp").tokens == [
        *Tokenizer.from_str(before).encode("dim the lamp").tokens,
        "</s>",
    ]
    assert tokenizer.encode("a", "b").tokens[-1] == "</s>"
    tokenizer.enable_truncation(3)
    assert tokenizer.encode("dim the red lamp").tokens[-1] == "</s>"
    again = tokenizer.to_str()
    assert ended(again, "</s>", "x") == again
    # a trimmed vocabulary keeps the end, under its new number
    small = Tokenizer.from_str(trim(again, {}, 10).tokenizer_json)
    assert small.encode("").ids == [small.token_to_id("</s>")]


def test_the_end_comes_after_what_a_tokenizer_adds_of_itself(byte_tokenizer):
    rules = json.loads(byte_tokenizer.backend_tokenizer.to_str())
    special = {"<s>": {"id": "<s>", "ids": [2], "tokens": ["<s>"]}}
    first, text = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    rules["post_processor"] = {
        "type": "TemplateProcessing", "single": [first, text], "pair": [first, text], "special_tokens": special
    }  # fmt: skip
    assert Tokenizer.from_str(ended(json.dumps(rules), "</s>", "x")).encode("").tokens == ["<s>", "</s>"]


@pytest.mark.parametrize("end", [None, "<nothing>"])
def test_a_tokenizer_without_an_end_is_refused(end, byte_tokenizer):
    with pytest.raises(TeacherError, match="teacher x: its tokenizer has no end-of-text token"):
        ended(byte_tokenizer.backend_tokenizer.to_str(), end, "x")


def test_the_last_piece_is_the_last_that_is_no_padding_on_either_side():
    hidden = torch.arange(12.0).view(2, 3, 2)
    assert torch.equal(pool(hidden, torch.tensor([[1, 1, 0], [0, 1, 1]]), "last"), hidden[[0, 1], [1, 2]])
    # and else the mean
    assert torch.equal(pool(hidden, torch.tensor([[1, 1, 0], [0, 1, 1]])), torch.tensor([[1.0, 2.0], [9.0, 10.0]]))


def test_a_mixture_says_the_same_of_a_text_among_longer_ones(byte_folder):
    model = teacher_model(load_pretrained(str(byte_folder)), SINGLE, 32)
    module = model.module.eval()
    texts = ["dim the lamp", "turn on the red kitchen lamp and the white hall lamp", ""]
    encoded = model.inputs.encode(texts)
    with torch.no_grad():
        together = module(**tensors(model.inputs.collate(encoded)))["label"]
        alone = torch.cat([module(**tensors(model.inputs.collate([one])))["label"] for one in encoded])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_a_word_is_tagged_once_all_of_it_was_read(byte_folder):
    model = teacher_model(load_pretrained(str(byte_folder)), TAGS, 32)
    assert model.inputs.word_ends
    said = []
    for last in ("lampq", "lampz"):  # words of several pieces that differ in the last
        encoded = model.inputs.encode([["dim", "the", last, "now"]])
        with torch.no_grad():
            said.append(model.module.eval()(**tensors(model.inputs.collate(encoded)))["tags"])
    same = torch.isclose(*said, atol=1e-6).all(1).tolist()
    assert same == [True, True, False, False]


def test_a_mixture_of_experts_teaches_students(csv_file, byte_folder, tmp_path):
    from helpers import make_context

    from pocketlm.students.static import StaticEmbeddings
    from pocketlm.students.transformer import SmallTransformer
    from pocketlm.train.neighbours import neighbours

    pretrained = load_pretrained(str(byte_folder))
    near = neighbours(pretrained, ["lamp", "kitchen", "turn", *(f"word{chr(97 + one)}" for one in range(20))])
    assert "kitchen" in near and "lamp" not in near["lamp"]
    context = make_context(csv_file, byte_folder, tmp_path)
    assert context.teacher.spec.outputs[0].kind == "single"
    for student in (StaticEmbeddings(width=16), SmallTransformer(depth=1, heads=2, ffn=16, rank=8)):
        made = student(None, context)
        assert made.module.eval()(**tensors(made.inputs.collate(made.inputs.encode(["", "dim the lamp"]))))
    assert context.figure(context.teacher) > 0.6  # of five classes, learnt through the experts


def test_a_tokenizer_that_ends_texts_by_itself_is_left_as_it_is(family_folder):
    folder = family_folder("llama")
    own = AutoTokenizer.from_pretrained(folder).backend_tokenizer.to_str()
    assert load_pretrained(str(folder)).tokenizer_json == own


def test_a_decoder_is_no_reader(family_folder):
    pretrained = load_pretrained(str(family_folder("gpt2")))
    with pytest.raises(TeacherError, match="is a decoder; question answering takes an encoder"):
        question_inputs(pretrained, 64)


def test_weights_that_a_folder_lacks_are_the_same_each_time(teacher_folder):
    torch.manual_seed(1)
    first = load_pretrained(str(teacher_folder))
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    again = load_pretrained(str(teacher_folder))
    assert again.digest == first.digest
    assert torch.equal(torch.random.get_rng_state(), before)
