"""A model of every family that is loaded, saved and loaded again computes the same bits; a damaged folder says so."""

import base64
import json
import shutil
import zlib

import pytest
import torch
from families import CONFIGS, outputs
from safetensors import safe_open
from safetensors.torch import save_file

from pocketlm.compress.context import Context
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.errors import ModelError, OutputError
from pocketlm.model.anatomy import ties
from pocketlm.model.layers import PackedEmbedding, PackedLinear
from pocketlm.model.pretrained import WEIGHTS, folder_bytes, load_model, save_model, settle
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe

TIED = {
    "bert-words": {"bert.embeddings.word_embeddings", "cls.predictions.decoder"},
    "roberta": {"roberta.embeddings.word_embeddings", "lm_head.decoder"},
    "gpt2": {"transformer.wte", "lm_head"},
    "llama": {"model.embed_tokens", "lm_head"},
    "t5": {"shared", "encoder.embed_tokens", "decoder.embed_tokens", "lm_head"},
    "t5-gated": {"shared", "encoder.embed_tokens", "decoder.embed_tokens"},
    "whisper": {"model.decoder.embed_tokens", "proj_out"},
    "marian": {"model.shared", "model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head"},
}
ROUNDED = Recipe([RoundToNearest(bits=4, group_size=16, layers=("all",))])


@pytest.mark.parametrize("name", CONFIGS)
def test_saved_and_loaded_again_it_computes_the_same_bits(name, family, tmp_path):
    model = family(name)
    size = save_model(model, tmp_path / "kept")
    again = load_model(tmp_path / "kept")
    assert torch.equal(outputs(model), outputs(again))
    assert size == folder_bytes(tmp_path / "kept") > model.size_bytes
    assert again.spec == model.spec
    assert [one.name for one in again.layers] == [one.name for one in model.layers]
    assert type(again.tokenizer) is type(model.tokenizer)


@pytest.fixture(scope="module")
def rounded(family, tmp_path_factory):
    """rounded("llama") is the model, it with every matrix rounded, and that one's folder."""
    made = {}

    def make(name):
        if name not in made:
            model, folder = family(name), tmp_path_factory.mktemp("rounded") / name
            before = outputs(model)
            small = compress(model, ROUNDED, Context())
            assert torch.equal(outputs(model), before)
            assert not torch.equal(outputs(small), before)
            save_model(small, folder)
            made[name] = model, small, folder
        return made[name]

    return make


@pytest.mark.parametrize("name", CONFIGS)
def test_every_matrix_rounded_and_loaded_again_it_computes_the_same_bits(name, rounded):
    model, small, folder = rounded(name)
    done = {one["name"]: one["done"] for one in small.records[0]["layers"]}
    assert set(done) == {one.name for one in model.layers}
    assert {one.name for one in model.layers if one.kind == "router"} == {key for key in done if done[key] == "left"}
    assert small.records[0]["size_bytes"][1] < small.records[0]["size_bytes"][0] / 1.5
    again = load_model(folder)
    assert torch.equal(outputs(small), outputs(again))
    assert list(again.records) == json.loads(json.dumps(small.records))


@pytest.mark.parametrize("name", CONFIGS)
def test_ties_are_found_and_kept_through_quantization_of_the_matrix(name, rounded):
    model, small, folder = rounded(name)
    tied = TIED.get(name, set())
    for one in (model, small, load_model(folder)):
        assert [set(group) for group in one.spec.ties] == [set(group) for group in ties(one.module)]
        assert [set(group) for group in ties(one.module)] == ([tied] if tied else [])
    owners = [small.module.get_submodule(path) for path in tied]
    assert all(isinstance(owner, (PackedLinear, PackedEmbedding)) for owner in owners)
    assert len({id(owner.stored) for owner in owners}) == min(1, len(tied))
    with safe_open(folder / WEIGHTS, "pt") as file:
        assert sum(key.rpartition(".stored")[0] in tied for key in file.keys() if key.endswith(".codes")) == min(  # noqa: SIM118
            1, len(tied)
        )


def test_a_bias_with_two_names_is_one_after_loading(family, tmp_path):
    model = family("bert-words")
    save_model(model, tmp_path / "kept")
    head = load_model(tmp_path / "kept").module.cls.predictions
    assert head.bias is head.decoder.bias


def test_how_it_generates_is_kept(family, tmp_path):
    model = family("whisper")
    model.module.generation_config.suppress_tokens = [5, 7]
    save_model(model, tmp_path / "kept")
    again = load_model(tmp_path / "kept")
    assert again.module.generation_config.suppress_tokens == [5, 7]
    assert again.tokenizer.feature_extractor.n_samples == 16000


def test_untied_t5_does_not_scale_what_its_head_reads(family, tmp_path):
    model = family("t5-gated")
    assert not model.module.config.scale_decoder_outputs
    save_model(model, tmp_path / "kept")
    assert not load_model(tmp_path / "kept").module.config.scale_decoder_outputs


@pytest.fixture
def kept(family, tmp_path):
    save_model(family("llama"), tmp_path / "kept")
    return tmp_path / "kept"


