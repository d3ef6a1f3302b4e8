import pytest

from pocketlm.runtime.likelihood import likelihoods
from pocketlm.train.likelihood import foresee

TEXTS = ["turn on the kitchen lamp and dim the red hall lamp " * 12, "switch off the blue garage lamp"]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_torch_and_the_runtime_read_the_same_windows_alike(writer, name):
    model, generator, _ = writer(name)
    seen = []
    ours = foresee(model, TEXTS, window=40, progress=lambda done, total: seen.append((done, total)))
    theirs = likelihoods(generator, TEXTS, window=40)
    assert len(ours[0]["windows"]) > 1 and seen == [(1, 2), (2, 2)]
    for own, other in zip(ours, theirs, strict=True):
        assert [(one["tokens"], one["bytes"]) for one in own["windows"]] == [
            (one["tokens"], one["bytes"]) for one in other["windows"]
        ]
        for one, two in zip(own["windows"], other["windows"], strict=True):
            assert one["nats"] == pytest.approx(two["nats"], rel=1e-4)
