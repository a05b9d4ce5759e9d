"""Errors of layers that are pruned and multiply approximately, against the layer with all weights and exact products.

    error = (what the multiplier is off by, over the weights that reach it) + (what the lost weights would have added)

The first part comes from the error model (`dse.robustness.error_model`, "two-way"), with the operands of the pruned
layer: where zeros are skipped, the effective fan-in. The second is a convolution with exact products and is measured on
some of the recorded codes. Both are taken for uncorrelated [ours].
"""

from dataclasses import replace

import numpy as np
import torch

from dse.recovery.pruned import PrunedBank, sparing_zeros
from dse.robustness.error_forms import two_way
from dse.robustness.error_model import ErrorPredictions, output_std
from dse.robustness.operands import Operands, collect_operands
from dse.simulation.ops import prepare
from dse.simulation.problem import IntegerConv
from dse.sparse.pruning import is_zero

MAX_IMAGES = 64
"""That the lost weights' part is measured on."""


def predict_pruned_errors(bank: PrunedBank, *, seed: int = 0) -> ErrorPredictions:
    """Errors of every layer for every choice, float64 `[n_layers, n_choices]`, as `predict_errors` predicts them.

    Args:
        bank: its corrections do not matter: the predictions say what each kind of them leaves.
        seed: of the patches, see `predict_errors`.
    """
    choices = bank.library.choices
    figures = np.empty((4, bank.network.n_layers, len(choices)))
    for index in range(bank.network.n_layers):
        by_level = _layer_errors(bank, index, seed)  # [4, n_levels, n_multipliers]
        figures[:, index] = by_level[:, choices.level, choices.multiplier]
    spreads = [output_std(bank.whole, index) for index in range(bank.network.n_layers)]
    return ErrorPredictions(*figures, np.array(spreads))


def _layer_errors(bank: PrunedBank, index: int, seed: int) -> np.ndarray:
    """Mean, std, std folded and std compensated of one layer, float64 `[4, n_levels, n_multipliers]`."""
    problem, name = bank.network.integer_layers[index].problem, bank.network.layers[index].name
    rng = np.random.default_rng([seed, index])
    operands = collect_operands(problem, bank.whole.codes[index], name, n_patches=None, rng=rng)
    tables = torch.from_numpy(_error_tables(bank, index)).to(torch.float32)
    errors = []
    for level in range(len(bank.library.choices.levels_pct)):
        pruned = bank.pruned(index, level)
        mean, *spreads = two_way(_operands_of(operands, pruned, bank.skips_zeros), tables).pooled()
        lost_mean, *lost_spreads = _lost(bank, index, pruned)
        pairs = zip(spreads, lost_spreads, strict=True)
        errors.append([mean + lost_mean, *(np.hypot(spread, lost) for spread, lost in pairs)])
    return np.array(errors).transpose(1, 0, 2)


def _operands_of(operands: Operands, pruned: IntegerConv, skips_zeros: bool) -> Operands:
    """Those of a pruned layer, from those of the layer with all weights."""
    weights = (pruned.weight.to(torch.int16) - pruned.w_low).to(torch.uint8).view(operands.weights.shape)
    reaches = ~is_zero(pruned).view(operands.weights.shape) if skips_zeros else None
    return replace(operands, weights=weights, reaches=reaches)


def _error_tables(bank: PrunedBank, index: int) -> np.ndarray:
    """Of every multiplier with weight tuning, which spares zeros, int32 `[n_multipliers, 256, 256]`."""
    tables = bank.whole.error_table(index)
    problem = bank.network.integer_layers[index].problem
    zeros = problem.w_zero_point.unique() - problem.w_low
    for position, multiplier in enumerate(bank.whole.library):
        weight_map = bank.whole.weight_map(index, position)
        if weight_map is not None:
            is_spared = (sparing_zeros(weight_map, zeros) != weight_map).numpy()
            tables[position][:, is_spared] = multiplier.error[:, is_spared]
    return tables


def _lost(bank: PrunedBank, index: int, pruned: IntegerConv) -> np.ndarray:
    """Mean, std, std folded and std compensated of what lost weights would have added, float64 `[4]`."""
    if torch.equal(pruned.weight, bank.network.integer_layers[index].problem.weight):
        return np.zeros(4)
    exact = bank.whole.library[bank.whole.library.exact_index]
    sums = prepare(pruned, exact, device=bank.device)
    seen = bank.whole.observed(index, sums, bank.whole.codes[index][:MAX_IMAGES])
    error, total = seen.error, seen.input_sum
    mean = error.mean(1)
    error, total = error - mean[:, None], total - total.mean(1, keepdim=True)
    within = error.square().mean(1)
    explained = (error * total).mean(1).square() / total.square().mean(1).clamp(min=1e-30)
    folded, left = within.mean(), (within - explained).clamp(min=0).mean()
    std = (folded + mean.var(correction=0)).sqrt()
    return torch.stack([mean.mean(), std, folded.sqrt(), left.sqrt()]).numpy()
