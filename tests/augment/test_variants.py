"""Variants of training texts: new, seeded, of the same kind, and with words of like meaning."""

from pocketlm.augment.variants import variants

TEXTS = ["turn on the Lamp, please", "stop the music now", "what is the weather?"]


def test_variants_are_new_seeded_and_of_the_same_kind():
    made = variants(TEXTS, 5, seed=1)
    assert made == variants(TEXTS, 5, seed=1) != variants(TEXTS, 5, seed=2)
    assert len(set(made)) == len(made) > 10
    assert not set(made) & set(TEXTS)
    assert variants(TEXTS, 0, seed=1) == []
    tokens = variants([tuple(text.split()) for text in TEXTS], 5, seed=1)
    assert all(isinstance(one, tuple) and one for one in tokens)


def test_words_are_exchanged_for_their_neighbours_and_edges_stay():
    near = {"lamp": ["light", "bulb"], "please": ["kindly"], "weather": ["forecast"]}
    made = variants(TEXTS, 30, seed=0, neighbours=near)
    exchanged = [one for one in made if any(word in one for word in ("light", "bulb", "kindly", "forecast"))]
    assert exchanged
    assert any("light, " in one or "bulb, " in one for one in exchanged), "punctuation stays where it stood"
    assert any(one == "what is the forecast?" for one in exchanged)
    tokens = variants([tuple(text.split()) for text in TEXTS], 30, seed=0, neighbours=near)
    kept = [one for one in tokens if "forecast?" in one]
    assert ("what", "is", "the", "forecast?") in kept, "as many tokens as before"


def test_words_without_neighbours_stay():
    assert variants(["stop music"], 1, seed=0, neighbours={"lamp": ["light"]}) == []
