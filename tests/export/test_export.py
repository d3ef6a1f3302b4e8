"""Every student says in the runtime what it said in torch; int8 is counted, gated, and repeats its bytes."""

import numpy as np
import onnx
import pytest
from helpers import make_context
from onnx import numpy_helper

from pocketlm.errors import PocketLMError
from pocketlm.export import int8
from pocketlm.export import pocket as export_module
from pocketlm.export.int8 import count_integer_products, dynamic_int8, gate
from pocketlm.export.onnx import store_floats, store_tables, to_bytes, trace
from pocketlm.export.pocket import agreement, export
from pocketlm.outputs import Output
from pocketlm.pocket.format import pocket_bytes, write_pocket
from pocketlm.recipe.recipe import Recipe
from pocketlm.recipe.run import run_recipe
from pocketlm.runtime.graph import GraphModel
from pocketlm.runtime.load import load
from pocketlm.runtime.vectors import unit
from pocketlm.students.passes import STUDENT_PASSES
from pocketlm.students.quantize import Quantize
from pocketlm.train.teach import answers, ask

STUDENTS = {
    "hashed-ngrams": {"buckets": 2**12, "width": 16, "min_texts": 1},
    "static-embeddings": {"width": 12},
    "small-convnet": {"depth": 2, "width": 24, "rank": 8},
    "small-transformer": {"depth": 2, "heads": 2, "ffn": 48, "rank": 16},
}


