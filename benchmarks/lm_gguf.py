"""A Llama's folder as a float16 GGUF, which llama.cpp quantizes, and a GGUF's weights back in float32."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


def gguf_names(config: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """The name in a GGUF of each of a Llama's weights."""
    import gguf

    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    return {name: known.get_name(name, try_suffixes=(".weight", ".bias")) or "" for name in names}


def rotary_order(weight: np.ndarray, name: str, config: Mapping[str, Any], back: bool) -> np.ndarray:
    """Queries and keys (rows, columns) with the two halves of a head interleaved, as llama.cpp has them, or back."""
    of_heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
    if of_heads is None:
        return weight
    halves = (-1, 2) if back else (2, -1)
    return weight.reshape(config[of_heads], *halves, weight.shape[-1]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(source: Path, target: Path) -> None:
    """A GGUF of a Llama with tied embeddings: matrices in float16, norms in float32, and its tokenizer."""
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((source / "config.json").read_text("utf-8"))
    weights = load_file(source / "model.safetensors")
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    add_tokenizer(writer, source, config)
    for name, stored in gguf_names(config, weights).items():
        kind = np.float16 if weights[name].ndim > 1 else np.float32
        weight = rotary_order(weights[name], name, config, back=False)
        writer.add_tensor(stored, np.ascontiguousarray(weight, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokenizer(writer: Any, source: Path, config: Mapping[str, Any]) -> None:
    """SmolLM's byte-level BPE as a GGUF has it."""
    import gguf

    file = json.loads((source / "tokenizer.json").read_text("utf-8"))
    tokens = sorted(file["model"]["vocab"], key=file["model"]["vocab"].__getitem__)
    types = [gguf.TokenType.NORMAL] * len(tokens)
    for added in file["added_tokens"]:
        types[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in file["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_unk_token_id(config["unk_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    template = source / "chat_template.jinja"
    if template.is_file():
        writer.add_chat_template(template.read_text("utf-8"))


def read_gguf(file: Path, source: Path, model: Any) -> None:
    """Dequantizes a GGUF into a model in float32, in place. Raises KeyError where a weight of the model is missing."""
    import gguf

    config = json.loads((source / "config.json").read_text("utf-8"))
    stored = {one.name: one for one in gguf.GGUFReader(file).tensors}
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, there in gguf_names(config, own).items():
            weight = gguf.dequantize(stored[there].data, stored[there].tensor_type).astype(np.float32)
            own[name].copy_(torch.from_numpy(np.ascontiguousarray(rotary_order(weight, name, config, back=True))))
