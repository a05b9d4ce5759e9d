"""Weights that remain after pruning, refitted to what the layer gave with all of them; no training.

B. Hassibi, D. Stork, "Second order derivatives for network pruning: Optimal Brain Surgeon", NIPS 1992, layer by layer
as in E. Frantar, D. Alistarh, "Optimal Brain Compression", NeurIPS 2022: with the activations `x` of sampled positions,
centered as a bias is free, `H = mean x x'`, and a filter's weights `w`, kept (K) and pruned (P),

    minimize over u    mean ( x_K' u - x' w )^2 + lambda |u - w_K|^2
    u = w_K + (H_KK + lambda I)^-1 H_KP w_P

Which weights are pruned is settled before, by their magnitudes, and all at once: they are not removed one by one, and
`u` is rounded to codes at the end. Activations are those of the exact network with all weights.
"""

from collections.abc import Sequence

import numpy as np
import torch

from dse.recovery.reconstruction import sample_positions, sampled_patches
from dse.simulation.problem import IntegerConv
from dse.sparse.pruning import pruned_problem, with_weights

SAMPLES_PER_WEIGHT = 32
MIN_SAMPLES, MAX_SAMPLES = 4096, 32768
"""Output positions a layer is fitted on: more than weights in a filter, or the fit holds for these positions only."""

RIDGE = 0.01
"""`lambda`, in means of the diagonal of `H`."""


def refitted(
    problem: IntegerConv, masks: Sequence[np.ndarray], codes: torch.Tensor, rng: np.random.Generator
) -> list[IntegerConv]:
    """The convolution pruned by each of several masks, its other weights refitted.

    Args:
        problem: with all its weights.
        masks: pruned weights, bool of the weights' shape.
        codes: recorded inputs, `[n, C, H, W]`.
        rng: draws the positions.
    """
    grams = _gram_matrices(problem, codes, rng)
    return [_refitted(problem, mask, grams) for mask in masks]


def _gram_matrices(problem: IntegerConv, codes: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """`H` of every group, float64 `[groups, K, K]`."""
    size = problem.output_size(*codes.shape[2:])
    outputs = torch.empty(1).expand(len(codes), 1, *size)  # of which only the shape counts
    n_samples = int(np.clip(SAMPLES_PER_WEIGHT * problem.fan_in, MIN_SAMPLES, MAX_SAMPLES))
    positions = sample_positions(outputs, min(n_samples, len(codes) * size[0] * size[1]), rng)
    patches = sampled_patches(problem, codes, positions).transpose(0, 1).to(torch.float64)  # [groups, n, K]
    patches = patches - patches.mean(1, keepdim=True)
    return patches.mT @ patches / patches.shape[1]


def _refitted(problem: IntegerConv, mask: np.ndarray, grams: torch.Tensor) -> IntegerConv:
    pruned = pruned_problem(problem, mask)
    if not mask.any():
        return pruned
    zero_point, info = problem.w_zero_point[:, None], torch.iinfo(problem.weight.dtype)
    values = (problem.weight.flatten(1).to(torch.int64) - zero_point).to(torch.float64)
    is_pruned = torch.from_numpy(mask).flatten(1)
    plain = values.masked_fill(is_pruned, 0.0)
    fitted, n_outputs = plain.clone(), problem.n_outputs // problem.groups
    for o in range(problem.n_outputs):
        kept, gram = ~is_pruned[o], grams[o // n_outputs]
        if not kept.any() or kept.all():
            continue
        fitted[o, kept] += _correction(gram, kept, values[o])
        fitted[o] = (fitted[o].round() + zero_point[o]).clamp(info.min, info.max) - zero_point[o]
        # Rounding, and the range of codes, may leave nothing of the gain.
        if _error(gram, fitted[o] - values[o]) >= _error(gram, plain[o] - values[o]):
            fitted[o] = plain[o]
    codes = fitted.to(torch.int64) + zero_point
    return with_weights(problem, codes.view(problem.weight.shape).to(problem.weight.dtype))


def _error(gram: torch.Tensor, difference: torch.Tensor) -> float:
    """Mean squared error of a filter's outputs whose weights are off by `difference`, float64 `[K]`."""
    return float(difference @ gram @ difference)


def _correction(gram: torch.Tensor, kept: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`u - w_K` of one filter, float64 `[n_kept]`."""
    system = gram[kept][:, kept]
    ridge = RIDGE * gram.diagonal().mean().clamp_min(1e-9)
    system = system + ridge * torch.eye(len(system), dtype=torch.float64)
    return torch.linalg.solve(system, gram[kept][:, ~kept] @ values[~kept])
