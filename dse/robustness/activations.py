"""Which neurons may have a cheaper activation: the resilience characterization behind the nonlinearity.

As `dse.robustness.resilience`, but of the slope of the loss by what a neuron passes on: that is where the error of a
piecewise-linear function arises. Shares of neurons are counted in values computed, for these are what takes time.
"""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dse.datasets import Split
from dse.errors import ConfigError, NetworkError
from dse.networks.activations import activation_modules
from dse.networks.layers import LayerInfo
from dse.robustness.neuron_scores import Resilience
from dse.robustness.resilience import BATCH_SIZE, characterize


def characterize_activations(network: nn.Module, split: Split, *, batch_size: int = BATCH_SIZE) -> Resilience:
    """Scores of all neurons of `activation_modules(network)`; names are those of the activations.

    Args:
        network: each of its activations serves one layer; left as it is.
        split: labeled images.
        batch_size: images at once.

    Raises:
        NetworkError: no activation, one that serves several layers, or no gradient.
    """
    frozen = copy.deepcopy(network).eval().requires_grad_(False)
    modules = activation_modules(frozen)
    shapes: dict[str, list[torch.Size]] = {name: [] for name in modules}
    handles = [
        module.register_forward_hook(lambda _m, _x, y, name=name: shapes[name].append(y.shape[1:]))
        for name, module in modules.items()
    ]
    with torch.inference_mode():
        frozen(split.batch(0, 1))
    for handle in handles:
        handle.remove()
    bad = [name for name, calls in shapes.items() if len(calls) != 1]
    if bad or not modules:
        raise NetworkError(
            f"activations that run other than once for an image: {', '.join(bad) or 'there are none'}. Expected "
            "modules as nn.Tanh(), one for each layer"
        )
    infos = [_info(name, tuple(calls[0])) for name, calls in shapes.items()]
    return characterize(frozen, list(modules.values()), infos, split, batch_size=batch_size)


def resilient_masks(found: Resilience, share: float, *, by: str = "score") -> dict[str, NDArray[np.bool_]]:
    """The most resilient neurons that together compute at most `share` of all values.

    Args:
        found: of `characterize_activations`.
        share: of the values computed for one image, in [0, 1].
        by: "score" or "sensitivity".

    Returns:
        For each activation bool `[C]`.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"a share of {share!r} resilient neurons: expected 0 to 1")
    ranks = found.ranks(by)
    counts = np.concatenate([np.full(len(layer.scores), layer.n_positions) for layer in found.layers])
    order = np.argsort(np.concatenate(ranks))
    covered = np.empty(len(counts))
    covered[order] = np.cumsum(counts[order]) / counts.sum()
    parts = np.split(covered <= share + 1e-12, np.cumsum([len(layer.scores) for layer in found.layers])[:-1])
    return {layer.name: part for layer, part in zip(found.layers, parts, strict=True)}


def _info(name: str, shape: tuple[int, ...]) -> LayerInfo:
    """As if the activation were a layer."""
    is_conv = len(shape) == 3
    n_channels = shape[0] if is_conv else shape[-1]
    return LayerInfo(name, "conv2d" if is_conv else "linear", (n_channels, 1), shape, 1, 1, n_channels, n_channels)
