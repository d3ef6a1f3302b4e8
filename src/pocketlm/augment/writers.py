"""Models that write, by name (a Pocket, a folder, a hub name): what translates, and what goes on from a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from pocketlm.errors import ModelError
from pocketlm.runtime.choose import Writing
from pocketlm.runtime.generate import Generator
from pocketlm.runtime.load import load

if TYPE_CHECKING:
    from pocketlm.model.pretrained import Model

POCKET = ".pocket"
TOP_P = 0.95

Translate = Callable[[Sequence[str]], list[str]]
# A prompt, the most tokens to write, the temperature and a seed.
GoOn = Callable[[str, int, float, int], str]


@lru_cache(maxsize=4)
def translator(name: str) -> Translate:
    """What writes another text for each text. Raises ModelError for a model that does not."""
    if name.endswith(POCKET):
        generator = load(name).generator
        if not generator.translates:
            raise ModelError(f"{name}: goes on from texts and translates none; name a Pocket of a translation")
        return lambda texts: [one.text.strip() for text in texts for one in generator.write([text])]
    model = _model(name, "encoder-decoder", "translates (Marian, T5)")
    from pocketlm.train.write import write

    return partial(write, model)


@lru_cache(maxsize=2)
def continuer(name: str) -> GoOn:
    """What writes the rest of a line. Raises ModelError for a model that does not go on from a prompt."""
    if name.endswith(POCKET):
        generator = load(name).generator
        if generator.translates:
            raise ModelError(f"{name}: translates and does not go on from a prompt; name a Pocket of a language model")
        return partial(_by_pocket, generator)
    return partial(_by_torch, _model(name, "decoder", "goes on from a prompt (GPT-2, Llama)"))


def _model(name: str, kind: str, does: str) -> Model:
    from pocketlm.model.pretrained import load_model

    model = load_model(name)
    if model.spec.kind != kind or not hasattr(model.module, "generate"):
        raise ModelError(f"model {name}: is a {model.spec.architecture}; name one that {does}")
    if model.tokenizer is None:
        raise ModelError(f"model {name}: has no tokenizer beside it")
    return model


def _by_pocket(generator: Generator, prompt: str, tokens: int, temperature: float, seed: int) -> str:
    how = Writing(max_tokens=tokens, temperature=temperature, top_p=TOP_P, stop=("\n",), cut=True, seed=seed)
    return generator.write([prompt], how)[0].text.strip()


def _by_torch(model: Model, prompt: str, tokens: int, temperature: float, seed: int) -> str:
    import torch

    config = model.module.config
    most = int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", 0) or 1_024)
    ids = torch.tensor([model.tokenizer(prompt, verbose=False).input_ids[-max(1, most - tokens) :]])
    pad = model.tokenizer.eos_token_id if model.tokenizer.pad_token_id is None else model.tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        said = model.module.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=temperature, top_p=TOP_P,
            top_k=0, max_new_tokens=min(tokens, most - 1), pad_token_id=pad,
        )  # fmt: skip
    text: str = model.tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True)
    return text.lstrip("\n").split("\n")[0].strip()
