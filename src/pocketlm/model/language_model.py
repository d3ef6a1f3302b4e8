"""Small language models made from nothing: Llama's blocks for those that write, BERT's for those that read both ways.

Both share one table between embeddings and head, and are plain `transformers` models, so that compression, export and
other tools know them. Llama's blocks are normed before each layer, rotary and gated (Touvron et al. 2023,
arXiv:2302.13971).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from pocketlm.errors import RecipeError
from pocketlm.model import anatomy
from pocketlm.model.pretrained import Model
from pocketlm.model.spec import ModelSpec

CAUSAL, MASKED = "causal", "masked"
KINDS = (CAUSAL, MASKED)
# Pieces that a new model has places for.
CONTEXT = 512
HEAD_SIZE = 32
# Operations a second that training is foreseen to reach, of one core, whatever the machine: sizes depend on no clock.
RATE = 4e10
# Pieces that a weight should see: of Hoffmann et al. 2022 (arXiv:2203.15556), and fewer, as epochs repeat.
PIECES_A_WEIGHT = 5.0


@dataclass(frozen=True)
class LanguageShape:
    """Sizes. width: of hidden states, a multiple of 32. blocks: layers."""

    width: int
    blocks: int

    @property
    def ffn(self) -> int:
        """Feed-forward units of Llama's gated blocks, 8/3 of the width in multiples of 32."""
        return math.ceil(self.width * 8 / 3 / 32) * 32

    def parameters(self, pieces: int) -> int:
        """Weights of matrices, the shared table counted once; about the same for both kinds."""
        return pieces * self.width + self.blocks * (4 * self.width**2 + 3 * self.width * self.ffn)


SHAPES = tuple(
    LanguageShape(*one) for one in ((64, 2), (96, 3), (128, 4), (192, 4), (256, 5), (320, 6), (384, 8), (512, 10))
)


def pieces_for(size: int) -> int:
    """A vocabulary that so many bytes of text can teach: a piece should be seen often."""
    return 1_000 if size < 200_000 else 2_000 if size < 1_000_000 else 4_000 if size < 20_000_000 else 8_000


def shape_for(pieces: int, seconds: float | None, text: int) -> LanguageShape:
    """The largest shape that so much time can teach; without a limit, that a text of so many pieces can.

    A step costs 6 operations a weight and piece.
    """
    seen = 20.0 * text

    def enough(shape: LanguageShape) -> bool:
        weights = shape.parameters(pieces)
        most = seen if seconds is None else min(seen, seconds * RATE / (6 * weights))
        return most >= PIECES_A_WEIGHT * weights

    return max((one for one in SHAPES if enough(one)), key=lambda one: one.parameters(pieces), default=SHAPES[0])


def new_language_model(kind: str, shape: LanguageShape, tokenizer: Any, seed: int = 0) -> Model:
    """A model of this kind and shape with random weights. tokenizer: with a padding and an end, as `learn_pieces`'s."""
    import transformers

    common = {
        "vocab_size": len(tokenizer), "hidden_size": shape.width, "num_hidden_layers": shape.blocks,
        "num_attention_heads": shape.width // HEAD_SIZE, "max_position_embeddings": CONTEXT,
        "pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "tie_word_embeddings": True,
    }  # fmt: skip
    torch.manual_seed(seed)
    module: Any
    if kind == CAUSAL:
        module = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(**common, intermediate_size=shape.ffn, attention_bias=False)
        )
        _calm(module, shape.blocks)
    else:
        module = transformers.BertForMaskedLM(
            transformers.BertConfig(
                **common, intermediate_size=4 * shape.width, type_vocab_size=1,
                hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            )
        )  # fmt: skip
    module.config.architectures = [type(module).__name__]
    anatomy.unfuse(module)
    ties = tuple(tuple(one) for one in anatomy.ties(module))
    return Model(
        module, tokenizer, ModelSpec("pocketlm", type(module).__name__, module.config.model_type, "float32", ties)
    )


def _calm(module: Any, blocks: int) -> None:
    """What blocks add to the stream begins small, so that its size does not grow with their number (GPT-2's way)."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.mul_((2 * blocks) ** -0.5)


def shallower(model: Model, blocks: int) -> Model:
    """The model with its first blocks, so many, in place; its config says so too.

    Early blocks carry over best where training goes on (Sanyal et al. 2024, arXiv:2404.08634). Raises RecipeError.
    """
    stacks = anatomy.stacks(model.module)
    there = len(stacks[0]) if stacks else 0
    if len(stacks) != 1 or not 1 <= blocks <= there:
        raise RecipeError(
            f"model {model.spec.source}: has {there} blocks, of which 1 to {there} can be kept, not {blocks}"
        )
    anatomy.keep_blocks(model.module, stacks[0][0].rpartition(".")[0], range(blocks))
    config = model.module.config
    config.num_hidden_layers = blocks
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = config.layer_types[:blocks]
    return model


def with_word_head(model: Model, seed: int = 0) -> Model:
    """The encoder with a head that says words, fresh where it has none: by its own embeddings.

    Raises RecipeError for a type of encoder that has no such head.
    """
    from transformers import AutoModelForMaskedLM

    if any(layer.kind == "head" for layer in model.layers):
        return model
    torch.manual_seed(seed)
    try:
        whole = AutoModelForMaskedLM.from_config(model.module.config)
    except ValueError:
        raise RecipeError(f"model {model.spec.source}: {model.spec.model_type} has no head that says words") from None
    whole.base_model.load_state_dict(model.module.base_model.state_dict(), strict=False)  # without its pooler
    whole.config.architectures = [type(whole).__name__]
    anatomy.unfuse(whole)
    ties = tuple(tuple(one) for one in anatomy.ties(whole))
    spec = replace(model.spec, architecture=type(whole).__name__, ties=ties)
    return Model(whole.eval(), model.tokenizer, spec, model.records)
