"""Tiny models of every family, with a tokenizer of the rows' words, made here so that nothing is downloaded."""

import pytest

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGS = {
    "bert": ("BertModel", "BertConfig", {**SMALL}),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "llama": ("LlamaForCausalLM", "LlamaConfig", {**SMALL, "num_key_value_heads": 2, "tie_word_embeddings": True}),
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4},
    ),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**SMALL, "num_key_value_heads": 2, "num_local_experts": 4}),
}


def make_family(family, folder, tokenizer, **changes):
    """A model of the family with random weights large enough to matter, saved with the tokenizer."""
    import torch
    import transformers

    architecture, config, settings = CONFIGS[family]
    ends = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    ends |= {"decoder_start_token_id": 0} if family == "t5" else {}
    torch.manual_seed(0)
    built = getattr(transformers, config)(**{"vocab_size": len(tokenizer), **settings, **ends, **changes})
    module = getattr(transformers, architecture)(built)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim() > 1 and family != "t5":
                weight.mul_(4)  # the usual 0.02 leaves a block next to nothing to do
    module.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def family_folder(teacher_folder, tmp_path_factory):
    """family_folder("llama") is the folder of a tiny model of that family, made once; a key of CONFIGS."""
    from transformers import AutoTokenizer

    made = {}

    def folder(family):
        if family not in made:
            tokenizer = AutoTokenizer.from_pretrained(teacher_folder)
            made[family] = make_family(family, tmp_path_factory.mktemp(family), tokenizer)
        return made[family]

    return folder


@pytest.fixture(scope="session")
def family(family_folder):
    """family("llama") is a fresh model of that family."""
    from pocketlm.model.pretrained import load_model

    return lambda name: load_model(family_folder(name))


@pytest.fixture(scope="session")
def calibrated(understanding_rows):
    """calibrated(model) is a calibration of eight short texts that the model's tokenizer knows."""
    from pocketlm.compress.calibration import calibration_from_text

    def make(model, windows=8, length=16, **settings):
        text = "\n".join(row["text"] for row in understanding_rows)
        return calibration_from_text(text, model, windows=windows, length=length, batch_size=4, **settings)

    return make
