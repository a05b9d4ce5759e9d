import json

import numpy as np
import pytest

from dse.disk_cache import cache_directory
from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.robustness import neuron_ranking
from dse.robustness.neuron_ranking import load_or_rank_neurons, rank_neurons
from dse.robustness.resilience import characterize_network
from dse.testing.tiny import tiny_network, tiny_split

SPLIT = tiny_split(20)


@pytest.fixture(scope="module")
def network():
    return quantize_network(tiny_network(), SPLIT, scheme=scheme_for(False))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of this test alone."""
    monkeypatch.setenv("DSE_CACHE", str(tmp_path))
    return cache_directory()


def _equal(a, b):
    pairs = [*zip(a.orders, b.orders, strict=True), *zip(a.importances, b.importances, strict=True)]
    return all(np.array_equal(x, y) for x, y in pairs)


def test_ranks_by_slope_times_scale(network):
    ranking, found = rank_neurons(network, SPLIT), characterize_network(network, SPLIT)
    for layer, (order, values) in enumerate(zip(ranking.orders, ranking.importances, strict=True)):
        unit = found.scores[layer] * network.integer_layers[layer].scale.numpy()
        assert (np.diff(unit[order]) >= 0).all()
        assert values == pytest.approx(unit[order])
    assert len(ranking.orders) == network.n_layers


def test_found_again_in_the_cache(network, cache, monkeypatch):
    first = load_or_rank_neurons(network, SPLIT)
    monkeypatch.setattr(neuron_ranking, "rank_neurons", None)
    assert _equal(load_or_rank_neurons(network, SPLIT), first)
    with pytest.raises(TypeError):  # other images are ranked anew
        load_or_rank_neurons(network, tiny_split(20, seed=1))


def test_damaged_files_are_made_anew(network, cache):
    first = load_or_rank_neurons(network, SPLIT)
    (path,) = cache.glob("neurons-*.json")
    record = json.loads(path.read_text())
    broken = [
        "", "[]", "{}", "null", json.dumps(record | {"orders": record["orders"][:-1]}),
        json.dumps(record | {"orders": [[0, 0], *record["orders"][1:]]}),
        json.dumps(record | {"importances": [[-1.0] * 6, *record["importances"][1:]]}),
        json.dumps(record | {"importances": 3}), json.dumps(record | {"orders": [[1e99], *record["orders"][1:]]}),
    ]  # fmt: skip
    for text in broken:
        path.write_text(text)
        assert _equal(load_or_rank_neurons(network, SPLIT), first)
        assert json.loads(path.read_text()) == record
