import pytest
from families import deep  # noqa: F401

from pocketlm.compress.context import Context
from pocketlm.recipe.compress import compress
from pocketlm.recipe.shapes import Sizes, code_ratio, least_bytes, shapes


def test_sizes_count_each_weight_once_and_bytes_grow_with_all_of_them(deep):  # noqa: F811
    model = deep()
    sizes = Sizes.of(model)
    assert sizes.inside + sizes.outside + sizes.vectors == model.parameters
    assert (sizes.blocks, sizes.width) == (4, 32)
    # words have 6 bits beside blocks of 4
    assert sizes.bytes(8) - sizes.bytes(4) == pytest.approx(sizes.inside / 2 + sizes.outside / 4, abs=1)
    assert sizes.share_within(sizes.bytes(4), 4) == pytest.approx(1, abs=1e-3)
    assert sizes.share_within(sizes.bytes(4, 0.3), 4) == pytest.approx(0.3, abs=1e-3)
    assert 0.5 < code_ratio(model, 4) <= 1


@pytest.mark.parametrize("share", [0.8, 0.55, 0.3])
def test_what_is_cut_fits_into_the_room(deep, calibrated, share):  # noqa: F811
    model = deep()
    room = Sizes.of(model).bytes(4, share)
    ways = shapes(model, room, 4)
    assert ways
    for way in ways:
        made = compress(model, way, Context(calibration=calibrated(model)))
        assert Sizes.of(made).bytes(4) <= room
        assert made.parameters < model.parameters


def test_the_width_is_narrowed_where_embeddings_leave_no_room(family, calibrated):
    model = family("gpt2")
    room = Sizes.of(model).bytes(4, 0.0) * 0.9
    ways = shapes(model, room, 4)
    assert ways and all("of width" in way.name for way in ways)
    made = compress(model, ways[0], Context(calibration=calibrated(model)))
    assert Sizes.of(made).bytes(4) <= room
    assert Sizes.of(made).width < Sizes.of(model).width


def test_nothing_is_proposed_for_less_than_the_least(deep, family):  # noqa: F811
    for model in (deep(), family("mixtral")):
        assert shapes(model, least_bytes(model, 4) * 0.95, 4) == []
        assert shapes(model, least_bytes(model, 4) * 1.1, 4)
