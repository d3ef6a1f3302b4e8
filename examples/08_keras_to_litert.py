"""A Keras text model trained, quantized after and during training, compared, and written for LiteRT.

python examples/08_keras_to_litert.py FOLDER

Needs `pip install 'pocketlm[keras]'`. Sentences and intents come from the package home-assistant-intents.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from keras import layers

from pocketlm import Recipe, load_model, save_model
from pocketlm.compress.calibration import calibration_from_lines
from pocketlm.compress.context import Context
from pocketlm.compress.qat import Qat
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.data.smart_home import smart_home
from pocketlm.export.litert import export_litert, load_litert, run_litert
from pocketlm.model.vectorizer import Vectorizer
from pocketlm.outputs import Example, Output
from pocketlm.recipe.compress import compress
from pocketlm.tasks.classification import CLASSIFICATION

folder, length = Path(sys.argv[1]), 16
epochs, steps = int(os.environ.get("EPOCHS", "6")), int(os.environ.get("STEPS", "300"))
keras.utils.set_random_seed(0)

# 1. Data: sentences of a smart home, and words numbered as Keras's TextVectorization numbers them.
rows = smart_home("en").splits
train, test = ([(str(row["text"]), str(row["intent"])) for row in rows[name]] for name in ("train", "test"))
labels = sorted({label for _, label in train})
words = Vectorizer.adapted((text for text, _ in train), max_tokens=3000, length=length)


def ids(texts):
    """(texts, length)."""
    return words(texts)["input_ids"].numpy()


# 2. The model of a beginner's tutorial.
model = keras.Sequential([
    keras.Input((length,), dtype="int32"),
    layers.Embedding(len(words.vocabulary), 64),
    layers.Conv1D(96, 3, padding="same", activation="relu"),
    layers.GlobalMaxPooling1D(),
    layers.Dense(64, activation="relu"),
    layers.Dropout(0.3),
    layers.Dense(len(labels), activation="softmax"),
])  # fmt: skip
model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
gold = np.array([labels.index(label) for _, label in train])
model.fit(ids([text for text, _ in train]), gold, batch_size=64, epochs=epochs, verbose=0)
model.save(folder / "intents.keras")
(folder / "intents.vocabulary.txt").write_text("\n".join(words.vocabulary), "utf-8")
(folder / "intents.labels.txt").write_text("\n".join(labels), "utf-8")

# 3. Quantized after training, to 8 and to 2 bits, and to 2 bits during training.
whole = load_model(folder / "intents.keras")
calibration = calibration_from_lines([text for text, _ in train[:4000]], whole, batch_size=64)
everything = {"layers": ("all",), "group_size": 0}
made = {
    "float32": whole,
    "8 bits after": compress(whole, Recipe([RoundToNearest(bits=8, symmetric=True, **everything)])),
    "2 bits after": compress(whole, Recipe([RoundToNearest(bits=2, symmetric=True, **everything)])),
    "2 bits during": compress(
        whole, Recipe([Qat(bits=2, rate=1e-3, steps=steps, batch=64, **everything)]), Context(calibration)
    ),
}

# 4. Each as a LiteRT file, judged on sentences that no one has seen.
examples = [Example(text, (label,)) for text, label in test if label in labels]
given, output = ids([example.text for example in examples]), Output("label", "single", tuple(labels))
print(f"{'':14} accuracy  recall      F1     bytes  ms a text")
for name, one in made.items():
    path = folder / f"{name.replace(' ', '-')}.tflite"
    written = export_litert(one, path)
    interpreter = load_litert(path)
    began = time.perf_counter()
    shares = run_litert(interpreter, given)
    spent = (time.perf_counter() - began) / len(given) * 1e3
    said = [{"label": labels[place]} for place in shares.argmax(1)]
    found = CLASSIFICATION.figures(examples, said, [output])
    figures = "  ".join(f"{found[key]:6.4f}" for key in ("accuracy", "recall_macro", "f1_macro"))
    print(f"{name:14}   {figures}  {written.size_bytes:8,}  {spent:9.3f}")
save_model(made["2 bits during"], folder / "small", force=True)
