"""Which neurons of each layer take errors best, for layers that divide their neurons between two multipliers.

An error of `e` units of a neuron's integer sums is one of `scale_i * e` of its output and moves the loss, to first
order, in proportion to

    importance_i = score_i * scale_i,

`score_i` AxNN's mean slope of the loss (see `resilience`). The errors that a table makes in integer sums are about the
same in all neurons of a layer, so neurons are ranked by this product [ours], rather than by the score alone or relative
to a neuron's spread (`Resilience.sensitivity`): ResNet-20 with three quarters of every layer's neurons through
mul8u_17KS kept 83.0 % of 400 images, against 75.3 and 78.8 %.

Its square would be the first-order effect of an error's variance, but promises too much of resilient neurons: in nine
designs of ResNet-20 the variances that they lost as much as were about those weighted by the first power.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dse.datasets import Split
from dse.disk_cache import cache_directory, keep
from dse.networks.convert import IntegerNetwork
from dse.robustness.resilience import characterize_network
from dse.simulation.devices import CPU

RANKING_VERSION = 2
"""Raised when the same network and images may give another ranking."""


@dataclass(frozen=True, eq=False)
class NeuronRanking:
    """The neurons of every layer.

    Attributes:
        orders: by number, the most resilient first, int64 `[C_out]` of each layer.
        importances: in that order, ascending, float64 `[C_out]` of each layer, >= 0.
    """

    orders: tuple[np.ndarray, ...]
    importances: tuple[np.ndarray, ...]


def rank_neurons(network: IntegerNetwork, split: Split, *, device: torch.device = CPU) -> NeuronRanking:
    """Characterizes a network on labeled images and ranks the neurons of its layers.

    Raises:
        DseError: as `characterize_network`.
    """
    found = characterize_network(network, split, device=device)
    pairs = zip(found.scores, network.integer_layers, strict=True)
    importances = [scores * layer.scale.double().numpy() for scores, layer in pairs]
    orders = [np.argsort(values, kind="stable") for values in importances]
    return NeuronRanking(tuple(orders), tuple(v[order] for v, order in zip(importances, orders, strict=True)))


def load_or_rank_neurons(network: IntegerNetwork, split: Split, *, device: torch.device = CPU) -> NeuronRanking:
    """`rank_neurons`, or what an earlier call for the same network and images found.

    A ranking depends on roundings, and those on threads and devices: the cache lets a search go on with what it began
    with. It lies where that of `dse.robustness.tolerance_cache` does; a damaged file is made anew.
    """
    parts = (str(RANKING_VERSION), network.fingerprint(), split.fingerprint)
    path = cache_directory() / f"neurons-{hashlib.sha256('|'.join(parts).encode()).hexdigest()}.json"
    sizes = [layer.problem.n_outputs for layer in network.integer_layers]
    found = _read(path, sizes)
    if found is None:
        found = rank_neurons(network, split, device=device)
        record = {"orders": [o.tolist() for o in found.orders], "importances": [v.tolist() for v in found.importances]}
        keep(path, json.dumps(record).encode())
    return found


def _read(path: Path, sizes: Sequence[int]) -> NeuronRanking | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        orders = tuple(np.array(order, dtype=np.int64) for order in record["orders"])
        importances = tuple(np.array(values, dtype=np.float64) for values in record["importances"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None  # absent or damaged
    if len(orders) != len(sizes) or len(importances) != len(sizes):
        return None
    for order, values, size in zip(orders, importances, sizes, strict=True):
        is_ranking = np.array_equal(np.sort(order), np.arange(size)) if order.ndim == 1 else False
        if not is_ranking or values.shape != (size,) or not (np.isfinite(values) & (values >= 0)).all():
            return None
    return NeuronRanking(orders, importances)
