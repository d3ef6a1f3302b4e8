"""Which heads and feed-forward units of a teacher's layers a student keeps, and how these make up for the others.

Both by what the layers read on the job's own texts: the structured optimal brain surgeon of ZipLM (Kurtic et al. 2023,
arXiv:2302.04089; see `compress.columns`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from pocketlm.compress.columns import importance, made_up, removal_curve, stride_for
from pocketlm.compress.heads import head_curve
from pocketlm.compress.moments import Statistics, collecting
from pocketlm.compress.removal import Heads, spread
from pocketlm.compress.sublayers import staying
from pocketlm.model.encoder import teacher_model
from pocketlm.runtime.inputs import Text
from pocketlm.train.context import FitContext
from pocketlm.train.lesson import tensors

# Pieces after which what layers read is known well enough; texts read at once.
PIECES = 20_000
AT_ONCE = 32

# Several candidates of a job are cut out of one teacher: {backbone: (texts, of each layer what it read of them)}.
_known: WeakKeyDictionary[nn.Module, tuple[list[Text], dict[str, Tensor]]] = WeakKeyDictionary()


def what_they_read(names: Sequence[str], backbone: nn.Module, context: FitContext) -> Mapping[str, Tensor]:
    """XXᵀ of the inputs of these linear layers of the backbone, on texts of the lesson: {name: (in, in)}.

    The backbone is that of the context's teacher or, where it has none, of its pretrained encoder.
    """
    order = np.random.default_rng(context.seed).permutation(len(context.lesson))
    texts = [context.lesson.texts[place] for place in order.tolist()]
    known_texts, known = _known.get(backbone, ([], {}))
    known = known if known_texts == texts else {}
    if missing := [name for name in names if name not in known]:
        known = known | _read(missing, backbone, texts, context)
        _known[backbone] = (texts, known)
    return known


@torch.no_grad()
def _read(names: Sequence[str], backbone: nn.Module, texts: Sequence[Text], context: FitContext) -> dict[str, Tensor]:
    model = context.teacher
    if model is None or getattr(model.module, "backbone", None) is not backbone:
        assert context.pretrained is not None
        model = teacher_model(context.pretrained, context.outputs, context.max_length)
    was_training, found, read = model.module.training, Statistics(), 0
    model.module.eval()
    layers = {name: backbone.get_submodule(name) for name in names}
    for begin in range(0, len(texts), AT_ONCE):
        encoded = model.inputs.encode(texts[begin : begin + AT_ONCE])
        arrays = tensors(model.inputs.collate(encoded))
        with collecting(layers, found, [arrays["attention_mask"].bool()]):
            model.module(**arrays)
        read += int(arrays["attention_mask"].sum())
        if read >= PIECES:
            break
    model.module.train(was_training)
    return {name: found[name].s for name in names}


def kept_units(weight: Tensor, s: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Places of the `count` units that a feed-forward's output layer can least do without, and its columns for them.

    weight: (out, units); s: XXᵀ of what it reads. The columns are changed so that they make up for the others.
    """
    gone = len(s) - count
    if gone <= 0:
        return torch.arange(len(s)), weight
    order = removal_curve(importance(weight, None), s, 1, gone, stride=stride_for(len(s), 1)).order
    kept = staying(len(s), order)
    return kept, made_up(weight, s, kept)


def kept_heads(weight: Tensor, s: Tensor, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Places of all features of the `count` heads that an attention can least do without, and its output's columns.

    weight: (out, heads times size); s and the columns as for units.
    """
    heads = Heads(len(s) // size, 1, size)
    if heads.count <= count:
        return torch.arange(len(s)), weight
    steps = head_curve(heads, [(importance(weight, None), s)], (2 * size * len(weight), 2 * size * len(weight)))
    step = next(one for one in steps if one.count == count)
    kept = spread([head for group in step.kept for head in group], size)
    return kept, made_up(weight, s, kept)
