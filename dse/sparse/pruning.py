"""Pruning: weights of an integer network set to zero, those of the smallest magnitude first, without training.

S. Han, J. Pool, J. Tran, W. Dally, "Learning both weights and connections for efficient neural networks", NIPS 2015,
for magnitudes; J. Lee, S. Park, S. Mo, S. Ahn, J. Shin, "Layer-adaptive sparsity for the magnitude-based pruning"
(LAMP), ICLR 2021, for one rate over all layers: with the weights of a layer by rising magnitude,

    score_i = w_i^2 / SUM_{j >= i} w_j^2

does not change when a layer is scaled, as folded BatchNorms scale them. Channels are pruned by the norm of their
weights (H. Li, A. Kadav, I. Durdanovic, H. Samet, H. Graf, "Pruning filters for efficient ConvNets", ICLR 2017, with
the sum of magnitudes; here the mean square).

A pruned weight gets its channel's zero code, so that it stands for exactly zero. Magnitudes are those of the values
that codes stand for, scales included; of equal ones the first goes first. Weights that quantization made zero count.
"""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from dse.errors import ConfigError, ShapeError
from dse.networks.convert import IntegerNetwork
from dse.networks.layers import IntegerLayer
from dse.simulation.problem import IntegerConv

Structure = Literal["weights", "channels"]
"""What is pruned together: nothing, or all weights of an output channel."""


def is_zero(problem: IntegerConv) -> torch.Tensor:
    """Which weights stand for zero, bool of the weights' shape."""
    return problem.weight.to(torch.int64) == problem.w_zero_point.view(-1, 1, 1, 1)


def magnitudes(layer: IntegerLayer) -> np.ndarray:
    """What the codes of a layer stand for, without sign, float64 of the weights' shape."""
    problem, shape = layer.problem, (-1, 1, 1, 1)
    centered = (problem.weight.to(torch.int64) - problem.w_zero_point.view(shape)).abs().to(torch.float64)
    return (centered * layer.w_scale.to(torch.float64).view(shape)).cpu().numpy()


def layer_mask(layer: IntegerLayer, sparsity: float, *, structure: Structure = "weights") -> np.ndarray:
    """The weights of one layer that are pruned, bool of the weights' shape.

    Args:
        layer: with its own weights.
        sparsity: share of its weights, or of its output channels, in [0, 1); halves are rounded up.
        structure: "weights", each by itself, or "channels".
    """
    _check_sparsity(sparsity)
    values = magnitudes(layer)
    if structure == "weights":
        return _smallest(values.ravel(), sparsity).reshape(values.shape)
    if structure != "channels":
        raise ConfigError(f"structure {structure!r}: expected 'weights' or 'channels'")
    pruned = _smallest(np.square(values).reshape(len(values), -1).mean(axis=1), sparsity)
    return np.broadcast_to(pruned[:, None, None, None], values.shape).copy()


def global_masks(network: IntegerNetwork, sparsity: float) -> tuple[np.ndarray, ...]:
    """The weights of each layer that are pruned where a share of those of all layers is, by LAMP's scores.

    Args:
        network: with its own weights.
        sparsity: share of all weights, in [0, 1).

    Returns:
        bool of the weights' shape, one a layer.
    """
    _check_sparsity(sparsity)
    scores = [_lamp_scores(magnitudes(layer)) for layer in network.integer_layers]
    pruned = _smallest(np.concatenate([s.ravel() for s in scores]), sparsity)
    parts = np.split(pruned, np.cumsum([s.size for s in scores])[:-1])
    return tuple(part.reshape(s.shape) for part, s in zip(parts, scores, strict=True))


def pruned_problem(problem: IntegerConv, mask: np.ndarray | torch.Tensor) -> IntegerConv:
    """The convolution with the weights of `mask`, bool of their shape, set to zero."""
    mask = torch.as_tensor(mask)
    if mask.shape != problem.weight.shape or mask.dtype != torch.bool:
        raise ShapeError(
            f"got a mask {mask.dtype} {list(mask.shape)}: expected torch.bool {list(problem.weight.shape)}, as weights"
        )
    zero_point = problem.w_zero_point.view(-1, 1, 1, 1).to(problem.weight.dtype)
    return with_weights(problem, torch.where(mask, zero_point, problem.weight))


def with_weights(problem: IntegerConv, weight: torch.Tensor) -> IntegerConv:
    """The convolution with other weights, codes of the same type and shape; zero-point corrections are theirs."""
    centered = weight.to(torch.int64) - problem.w_zero_point.view(-1, 1, 1, 1)
    return dataclasses.replace(problem, weight=weight, constant=-problem.x_zero_point * centered.flatten(1).sum(1))


def pruned_network(network: IntegerNetwork, masks: Sequence[np.ndarray]) -> IntegerNetwork:
    """A copy of `network` with the weights of `masks`, one a layer, set to zero; operators are to be set anew."""
    if len(masks) != network.n_layers:
        raise ShapeError(f"got {len(masks)} masks: expected {network.n_layers}, one a layer")
    pruned = copy.copy(network)
    pruned.module = copy.deepcopy(network.module)
    pruned.integer_layers = tuple(pruned.module.get_submodule(info.name) for info in network.layers)
    for layer, mask in zip(pruned.integer_layers, masks, strict=True):
        layer.problem = pruned_problem(layer.problem, mask)
    return pruned


def _smallest(values: np.ndarray, share: float) -> np.ndarray:
    """Which of float64 [n] are among the smallest `share`, bool [n]."""
    chosen = np.zeros(len(values), dtype=np.bool_)
    chosen[np.argsort(values, kind="stable")[: int(np.floor(share * len(values) + 0.5))]] = True
    return chosen


def _lamp_scores(values: np.ndarray) -> np.ndarray:
    """See the module; float64 of the shape of `values`, 0 for weights of zero."""
    squares = np.square(values.ravel())
    order = np.argsort(squares, kind="stable")
    rising = squares[order]
    remaining = np.cumsum(rising[::-1])[::-1]
    scores = np.empty_like(squares)
    scores[order] = np.divide(rising, remaining, out=np.zeros_like(rising), where=remaining > 0)
    return scores.reshape(values.shape)


def _check_sparsity(sparsity: float) -> None:
    if not 0 <= sparsity < 1:
        raise ConfigError(f"sparsity {sparsity}: expected a share from 0, no pruning, to below 1, as 0.7")
