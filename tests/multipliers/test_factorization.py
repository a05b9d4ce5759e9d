import time

import numpy as np
import pytest

from dse.multipliers import factorization
from dse.multipliers.factorization import Factorization, factorize, factorize_error
from dse.multipliers.families import drum, exact, mitchell, truncated
from dse.multipliers.library import load_library
from dse.multipliers.multiplier import Multiplier, exact_table


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and nothing in memory."""
    monkeypatch.setenv("DSE_CACHE", str(tmp_path / "cache"))
    factorization._factorize.cache_clear()
    yield tmp_path / "cache"
    factorization._factorize.cache_clear()


def _check(planes: Factorization, error):
    assert planes.phi.dtype == np.uint8
    assert planes.psi.dtype == np.int8
    assert planes.phi.shape == planes.psi.shape == (256, planes.n_planes)
    assert np.array_equal(planes.weights, np.sort(planes.weights))
    assert set(planes.weights.tolist()) <= {256**i for i in range(8)}
    entry_by_entry = planes.constant + sum(
        weight * np.multiply.outer(planes.phi[:, r].astype(np.int64), planes.psi[:, r].astype(np.int64))
        for r, weight in enumerate(planes.weights.tolist())
    )
    assert np.array_equal(np.broadcast_to(entry_by_entry, (256, 256)), error)
    assert np.array_equal(planes.reconstruct(), error)


@pytest.mark.parametrize("n_bytes", [1, 2, 3])
@pytest.mark.parametrize("rank", [1, 2, 5])
def test_random_tables_of_low_rank(rank, n_bytes):
    rng = np.random.default_rng(rank)
    left, right = rng.integers(-30, 30, (256, rank)), rng.integers(-(128**n_bytes), 128**n_bytes, (rank, 256))
    planes = factorize_error(left @ right)
    _check(planes, left @ right)
    assert planes.n_planes <= 2 * rank * (n_bytes + 1)


def test_known_tables_need_few_planes():
    assert factorize_error(np.zeros((256, 256), np.int64)).n_planes == 0
    only_weight = np.broadcast_to(np.arange(256) * 1000, (256, 256))
    assert factorize_error(only_weight).n_planes == 0
    assert factorize_error(only_weight.T.copy()).n_planes <= 3
    for multiplier, most in ((truncated(4), 4), (drum(4), 40)):
        planes = factorize_error(multiplier.error.astype(np.int64))
        _check(planes, multiplier.error)
        assert planes.n_planes <= most


PUBLISHED = [("Y48", 1), ("1446", 1), ("125K", 4), ("JQQ", 4), ("2AC", 10), ("CK5", 9)]


@pytest.mark.parametrize(("name", "n_planes"), PUBLISHED)
def test_published_tables(shared_data, name, n_planes):
    error = load_library(shared_data / "evoapprox")[f"mul8u_{name}"].error.astype(np.int64)
    planes = factorize_error(error)
    _check(planes, error)
    assert planes.n_planes <= n_planes


@pytest.mark.parametrize("bits", [2, 16])
def test_full_rank_is_cut_into_digits_at_once(bits):
    error = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (256, 256))
    start = time.perf_counter()
    planes = factorize_error(error)
    assert time.perf_counter() - start < 5
    _check(planes, error)
    assert planes.n_planes <= 256 * (1 if bits <= 8 else 3)


def test_ill_conditioned_lattice():
    """Coordinates beyond what float64 resolves are found by rational arithmetic."""
    rows = np.zeros((256, 256), dtype=np.int64)
    rows[1], rows[2, 0] = 2**30, 1
    rows[3:] = rows[1] - 3 * rows[2]
    _check(factorize_error(rows), rows)
    basis = np.array([[2**28, 1, 0], [2**28, 0, 1]])
    wanted = np.array([[3, -2], [0, 7]])
    assert np.array_equal(factorization._exact_coordinates(basis, wanted @ basis), wanted)


def test_does_not_change_its_input():
    error = mitchell(2).error.astype(np.int64)
    before = error.copy()
    factorize_error(error)
    assert np.array_equal(error, before)


def test_cached_on_disk(cache, monkeypatch):
    first = factorize(truncated(5))
    (path,) = cache.iterdir()
    assert truncated(5).key in path.name
    assert factorize(truncated(5)) is first
    factorization._factorize.cache_clear()
    monkeypatch.setattr(factorization, "factorize_error", lambda error: pytest.fail("the cache was not used"))
    _check(factorize(truncated(5)), truncated(5).error)


@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "other table", "other shape", "other keys"])
def test_damaged_cache_is_replaced(cache, damage):
    good = factorize(truncated(5))
    (path,) = cache.iterdir()
    data = path.read_bytes()
    arrays = dict(vars(good))
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "text":
        path.write_text("not a cache")
    elif damage == "other table":
        np.savez(path, **arrays | {"constant": good.constant + 1})
    elif damage == "other shape":
        np.savez(path, **arrays | {"psi": good.psi[:, :0], "weights": good.weights})
    else:
        np.savez(path, phi=good.phi)
    factorization._factorize.cache_clear()
    _check(factorize(truncated(5)), truncated(5).error)
    assert len(list(cache.iterdir())) == 1
    with np.load(path) as stored:
        assert np.array_equal(stored["constant"], good.constant)


def test_cache_folder_that_cannot_be_written(cache):
    cache.write_text("a file, not a folder")
    _check(factorize(truncated(5)), truncated(5).error)


def test_exact_multiplier_has_no_planes(cache):
    assert factorize(exact()).n_planes == 0
    shifted = Multiplier("shifted", exact_table(True) + 3, is_signed=True)
    assert factorize(shifted).n_planes == 0
    assert (factorize(shifted).constant == 3).all()
