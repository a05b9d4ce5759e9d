"""Three forms of a layer's output error from its operand statistics; equations in `dse.robustness.error_model`.

Every form maps the statistics of one layer and the error tables of all multipliers, float32 `[m, 256, 256]` (index
`[m, x, w]`), to moments of the summed errors per output channel.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dse.robustness.operands import Operands

_CHUNK = 2**24  # float32 numbers of the tensors held at once: 64 MiB
_FEW_FILTERS = 8  # of a group, up to which looking weights up one by one is less work than all 256 codes
_ITERATIONS = 8  # of the power method; a component that is not quite the largest is as valid
_TINY = 1e-30


@dataclass(frozen=True, eq=False)
class Moments:
    """Errors of output channels, or of sets of them that a form cannot tell apart: float32 `[m, n]` each.

    Attributes:
        mean: over images and positions.
        variance: over images and positions, mean of the set.
        compensated: what a slope on the sum of the patch's codes leaves of the variance.
    """

    mean: torch.Tensor
    variance: torch.Tensor
    compensated: torch.Tensor

    def pooled(self) -> np.ndarray:
        """Over all outputs mean and std, then the roots of the mean variance and of what is left: float64 `[4, m]`."""
        mean, within, left = self.mean.double(), self.variance.double().mean(1), self.compensated.double().mean(1)
        std = (within + mean.var(1, correction=0)).sqrt()
        return torch.stack([mean.mean(1), std, within.sqrt(), left.sqrt()]).numpy()


def global_histogram(operands: Operands, tables: torch.Tensor) -> Moments:
    """One histogram of activations and one of weights; products independent."""
    p, g, k = operands.activation_histogram, operands.weight_histograms.mean(0), operands.fan_in
    mean = tables @ g @ p
    centered = tables - mean[:, None, None]
    variance = centered.square() @ g @ p
    x = torch.arange(256.0) - p @ torch.arange(256.0)
    explained = (centered @ g @ (p * x)).square() / (p @ x.square()).clamp(min=_TINY)
    left = (variance - explained).clamp(min=0)
    return Moments(*(k * moment[:, None] for moment in (mean, variance, left)))


def agn(operands: Operands, tables: torch.Tensor) -> Moments:
    """Histograms of patches, one histogram of weights a group; products independent within a patch."""
    histograms, k = operands.weight_histograms, operands.fan_in
    overall = tables @ histograms.mean(0) @ operands.activation_histogram  # taken out: squares would cancel
    tables = tables - overall[:, None, None]
    rows, squared_rows = (tables @ histograms.T).mT, (tables.square() @ histograms.T).mT  # [m, G, 256]
    moments = []
    for group, patches in enumerate(operands.patches):
        mean = _looked_up(rows[:, group], patches).mean(2)
        second = _looked_up(squared_rows[:, group], patches).mean(2)
        within = k * (second - mean.square()).clamp(min=0).mean(1)
        between, left = _variances(k * mean, operands.patch_sums[group])
        moments.append(torch.stack([k * (mean.mean(1) + overall), within + between, within + left]))
    return Moments(*torch.stack(moments, 2))


def two_way(operands: Operands, tables: torch.Tensor) -> Moments:
    """Patch part with rows and one interaction component, plus an independent rest; exact mean of every filter."""
    groups, n_filters, k = operands.weights.shape
    per_filter = groups * (k * 256 if n_filters <= _FEW_FILTERS else 3 * k + operands.patches.shape[1])
    filters = min(n_filters, max(1, _CHUNK // per_filter))
    largest = max(operands.patches.numel(), 3 * operands.taps.numel(), filters * per_filter)
    chunks = tables.split(max(1, _CHUNK // largest))
    parts = zip(*(_two_way_chunk(operands, chunk, filters) for chunk in chunks), strict=True)
    return Moments(*(torch.cat(part) for part in parts))


def _two_way_chunk(operands: Operands, tables: torch.Tensor, filters: int) -> list[torch.Tensor]:
    """Mean, variance and compensated variance of every output channel, float32 `[m, C_out]`, `filters` at a time."""
    rows, phi, psi = _components(tables, operands.activation_histogram, operands.weight_histograms.mean(0))
    rest = tables - rows[:, :, None] - phi[:, :, None] * psi[:, None, :]
    expected = [_tap_means(operands, table) for table in (tables, rest, rest.square())]
    row_patches = _looked_up(rows, operands.patches)  # [m, G, J, K]
    row_part = row_patches.sum(3)[:, :, None] if operands.reaches is None else None  # [m, G, 1, J]
    phi_patches = _looked_up(phi, operands.patches).mT  # [m, G, K, J]
    parts = []
    for chunk in range(0, operands.weights.shape[1], filters):
        weights = operands.weights[:, chunk : chunk + filters].to(torch.int64)
        mean, rest_mean, rest_square = (expect(weights) for expect in expected)  # [m, G, f, K]
        independent, loading = (rest_square - rest_mean.square()).clamp(min=0), _looked_up(psi, weights)
        if operands.reaches is not None:
            reaches = operands.reaches[:, chunk : chunk + filters].to(torch.float32)  # [G, f, K]
            mean, independent, loading = mean * reaches, independent * reaches, loading * reaches
            row_part = reaches @ row_patches.mT
        independent = independent.sum(3)
        patch_part = row_part + loading @ phi_patches  # [m, G, f, J]
        variance, left = _variances(patch_part, operands.patch_sums[:, None])
        parts.append([mean.sum(3), variance + independent, left + independent])
    return [torch.cat(part, 2).flatten(1) for part in zip(*parts, strict=True)]


def _components(tables: torch.Tensor, p: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Row means, and phi and psi, the interaction's largest component under `p g`: float32 `[m, 256]` each."""
    rows, columns = tables @ g, p @ tables
    interaction = tables - rows[:, :, None] - columns[:, None, :] + (rows @ p)[:, None, None]
    phi = (torch.arange(256.0) - p @ torch.arange(256.0)).expand(len(tables), -1)
    for _ in range(_ITERATIONS):
        phi = phi / (phi.square() @ p).sqrt().clamp(min=_TINY)[:, None]
        psi = ((p * phi)[:, None] @ interaction)[:, 0]
        phi = (interaction @ (g * psi)[:, :, None])[:, :, 0]
    phi = phi / (phi.square() @ p).sqrt().clamp(min=_TINY)[:, None]
    return rows, phi, ((p * phi)[:, None] @ interaction)[:, 0]


def _tap_means(operands: Operands, tables: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """From weights `[G, f, K]` to `SUM_x p_k[x] tables[x, w_fk]`, float32 `[m, G, f, K]`."""
    taps = operands.taps
    if operands.weights.shape[1] <= _FEW_FILTERS:
        columns = tables.mT.contiguous()
        return lambda weights: torch.einsum("mgfkx,gkx->mgfk", _looked_up(columns, weights), taps)
    means = (taps @ tables[:, None]).mT  # [m, G, 256, K]
    return lambda weights: means.gather(2, weights.expand(len(tables), -1, -1, -1))


def _looked_up(rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """`rows[:, index]`; NumPy's `take` is several times faster than indexing in PyTorch."""
    return torch.from_numpy(np.take(rows.numpy(), index.numpy(), axis=1))


def _variances(values: torch.Tensor, sums: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Variance of `values [..., J]` over patches, and what least squares on `sums` (`J` last) leaves of it."""
    values, sums = values - values.mean(-1, keepdim=True), sums - sums.mean(-1, keepdim=True)
    variance = values.square().mean(-1)
    explained = (values * sums).mean(-1).square() / sums.square().mean(-1).clamp(min=_TINY)
    return variance, (variance - explained).clamp(min=0)