@pytest.fixture(scope="module")
def context(jsonl_file, teacher_folder, tmp_path_factory):
    return make_context(jsonl_file, teacher_folder, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def flat(csv_file, teacher_folder, tmp_path_factory):
    return make_context(csv_file, teacher_folder, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def words_alone(conll_file, teacher_folder, tmp_path_factory):
    return make_context(conll_file, teacher_folder, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def alike(pairs_file, teacher_folder, tmp_path_factory):
    return make_context(pairs_file, teacher_folder, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def built():
    """built("small-convnet", context) is a copy of that student of the context, made once."""
    made = {}

    def build(name, context):
        key = name, id(context)
        if key not in made:
            made[key] = STUDENT_PASSES[name](**STUDENTS[name])(None, context)
        return made[key].copy()

    return build


def pocket_of(model, context, path):
    exported = export(model, context)
    manifest = {
        "task": context.task.name,
        "outputs": [one.to_json() for one in context.outputs],
        "model": exported.about,
    }
    write_pocket(path, manifest, exported.members, replace=True)
    return load(path)


@pytest.mark.parametrize("tagging", [True, False])
@pytest.mark.parametrize("name", STUDENTS)
def test_float_pockets_say_what_torch_says(name, tagging, context, flat, built, tmp_path):
    own = context if tagging else flat
    model = built(name, own)
    pocket = pocket_of(model, own, tmp_path / "x.pocket")
    texts = [*own.lesson.texts[:40], "never seen WORDS, 17!" if not tagging else ("never", "seen", "17", "!")]
    said = ask(model, texts)
    for place, text in enumerate(texts):
        logits = pocket.logits([text])
        for output in own.outputs:
            row = np.atleast_2d(said.logits[output.name][place])
            np.testing.assert_allclose(logits[output.name], row, atol=2e-4)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_batch_says_what_single_texts_say(name, context, built, tmp_path):
    pocket = pocket_of(built(name, context), context, tmp_path / "x.pocket")
    texts = list(context.lesson.texts[:9])
    assert [one["slots"] for one in pocket.predict(texts)] == [pocket.predict([text])[0]["slots"] for text in texts]
    assert pocket.predict([]) == []
    assert pocket.predict(["", "x"])[0]["slots"] == []


@pytest.mark.parametrize("name", STUDENTS)
def test_words_may_be_all_that_is_tagged(name, words_alone, built, tmp_path):
    model = built(name, words_alone)
    pocket = pocket_of(model, words_alone, tmp_path / "x.pocket")
    texts = list(words_alone.lesson.texts[:9])
    long = texts[0] * 20
    assert pocket.predict([*texts, long]) == answers(model, [*texts, long])
    assert [pocket.predict([text])[0]["tags"] for text in texts] == [one["tags"] for one in pocket.predict(texts)]
    assert pocket.predict("") == {"tokens": [], "tags": [], "entities": []}
    assert len(pocket.predict([long])[0]["tags"]) == len(long)
    small = export(Quantize(bits=8, max_loss=1.0)(model, words_alone), words_alone)
    assert small.agreement > 0.99


@pytest.mark.parametrize("name", STUDENTS)
def test_vectors_point_where_torch_says(name, alike, built, tmp_path):
    model = built(name, alike)
    pocket = pocket_of(model, alike, tmp_path / "x.pocket")
    texts = [*alike.lesson.texts[:20], "never seen WORDS, 17!"]
    expected = unit(np.stack(list(ask(model, texts).logits["vector"])))
    assert expected.shape == (21, 24)
    np.testing.assert_allclose(pocket.vectors(texts), expected, atol=1e-4)
    small = export(Quantize(bits=8, max_loss=1.0)(model, alike), alike)
    assert small.agreement > 0.99


@pytest.mark.parametrize("name", STUDENTS)
def test_quantized_pockets_are_smaller_close_and_repeat_their_bytes(name, flat, built):
    model = built(name, flat)
    whole = export(model, flat)
    small = [export(Quantize(bits=8, max_loss=1.0)(model.copy(), flat), flat) for _ in range(2)]
    assert sum(map(len, small[0].members.values())) < sum(map(len, whole.members.values()))
    if "graph.onnx" not in whole.members or small[0].int8.kind == small[1].int8.kind:
        assert pocket_bytes(small[0].about, small[0].members) == pocket_bytes(small[1].about, small[1].members)


@pytest.fixture(scope="module")
def traced(flat, built):
    """The graph of a small transformer; those who change it copy it."""
    return trace(built("small-transformer", flat))


def copied(graph):
    return onnx.ModelProto.FromString(graph.SerializeToString())


def test_integer_products_are_counted_and_fused(traced):
    assert count_integer_products(to_bytes(traced)) == (0, 0)
    fused, unfused = count_integer_products(to_bytes(dynamic_int8(copied(traced))))
    assert (fused, unfused) == (10, 0)  # embedding map, two layers of qkv, out, up, down, one head


def test_weights_use_seven_bits_so_that_no_processor_saturates(traced):
    graph = dynamic_int8(copied(traced)).graph
    quantized = [numpy_helper.to_array(one) for one in graph.initializer if one.name.endswith("_quantized")]
    assert len(quantized) == 10
    assert max(np.abs(one.astype(int)).max() for one in quantized) <= 64


@pytest.mark.parametrize(
    ("kinds", "loss", "kept", "why"),
    [
        (["worse"], 0.0, "float", "loses more"),
        (["same"], 1.0, "float", "none of its 0 integer products"),
    ],
)
def test_the_gate_keeps_float_and_says_why(flat, traced, built, kinds, loss, kept, why):
    data = {"worse": to_bytes(dynamic_int8(copied(traced))), "same": to_bytes(traced)}
    figures = {id(data["worse"]): 0.5}
    texts = flat.lesson.texts[:4]
    model = built("small-transformer", flat)
    batches = [model.inputs.collate(model.inputs.encode([text])) for text in texts]
    saved, int8.LEAST_GAIN = int8.LEAST_GAIN, 1e9  # this test is not about time
    try:
        verdict = gate(
            data["same"], [(kind, data[kind]) for kind in kinds], batches, lambda one: figures.get(id(one), 0.9), loss
        )
    finally:
        int8.LEAST_GAIN = saved
    assert verdict.kind == kept
    assert why in verdict.why
    assert verdict.to_json()["integer_matmuls"] == verdict.fused + verdict.unfused


@pytest.mark.parametrize("chosen", ["dynamic", "static", "float"])
def test_what_clocks_chose_is_in_the_recipe_and_comes_out_again(flat, monkeypatch, chosen):
    ratios = {"dynamic": iter((0.5, 0.9)), "static": iter((0.9, 0.5)), "float": iter((2.0, 2.0))}[chosen]
    monkeypatch.setattr(int8, "time_ratio", lambda *given: next(ratios))
    small = STUDENT_PASSES["small-transformer"](**STUDENTS["small-transformer"])
    first = run_recipe(Recipe((small, Quantize(max_loss=1.0))), flat)
    assert first.exported.int8.kind == chosen and first.recipe.steps[-1].activations == chosen
    # another moment, at which the others would be faster
    monkeypatch.setattr(int8, "time_ratio", lambda *given: 2.0 if chosen != "float" else 0.1)
    again = run_recipe(first.recipe, flat)
    assert again.exported.members == first.exported.members and again.recipe == first.recipe


@pytest.mark.parametrize("bits", [16, 8])
def test_floats_stored_small_are_floats_again_at_load(flat, traced, built, bits):
    model, graph = built("small-transformer", flat), copied(traced)
    before = len(to_bytes(graph))
    stored = to_bytes(store_floats(store_tables(graph, 8), bits))
    assert len(stored) < before * 0.8
    assert agreement(model, GraphModel(stored, flat.outputs, 1), flat.lesson.texts[:20]) > 0.8


def test_a_disagreeing_export_is_an_error(flat, built, monkeypatch):
    model = built("hashed-ngrams", flat)
    monkeypatch.setattr(export_module, "agreement", lambda *given: 0.99)
    with pytest.raises(PocketLMError, match=r"agrees with torch on 99\.00%"):
        export(model, flat)


def test_graphs_name_no_source_files(traced):
    assert isinstance(traced, onnx.ModelProto)
    assert b".py" not in to_bytes(traced)


def test_outputs_round_trip():
    output = Output("slots", "tags", ("O", "B-x"))
    assert Output.from_json(output.to_json()) == output
