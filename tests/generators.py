"""Tiny models that write, and their Pockets, each made once."""

import pytest

MARIAN = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64, "decoder_start_token_id": 0,
    "pad_token_id": 0, "eos_token_id": 3, "forced_eos_token_id": None, "bos_token_id": 2,
}  # fmt: skip


def make_marian(kind, tokenizer, **changes):
    """A Marian or BART with random weights large enough to matter, as `load_model` would give it."""
    import torch
    import transformers

    from pocketlm.model import anatomy
    from pocketlm.model.pretrained import Model
    from pocketlm.model.spec import ModelSpec

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(vocab_size=len(tokenizer), **{**MARIAN, **changes})
    if kind == "Marian":
        module = transformers.MarianMTModel(config).eval()
    else:
        module = transformers.BartForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.dim() > 1 and "embed" not in name and "shared" not in name:
                weight.mul_(8)
            elif "shared" in name:
                weight.mul_(20)
        module.final_logits_bias.normal_()
    module.requires_grad_(False)
    ties = tuple(tuple(one) for one in anatomy.ties(module))
    return Model(module, tokenizer, ModelSpec("tiny", type(module).__name__, kind.lower(), "float32", ties))


@pytest.fixture(scope="session")
def writer(family_folder, teacher_folder, tmp_path_factory):
    """writer("llama") is (model, generator, exported): a tiny model and its Pocket in float32; bits=4 in few."""
    from transformers import AutoTokenizer

    from pocketlm.export.generator import Packing, export_generator
    from pocketlm.model.pretrained import load_model
    from pocketlm.runtime.load import load

    made = {}

    def make(name, **settings):
        key = (name, *sorted(settings.items()))
        if key not in made:
            if name in ("Marian", "Bart"):
                model = make_marian(name, AutoTokenizer.from_pretrained(teacher_folder))
            else:
                model = load_model(family_folder(name))
            path = tmp_path_factory.mktemp("writer") / f"{name}.pocket"
            exported = export_generator(model, path, Packing(**settings))
            made[key] = model, load(path, threads=1).generator, exported
        return made[key]

    return make
