import pytest
import torch

from pocketlm.compress.calibration import calibration_from_lines
from pocketlm.compress.context import Context
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.compress.vocabulary import PruneVocabulary
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe


def test_rows_of_words_that_are_never_read_become_zero_and_the_others_stay(family):
    model = family("bert-classes")
    made = calibration_from_lines(["dim the hall lamp", "dim the attic lamp"], model)
    used = set(torch.cat([batch["input_ids"].reshape(-1) for batch in made.batches]).tolist())
    used |= set(model.tokenizer.all_special_ids)
    pruned = compress(model, Recipe([PruneVocabulary(layers=("*word_embeddings",))]), Context(made))
    before, after = (one.module.bert.embeddings.word_embeddings.weight for one in (model, pruned))
    for token in range(len(before)):
        assert torch.equal(after[token], before[token]) == (token in used)
    assert not after[[token for token in range(len(before)) if token not in used]].any()
    batch = dict(made.batches[0])
    with torch.no_grad():
        assert torch.equal(pruned.module(**batch).logits, model.module(**batch).logits)
    sizes = pruned.records[0]["size_bytes"]
    assert sizes[1] < sizes[0]


def test_rare_words_go_where_more_is_asked_for_and_zeros_survive_rounding(family):
    model = family("bert-classes")
    made = calibration_from_lines(["dim the hall lamp", "dim the attic lamp"], model)
    dim, hall = model.tokenizer.convert_tokens_to_ids(["dim", "hall"])
    steps = [PruneVocabulary(least=2, layers=("*word_embeddings",)), RoundToNearest(layers=("embeddings",))]
    table = compress(model, Recipe(steps), Context(made)).module.bert.embeddings.word_embeddings.weight
    assert table[dim].any()
    assert not table[hall].any()


def test_tables_shared_with_a_head_are_left_alone(family, calibrated):
    model = family("llama")
    context = Context(calibrated(model))
    PruneVocabulary()(model.copy(), context)
    assert "shares its matrix" in context.journal.layers["model.embed_tokens"].why
    with pytest.raises(ValueError, match="1 or more"):
        PruneVocabulary(least=0)
