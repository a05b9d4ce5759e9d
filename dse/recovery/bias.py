"""Error-mean folding and sum compensation: what a multiplier's error does on average, taken back per output channel.

On calibration images, `e = sums(multiplier) - sums(exact)` and `S = SUM_k x_k` are observed for every output channel:

- folding: subtract `mean(e)`, folded into the layer's bias, free in hardware;
- sum compensation [ours; related to control variates, arXiv 2102.09642]: subtract `a + b*S`, least squares. An affine
  accelerator already forms `S` for the zero-point correction, so `b` only changes a coefficient; it is rounded to
  multiples of `SLOPE_STEP`, the fraction bits that coefficient then has.

Folding can hurt where a few rare operands carry the error: the network shrugs off rare large errors, not a shift of
every output. A channel therefore keeps a correction only where it lowers the mean ABSOLUTE error on images that it was
not fitted on (two halves of the calibration images, each way).
"""

from dataclasses import dataclass

import torch

SLOPE_STEP = 2.0**-8
CHANNELS_AT_ONCE = 8
"""Fitted together. All at once would need ten times the memory of the observations, in pieces that the system keeps."""


@dataclass(frozen=True, eq=False)
class Correction:
    """Subtracted from the integer sums: `offset + slope * S`, float64 `[C_out]` each; slope 0 is folding alone."""

    offset: torch.Tensor
    slope: torch.Tensor

    def apply(self, observed: "Observed") -> torch.Tensor:
        """What is left of the errors, float64 `[C_out, n]`."""
        return observed.error - self.offset[:, None] - self.slope[:, None] * observed.input_sum


@dataclass(frozen=True, eq=False)
class Observed:
    """Errors and input sums of one layer: `error` and `input_sum`, integers in float64 `[C_out, n]`."""

    error: torch.Tensor
    input_sum: torch.Tensor

    def joined(self, other: "Observed") -> "Observed":
        """Both sets of observations."""
        return Observed(torch.cat([self.error, other.error], 1), torch.cat([self.input_sum, other.input_sum], 1))

    def split(self, n_channels: int) -> list["Observed"]:
        """The same observations, `n_channels` of the outputs at a time."""
        pairs = zip(self.error.split(n_channels), self.input_sum.split(n_channels), strict=True)
        return [Observed(error, input_sum) for error, input_sum in pairs]


def fit_correction(first: Observed, second: Observed, *, is_sloped: bool) -> Correction:
    """Least-squares correction on all observations, kept per channel where it helps on those it was not fitted on.

    Args:
        first, second: from two disjoint sets of calibration images, each with at least one observation.
        is_sloped: sum compensation as well as folding.
    """
    parts = zip(first.split(CHANNELS_AT_ONCE), second.split(CHANNELS_AT_ONCE), strict=True)
    fits = [_fit_channels(a, b, is_sloped=is_sloped) for a, b in parts]
    return Correction(torch.cat([fit.offset for fit in fits]), torch.cat([fit.slope for fit in fits]))


def _fit_channels(first: Observed, second: Observed, *, is_sloped: bool) -> Correction:
    kinds = [_nothing, _fold] + ([_fold_and_slope] if is_sloped else [])
    fits = [(kind(first), kind(second), kind(first.joined(second))) for kind in kinds]
    errors = [b.apply(first).abs().sum(1) + a.apply(second).abs().sum(1) for a, b, _ in fits]
    best = torch.stack(errors).argmin(0)[None]
    offsets = torch.stack([both.offset for _, _, both in fits])
    slopes = torch.stack([both.slope for _, _, both in fits])
    return Correction(offsets.gather(0, best)[0], slopes.gather(0, best)[0])


def _nothing(observed: Observed) -> Correction:
    zeros = torch.zeros(len(observed.error), dtype=torch.float64)
    return Correction(zeros, zeros)


def _fold(observed: Observed) -> Correction:
    mean = observed.error.mean(1)
    return Correction(mean, torch.zeros_like(mean))


def _fold_and_slope(observed: Observed) -> Correction:
    e_mean, s_mean = observed.error.mean(1), observed.input_sum.mean(1)
    s = observed.input_sum - s_mean[:, None]
    variance = (s * s).sum(1)
    covariance = (s * observed.error).sum(1)
    slope = torch.where(variance > 0, covariance / variance.clamp(min=1e-12), 0.0)
    slope = (slope / SLOPE_STEP).round() * SLOPE_STEP
    return Correction(e_mean - slope * s_mean, slope)
