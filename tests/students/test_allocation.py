"""What a student keeps of its teacher: the least loss that bytes and time allow, by losses that were reckoned."""

import itertools
import random
from dataclasses import replace

import pytest
import torch
from helpers import make_context

from pocketlm.errors import RecipeError
from pocketlm.runtime.packed import quantize_rows
from pocketlm.students.allocation import Layer, Limits, Sensitivity, allocate, sensitivity
from pocketlm.students.pieces import factorize, student_pieces
from pocketlm.students.transformer import SmallTransformer
from pocketlm.train.teach import ask

ANY = Limits(None, None, 100, 10)


@pytest.fixture(scope="module")
def context(jsonl_file, teacher_folder, tmp_path_factory):
    return make_context(jsonl_file, teacher_folder, tmp_path_factory.mktemp("work"))


def made_up(seed=0, layers=3):
    """Layers whose losses fall with what is kept."""
    draw = random.Random(seed)

    def falling(counts):
        losses = sorted((draw.uniform(1, 50) for _ in counts[:-1]), reverse=True)
        return dict(zip(counts, [*losses, 0.0], strict=True))

    own = tuple(Layer(falling((0, 1, 2)), falling((0, 16, 32))) for _ in range(layers))
    ranks, rounded = falling((8, 16, 32)), draw.uniform(0, 2)
    tables = {(rank, bits): lost + (rounded if bits == 4 else 0.0) for rank, lost in ranks.items() for bits in (4, 8)}
    return Sensitivity(own, tables, width=32, head_width=16)


def cost(known, limits, choice, table):
    rank, bits = table
    size = rank * known.width + limits.pieces * (rank * bits // 8 + limits.a_piece)
    spent, lost = rank * limits.rank_ms, known.tables[table]
    for layer, (heads, units) in zip(known.layers, choice, strict=True):
        lost += layer.heads[heads] + layer.units[units]
        if heads:
            size += known.width * (4 * heads * known.head_width + 2 * units)
            spent += limits.layer_ms + heads * limits.head_ms + units * limits.unit_ms
    return size, spent, lost


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("size", "ms"), [(9_000, None), (14_000, 3.0), (None, 2.0), (None, None)])
def test_no_other_choice_loses_less(seed, size, ms):
    known = made_up(seed)
    limits = Limits(size, ms, 100, 10, layer_ms=0.3, head_ms=0.4, unit_ms=0.02, rank_ms=0.01)
    layer_choices = [(0, 0), *itertools.product((1, 2), (16, 32))]
    fitting = []
    for choice in itertools.product(layer_choices, repeat=3):
        for table in known.tables:
            bytes_, spent, lost = cost(known, limits, choice, table)
            if any(heads for heads, _ in choice) and (size is None or bytes_ <= size) and (ms is None or spent <= ms):
                fitting.append(lost)
    found = allocate(known, limits)
    assert found.loss == pytest.approx(min(fitting), rel=2e-3)
    kept = {place: (heads, units) for place, heads, units in SmallTransformer(layers=found.layers).cut}
    own = cost(known, limits, [kept.get(place, (0, 0)) for place in range(3)], (found.rank, found.bits))
    assert own == pytest.approx((found.bytes, found.milliseconds, found.loss))


def test_with_room_for_all_nothing_is_lost():
    found = allocate(made_up(), ANY)
    assert (found.layers, found.rank, found.bits) == ("0:2x32 1:2x32 2:2x32", 32, 8)
    assert (found.loss, found.depth) == (0.0, 3)


def test_bits_are_those_that_are_allowed():
    room = Limits(9_000, None, 100, 10)
    half, whole = (allocate(made_up(), replace(room, bits=(bits,))) for bits in (4, 8))
    assert (half.bits, whole.bits) == (4, 8)
    assert allocate(made_up(), room).loss == pytest.approx(min(half.loss, whole.loss))


def test_where_nothing_fits_nothing_is_proposed():
    assert allocate(made_up(), Limits(1_000, None, 100, 10)) is None
    assert allocate(made_up(), Limits(None, 0.1, 100, 10, layer_ms=1.0)) is None


def test_losses_fall_with_what_is_kept_and_all_of_it_loses_nothing(context):
    known = sensitivity(context, student_pieces(context, None))
    assert (len(known.layers), known.width, known.head_width) == (2, 32, 8)
    for layer in known.layers:
        for losses in (layer.heads, layer.units):
            counts = sorted(losses)
            assert counts[0] == 0 and losses[counts[-1]] == 0
            assert all(losses[one] >= losses[other] - 1e-6 for one, other in itertools.pairwise(counts))
        assert max(layer.heads) == 4 and max(layer.units) == 64
    assert 0 < known.tables[32, 8] < known.tables[32, 4]


def test_rounding_costs_by_how_far_stored_embeddings_are_off(context):
    known = sensitivity(context, pieces := student_pieces(context, None))
    vectors = context.teacher.module.backbone.get_input_embeddings().weight.detach()[torch.from_numpy(pieces.old)]
    weights = torch.from_numpy(pieces.counts).float() + 1
    table, right = factorize(vectors, weights, 32)

    def off(bits):
        integers, scales = quantize_rows(table.numpy(), bits)
        error = torch.from_numpy(integers * scales.astype("float32")[:, None]) @ right - vectors
        return float((weights[:, None] * error.square()).sum())

    assert known.tables[32, 4] / known.tables[32, 8] == pytest.approx(off(4) / off(8), rel=0.02)


def test_a_sublayer_that_goes_costs_all_it_wrote(context):
    known = sensitivity(context, student_pieces(context, None))
    backbone, written = context.teacher.module.backbone, []
    layer = backbone.get_submodule("encoder.layer.1.output.dense")
    hook = layer.register_forward_hook(lambda _, given, out: written.append(out - layer.bias))
    ask(context.teacher, context.lesson.texts)
    hook.remove()
    energy = 0.5 * sum(float(one.square().sum()) for one in written)
    # the moments leave padding out, and see only as many texts as they need
    assert known.layers[1].units[0] == pytest.approx(energy, rel=0.35)


def test_a_student_of_all_layers_is_its_teacher(context):
    whole = SmallTransformer(rank=32, dropout=0.0, layers="0:4x64 1:4x64")(None, context)
    texts = context.lesson.texts[:20]
    own, theirs = ask(whole, texts).logits, ask(context.teacher, texts).logits
    for name, rows in theirs.items():
        for one, other in zip(own[name], rows, strict=True):
            torch.testing.assert_close(torch.tensor(one), torch.tensor(other), rtol=1e-3, atol=1e-3)


def test_layers_may_differ(context):
    student = SmallTransformer(rank=32, layers="1:1x16")(None, context)
    (layer,) = student.module.layers
    assert layer.qkv.out_features == 3 * 8 and layer.up.out_features == 16
    both = SmallTransformer(rank=32, layers="0:3x48 1:1x16")(None, context)
    assert [one.heads for one in both.module.layers] == [3, 1]


@pytest.mark.parametrize("layers", ["", "1", "0:0x16", "0:2x0", "0:2×16", "0:2x16,1:2x16"])
def test_another_form_is_refused(layers):
    with pytest.raises(ValueError, match="layers"):
        SmallTransformer(layers=layers)


def test_a_layer_that_the_teacher_has_not_is_refused(context):
    with pytest.raises(RecipeError, match="the layers 0 to 1, not 2"):
        SmallTransformer(layers="2:1x16")(None, context)


def test_without_a_teacher_nothing_is_known(context):
    assert sensitivity(replace(context, teacher=None), student_pieces(context, None)) is None
