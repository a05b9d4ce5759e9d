"""What is known of a network before any design is simulated: predicted errors and learned tolerances.

Both are kept in the run directory and always used as read from there: a search that is continued replays only from the
very numbers that it began with.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dse.errors import RunError
from dse.runs.front import join_names
from dse.runs.store import RunDirectory, write_table
from dse.search.screening import Checked

NOISE_LIMIT = 1e6
"""Largest relative error variance, for layers whose exact outputs hardly vary."""

OnStep = Callable[[int, int], None]
"""Told how far learning is: steps done, steps in all."""


class ErrorPredictions(Protocol):
    """See `dse.robustness.error_model`."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    output_std: NDArray[np.float64]

    def residual(self, *, fold_bias: bool, sum_compensation: bool) -> NDArray[np.float64]:
        """What of the error reaches the next layer, float64 [n_layers, n_multipliers]."""


class Tolerances(Protocol):
    """See `dse.robustness.agn`."""

    sigma: NDArray[np.float64]
    is_saturated: NDArray[np.bool_]
    sensitivity: NDArray[np.float64]


class Guide(Protocol):
    """Looks at the integer network of a run; deterministic."""

    def predict_errors(self) -> tuple[ErrorPredictions, NDArray[np.float64]]:
        """Error predictions, and what of them the chosen recovery leaves, float64 [n_layers, n_multipliers]."""

    def learn_tolerances(self, on_step: OnStep) -> Tolerances:
        """AGN's tolerances; from the cache where the same search was done before."""


@dataclass(frozen=True, eq=False)
class Foreknowledge:
    """Of integer outputs, by layer and multiplier.

    Attributes:
        residual_std: error that reaches the next layer, float64 [n_layers, n_multipliers].
        output_std: of the exact outputs, float64 [n_layers].
        sigma: learned tolerances relative to `output_std`, float64 [n_layers]; None where they were not learned.
        sensitivity: growth of the cross-entropy by relative error variance, float64 [n_layers]; None likewise.
    """

    residual_std: NDArray[np.float64]
    output_std: NDArray[np.float64]
    sigma: NDArray[np.float64] | None = None
    sensitivity: NDArray[np.float64] | None = None

    @property
    def noise(self) -> NDArray[np.float64]:
        """Relative error variance, float64 [n_layers, n_multipliers]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            noise = (self.residual_std / self.output_std[:, None]) ** 2
        return np.where(self.residual_std == 0, 0.0, np.minimum(noise, NOISE_LIMIT))

    @property
    def tolerance(self) -> NDArray[np.float64]:
        """`sigma * output_std`, float64 [n_layers]."""
        if self.sigma is None:
            raise RunError("no tolerances were learned in this run: expected search.initial = 'agn'")
        return self.sigma * self.output_std


def foreknow(
    directory: RunDirectory,
    guide: Guide,
    *,
    layers: list[str],
    multipliers: list[str],
    with_tolerances: bool,
    on_step: OnStep,
) -> Foreknowledge:
    """Reads what an earlier part of the run wrote, or predicts, learns and writes it."""
    if not directory.errors.exists():
        _write_errors(directory, guide, layers, multipliers)
    errors = _read(directory.errors, ("layer", "multiplier", "residual_std", "output_std"))
    shape = (len(layers), len(multipliers))
    if len(errors) != shape[0] * shape[1]:
        raise RunError(f"{directory.errors} has {len(errors)} rows, expected {shape[0] * shape[1]}: delete the file")
    residual_std = errors["residual_std"].to_numpy(np.float64).reshape(shape)
    output_std = errors["output_std"].to_numpy(np.float64).reshape(shape)[:, 0]
    if not with_tolerances:
        return Foreknowledge(residual_std, output_std)
    if not directory.tolerances.exists():
        learned = guide.learn_tolerances(on_step)
        columns = {"sigma": learned.sigma, "is_saturated": learned.is_saturated, "sensitivity": learned.sensitivity}
        write_table(directory.tolerances, pd.DataFrame({"layer": layers, **columns}))
    table = _read(directory.tolerances, ("sigma", "sensitivity"))
    sigma, sensitivity = (table[name].to_numpy(np.float64) for name in ("sigma", "sensitivity"))
    return Foreknowledge(residual_std, output_std, sigma, sensitivity)


def predictions_table(batches: Sequence[Checked], complete: Set[tuple[int, ...]], names: Sequence[str]) -> pd.DataFrame:
    """Predicted beside measured losses, the content of `predictions.csv`.

    One row a simulated design of the batches, of which there is at least one: batch, energy_rel, predicted_loss,
    predicted_std, measured_loss, is_complete and assignment. Where a design is not among `complete`, the assignments
    measured on all images, its measured loss is an estimate.
    """
    rows = [
        {
            "batch": np.full(len(batch.mean), number),
            "energy_rel": batch.energy_rel,
            "predicted_loss": batch.mean,
            "predicted_std": batch.std,
            "measured_loss": batch.measured,
            "is_complete": [tuple(row) in complete for row in batch.assignments.tolist()],
            "assignment": [join_names(row, names) for row in batch.assignments],
        }
        for number, batch in enumerate(batches)
    ]
    return pd.concat([pd.DataFrame(row) for row in rows], ignore_index=True)


def _write_errors(directory: RunDirectory, guide: Guide, layers: list[str], multipliers: list[str]) -> None:
    predicted, residual_std = guide.predict_errors()
    n_layers, n_multipliers = len(layers), len(multipliers)
    table = pd.DataFrame(
        {
            "layer": np.repeat(layers, n_multipliers),
            "multiplier": np.tile(multipliers, n_layers),
            "mean": predicted.mean.ravel(),
            "std": predicted.std.ravel(),
            "residual_std": residual_std.ravel(),
            "output_std": np.repeat(predicted.output_std, n_multipliers),
        }
    )
    write_table(directory.errors, table)


def _read(path, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise RunError(f"cannot read {path}: {error}. Delete it to have it computed again") from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise RunError(f"{path} lacks the column {missing[0]!r}: delete it to have it computed again")
    return table
