import numpy as np
import pytest

from pocketlm.runtime.cached import Cache

IDS = np.array([[5, 9, 17, 40], [7, 8, 30, 2]])


def test_every_step_writes_into_the_same_memory_and_no_further(writer):
    _, generator, _ = writer("llama")
    run = generator.decoder.begin(2, 9)
    arrays = run._cache.arrays
    for one in arrays:
        one[:] = np.nan
    run.read(IDS, np.array([4, 3]))
    run.read(np.array([[1], [2]]))
    assert run.lengths.tolist() == [5, 4]
    assert all(one is two for one, two in zip(arrays, run._cache.arrays, strict=True))
    for one in arrays:
        assert not np.isnan(one[0, :, :5]).any() and not np.isnan(one[1, :, :4]).any()
        assert np.isnan(one[:, :, 5:]).all()


@pytest.mark.parametrize("order", [[1, 0], [0, 0], [1, 1, 0], [1]])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_rows_go_on_as_those_they_were_taken_from(writer, name, order):
    _, generator, _ = writer(name)
    run, order = generator.decoder.begin(2, 9), np.array(order)
    run.read(IDS)
    run.take(order)
    more = np.arange(3, 3 + len(order))[:, None]
    found = run.read(more).copy()
    again = generator.decoder.begin(len(order), 9)
    again.read(IDS[order])
    assert np.allclose(found, again.read(more), atol=1e-5)
    assert run.lengths.tolist() == [5] * len(order)


def test_a_cache_keeps_its_memory_where_rows_only_change_places():
    cache = Cache([[2, 3]], 3, 4)
    for one in cache.arrays:
        one[:] = np.random.default_rng(0).random(one.shape)
    before = [one.copy() for one in cache.arrays]
    assert cache.taken(np.array([2, 1, 1]), 2) is cache
    for one, old in zip(cache.arrays, before, strict=True):
        assert np.array_equal(one[:, :, :2], old[[2, 1, 1], :, :2])
        assert np.array_equal(one[:, :, 2:], old[:, :, 2:])
    more = cache.taken(np.array([0, 0, 1, 2]), 4)
    assert more is not cache and more.rows == 4
    assert np.array_equal(more.arrays[1], cache.arrays[1][[0, 0, 1, 2]])


def test_logits_at_places_asked_for_are_those_of_steps(writer):
    _, generator, _ = writer("llama")
    run = generator.decoder.begin(1, 4)
    whole = run.read(IDS[:1], picks=np.arange(4))
    steps = generator.decoder.begin(1, 4)
    for place in range(4):
        assert np.allclose(steps.read(IDS[:1, place : place + 1])[0], whole[place], atol=1e-5)
