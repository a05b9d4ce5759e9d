"""Weights chosen for their table: every layer's outputs as close to the exact ones as codes allow, without training.

Weight tuning picks for each weight the code that a multiplier treats best, one product at a time. [ours] Here all
weights of a filter are chosen together, so that the errors of its products cancel: with activations `x_k` of sampled
positions (columns centered, a bias is free),

    minimize over codes w_k    SUM_positions ( SUM_k T[x_k, w_k] - target )^2,

by coordinate descent: one weight at a time takes the code that lowers the sum most, given all others. For tap `k` let
`C = T[x_k, :]` and `r` be the residual; with `g = C' r` and `H = C' C` the change is
`2 (g[w'] - g[w]) + H[w', w'] - 2 H[w', w] + H[w, w]` for all filters and codes at once; both follow from the table,
how often each activation code occurs, and residuals added up by code. Errors that cancel on the
sampled positions cancel less on others, the less the more weights a filter has: a share `SHRINKAGE * K / n` of what
counts is therefore the error of each product by itself, `|C[w'] - w x_k|^2`, which needs few samples.

Layers follow each other: each gets the inputs that the approximate layers before it give, and aims at what the exact
network computes there (as GPTQ does for quantization, Frantar et al. 2023), so that it also takes back errors of the
layers before it. Several operating points, which share the weights, count each by its error before, so that none gives
up for another.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dse import stopping
from dse.datasets import Split
from dse.multipliers.multiplier import Multiplier
from dse.recovery.statistics import exact_statistics, images_within, match_outputs, watch_layers
from dse.recovery.switchable import SwitchableNetwork
from dse.recovery.table_layers import LearningNetwork, TableLayer
from dse.simulation.problem import IntegerConv, padded

SAMPLES_PER_WEIGHT = 64
MIN_SAMPLES, MAX_SAMPLES = 4096, 32768
"""Output positions a layer is fitted on: more than weights in a filter, or the fit holds for these positions only."""

SHRINKAGE = 1.0
MAX_SHRINKAGE = 0.5

SWEEPS = 3

SMALLEST_ERROR = 1e-4
"""Of the variance of a layer's outputs: an operating point with less error counts as if it had this."""

OnLayer = Callable[[int, int], None]
"""Told layers done and number of layers."""


def reconstruct(
    learner: LearningNetwork, exact: SwitchableNetwork, images: Split, *, seed: int = 0, on_layer: OnLayer | None = None
) -> None:
    """Chooses the weights, and every operating point's gains and shifts.

    Args:
        learner: changed.
        exact: the network with exact multipliers.
        images: some hundred; as many are seen, at once, as memory allows.
        seed: of the sampled positions and the order of weights.
        on_layer: told how it goes on.
    """
    bytes_per_image = 4 * sum(math.prod(info.output_shape) for info in exact.network.layers)
    chosen = images.subset(images_within(bytes_per_image, images.n_images))
    wanted, rng = _outputs(exact, chosen), np.random.default_rng(seed)

    def before(index: int, layer: TableLayer, x: torch.Tensor) -> None:
        if layer.is_convolution and not layer.is_exact:
            fit_layer(layer, x.chunk(learner.n_points), wanted[index], rng)
        if on_layer is not None:
            on_layer(index + 1, len(learner.layers))
        stopping.check()

    match_outputs(learner, exact_statistics(exact, chosen), chosen.images, before=before)


def _outputs(exact: SwitchableNetwork, images: Split) -> list[torch.Tensor]:
    """What the layers of the exact network give; of one that is called several times an image, the last."""
    found: list[torch.Tensor | None] = [None] * exact.network.n_layers
    watch_layers(exact, [images.images], lambda index, _, y: found.__setitem__(index, y.clone()))
    return found


