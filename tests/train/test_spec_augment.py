"""Stretches of pitch and time are hidden, no more of them than asked for."""

import numpy as np

from pocketlm.train.spec_augment import spec_augment


def test_whole_stretches_of_pitch_and_time_become_the_mean():
    features = np.random.default_rng(0).standard_normal((80, 300)).astype(np.float32)
    kept = features.copy()
    seen = []
    for seed in range(40):
        found = spec_augment(features, 2, np.random.default_rng(seed))
        changed = found != features
        assert np.all(found[changed] == features.mean())
        rows, columns = changed.all(1), changed.all(0)
        assert np.array_equal(changed, rows[:, None] | columns[None])
        assert rows.sum() <= 2 * 26 and columns.sum() <= 2 * 15
        seen.append((rows.sum(), columns.sum()))
    assert np.array_equal(features, kept)
    assert len(set(seen)) > 20 and max(rows for rows, _ in seen) > 30 and max(columns for _, columns in seen) > 15
    assert np.array_equal(spec_augment(features, 0, np.random.default_rng(0)), features)
    assert spec_augment(np.ones((2, 3), np.float32), 2, np.random.default_rng(0)).shape == (2, 3)