def refused(folder):
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def about(folder):
    with safe_open(folder / WEIGHTS, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return json.loads(zlib.decompress(base64.b85decode(file.metadata()["pocketlm"]))), tensors


def rewrite(folder, facts, tensors):
    text = base64.b85encode(zlib.compress(json.dumps(facts).encode())).decode()
    save_file(tensors, folder / WEIGHTS, {"pocketlm": text})


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_weights(kept, share):
    whole = (kept / WEIGHTS).read_bytes()
    (kept / WEIGHTS).write_bytes(whole[: int(len(whole) * share)])
    assert "damaged" in refused(kept)


def test_changed_bytes_in_the_description(kept):
    whole = bytearray((kept / WEIGHTS).read_bytes())
    place = whole.index(b'"pocketlm":"') + 40
    whole[place : place + 4] = b"~~~~" if whole[place : place + 4] != b"~~~~" else b"!!!!"
    (kept / WEIGHTS).write_bytes(whole)
    assert "damaged" in refused(kept)


def test_newer_schema(kept):
    facts, tensors = about(kept)
    rewrite(kept, {**facts, "schema": 99}, tensors)
    assert "schema 99, newer" in refused(kept)


def test_no_description(kept):
    _, tensors = about(kept)
    save_file(tensors, kept / WEIGHTS, {"format": "pt"})
    refused(kept)


@pytest.mark.parametrize("file", [WEIGHTS, "config.json"])
def test_missing_file(kept, file):
    (kept / file).unlink()
    refused(kept)


def test_missing_record(kept):
    (kept / "record.json").unlink()
    refused(kept)


def test_broken_record(kept):
    (kept / "record.json").write_text("[{", "utf-8")
    assert "damaged" in refused(kept)


def test_missing_tensor_is_not_left_empty(kept):
    facts, tensors = about(kept)
    name = "model.layers.0.mlp.up_proj.weight"
    del tensors[name], facts["tensors"][name]
    rewrite(kept, facts, tensors)
    assert name in refused(kept)


def test_shape_of_another_model(kept):
    facts, tensors = about(kept)
    facts["tensors"]["model.layers.0.mlp.up_proj.weight"]["shape"] = [7, 7]
    rewrite(kept, facts, tensors)
    refused(kept)


def test_no_model_there(tmp_path):
    with pytest.raises(ModelError):
        load_model(tmp_path / "nothing")


def test_a_type_that_is_not_supported_is_named_with_those_that_are(family_folder, tmp_path):
    shutil.copytree(family_folder("llama"), tmp_path / "other")
    config = json.loads((tmp_path / "other" / "config.json").read_text("utf-8"))
    config |= {"model_type": "opt", "architectures": ["OPTForCausalLM"]}
    (tmp_path / "other" / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ModelError, match=r"'opt' is not supported; there is bert.*whisper"):
        load_model(tmp_path / "other")


def test_a_folder_that_exists_is_replaced_only_if_asked_and_only_if_it_is_such_a_folder(family, kept, tmp_path):
    model = family("llama")
    with pytest.raises(OutputError, match="--force"):
        save_model(model, kept)
    assert save_model(model, kept, force=True) == folder_bytes(kept)
    (tmp_path / "mine").mkdir()
    with pytest.raises(OutputError, match="no such folder"):
        save_model(model, tmp_path / "mine", force=True)
    (tmp_path / "mine" / "record.json").write_text("[]")  # of something else
    with pytest.raises(OutputError, match="no such folder"):
        save_model(model, tmp_path / "mine", force=True)


def test_whoever_may_read_one_file_of_a_folder_may_read_all(family, tmp_path):
    save_model(family("llama"), tmp_path / "out")
    assert len({file.stat().st_mode for file in (tmp_path / "out").iterdir()}) == 1


def test_the_folder_one_stands_in_and_a_link_are_replaced_too(family, kept, tmp_path, monkeypatch):
    model = family("llama")
    monkeypatch.chdir(kept)
    assert save_model(model, ".", force=True) == folder_bytes(kept)
    (tmp_path / "link").symlink_to(kept)
    assert save_model(model, tmp_path / "link", force=True) == folder_bytes(kept)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept", "link"]


def test_what_was_there_stays_where_writing_fails(family, kept, tmp_path, monkeypatch):
    before = folder_bytes(kept)
    monkeypatch.setattr("pocketlm.model.pretrained.first_config", lambda model: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_model(family("llama"), kept, force=True)
    assert folder_bytes(kept) == before
    assert [one.name for one in tmp_path.iterdir()] == ["kept"]


def test_a_config_that_names_many_classes_is_still_found(teacher_folder, tmp_path):
    from families import make_family
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(teacher_folder)
    model = load_model(make_family("bert-classes", tmp_path / "many", tokenizer, num_labels=1500))
    save_model(model, tmp_path / "kept")
    assert len(load_model(tmp_path / "kept").module.config.id2label) == 1500


def test_a_chat_template_is_kept(family, tmp_path):
    model = family("llama").copy()
    template = "{% for one in messages %}{{ one.content }}{% endfor %}"
    model.tokenizer.chat_template = {"default": template, "tool_use": f"tools: {template}"}
    try:
        save_model(model, tmp_path / "kept")
        again = load_model(tmp_path / "kept").tokenizer
    finally:
        model.tokenizer.chat_template = None
    assert again.chat_template == {"default": template, "tool_use": f"tools: {template}"}


def test_weights_beyond_the_stored_type_are_an_error(family):
    model = family("llama")
    assert model.spec.dtype == "float16"
    with torch.no_grad():
        model.module.model.layers[0].mlp.up_proj.weight[0, 0] = 1e6
    with pytest.raises(ModelError, match=r"up_proj.*1e\+06 is beyond what float16 holds"):
        settle(model)
