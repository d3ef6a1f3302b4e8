"""Methods that models of any name work for: masked words, texts there and back, and texts written for a label."""

import copy

import pytest
from generators import make_marian
from transformers import AutoTokenizer

from pocketlm.augment.apply import augmented, make_method
from pocketlm.augment.back_translation import BackTranslation
from pocketlm.augment.generate import Generate
from pocketlm.augment.masked import MaskedWords
from pocketlm.augment.method import Material
from pocketlm.errors import ModelError
from pocketlm.outputs import Example
from pocketlm.runtime.tags import tag_spans


@pytest.fixture(scope="module")
def rows(understanding_rows):
    return tuple(
        Example(row["text"], (row["intent"],), tuple(row["tokens"]), tuple(row["slots"]))
        for row in understanding_rows[:6]
    )


@pytest.fixture(scope="module")
def plain(rows):
    return tuple(Example(row.text, row.labels) for row in rows)


@pytest.fixture(scope="module")
def translator_folder(teacher_folder, tmp_path_factory):
    """A Marian with random weights: it writes something else for every text."""
    folder = tmp_path_factory.mktemp("marian")
    tokenizer = AutoTokenizer.from_pretrained(teacher_folder)
    make_marian("Marian", tokenizer).module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_masked_words_stand_outside_of_spans(family_folder, rows):
    method = make_method("masked-lm", {"model": str(family_folder("bert-words"))})
    made = augmented([method], Material(rows), seed=0, copies=4)
    assert made == augmented([method], Material(rows), seed=0, copies=4)
    assert len(made) > len(rows)
    for row in made:
        source = rows[row.source]
        assert row.example.tags == source.tags
        assert all(
            row.example.tokens[first : last + 1] == source.tokens[first : last + 1]
            for _, first, last in tag_spans(source.tags)
        )
        changed = [new for new, old in zip(row.example.tokens, source.tokens, strict=True) if new != old]
        assert changed and all(word.isalpha() for word in changed)


def test_masked_words_of_a_byte_level_tokenizer_begin_a_word(byte_tokenizer, tmp_path, plain):
    from families import make_family

    byte_tokenizer = copy.deepcopy(byte_tokenizer)
    byte_tokenizer.add_special_tokens({"mask_token": "<mask>"})
    folder = make_family("roberta", tmp_path, byte_tokenizer, max_position_embeddings=80)
    made = augmented([MaskedWords(str(folder), share=0.4)], Material(plain), seed=1, copies=3)
    assert made
    known = {piece[1:] for piece in byte_tokenizer.get_vocab() if piece.startswith("Ġ")}
    for row in made:
        old = plain[row.source].text.split()
        changed = {new for new, was in zip(row.example.text.split(), old, strict=True) if new != was}
        assert changed <= known


def test_texts_come_back_as_two_models_write_them(translator_folder, plain):
    made = augmented([BackTranslation(translator_folder, translator_folder)], Material(plain), seed=0)
    assert made
    for row in made:
        assert row.example.labels == plain[row.source].labels
        assert row.example.text not in ("", plain[row.source].text)
        assert row.note.startswith("translated back from ")


def test_a_translation_pocket_translates_too(writer, plain, tmp_path):
    from pocketlm.augment.writers import translator
    from pocketlm.export.generator import Packing, export_generator

    model = writer("Marian")[0]
    path = tmp_path / "t.pocket"
    export_generator(model, path, Packing())
    texts = [row.text for row in plain]
    said = translator(str(path))(texts)
    assert len(said) == len(texts) and any(said)


@pytest.mark.parametrize("pocket", [False, True])
def test_texts_are_written_for_a_label(family_folder, writer, plain, tmp_path, pocket):
    name = str(family_folder("llama"))
    if pocket:
        from pocketlm.export.generator import Packing, export_generator

        name = str(tmp_path / "m.pocket")
        export_generator(writer("llama")[0], tmp_path / "m.pocket", Packing())
    method = Generate(name, shots=2, tokens=6)
    made = augmented([method], Material(plain), seed=0)
    assert made and made == augmented([method], Material(plain), seed=0)
    for row in made:
        assert row.example.labels == plain[row.source].labels
        assert "\n" not in row.example.text
        assert repr(row.example.labels[0]) in row.note


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda name: MaskedWords(name("llama")), "masked-language head"),
        (lambda name: BackTranslation(name("llama"), name("llama")), "name one that translates"),
        (lambda name: Generate(name("bert-words")), "goes on from a prompt"),
        (lambda name: Generate("./nowhere"), "no such model folder"),
    ],
)
def test_models_of_another_kind_are_refused(family_folder, plain, make, said):
    with pytest.raises(ModelError, match=said):
        make(lambda family: str(family_folder(family))).refuses(Material(plain))
