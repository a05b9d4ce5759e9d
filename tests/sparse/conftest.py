"""Random sparse matrices of all kinds."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def sparse_matrix():
    """`sparse_matrix(shape, density, seed)`: int8, rows empty, full or with entries bunched together."""

    def draw(shape, density, seed=0):
        rng = np.random.default_rng(seed)
        values = rng.integers(-128, 128, shape)
        mask = rng.random(shape) < density
        kinds = rng.integers(0, 8, shape[0])
        mask[kinds == 0] = False
        mask[kinds == 1] = True
        bunched = rng.integers(0, shape[1], shape[0])[:, None] - np.arange(shape[1])
        mask &= (kinds[:, None] > 2) | (kinds[:, None] == 1) | (np.abs(bunched) < 40)
        return np.where(mask, values, 0).astype(np.int8)

    return draw
