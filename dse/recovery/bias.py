"""Error-mean folding and sum compensation: what a multiplier's error does on average, taken back per output channel.

On calibration images, `e = sums(multiplier) - sums(exact)` and `S = SUM_k x_k` are observed for every output channel:

- folding: subtract `mean(e)`, folded into the layer's bias, free in hardware;
- sum compensation [ours; related to control variates, arXiv 2102.09642]: subtract `a + b*S`, least squares. An affine
  accelerator already forms `S` for the zero-point correction, so `b` only changes a coefficient; it is rounded to
  multiples of `SLOPE_STEP`, the fraction bits that coefficient then has.

Folding can hurt where a few rare operands carry the error, so a channel keeps a correction only where it lowers the
squared error on images that it was not fitted on (two halves of the calibration images, each way).
"""

from dataclasses import dataclass

import torch

SLOPE_STEP = 2.0**-8


@dataclass(frozen=True, eq=False)
class Correction:
    """Subtracted from the integer sums: `offset + slope * S`; float64 `[C_out]` each, `slope` `None` if unused."""

    offset: torch.Tensor
    slope: torch.Tensor | None


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over observations per output channel: float64 `[C_out]` each, `n` observations."""

    n: int
    e: torch.Tensor
    s: torch.Tensor
    ee: torch.Tensor
    es: torch.Tensor
    ss: torch.Tensor

    @staticmethod
    def of(error: torch.Tensor, input_sum: torch.Tensor) -> "Moments":
        """Moments of `error` and `input_sum`, both `[n, C_out, H, W]` integers in any type."""
        e, s = (t.to(torch.float64).transpose(0, 1).flatten(1) for t in (error, input_sum))
        return Moments(e.shape[1], e.sum(1), s.sum(1), (e * e).sum(1), (e * s).sum(1), (s * s).sum(1))

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.n + other.n,
            *(getattr(self, name) + getattr(other, name) for name in ("e", "s", "ee", "es", "ss")),
        )

    def squared_error(self, correction: Correction) -> torch.Tensor:
        """`SUM (e - a - b*S)^2` per channel, float64 `[C_out]`."""
        a, b = correction.offset, correction.slope
        total = self.ee - 2 * a * self.e + self.n * a * a
        if b is None:
            return total
        return total - 2 * b * self.es + 2 * a * b * self.s + b * b * self.ss


def fit_correction(halves: tuple[Moments, Moments], *, is_sloped: bool) -> Correction:
    """Least-squares correction on both halves, kept per channel where it helps on the half it was not fitted on.

    Args:
        halves: moments over two disjoint sets of calibration images.
        is_sloped: sum compensation as well as folding.
    """
    both = halves[0] + halves[1]
    kinds = [_no_correction, _fold] + ([_fold_and_slope] if is_sloped else [])
    errors = torch.stack([_held_out_error(kind, halves) for kind in kinds])
    best = errors.argmin(0)
    fits = [kind(both) for kind in kinds]
    offset = torch.stack([fit.offset for fit in fits]).gather(0, best[None])[0]
    if not is_sloped:
        return Correction(offset, None)
    slopes = torch.stack([torch.zeros_like(offset) if fit.slope is None else fit.slope for fit in fits])
    return Correction(offset, slopes.gather(0, best[None])[0])


def _held_out_error(kind, halves: tuple[Moments, Moments]) -> torch.Tensor:
    first, second = halves
    return first.squared_error(kind(second)) + second.squared_error(kind(first))


def _no_correction(moments: Moments) -> Correction:
    return Correction(torch.zeros_like(moments.e), None)


def _fold(moments: Moments) -> Correction:
    return Correction(moments.e / moments.n, None)


def _fold_and_slope(moments: Moments) -> Correction:
    n = moments.n
    variance = moments.ss - moments.s * moments.s / n
    covariance = moments.es - moments.e * moments.s / n
    slope = torch.where(variance > 0, covariance / variance.clamp(min=1e-12), 0.0)
    slope = (slope / SLOPE_STEP).round() * SLOPE_STEP
    return Correction((moments.e - slope * moments.s) / n, slope)
