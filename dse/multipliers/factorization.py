"""Exact integer factorization of a multiplier's error table [ours].

The error table `E = T - exact` of a real approximate multiplier has a low integer rank. With an LLL-reduced basis of
the lattice that its rows (or columns) span, every entry is an exact sum of few products of 8-bit numbers,

    E[x, w] = constant[w] + SUM_r weight_r * phi_r[x] * psi_r[w],     phi_r in 0..255, psi_r in -128..127,

with `weight_r` a power of 256. A table lookup summed over a layer is then an ordinary int8 convolution of the planes
`phi_r(x)` with the planes `psi_r(w)`, exact in int32. Terms that depend on `w` alone are free: they are constant per
output channel, so the differences between rows are factorized rather than the rows.

LLL: Lenstra, Lenstra, Lovasz, "Factoring polynomials with rational coefficients", Math. Ann. 261, 1982 (python-flint).
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from dse.disk_cache import cache_directory, keep
from dse.multipliers.multiplier import Multiplier

_CACHE_VERSION = 1
_LARGEST_LLL_RANK = 230  # beyond, no structure is left to find and LLL takes minutes


@dataclass(frozen=True, eq=False)
class Factorization:
    """Planes of one error table; `phi` and `psi` are indexed in natural operand order.

    Attributes:
        constant: `int64 [256]`, added once per product with weight code `w`.
        phi: `uint8 [256, n_planes]`, activation features.
        psi: `int8 [256, n_planes]`, weight features.
        weights: `int64 [n_planes]`, powers of 256, ascending.
    """

    constant: np.ndarray
    phi: np.ndarray
    psi: np.ndarray
    weights: np.ndarray

    @property
    def n_planes(self) -> int:
        """Number of int8 planes R'."""
        return len(self.weights)

    def reconstruct(self) -> np.ndarray:
        """The error table, `int64 [256, 256]`, row = activation."""
        return (self.phi.astype(np.int64) * self.weights) @ self.psi.astype(np.int64).T + self.constant


def factorize(multiplier: Multiplier) -> Factorization:
    """Exact factorization of the error of `multiplier`, from memory, the disk cache, or computed (0.05 to 3 s).

    The cache lies in `$DSE_CACHE`, else `$XDG_CACHE_HOME/dse`, else `~/.cache/dse`, one file a table hash. A cached
    file that does not reproduce the table is computed again.
    """
    return _factorize(multiplier)


@lru_cache(maxsize=512)
def _factorize(multiplier: Multiplier) -> Factorization:
    error = multiplier.error.astype(np.int64)
    path = cache_directory() / f"factorization-v{_CACHE_VERSION}-{multiplier.key}.npz"
    cached = _read(path)
    if cached is not None and _reproduces(cached, error):
        return cached
    result = factorize_error(error)
    keep(path, _packed(result))
    return result


def factorize_error(error: np.ndarray) -> Factorization:
    """Factorization of an error table, `int64 [256, 256]`; rows or columns, whichever needs fewer planes.

    A table of nearly full rank is only cut into digits: one plane per weight code and byte, 510 for 16-bit errors.
    """
    base = error[0].copy()
    difference = error - base
    if not difference.any():
        empty = np.zeros((256, 0))
        return Factorization(base, empty.astype(np.uint8), empty.astype(np.int8), np.zeros(0, np.int64))
    candidates, is_low = [], _rank(difference) <= _LARGEST_LLL_RANK
    for of_columns in (False, True):
        rows = difference.T if of_columns else difference
        basis, coordinates = _lattice(rows) if is_low else (np.eye(256, dtype=np.int64), rows)
        x_side, w_side = (basis.T, coordinates) if of_columns else (coordinates, basis.T)
        candidates.append(_planes(x_side, w_side, base))
    best = min(candidates, key=lambda f: f.n_planes)
    if not np.array_equal(best.reconstruct(), error):
        raise ArithmeticError("the factorization does not reproduce the table; this is an error in dse")
    return best


def _rank(rows: np.ndarray) -> int:
    """Rank modulo a large prime, never above the true one: 20 ms, exact arithmetic."""
    from flint import nmod_mat

    prime = 2**31 - 1
    return nmod_mat((rows % prime).tolist(), prime).rank()


def _lattice(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """LLL-reduced basis `[R, n]` of the lattice spanned by `rows [m, n]`, and integer coordinates `[m, R]`."""
    from flint import fmpz_mat

    distinct = np.unique(rows[np.any(rows != 0, axis=1)], axis=0)
    reduced = np.array(fmpz_mat(distinct.tolist()).lll().tolist(), dtype=object).astype(np.int64)
    basis = reduced[np.any(reduced != 0, axis=1)]
    # One projection leaves errors near 1e-10 * |coordinates|; rounding and one exact check make it an integer result.
    coordinates = np.rint(rows @ np.linalg.pinv(basis.astype(np.float64))).astype(np.int64)
    if not np.array_equal(coordinates @ basis, rows):
        coordinates = _exact_coordinates(basis, rows)
    return basis, coordinates


def _exact_coordinates(basis: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Integer coordinates by rational arithmetic, for ill-conditioned bases."""
    from flint import fmpz_mat

    b = fmpz_mat(basis.tolist())
    solved = (b * b.transpose()).solve(b * fmpz_mat(rows.T.tolist()))
    return np.array([[int(v) for v in row] for row in solved.tolist()], dtype=np.int64).T


def _planes(x_side: np.ndarray, w_side: np.ndarray, base: np.ndarray) -> Factorization:
    """Split `difference = x_side @ w_side.T` (both `[256, R]`) into 8-bit planes; constants move into `base`."""
    constant, planes = base.copy(), []
    for r in range(x_side.shape[1]):
        for x_power, x_digit in enumerate(_x_digits(x_side[:, r])):
            for w_power, w_digit in enumerate(_balanced_digits(w_side[:, r])):
                weight, low = 256 ** (x_power + w_power), x_digit.min()
                constant += weight * low * w_digit
                if np.any(x_digit != low) and w_digit.any():
                    planes.append((weight, x_digit - low, w_digit))
    planes.sort(key=lambda plane: plane[0])
    return Factorization(
        constant,
        np.stack([p[1] for p in planes], axis=1).astype(np.uint8),
        np.stack([p[2] for p in planes], axis=1).astype(np.int8),
        np.array([p[0] for p in planes], dtype=np.int64),
    )


def _x_digits(values: np.ndarray) -> list[np.ndarray]:
    """An activation feature may have any offset, so one digit serves as long as its span fits a byte."""
    return [values] if values.max() - values.min() <= 255 else _balanced_digits(values)


def _balanced_digits(values: np.ndarray) -> list[np.ndarray]:
    """Digits in -128..127 with `values = SUM_i digits[i] * 256**i`."""
    digits, rest = [], values
    while rest.any():
        digit = (rest + 128) % 256 - 128
        digits.append(digit)
        rest = (rest - digit) // 256
    return digits


def _reproduces(factorization: Factorization, error: np.ndarray) -> bool:
    try:
        return np.array_equal(factorization.reconstruct(), error)
    except ValueError:  # arrays of shapes that do not fit: a damaged file
        return False


def _read(path: Path) -> Factorization | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return Factorization(data["constant"], data["phi"], data["psi"], data["weights"])
    except Exception:  # absent or damaged, which raises almost anything: the caller computes it again
        return None


def _packed(factorization: Factorization) -> bytes:
    file = io.BytesIO()
    np.savez(file, **vars(factorization))
    return file.getvalue()
