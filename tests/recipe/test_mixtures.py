"""Mixtures of experts the whole way: trained here, compressed by their passes, judged by what they were trained for."""

import pytest
import torch
import transformers
from families import make_family

from pocketlm.compress.calibration import calibration_from_rows, calibration_from_text
from pocketlm.compress.context import Context
from pocketlm.compress.expert_bits import ExpertBits
from pocketlm.compress.experts import DropExperts, MergeExperts
from pocketlm.compress.gptq import Gptq
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.errors import CalibrationError
from pocketlm.export.compressed import export_onnx, run_graph
from pocketlm.model.pretrained import folder_bytes, load_model, save_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe

INTENTS = ("on", "off", "dim")


def learnt(module, folder, batches, rate=3e-3):
    """The module trained on batches of its arguments, labels among them, saved into the folder."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate)
    module.train()
    for batch in batches:
        loss = module(**batch, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.half().save_pretrained(folder)
    return load_model(folder)


def perplexity_loss(model, ids):
    with torch.no_grad():
        return float(model.module(input_ids=ids, labels=ids, use_cache=False).loss)


def test_a_language_model_of_experts_compressed_still_writes_what_it_learnt(
    byte_tokenizer, understanding_rows, tmp_path
):
    folder = make_family("qwen2_moe", tmp_path / "lm", byte_tokenizer)
    ids = torch.tensor(byte_tokenizer("\n".join(row["text"] for row in understanding_rows)).input_ids)
    rows = ids[: len(ids) // 32 * 32].view(-1, 32)
    seen, test = rows[:-4], rows[-4:]
    random = torch.Generator().manual_seed(0)
    picked = [seen[torch.randint(len(seen), (8,), generator=random)] for _ in range(60)]
    module = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    untrained = perplexity_loss(load_model(folder), test)
    model = learnt(module, folder, [{"input_ids": one, "labels": one} for one in picked])
    before = perplexity_loss(model, test)
    assert before < 0.5 * untrained
    recipe = Recipe(
        (
            DropExperts(share=0.25), ExpertBits(average=4.0, choices=(3, 4, 5), group_size=16),
            Gptq(bits=4, group_size=16, layers=("*.self_attn.*", "*.shared_expert.*")),
            RoundToNearest(bits=8, layers=("embeddings", "head")),
        )
    )  # fmt: skip
    text = "\n".join(row["text"] for row in understanding_rows[:60])
    made = compress(model, recipe, Context(calibration_from_text(text, model, windows=16, length=32), fast=False))
    save_model(made, tmp_path / "small")
    again = load_model(tmp_path / "small")
    assert perplexity_loss(again, test) < before + 0.4
    assert again.size_bytes < 0.5 * model.size_bytes
    assert len(again.module.model.layers[0].mlp.experts) == 3


@pytest.fixture(scope="module")
def classifier(byte_tokenizer, understanding_rows, tmp_path_factory):
    """A Mixtral of one block that tells five intents apart, and texts it has not seen with their classes."""
    folder = make_family("mixtral", tmp_path_factory.mktemp("classes"), byte_tokenizer, num_hidden_layers=1)
    classes = {name: number for number, name in enumerate(INTENTS)}
    module = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, num_labels=len(INTENTS), label2id=classes, id2label=dict(enumerate(INTENTS))
    )
    texts = [row["text"] for row in understanding_rows]
    numbers = torch.tensor([classes[row["intent"]] for row in understanding_rows])
    encoded = byte_tokenizer(texts, padding=True, return_tensors="pt", padding_side="right")
    random = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(80):
        own = torch.randint(90, (16,), generator=random)
        batches.append({"input_ids": encoded.input_ids[own], "attention_mask": encoded.attention_mask[own]})
        batches[-1]["labels"] = numbers[own]
    return learnt(module, folder, batches), texts, numbers.tolist()


def told(model, texts):
    given = model.tokenizer(texts, padding=True, return_tensors="pt", padding_side="right")
    with torch.no_grad():
        out = model.module(input_ids=given.input_ids, attention_mask=given.attention_mask).logits
    return given, out.argmax(1)


def test_a_classifier_of_experts_compressed_still_tells_classes_and_so_does_its_graph(classifier, tmp_path):
    model, texts, numbers = classifier
    unseen, gold = texts[90:], torch.tensor(numbers[90:])
    before = float((told(model, unseen)[1] == gold).float().mean())
    assert before > 0.9
    calibration, labels = calibration_from_rows(texts[:64], numbers[:64], model)
    context = Context(calibration, labels=labels, fast=False)
    recipe = Recipe(
        (MergeExperts(share=0.25), Gptq(bits=4, group_size=16), RoundToNearest(bits=8, layers=("embeddings",)))
    )
    save_model(compress(model, recipe, context), tmp_path / "small")
    made = load_model(tmp_path / "small")
    assert made.spec.classifies and len(made.module.model.layers[0].mlp.experts) == 3
    given, said = told(made, unseen)
    assert float((said == gold).float().mean()) >= before - 0.1
    assert folder_bytes(tmp_path / "small") > made.size_bytes
    export_onnx(made, tmp_path / "model.onnx")
    graph = run_graph(tmp_path / "model.onnx", {"input_ids": given.input_ids, "attention_mask": given.attention_mask})
    assert graph.argmax(1).tolist() == said.tolist()


def test_calibration_of_a_classifier_is_lines_and_knows_where_they_end(classifier):
    model, texts, _ = classifier
    made = calibration_from_text("\n".join(texts[:9]), model, windows=9, length=32)
    ends = [batch["attention_mask"].sum(1) for batch in made.batches]
    assert sum(map(len, ends)) == 9 and int(ends[0].min()) < int(ends[0].max())
    assert all(bool((batch["attention_mask"].diff() <= 0).all()) for batch in made.batches)  # padding on the right
    config = model.module.config
    kept, config.pad_token_id = config.pad_token_id, None
    try:
        with pytest.raises(
            CalibrationError, match="finds the end of a text by its padding token; its config says None"
        ):
            calibration_from_text("\n".join(texts[:9]), model)
    finally:
        config.pad_token_id = kept
