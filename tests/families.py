"""Tiny models of every family, with a tokenizer of the rows' words, made here so that nothing is downloaded."""

import pytest

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {**SMALL, "num_key_value_heads": 2}
ROUTED = {**GROUPED, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
DISTIL = {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4}
T5 = {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4}
WHISPER = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_mel_bins": 16, "max_source_positions": 50,
    "max_target_positions": 24,
}  # fmt: skip
MARIAN = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 32, "decoder_start_token_id": 0,
    "forced_eos_token_id": 3,
}  # fmt: skip
CONFIGS = {
    "bert": ("BertModel", "BertConfig", {**SMALL}),
    "bert-words": ("BertForMaskedLM", "BertConfig", {**SMALL}),
    "bert-classes": ("BertForSequenceClassification", "BertConfig", {**SMALL, "num_labels": 3}),
    "distilbert": ("DistilBertForSequenceClassification", "DistilBertConfig", {**DISTIL, "num_labels": 3}),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", {**SMALL}),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "llama": ("LlamaForCausalLM", "LlamaConfig", {**GROUPED, "tie_word_embeddings": True}),
    "t5": ("T5ForConditionalGeneration", "T5Config", T5),
    "t5-gated": (
        "T5ForConditionalGeneration",
        "T5Config",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "mistral": ("MistralForCausalLM", "MistralConfig", {**GROUPED, "sliding_window": 8}),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", {**GROUPED, "use_sliding_window": True, "max_window_layers": 1}),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**GROUPED, "head_dim": 8}),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**GROUPED, "num_local_experts": 4}),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        {**ROUTED, "num_experts": 4, "shared_expert_intermediate_size": 24},
    ),
    "qwen3_moe": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", {**ROUTED, "num_experts": 8, "head_dim": 8}),
    "whisper": ("WhisperForConditionalGeneration", "WhisperConfig", WHISPER),
    "marian": ("MarianMTModel", "MarianConfig", MARIAN),
}
MIXTURES = ("mixtral", "qwen2_moe", "qwen3_moe")


def make_processor():
    """A Whisper processor for a second of sound in 16 bins, with a tokenizer of bytes."""
    from tokenizers import pre_tokenizers
    from transformers import WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*letters, "<|endoftext|>"])}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[], pad_token="<|endoftext|>")
    return WhisperProcessor(WhisperFeatureExtractor(feature_size=16, chunk_length=1), tokenizer)


def make_family(family, folder, tokenizer, **changes):
    """A model of the family with random weights large enough to matter, saved with the tokenizer."""
    import torch
    import transformers

    architecture, config, settings = CONFIGS[family]
    words = len(tokenizer)
    ends = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    if family.startswith("t5"):
        ends["decoder_start_token_id"] = 0
    if family == "whisper":
        tokenizer = make_processor()
        ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"), 256)
        words = len(tokenizer.tokenizer)
    torch.manual_seed(0)
    built = getattr(transformers, config)(**{"vocab_size": words, **settings, **ends, **changes})
    module = getattr(transformers, architecture)(built)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim() > 1 and not family.startswith("t5"):
                weight.mul_(4)  # the usual 0.02 leaves a block next to nothing to do
    if family == "t5-gated":  # as T5 1.1 has it, whatever transformers makes of the config
        module.lm_head.weight = torch.nn.Parameter(torch.randn(words, 32))
    module.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def byte_tokenizer(understanding_rows):
    """A byte-level BPE of the rows' words that splits digits, as SmolLM's does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<pad>", "<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator([row["text"] for row in understanding_rows], trainer)
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


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


def seen(model, seed=1):
    """Arguments for the model's module: three sequences of random tokens, two of them padded."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    words = 100 if model.spec.kind == "speech" else min(100, model.module.config.vocab_size)
    ids = torch.randint(5, words, (3, 9), generator=generator)
    if model.spec.kind == "speech":
        return {"input_features": torch.randn(3, 16, 100, generator=generator), "decoder_input_ids": ids}
    mask = torch.ones_like(ids)
    mask[1, 6:] = mask[2, 4:] = 0
    if model.spec.kind == "encoder-decoder":
        return {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": ids[:, :5]}
    return {"input_ids": ids, "attention_mask": mask}


def outputs(model, **changes):
    """The module's first output on what `seen` gives."""
    import torch

    with torch.no_grad():
        return model.module(**{**seen(model), **changes})[0]


@pytest.fixture(scope="module")
def deep(teacher_folder, tmp_path_factory):
    """deep() is a fresh Llama of four blocks."""
    from transformers import AutoTokenizer

    from pocketlm.model.pretrained import load_model

    tokenizer = AutoTokenizer.from_pretrained(teacher_folder)
    folder = make_family("llama", tmp_path_factory.mktemp("deep"), tokenizer, num_hidden_layers=4)
    return lambda: load_model(folder)
