"""The protocol that all optimizers share, and the check of what they are told.

    while (X := optimizer.ask()) is not None:
        optimizer.tell(X, F, G)

The optimizer proposes genomes; whoever calls it measures them, where and how it likes. `F` is minimized
[n, n_objectives], `G <= 0` where a design is feasible.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import RunError, ShapeError


class Optimizer(Protocol):
    """Proposes genomes and learns from their figures.

    Attributes:
        generation: Number of batches told so far; the batch in hand belongs to this generation, the first to 0.
        finish_reason: Why `ask` returned None, in words; None before that.
    """

    generation: int
    finish_reason: str | None

    def ask(self) -> NDArray[np.int64] | None:
        """The next batch, canonical genomes int64 [n, n_genes], or None when finished."""

    def tell(self, X: ArrayLike, F: ArrayLike, G: ArrayLike | None = None, *, failed: ArrayLike | None = None) -> None:
        """Report the figures of the last batch.

        Args:
            X: The batch as asked, int [n, n_genes].
            F: Minimized objectives, float [n, n_objectives]: energy_rel, accuracy loss. Finite but for failed rows.
            G: Constraints, float [n] or [n, n_constraints], feasible where all are <= 0: accuracy_floor - accuracy.
            failed: Mask of evaluations that failed, bool [n]; what F and G hold there is ignored.
        """


@dataclass(frozen=True, eq=False)
class Told:
    """Checked figures of one batch.

    Attributes:
        F: Minimized objectives, float64 [n, n_objectives], finite but for failed rows.
        violation: `SUM max(G, 0)`, float64 [n]; 0 where feasible.
        failed: Mask of failed evaluations, bool [n].
    """

    F: NDArray[np.float64]
    violation: NDArray[np.float64]
    failed: NDArray[np.bool_]


def check_told(
    asked: NDArray[np.int64] | None,
    X: ArrayLike,
    F: ArrayLike,
    *,
    G: ArrayLike | None = None,
    failed: ArrayLike | None = None,
) -> Told:
    """Check figures against the batch asked for.

    Raises:
        RunError: Nothing was asked, `X` is another batch, or a row that is not marked failed is not finite. One NaN row
            would otherwise become a whole front.
        ShapeError: `F`, `G` or `failed` do not fit the batch.
    """
    if asked is None:
        raise RunError("tell was called without a batch: expected the answer to the last ask; call ask first")
    if not np.array_equal(asked, np.asarray(X)):
        raise RunError("tell was called with other genomes than were asked: expected the same rows in the same order")
    n = len(asked)
    F = np.asarray(F, dtype=np.float64)
    mask = np.zeros(n, dtype=np.bool_) if failed is None else np.asarray(failed, dtype=np.bool_)
    constraints = np.zeros((n, 1)) if G is None else np.asarray(G, dtype=np.float64)
    constraints = constraints[:, None] if constraints.ndim == 1 else constraints
    if F.ndim != 2 or len(F) != n or mask.shape != (n,) or constraints.ndim != 2 or len(constraints) != n:
        raise ShapeError(
            f"told F of shape {F.shape}, G of shape {constraints.shape} and failed of shape {mask.shape} "
            f"for a batch of {n}: expected ({n}, n_objectives), ({n}, n_constraints) and ({n},)"
        )
    bad = ~(np.isfinite(F).all(axis=1) & np.isfinite(constraints).all(axis=1)) & ~mask
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise RunError(
            f"row {row} has F {F[row].tolist()} and G {constraints[row].tolist()}: expected finite figures; "
            "mark evaluations that failed with `failed`"
        )
    violation = np.where(mask[:, None], 0.0, np.maximum(constraints, 0.0)).sum(axis=1)
    return Told(F, violation, mask)
