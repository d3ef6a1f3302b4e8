"""Encoder-decoders that write text, made from nothing: Marian's layers with one embedding for both sides and the head.

They are plain `transformers` models (MarianMTModel), so that compression, export and other tools know them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from pocketlm.model import anatomy
from pocketlm.model.pretrained import Model
from pocketlm.model.spec import ModelSpec
from pocketlm.model.subwords import END_ID, PAD_ID

POSITIONS = 512


@dataclass(frozen=True)
class TranslatorShape:
    """Sizes. pieces: vocabulary. width: of the states. encoder, decoder: layers. ffn: feed-forward units."""

    pieces: int
    width: int = 256
    encoder: int = 5
    decoder: int = 2
    ffn: int = 512
    heads: int = 4

    @property
    def parameters(self) -> int:
        """How many weights are learnt, the shared embedding counted once."""
        attention, norm = 4 * (self.width + 1) * self.width, 2 * self.width
        feed = 2 * self.width * self.ffn + self.ffn + self.width
        encoder, decoder = attention + feed + 2 * norm, 2 * attention + feed + 3 * norm
        return self.pieces * self.width + self.encoder * encoder + self.decoder * decoder


# Deep encoder, shallow decoder: as good as a balanced model and far faster (Kasai et al. 2020, arXiv:2006.10369).
STUDENTS = (
    TranslatorShape(0, 256, 6, 1, 512, 4),
    TranslatorShape(0, 192, 6, 1, 384, 4),
    TranslatorShape(0, 128, 5, 1, 256, 4),
    TranslatorShape(0, 96, 4, 1, 192, 4),
    TranslatorShape(0, 64, 3, 1, 128, 4),
)


def student_shapes(pieces: int, most_bytes: int | None) -> list[TranslatorShape]:
    """The students whose weights of 8 bits fit into `most_bytes`, the largest first."""
    shapes = [replace(one, pieces=pieces) for one in STUDENTS]
    return [one for one in shapes if most_bytes is None or one.parameters <= most_bytes]


def new_translator(shape: TranslatorShape, tokenizer: Any, *, dropout: float = 0.3, seed: int = 0) -> Model:
    """A model of this shape with random weights, that starts writing from the padding and ends with "</s>".

    dropout: of what each sublayer adds; inside of them it takes a fifth of the time on processors.
    """
    from transformers import GenerationConfig, MarianConfig, MarianMTModel

    config = MarianConfig(
        vocab_size=shape.pieces, d_model=shape.width, encoder_layers=shape.encoder, decoder_layers=shape.decoder,
        encoder_ffn_dim=shape.ffn, decoder_ffn_dim=shape.ffn, encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads, max_position_embeddings=POSITIONS, dropout=dropout,
        attention_dropout=0.0, activation_dropout=0.0, activation_function="relu",
        scale_embedding=True, pad_token_id=PAD_ID, eos_token_id=END_ID, forced_eos_token_id=END_ID,
        decoder_start_token_id=PAD_ID, share_encoder_decoder_embeddings=True, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(seed)
    module = MarianMTModel(config)
    with torch.no_grad():
        for child in module.modules():
            if isinstance(child, nn.Linear) and child is not module.lm_head:
                nn.init.xavier_uniform_(child.weight)
        # times the root of the width, as states are on their way in, these have variance 1
        nn.init.normal_(module.lm_head.weight, std=shape.width**-0.5)
        module.lm_head.weight[PAD_ID] = 0
    module.generation_config = GenerationConfig(
        pad_token_id=PAD_ID, eos_token_id=END_ID, decoder_start_token_id=PAD_ID, forced_eos_token_id=END_ID,
        max_length=POSITIONS, num_beams=1,
    )  # fmt: skip
    module.config.architectures = ["MarianMTModel"]
    anatomy.unfuse(module.eval())
    ties = tuple(tuple(one) for one in anatomy.ties(module))
    return Model(module, tokenizer, ModelSpec("pocketlm", "MarianMTModel", "marian", "float32", ties))
