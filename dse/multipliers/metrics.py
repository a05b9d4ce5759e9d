"""Error metrics of a multiplier, uniform or under operand histograms.

With `E = table - exact` and pair weights `w[x, y] = p[x] q[y] / (sum p * sum q)` (uniform: 1 / 65,536):
`mae = sum w|E|`, `wce = max |E|`, `mse = sum w E^2`, `bias = sum w E`, `ep = sum w [E != 0]`; the relative ones over
pairs with a non-zero exact product only: `mre = sum w |E|/|exact| / sum w`, `wcre = max |E|/|exact|`. Maxima run over
pairs of non-zero weight.
Percentages as published with EvoApproxLib (Mrazek et al., DATE 2017): `mae_pct = 100 mae / 2^16`, `wce_pct = 100 wce
/ 2^16`, for signed multipliers too. Counting zero products in `mre` would change it up to 20-fold.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from dse.errors import MultiplierError
from dse.multipliers.multiplier import N_CODES, exact_table

_FULL_SCALE = 2**16


@dataclass(frozen=True)
class ErrorMetrics:
    """Errors of one table; see the module for the definitions.

    Attributes:
        mae: mean absolute error, in product units.
        wce: largest absolute error, in product units.
        mse: mean squared error.
        ep: probability that a product is wrong, in [0, 1].
        mre: mean relative error (1.0 = 100 %), over non-zero exact products; NaN if there is none of non-zero weight.
        wcre: largest relative error; NaN as `mre`.
        bias: mean signed error, in product units.
    """

    mae: float
    wce: float
    mse: float
    ep: float
    mre: float
    wcre: float
    bias: float

    @property
    def mae_pct(self) -> float:
        """`mae` in percent of 2^16."""
        return 100 * self.mae / _FULL_SCALE

    @property
    def wce_pct(self) -> float:
        """`wce` in percent of 2^16."""
        return 100 * self.wce / _FULL_SCALE

    @property
    def ep_pct(self) -> float:
        """`ep` in percent."""
        return 100 * self.ep

    @property
    def mre_pct(self) -> float:
        """`mre` in percent."""
        return 100 * self.mre

    @property
    def wcre_pct(self) -> float:
        """`wcre` in percent."""
        return 100 * self.wcre

    def to_dict(self) -> dict[str, float]:
        """All metrics by name, fractions and percentages."""
        names = ("mae_pct", "wce_pct", "ep_pct", "mre_pct", "wcre_pct")
        return asdict(self) | {name: getattr(self, name) for name in names}


def error_metrics(
    table: np.ndarray, *, is_signed: bool, p: np.ndarray | None = None, q: np.ndarray | None = None
) -> ErrorMetrics:
    """Metrics of a table against the exact products.

    Args:
        table: int [256, 256], natural operand order, row = activation, column = weight.
        is_signed: operands are -128..127 (True) or 0..255 (False).
        p: histogram of activation codes, [256], table order, >= 0; need not sum to 1; None: uniform.
        q: histogram of weight codes, as `p`.

    >>> error_metrics(exact_table(False) + 1, is_signed=False).bias
    1.0
    """
    if np.shape(table) != (N_CODES, N_CODES):
        raise MultiplierError(f"table has shape {np.shape(table)}: expected (256, 256); pass `multiplier.table`")
    exact = exact_table(is_signed)
    error = np.asarray(table, dtype=np.float64) - exact
    weight = np.multiply.outer(_histogram(p, "p"), _histogram(q, "q"))
    magnitude = np.abs(error)
    is_seen = weight > 0
    is_relative = is_seen & (exact != 0)
    relative = magnitude[is_relative] / np.abs(exact[is_relative])
    relative_weight = weight[is_relative]
    return ErrorMetrics(
        mae=float((weight * magnitude).sum()),
        wce=float(magnitude[is_seen].max()),
        mse=float((weight * error**2).sum()),
        ep=float(weight[error != 0].sum()),
        mre=float((relative_weight * relative).sum() / relative_weight.sum()) if relative.size else float("nan"),
        wcre=float(relative.max()) if relative.size else float("nan"),
        bias=float((weight * error).sum()),
    )


def _histogram(counts: np.ndarray | None, name: str) -> np.ndarray:
    """Normalized float64 [256]; uniform for None (exactly, so that uniform metrics carry no rounding)."""
    if counts is None:
        return np.full(N_CODES, 1 / N_CODES)
    values = np.asarray(counts, dtype=np.float64)
    if values.shape != (N_CODES,):
        raise MultiplierError(f"histogram {name} has shape {values.shape}: expected (256,), one count per operand code")
    if not np.isfinite(values).all() or values.min() < 0 or values.sum() == 0:
        raise MultiplierError(f"histogram {name} has negative, non-finite or only zero counts: expected counts >= 0")
    return values / values.sum()
