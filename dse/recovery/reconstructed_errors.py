"""What multipliers leave as errors once the weights are chosen for them: what designs for fine-tuning are matched on.

Errors as they are before (`dse.robustness.error_model`) rank multipliers otherwise than what is left after
reconstruction: which part of a multiplier's error other weights can take back depends on its table and on the layer.
[ours]
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dse.datasets import Split
from dse.recovery.operators import OperatorBank
from dse.recovery.reconstruction import fit_layer
from dse.recovery.statistics import by_channel, watch_layers
from dse.recovery.switchable import SwitchableNetwork, switchable_network
from dse.recovery.table_layers import LearningNetwork, TableLayer

IMAGES = 384
"""At most; weights are chosen on one half and errors measured on the other."""

SWEEPS, MAX_SAMPLES = 1, 4096
"""Less than for a design that is wanted: here many are compared."""

OnMultiplier = Callable[[int, NDArray[np.float64]], None]
"""Told a multiplier, and its errors in every layer, float64 `[n_layers]`."""

Record = tuple[torch.Tensor, torch.Tensor]
"""Input and output of a layer in the exact network."""


def reconstructed_errors(
    bank: OperatorBank,
    multipliers: Sequence[int],
    images: Split,
    *,
    seed: int = 0,
    on_multiplier: OnMultiplier | None = None,
) -> NDArray[np.float64]:
    """Root mean square errors after reconstruction, relative to the standard deviation of a layer's exact outputs.

    That is of all channels together, without the bias, as AGN's sensitivities take it. Layers get the inputs of the
    exact network, each by itself; linear layers keep their weights, as in a reconstruction. Means of channels do not
    count: biases take them.

    Args:
        bank: operators of the network.
        multipliers: positions in its library.
        images: some hundred.
        seed: of sampled positions and the order of weights.
        on_multiplier: told how it goes on.

    Returns:
        float64 `[n_layers, len(multipliers)]`.
    """
    exact = switchable_network(bank, np.full((1, bank.network.n_layers), bank.library.exact_index))
    chosen = images.subset(min(IMAGES, images.n_images))
    halves = [_records(exact, chosen.images[half::2]) for half in (0, 1)]
    found = np.zeros((bank.network.n_layers, len(multipliers)))
    for column, multiplier in enumerate(multipliers):
        learner = LearningNetwork(bank, np.full((1, bank.network.n_layers), multiplier))
        for index, layer in enumerate(learner.layers):
            rng = np.random.default_rng((seed, index))
            found[index, column] = _error(layer, *(half[index] for half in halves), rng=rng)
        if on_multiplier is not None:
            on_multiplier(int(multiplier), found[:, column])
    return found


def _records(exact: SwitchableNetwork, images: torch.Tensor) -> list[Record | None]:
    """Of every layer; of one that runs several times the last, of one that does not run `None`."""
    found: list[Record | None] = [None] * exact.network.n_layers
    watch_layers(exact, [images], lambda index, x, y: found.__setitem__(index, (x.clone(), y.clone())))
    return found


def _error(layer: TableLayer, fitted: Record | None, other: Record | None, *, rng: np.random.Generator) -> float:
    if fitted is None or other is None or layer.is_exact:
        return 0.0
    with torch.no_grad():
        if layer.is_convolution:
            fit_layer(layer, [fitted[0]], fitted[1], rng, sweeps=SWEEPS, max_samples=MAX_SAMPLES)
        wanted = by_channel(other[1])
        error = by_channel(layer(other[0])) - wanted
        spread = (wanted - layer.layer.bias.to(wanted.device)[:, None]).var(correction=0)
        return float((error.var(1, correction=0).mean() / spread.clamp_min(1e-12)).sqrt())
