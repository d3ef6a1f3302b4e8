"""Small Pockets made by hand with numpy: no training, no torch."""

import numpy as np

from pocketlm.outputs import Output
from pocketlm.pocket.format import write_pocket
from pocketlm.runtime.ngrams import Ngrams
from pocketlm.runtime.packed import pack

LABELS = ("a", "b", "c")
TAGS = ("O", "B-x", "I-x")


def make_pocket(path, tagging=False, width=8, buckets=2**10, intent=True, seed=0):
    """A bag of hashed n-grams with random weights; where it is tagging, for intents and slots, or for tags alone."""
    random = np.random.default_rng(seed)

    def array(*shape):
        return random.normal(size=shape).astype(np.float32)

    if tagging and not intent:
        outputs = [Output("tags", "tags", TAGS)]
    elif tagging:
        outputs = [Output("intent", "single", LABELS), Output("slots", "tags", TAGS)]
    else:
        outputs = [Output("label", "single", LABELS)]
    arrays = {"table": array(buckets, width)}
    for output in outputs:
        arrays[f"{output.name}.weight"] = array(len(output.labels), width)
        arrays[f"{output.name}.bias"] = array(len(output.labels))
    if tagging:
        arrays |= {"context.weight": array(width, 4 * width), "context.bias": array(width)}
    packed = {name: pack(values, 32) for name, values in arrays.items()}
    inputs = {"kind": "ngrams", "tagging": tagging, "max_words": 64, "ngrams": Ngrams(buckets).to_json()}
    manifest = {
        "task": ("understanding" if intent else "tagging") if tagging else "classification",
        "outputs": [output.to_json() for output in outputs],
        "model": {
            "kind": "bag",
            "hidden": False,
            "window": int(tagging),
            "arrays": {name: about for name, (about, _) in packed.items()},
            "inputs": inputs,
        },
    }
    write_pocket(path, manifest, {name: data for name, (_, data) in packed.items()}, replace=False)
    return path