def fit_layer(
    layer: TableLayer,
    inputs: Sequence[torch.Tensor],
    wanted: torch.Tensor,
    rng: np.random.Generator,
    *,
    sweeps: int = SWEEPS,
    max_samples: int = MAX_SAMPLES,
) -> None:
    """Sets the weights of a layer.

    Args:
        layer: changed.
        inputs: at every operating point, float32 `[n, C_in, H, W]`.
        wanted: outputs on the same images, float32 `[n, C_out, H_out, W_out]`.
        rng: decides the positions and the order of weights.
        sweeps: over all weights.
        max_samples: output positions, at most.
    """
    original, device = layer.quantized(), wanted.device
    problem = layer.mapped(original)
    n_positions = wanted[:, 0].numel()
    n_samples = min(n_positions, int(np.clip(SAMPLES_PER_WEIGHT * problem.fan_in, MIN_SAMPLES, max_samples)))
    positions = sample_positions(wanted, n_samples, rng)
    samples = [_Samples.of(layer, k, problem, x, wanted, positions) for k, x in enumerate(inputs)]
    weight = (problem.weight.to(device, torch.int64) - problem.w_low).flatten(1)
    products = original.weight.to(device, torch.int64).flatten(1)
    chosen, n_outputs = weight.clone(), problem.n_outputs // problem.groups
    zero = int(problem.w_zero_point[0]) - problem.w_low if layer.keeps_zeros else None
    for channels, multipliers in layer.rows_by_multipliers():
        tables = [sample.scaled(m) for sample, m in zip(samples, multipliers, strict=True)]
        for group in np.unique(channels // n_outputs):
            rows = torch.from_numpy(channels[channels // n_outputs == group]).to(device)
            patches = torch.stack([sample.patches[:, int(group)] for sample in samples])
            residual = torch.stack([sample.residual[:, rows] for sample in samples])
            units = torch.tensor([sample.unit for sample in samples], device=device)
            chosen[rows] = _fitted(
                problem, tables, weight[rows], products[rows], patches, residual, units=units, rng=rng,
                sweeps=sweeps, zero=zero,
            )  # fmt: skip
    layer.use_codes((chosen + problem.w_low).view(problem.weight.shape))


def _fitted(
    problem: IntegerConv,
    tables: Sequence[torch.Tensor],
    weight: torch.Tensor,
    products: torch.Tensor,
    patches: torch.Tensor,
    residual: torch.Tensor,
    *,
    units: torch.Tensor,
    rng: np.random.Generator,
    sweeps: int,
    zero: int | None,
) -> torch.Tensor:
    """Code indices of filters with the same inputs and tables, int64 `[n_filters, K]`; most arguments as in `descend`.

    Args:
        problem: the convolution.
        tables: of every point, float32 `[256, 256]`.
        weight: code indices that go into the tables before.
        products, patches, residual, units, rng, sweeps: see `descend`.
        zero: index of a code; weights that have it keep it, and no other takes it.
    """
    columns, column_of = distinct_columns(tables, apart=zero)
    before = column_of[weight]
    codes = torch.arange(256.0, device=weight.device) + problem.x_low
    found = descend(
        columns, patches, before.clone(), residual, products=products, units=units, codes=codes, rng=rng,
        barred=None if zero is None else int(column_of[zero]),
    )  # fmt: skip
    return torch.where(found == before, weight, nearest_codes(column_of)[found, products - problem.w_low])


@dataclass(frozen=True, eq=False)
class _Samples:
    """One operating point, scaled so that all count by their error before.

    Attributes:
        patches: code indices, int64 `[n, groups, K]`.
        residual: sums less their target, centered, float32 `[n, C_out]`.
        unit: what a product of 1 is, after scaling.
    """

    patches: torch.Tensor
    residual: torch.Tensor
    unit: float

    def scaled(self, multiplier: Multiplier) -> torch.Tensor:
        """Its table in this unit, float32 `[256, 256]`."""
        return torch.tensor(multiplier.table, device=self.patches.device).to(torch.float32) * self.unit

    @classmethod
    def of(
        cls,
        layer: TableLayer,
        k: int,
        problem: IntegerConv,
        x: torch.Tensor,
        wanted: torch.Tensor,
        positions: tuple[torch.Tensor, ...],
    ) -> "_Samples":
        codes, (scale, _) = layer.layer.quantize(x), layer.vectors(k)
        image, row, column = positions
        target = wanted[image, :, row, column] / scale
        residual = layer.sums(codes, k)[image, :, row, column] - target
        residual = residual - residual.mean(0)
        error = max(float(residual.square().mean()), SMALLEST_ERROR * float(target.var(0).mean()), 1e-12)
        factor = error**-0.5
        return cls(sampled_patches(problem, codes, positions), residual * factor, factor)


def distinct_columns(tables: Sequence[torch.Tensor], *, apart: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The columns of some tables, float32 `[256, 256]` each, that differ in any of them.

    Args:
        tables: as described.
        apart: index of a code that has a column of its own, whatever it holds.

    Returns:
        These columns, float32 `[n_tables, 256, n]`, and the column of each code, int64 `[256]`.
    """
    rows = list(tables)
    if apart is not None:
        mark = torch.zeros_like(rows[0][:1])
        mark[0, apart] = 1
        rows.append(mark)
    distinct, column_of = torch.unique(torch.cat(rows), dim=1, return_inverse=True)
    return distinct[: 256 * len(tables)].reshape(len(tables), 256, -1).contiguous(), column_of


def nearest_codes(column_of: torch.Tensor) -> torch.Tensor:
    """For every distinct column and code the nearest code that has this column, int64 `[n, 256]`."""
    codes = torch.arange(256, device=column_of.device)
    having = [torch.nonzero(column_of == column)[:, 0] for column in range(int(column_of.max()) + 1)]
    return torch.stack([own[(own[:, None] - codes).abs().argmin(0)] for own in having])


def sample_positions(outputs: torch.Tensor, n: int, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """Image, row and column, int64 `[n]` each, of different outputs among `[n_images, C, H, W]`."""
    sizes = (outputs.shape[0], *outputs.shape[2:])
    chosen = rng.choice(math.prod(sizes), n, replace=False)
    return tuple(torch.from_numpy(index).to(outputs.device) for index in np.unravel_index(chosen, sizes))


def sampled_patches(problem: IntegerConv, codes: torch.Tensor, positions: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """What the outputs at `positions` are sums over: code indices, int64 `[n, groups, K]`."""
    image, top, left = positions
    x = padded(problem, codes)
    sizes = zip(problem.weight.shape[2:], problem.dilation, strict=True)
    steps = [torch.arange(k, device=x.device) * d for k, d in sizes]
    rows = top[:, None] * problem.stride[0] + steps[0]
    columns = left[:, None] * problem.stride[1] + steps[1]
    channels = torch.arange(x.shape[1], device=x.device)
    patches = x[image[:, None, None, None], channels[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]
    return patches.reshape(len(image), problem.groups, problem.fan_in).to(torch.int64) - problem.x_low


def descend(
    tables: torch.Tensor,
    patches: torch.Tensor,
    columns: torch.Tensor,
    residual: torch.Tensor,
    *,
    products: torch.Tensor,
    units: torch.Tensor,
    codes: torch.Tensor,
    rng: np.random.Generator,
    sweeps: int = SWEEPS,
    barred: int | None = None,
) -> torch.Tensor:
    """Coordinate descent over the weights of filters with the same inputs, see the module; on the tensors' device.

    Args:
        tables: distinct columns, float32 `[n_points, 256, n_columns]`.
        patches: code indices, int64 `[n_points, n, K]`.
        columns: of the table, where each weight starts, int64 `[n_filters, K]`; changed.
        residual: sums less their target, centered, float32 `[n_points, n, n_filters]`; changed.
        products: the weights, as codes, whose exact products each table stands for, int64 `[n_filters, K]`.
        units: what a product of 1 is in each table, float32 `[n_points]`.
        codes: activation codes in natural order, float32 `[256]`.
        rng: decides the order of weights.
        sweeps: over all weights.
        barred: column that no weight leaves or enters.

    Returns:
        `columns`.
    """
    _, n, fan_in = patches.shape
    shrinkage = min(SHRINKAGE * fan_in / n, MAX_SHRINKAGE)
    filters = torch.arange(len(columns), device=columns.device)
    for _ in range(sweeps):
        for k in rng.permutation(fan_in):
            index = patches[:, :, k]
            centered, counts = _centered(tables, index)
            gram = (centered.transpose(1, 2) @ (counts[:, :, None] * centered)).sum(0)
            slope = (centered.transpose(1, 2) @ _summed_by_code(residual, index)).sum(0)
            product = (centered.transpose(1, 2) @ (counts * units[:, None] * codes)[:, :, None]).sum(0)
            old, square = columns[:, k], gram.diagonal()
            together = 2 * (slope - slope[old, filters]) + square[:, None] - 2 * gram[:, old] + square[old]
            alone = square[:, None] - square[old] - 2 * products[:, k] * (product - product[old].T)
            change = (1 - shrinkage) * together + shrinkage * alone
            if barred is not None:
                change[barred], change[:, old == barred] = math.inf, math.inf
            best = change.argmin(0)
            is_better = change[best, filters] < -1e-6 * square[old].clamp_min(1e-12)
            best = torch.where(is_better, best, old)
            if not torch.equal(best, old):
                for part, rows, table in zip(residual, index, centered[:, :, best] - centered[:, :, old], strict=True):
                    part += table[rows]
                columns[:, k] = best
    return columns


def _centered(tables: torch.Tensor, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tables whose columns have mean 0 over codes `index`, int64 `[n_points, n]`; how often each code is among them."""
    counts = torch.stack([torch.bincount(row, minlength=256) for row in index]).to(torch.float32)
    means = (counts[:, None] @ tables) / index.shape[1]
    return tables - means, counts


def _summed_by_code(residual: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Residuals of all positions with the same code added up, `[n_points, 256, n_filters]`."""
    if not residual.is_cpu:
        return summed_as_products(residual, index)
    sums = torch.zeros(len(index), 256, residual.shape[2])
    for total, rows, part in zip(sums, index, residual, strict=True):
        total.index_add_(0, rows, part)
    return sums


def summed_as_products(residual: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """As `_summed_by_code`, by a matrix product: on a GPU `index_add_` adds in another order each time."""
    codes = torch.arange(256, device=index.device)
    return (index[:, None] == codes[:, None]).to(residual.dtype) @ residual
