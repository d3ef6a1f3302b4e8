"""A graph is cut where a single tensor goes on, and is a module that passes know."""

import pytest
import torch

from pocketlm.errors import RecipeError
from pocketlm.model import anatomy
from pocketlm.model.text_graph import GraphConfig, Node, TextGraph, parted


def linear(name, *inputs, wide=(4, 4)):
    return Node(name, "linear", inputs, {"in_features": wide[0], "out_features": wide[1]})


EMBED = Node("embedding", "embedding", ("ids",), {"num_embeddings": 9, "embedding_dim": 4})
POOL = Node("pool", "pool", ("joined",), {"kind": "average"}, True)


def names(nodes):
    return [[one.name for one in part] for part in nodes]


def test_a_branch_is_one_block():
    left, right = linear("left", "embedding"), linear("right", "left")
    joined = Node("joined", "merge", ("embedding", "right"), {"kind": "add"})
    stem, blocks, classifier, tail = parted((EMBED, left, right, joined, POOL, linear("out", "pool")))
    assert names([stem]) == [["embedding"]]
    assert names(blocks) == [["left", "right", "joined", "pool"]]
    assert classifier.name == "out"
    assert tail == []


def test_what_reads_ids_twice_is_the_stem():
    other = Node("other", "embedding", ("ids",), {"num_embeddings": 9, "embedding_dim": 4})
    joined = Node("joined", "merge", ("embedding", "other"), {"kind": "concat"})
    stem, blocks, *_ = parted((EMBED, other, joined, linear("one", "joined", wide=(8, 4)), linear("out", "one")))
    assert names([stem]) == [["embedding", "other", "joined"]]
    assert names(blocks) == [["one"]]


def test_the_only_matrix_is_a_block():
    pool = Node("pool", "pool", ("embedding",), {"kind": "max"})
    last = Node("scaled", "activate", ("out",), {"kind": "tanh"})
    stem, blocks, classifier, tail = parted((EMBED, pool, linear("out", "pool"), last))
    assert names([stem, *blocks, tail]) == [["embedding"], ["pool", "out"], ["scaled"]]
    assert classifier is None


def graph(length=None):
    nodes = (EMBED, Node("pool", "pool", ("embedding",), {"kind": "average"}, True), linear("one", "pool"),
             linear("out", "one", wide=(4, 1)))  # fmt: skip
    return TextGraph(GraphConfig(nodes, length, 9, 2, "sigmoid", ("no", "yes"))).eval()


def test_one_number_is_two_classes():
    module = graph()
    logits = module(torch.tensor([[1, 2, 3]])).logits
    assert logits.shape == (1, 2)
    assert float(logits[0, 0]) == 0
    assert module.config.label2id == {"no": 0, "yes": 1}


def test_texts_are_filled_up_and_cut():
    module = graph(4)
    three = module(torch.tensor([[1, 2, 3]])).logits
    torch.testing.assert_close(module(torch.tensor([[1, 2, 3, 0]])).logits, three)
    torch.testing.assert_close(
        module(torch.tensor([[1, 2, 3, 4, 5]])).logits, module(torch.tensor([[1, 2, 3, 4]])).logits
    )


def test_its_layers_are_found(tmp_path):
    module = graph(4)
    assert [(one.name, one.kind, one.block) for one in anatomy.layers(module)] == [
        ("stem.embedding", "embedding", ""), ("blocks.0.one", "linear", "blocks.0"), ("classifier", "linear", "")
    ]  # fmt: skip
    assert module.paths == {
        "embedding": "stem.embedding", "pool": "blocks.0.pool", "one": "blocks.0.one", "out": "classifier"
    }  # fmt: skip
    module.config.save_pretrained(tmp_path)
    assert GraphConfig.from_folder(tmp_path) == module.config


def test_states_are_refused():
    with pytest.raises(RecipeError, match="no shape in common"):
        graph()(torch.tensor([[1]]), output_hidden_states=True)
