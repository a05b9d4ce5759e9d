"""Observers: the range of activations that is quantized, from what calibration saw.

`minmax` keeps everything; `percentile` cuts rare extremes; `mse` takes the range with the least squared error of
quantization (the cut of ACIQ and its kin, found by search over a histogram).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from dse.quantization.affine import Scheme, choose_qparams_affine, dequantize_affine, quantize_affine

N_BINS = 2048


@dataclass(frozen=True, eq=False)
class Histogram:
    """Values seen at one place: `counts` float64 `[N_BINS]` over equal bins of `[low, high]`."""

    low: float
    high: float
    counts: torch.Tensor

    @property
    def centers(self) -> torch.Tensor:
        """float64 `[N_BINS]`."""
        width = (self.high - self.low) / N_BINS
        return self.low + width * (torch.arange(N_BINS, dtype=torch.float64) + 0.5)


def minmax_range(histogram: Histogram, scheme: Scheme) -> tuple[float, float]:
    """Everything that was seen."""
    return histogram.low, histogram.high


def percentile_range(histogram: Histogram, scheme: Scheme, percentile: float = 99.99) -> tuple[float, float]:
    """The range that leaves out `100 - percentile` per cent, half at either end."""
    share = histogram.counts.cumsum(0) / histogram.counts.sum()
    tail = (1 - percentile / 100) / 2
    centers = histogram.centers
    low = histogram.low if histogram.low >= 0 else centers[int((share < tail).sum())].item()
    high = histogram.high if histogram.high <= 0 else centers[min(int((share < 1 - tail).sum()), N_BINS - 1)].item()
    return low, high


def mse_range(histogram: Histogram, scheme: Scheme, n_steps: int = 60) -> tuple[float, float]:
    """Among shrunk copies of the seen range, the one with the least squared quantization error."""
    centers, best, chosen = histogram.centers, None, (histogram.low, histogram.high)
    for factor in torch.linspace(1.0, 0.2, n_steps, dtype=torch.float64).tolist():
        low, high = histogram.low * factor, histogram.high * factor
        scale, zero_point = choose_qparams_affine(torch.tensor(low), torch.tensor(high), scheme)
        values = centers.to(torch.float32)
        rounded = dequantize_affine(quantize_affine(values, scale, zero_point, scheme.dtype), scale, zero_point)
        error = ((rounded - values).to(torch.float64) ** 2 * histogram.counts).sum().item()
        if best is None or error < best:
            best, chosen = error, (low, high)
    return chosen


OBSERVERS: dict[str, Callable[[Histogram, Scheme], tuple[float, float]]] = {
    "minmax": minmax_range,
    "percentile": percentile_range,
    "mse": mse_range,
}
