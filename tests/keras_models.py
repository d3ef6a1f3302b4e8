"""Small Keras models of every kind that is supported, with random weights that make their answers differ."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np

WORDS, PLACES = 60, 12


def sequential(*layers, places=PLACES):
    import keras

    return keras.Sequential([keras.Input((places,), dtype="int32"), *layers])


def averaged():
    from keras import layers

    return sequential(
        layers.Embedding(WORDS, 8), layers.GlobalAveragePooling1D(), layers.Dense(6, activation="relu"),
        layers.Dropout(0.5), layers.Dense(1, activation="sigmoid"),
    )  # fmt: skip


def convolved():
    from keras import layers

    return sequential(
        layers.Embedding(WORDS, 8), layers.Conv1D(6, 3, padding="same", activation="relu"), layers.MaxPooling1D(2),
        layers.Conv1D(8, 2, strides=2, dilation_rate=1, activation="gelu"), layers.BatchNormalization(),
        layers.AveragePooling1D(2, padding="same"), layers.Flatten(), layers.Dense(5, activation="tanh"),
        layers.Dense(3, activation="softmax"),
    )  # fmt: skip


def causal():
    from keras import layers

    return sequential(
        layers.Embedding(WORDS, 8), layers.Conv1D(8, 3, padding="causal", dilation_rate=2, activation="silu"),
        layers.GlobalMaxPooling1D(), layers.Dense(4),
    )  # fmt: skip


def recurrent():
    from keras import layers

    return sequential(
        layers.Embedding(WORDS, 8, mask_zero=True), layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
        layers.Bidirectional(layers.GRU(5), merge_mode="sum"), layers.Dense(3, activation="softmax"),
    )  # fmt: skip


def plain_recurrent():
    from keras import layers

    return sequential(
        layers.Embedding(WORDS, 8), layers.SimpleRNN(6, return_sequences=True), layers.LSTM(4, go_backwards=True),
        layers.Dense(3, activation="softmax"),
    )  # fmt: skip


def attentive(places=None, dropout=0.1, masked=True):
    """A functional transformer: two branches meet, and places are free."""
    import keras
    from keras import layers

    given = keras.Input((places,), dtype="int32")
    x = layers.Embedding(WORDS, 8, mask_zero=masked)(given)
    seen = layers.MultiHeadAttention(2, 4, dropout=dropout)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, seen]))
    x = layers.LayerNormalization()(x + layers.Dense(8)(layers.Dense(12, activation="relu")(x)))
    both = layers.Concatenate()([layers.GlobalAveragePooling1D()(x), layers.GlobalMaxPooling1D()(x)])
    return keras.Model(given, layers.Dense(4, activation="softmax")(both))


KINDS = {
    "averaged": averaged, "convolved": convolved, "causal": causal, "recurrent": recurrent,
    "plain-recurrent": plain_recurrent, "attentive": attentive,
}  # fmt: skip


def made(kind):
    """A model whose weights are random numbers, those of normalization too."""
    import keras

    keras.utils.set_random_seed(0)
    model = KINDS[kind]() if isinstance(kind, str) else kind
    draw = np.random.default_rng(0)
    for weight in model.weights:
        if weight.dtype.startswith("float"):
            values = draw.normal(0, 0.4, weight.shape)
            weight.assign(np.abs(values) + 0.5 if "variance" in weight.path or "gamma" in weight.path else values)
    return model


def saved(kind, folder, words=True, labels=()):
    """Its file, with words beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind if isinstance(kind, str) else 'model'}.keras"
    made(kind).save(path)
    if words:
        beside = ["", "[UNK]", *(f"w{place}" for place in range(2, WORDS))]
        (folder / f"{path.stem}.vocabulary.txt").write_text("\n".join(beside), "utf-8")
    if labels:
        (folder / f"{path.stem}.labels.txt").write_text("\n".join(labels), "utf-8")
    return path


def texts(count=48, seed=0):
    """Lines of known and unknown words, of several lengths."""
    draw = np.random.default_rng(seed)
    return [" ".join(f"w{one}" for one in draw.integers(2, WORDS + 4, draw.integers(2, PLACES))) for _ in range(count)]
