import pytest
import torch

from pocketlm.compress.calibration import Calibration, calibration_from_rows
from pocketlm.compress.rows import collate, held_out, rows_of
from pocketlm.errors import CalibrationError


def test_rows_and_batches_of_them_are_what_the_calibration_held(family, calibrated):
    for name in ("bert", "t5", "llama"):
        model = family(name)
        made = calibrated(model)
        rows = rows_of(made)
        assert sum(row.length for row in rows) == made.tokens
        again = collate(rows[:4])
        first = made.batches[0]
        for key, values in again.items():
            mask = first["attention_mask"].bool()
            assert torch.equal(values[mask], first[key][mask]), key
        assert torch.equal(again["attention_mask"], first["attention_mask"])


def test_padding_on_the_left_is_taken_away():
    batch = {
        "input_ids": torch.tensor([[0, 0, 5, 6], [1, 2, 3, 4]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1], [1] * 4]),
    }
    rows = rows_of(Calibration((batch,)))
    assert rows[0].arrays["input_ids"].tolist() == [5, 6]
    assert collate(rows)["input_ids"].tolist() == [[5, 6, 0, 0], [1, 2, 3, 4]]
    padded = collate(rows_of(Calibration((batch,)), pad=9))
    assert padded["input_ids"].tolist() == [[5, 6, 9, 9], [1, 2, 3, 4]]
    assert padded["attention_mask"].tolist() == [[1, 1, 0, 0], [1] * 4]


def test_a_decoder_with_classes_says_the_same_of_a_text_beside_a_longer_one():
    from transformers import LlamaConfig, LlamaForSequenceClassification

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    module = LlamaForSequenceClassification(LlamaConfig(vocab_size=20, pad_token_id=3, num_labels=3, **sizes)).eval()
    batch = {
        "input_ids": torch.tensor([[5, 6, 3, 3], [7, 8, 9, 4]]),
        "attention_mask": torch.tensor([[1, 1, 0, 0], [1] * 4]),
    }
    rows = rows_of(Calibration((batch,)), pad=3)
    with torch.no_grad():
        together = module(**collate(rows)).logits
        alone = torch.cat([module(**collate([row])).logits for row in rows])
        assert torch.allclose(together, alone, atol=1e-6)
        # filled up with another token, the last one read is none of the text's
        assert not torch.allclose(module(**collate(rows_of(Calibration((batch,))))).logits[0], alone[0], atol=1e-6)


def test_rows_held_out_are_not_learned_from():
    learn, judge = held_out(50, 0.1, 0)
    assert sorted(learn + judge) == list(range(50))
    assert len(judge) == 5
    assert held_out(50, 0.1, 1) != (learn, judge)
    assert held_out(1, 0.5, 0) == ([0], [0])
    assert [len(one) for one in held_out(2, 0.0, 0)] == [1, 1]


def test_labels_stay_with_their_texts(family):
    model = family("bert-classes")
    texts = ["turn on the kitchen red lamp now now", "dim the hall", "switch off the attic blue lamp", "dim"]
    names = ["LABEL_2", "LABEL_0", "LABEL_1", "LABEL_0"]
    made, labels = calibration_from_rows(texts, names, model, batch_size=3)
    found = dict(zip(made.texts, torch.cat(labels).tolist(), strict=True))
    assert found == {text: int(name[-1]) for text, name in zip(texts, names, strict=True)}
    assert [len(one) for one in labels] == [3, 1]
    assert [row.label for row in rows_of(made, labels)] == [0, 0, 1, 2]
    numbers = calibration_from_rows(texts, [2, 0, 1, 0], model, batch_size=3)[1]
    assert torch.equal(torch.cat(numbers), torch.cat(labels))


def test_wrong_labels_are_named(family):
    model = family("bert-classes")
    with pytest.raises(CalibrationError, match="label 'LABEL_9' is none of the model's 3"):
        calibration_from_rows(["dim"], ["LABEL_9"], model)
    with pytest.raises(CalibrationError, match="2 texts and 1 labels"):
        calibration_from_rows(["dim", "on"], ["LABEL_0"], model)
    made, labels = calibration_from_rows(["dim", "on"], [0, 1], model)
    with pytest.raises(CalibrationError, match="one label a sequence"):
        rows_of(made, [labels[0][:1]])
