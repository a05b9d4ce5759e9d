"""dse.robustness.tolerance_cache: learned once, read afterwards."""

from dataclasses import replace

import numpy as np
import pytest

from dse.robustness import tolerance_cache
from dse.robustness.tolerance_cache import load_or_search_tolerances
from dse.robustness.tolerances import AgnSettings

SETTINGS = AgnSettings(steps=4)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def searches(monkeypatch):
    """Counts the searches."""
    calls, search = [], tolerance_cache.search_tolerances

    def counted(*arguments, **options):
        calls.append(options)
        return search(*arguments, **options)

    monkeypatch.setattr(tolerance_cache, "search_tolerances", counted)
    return calls


def test_learned_once(digits, integer, training, cache, searches):
    first, second = (load_or_search_tolerances(digits, integer, training, SETTINGS) for _ in range(2))
    assert len(searches) == 1
    assert first.to_json() == second.to_json()
    assert [path.suffix for path in cache.iterdir()] == [".json"]
    load_or_search_tolerances(digits, integer, training, replace(SETTINGS, seed=1))
    load_or_search_tolerances(digits, integer, training.subset(64), SETTINGS)
    assert len(searches) == 3


def test_damaged_files_are_learned_anew(digits, integer, training, cache, searches):
    first = load_or_search_tolerances(digits, integer, training, SETTINGS)
    (path,) = cache.iterdir()
    for text in ("", path.read_text().replace(first.key, "0" * 64)):
        path.write_text(text)
        again = load_or_search_tolerances(digits, integer, training, SETTINGS)
        np.testing.assert_array_equal(first.sigma, again.sigma)
    assert len(searches) == 3


def test_a_folder_that_cannot_be_written(digits, integer, training, cache):
    cache.write_text("a file")
    assert load_or_search_tolerances(digits, integer, training, SETTINGS).n_steps == 4


def test_trained_weights_are_not_kept(digits, integer, training, cache, searches):
    settings = AgnSettings(trains_weights=True, epochs=1)
    first, second = (load_or_search_tolerances(digits, integer, training, settings) for _ in range(2))
    assert first.weights is second.weights is None
    assert len(searches) == 1
    assert searches[0]["checkpoint"] is not None
    assert [path.suffix for path in cache.iterdir()] == [".json"]
