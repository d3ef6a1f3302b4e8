"""A .keras file as the model that compression works on, proved to say what Keras says before anyone sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from pocketlm.errors import ModelError
from pocketlm.model import anatomy
from pocketlm.model.keras_file import KerasFile, open_keras
from pocketlm.model.keras_trace import Trace, trace
from pocketlm.model.pretrained import Model
from pocketlm.model.spec import ModelSpec
from pocketlm.model.text_graph import GraphConfig, TextGraph, shares
from pocketlm.model.vectorizer import Vectorizer

# ‖ours − Keras's‖ / ‖Keras's‖ of log-odds: float sums in another order.
DIFFERENCE = 1e-3
# Shares below this are all as rare; log-odds whose norm is below that are all as close.
RAREST, LEAST = 1e-6, 1e-3
# Ids of a text where the model does not say how many it reads.
SAMPLED = 24


def load_keras(path: str | Path) -> Model:
    """The model in a .keras file. Raises ModelError where it cannot be opened, is not supported, or differs."""
    file = open_keras(path)
    try:
        found = trace(file.model, str(path))
        config = _config(found, file, str(path))
        module = TextGraph(config)
        _fill(module, found)
        module.eval().requires_grad_(False)
        _prove(module, file, found, str(path))
    except ModelError:
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        raise ModelError(f"model {path}: cannot be written as a graph: {type(error).__name__}: {why}") from error
    tokenizer = None if file.tokenizer is None else Vectorizer(file.tokenizer, config.length, masked(config))
    ties = tuple(tuple(one) for one in anatomy.ties(module))
    return Model(module, tokenizer, ModelSpec(str(path), "TextGraph", "keras", "float32", ties))


def _config(found: Trace, file: KerasFile, source: str) -> GraphConfig:
    nodes, final = found.nodes, "linear"
    last = nodes[-1]
    if last.op == "activate" and last.settings["kind"] in ("softmax", "sigmoid"):
        nodes, final = nodes[:-1], last.settings["kind"]
    classes = int(file.model.outputs[0].shape[-1])
    if classes == 1:
        classes, final = 2, "sigmoid"
    if file.labels and len(file.labels) != classes:
        raise ModelError(f"model {source}: has {classes} classes, and {len(file.labels)} labels lie beside it")
    words = found.ids
    if file.tokenizer is not None and file.tokenizer.get_vocab_size() > words:
        raise ModelError(
            f"model {source}: its vocabulary has {file.tokenizer.get_vocab_size():,} words, and {words:,} are looked up"
        )
    return GraphConfig(tuple(nodes), found.length, words, classes, final, file.labels)


def masked(config: GraphConfig) -> bool:
    """Whether the model passes over padding."""
    return any(node.masked for node in config.nodes)


def _fill(module: TextGraph, found: Trace) -> None:
    paths, state = module.paths, module.state_dict()
    for node, arrays in found.weights.items():
        for name, array in arrays.items():
            state[f"{paths[node]}.{name}"].copy_(torch.from_numpy(np.ascontiguousarray(array)))


def sampled(config: GraphConfig, texts: int, seed: int) -> torch.Tensor:
    """Random ids (texts, places), each text but the first filled up with 0 after a share of them."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, config.vocab_size, (texts, config.length or SAMPLED), generator=generator)
    for row in range(1, texts):
        ids[row, max(1, ids.shape[1] * row // (texts + 1)) :] = 0
    return ids


def _prove(module: TextGraph, file: KerasFile, found: Trace, source: str) -> None:
    """Raises ModelError where Keras says something else on random ids."""
    import keras

    # where texts come in, from the ids on
    model = keras.Model(found.read, found.said) if file.mode else file.model
    worst = 0.0
    for seed in (1, 2):
        ids = sampled(module.config, 4, seed)
        with torch.no_grad():
            mine = log_odds(probabilities(module, ids).numpy(), module.config.final)
        wanted = log_odds(_asked(model, module, ids), module.config.final)
        worst = max(worst, float(np.linalg.norm(mine - wanted) / max(float(np.linalg.norm(wanted)), LEAST)))
    if not worst <= DIFFERENCE:
        raise ModelError(f"model {source}: written as a graph it differs from Keras by {worst:.2g} of its answer")


def _asked(model: Any, module: TextGraph, ids: torch.Tensor) -> np.ndarray:
    from keras import ops

    first = module.config.nodes[0]
    given: Any = ids.numpy()
    if first.op == "bag":
        given = module.stem(ids).numpy()
    return np.asarray(ops.convert_to_numpy(model(given, training=False)))


def probabilities(module: TextGraph, ids: torch.Tensor) -> torch.Tensor:
    """What the Keras model put out: of two classes by one number, that number."""
    config = module.config
    logits: torch.Tensor = module(ids).logits
    if config.binary:
        logits = logits[..., 1:]
    if config.final == "linear":
        return logits
    return torch.sigmoid(logits) if config.binary else shares(logits, config.final)


def log_odds(said: np.ndarray, final: str) -> np.ndarray:
    """What a model said before its last activation, up to what is the same for all classes; numbers as they are."""
    if final == "linear":
        return said
    known = np.log(said.clip(RAREST, None).astype(np.float64))
    if final == "sigmoid":
        return np.asarray(known - np.log((1 - said.astype(np.float64)).clip(RAREST, None)))
    return np.asarray(known - known.mean(-1, keepdims=True))


def empty_graph(folder: Path) -> TextGraph:
    """The module that a folder's config.json describes, its tensors still to be placed."""
    return TextGraph(GraphConfig.from_folder(folder))


def load_vectorizer(folder: Path) -> Vectorizer | None:
    """The tokenizer in a folder, or None."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    config = GraphConfig.from_folder(folder)
    return Vectorizer(Tokenizer.from_file(str(path)), config.length, masked(config))
