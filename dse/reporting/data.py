"""Plain data per plot: what is drawn, without how."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dse.config import RunConfig
from dse.errors import RunError
from dse.robustness.tolerances import Tolerances
from dse.runs.point_set import PointSet
from dse.runs.results import Run, open_run


@dataclass(frozen=True, eq=False)
class FrontData:
    """A front of energy saved against accuracy lost, both relative to the exact network of the same images.

    Attributes:
        title: network, data and accelerator.
        energy_saved_pct: of each front point, float64 [n], percent.
        accuracy_lost_points: on the report images, float64 [n], percentage points; negative where accuracy was gained.
        lost_low: lower end of its 95 % interval, float64 [n].
        lost_high: upper end.
        is_exact: which point is the exact network, bool [n].
        other_saved_pct: of the designs measured on all search images that are not on the front, float64 [m].
        other_lost_points: on the search images, float64 [m].
        n_images_report: images behind the intervals.
    """

    title: str
    energy_saved_pct: NDArray[np.float64]
    accuracy_lost_points: NDArray[np.float64]
    lost_low: NDArray[np.float64]
    lost_high: NDArray[np.float64]
    is_exact: NDArray[np.bool_]
    other_saved_pct: NDArray[np.float64]
    other_lost_points: NDArray[np.float64]
    n_images_report: int


def front_data(run: Run) -> FrontData:
    """What a picture of a finished run shows; failed points are left out.

    The intervals are those of each accuracy by itself, moved by the exact network's measured accuracy.
    """
    front = run.front[run.front["state"] == "ok"]
    if not front["is_exact"].any():
        raise RunError(f"{run.path}: the exact network failed on the report images, there is nothing to compare with")
    exact = front[front["is_exact"]].iloc[0]
    evaluations = run.evaluations
    searched = evaluations[(evaluations["split"] == "search") & (evaluations["state"] == "ok")]
    others = run.others
    exact_searched = searched.loc[searched["assignment"] == exact["assignment"], "accuracy"]
    if exact_searched.empty:
        raise RunError(
            f"{run.directory.journal} is damaged (the exact network is not measured on the search images): "
            "restore it from a copy"
        )
    config = run.config
    return FrontData(
        title=run_title(config),
        energy_saved_pct=front["energy_saved_pct"].to_numpy(np.float64),
        accuracy_lost_points=100 * (exact["accuracy"] - front["accuracy"].to_numpy(np.float64)),
        lost_low=100 * (exact["accuracy"] - front["accuracy_high"].to_numpy(np.float64)),
        lost_high=100 * (exact["accuracy"] - front["accuracy_low"].to_numpy(np.float64)),
        is_exact=front["is_exact"].to_numpy(bool),
        other_saved_pct=others["energy_saved_pct"].to_numpy(np.float64),
        other_lost_points=100 * (exact_searched.iloc[0] - others["accuracy"].to_numpy(np.float64)),
        n_images_report=int(exact["n_images_report"]),
    )


def run_title(config: RunConfig) -> str:
    """What a run was about: network, data and accelerator."""
    return f"{config.network.name}, {config.data.dataset}{_top(config)}, accelerator {config.accelerator.kind}"


def _top(config: RunConfig) -> str:
    """Which accuracy is meant, where it is not that of the best class."""
    return "" if config.data.top == 1 else f" (top {config.data.top})"


@dataclass(frozen=True, eq=False)
class PredictionData:
    """Predicted and measured losses of the designs that a run simulated on all search images.

    Attributes:
        title: network and data.
        predicted_points: float64 [n], percentage points lost.
        std_points: of the prediction, float64 [n].
        measured_points: float64 [n].
        is_blind: predicted before anything was measured, bool [n].
        rank_correlation: Spearman's, of the others; NaN where there are fewer than three, or all are alike.
        share_within_2_std: of the others, those whose measured loss is within two standard deviations (of prediction
            and sampling of images together); 0.95 is what a normal distribution gives.
        n_images: search images behind a measured loss.
    """

    title: str
    predicted_points: NDArray[np.float64]
    std_points: NDArray[np.float64]
    measured_points: NDArray[np.float64]
    is_blind: NDArray[np.bool_]
    rank_correlation: float
    share_within_2_std: float
    n_images: int


def prediction_data(run: Run) -> PredictionData:
    """What a picture of a run's surrogate shows."""
    table = run.predictions[run.predictions["is_complete"]]
    predicted, std, measured = (
        table[name].to_numpy(np.float64) for name in ("predicted_loss", "predicted_std", "measured_loss")
    )
    is_blind = (table["batch"] == 0).to_numpy(bool)
    n_images = run.manifest.n_images["search"]
    known = ~is_blind
    sampling = np.maximum(measured, 1 / n_images) / n_images
    is_within = np.abs(measured - predicted) <= 2 * np.sqrt(std**2 + sampling)
    return PredictionData(
        title=f"{run.config.network.name}, {run.config.data.dataset}",
        predicted_points=100 * predicted,
        std_points=100 * std,
        measured_points=100 * measured,
        is_blind=is_blind,
        rank_correlation=_rank_correlation(predicted[known], measured[known]),
        share_within_2_std=float(is_within[known].mean()) if known.any() else float("nan"),
        n_images=n_images,
    )


def _rank_correlation(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> float:
    from scipy.stats import spearmanr

    if len(predicted) < 3 or np.ptp(predicted) == 0 or np.ptp(measured) == 0:
        return float("nan")
    return float(spearmanr(predicted, measured)[0])


@dataclass(frozen=True, eq=False)
class ToleranceData:
    """Tolerances of every layer, for several coefficients.

    Attributes:
        title: network, data and method.
        layers: names, in order of execution.
        coefficients: of the reward, float64 [n_coefficients].
        sigma: relative to the outputs' standard deviation, float64 [n_coefficients, n_layers].
        is_saturated: bool [n_coefficients, n_layers], sigma means "at least".
        accuracy_lost_points: with noise in all layers, on training images, float64 [n_coefficients], percentage points.
    """

    title: str
    layers: tuple[str, ...]
    coefficients: NDArray[np.float64]
    sigma: NDArray[np.float64]
    is_saturated: NDArray[np.bool_]
    accuracy_lost_points: NDArray[np.float64]


def tolerance_data(found: Sequence[Tolerances], *, title: str) -> ToleranceData:
    """What a picture of tolerances of one network shows."""
    return ToleranceData(
        title=title,
        layers=found[0].layers,
        coefficients=np.array([each.coefficient for each in found]),
        sigma=np.stack([each.sigma for each in found]),
        is_saturated=np.stack([each.is_saturated for each in found]),
        accuracy_lost_points=np.array([100 * (each.accuracy - each.accuracy_with_noise) for each in found]),
    )


@dataclass(frozen=True, eq=False)
class PointsData:
    """Operating points on the front that every layer's free choice of a multiplier reaches.

    Attributes:
        title: network, data and how the points were chosen.
        names: of the multipliers that the points share.
        front: of the run; None where it has none yet.
        energy_saved_pct: of each point, float64 [n_points], percent.
        accuracy_lost_points: on the report images, float64 [n_points], percentage points.
        lost_low: lower end of its 95 % interval, float64 [n_points].
        lost_high: upper end.
        price_pct: energy that the front saves more at no more loss on the search images, float64 [n_points], percent of
            the exact network's; NaN where there is no front.
    """

    title: str
    names: tuple[str, ...]
    front: FrontData | None
    energy_saved_pct: NDArray[np.float64]
    accuracy_lost_points: NDArray[np.float64]
    lost_low: NDArray[np.float64]
    lost_high: NDArray[np.float64]
    price_pct: NDArray[np.float64]


def points_data(points: PointSet) -> PointsData:
    """What a picture of operating points shows; points that failed on the report images are left out."""
    run = open_run(points.run_path)
    table = points.table[points.table["accuracy"].notna()]
    exact = table["accuracy_exact"]
    saved = table["energy_saved_pct"].to_numpy(np.float64)
    return PointsData(
        title=f"{points.config.network.name}, {points.config.data.dataset}{_top(points.config)}, {points.method}",
        names=points.multipliers,
        front=front_data(run) if run.is_finished else None,
        energy_saved_pct=saved,
        accuracy_lost_points=100 * (exact - table["accuracy"]).to_numpy(np.float64),
        lost_low=100 * (exact - table["accuracy_high"]).to_numpy(np.float64),
        lost_high=100 * (exact - table["accuracy_low"]).to_numpy(np.float64),
        price_pct=_saved_by_front(run, table["accuracy_exact_search"] - table["accuracy_search"]) - saved,
    )


def _saved_by_front(run: Run, losses: ArrayLike) -> NDArray[np.float64]:
    """The most energy that the front of a run saves at each loss on the images it was chosen on, percent, float64 [n].

    On the report images chance decides which point of a front loses nothing.
    """
    losses = np.asarray(losses, dtype=np.float64)
    if not run.is_finished:
        return np.full(len(losses), np.nan)
    front = run.front
    accuracy = front["accuracy_search"].to_numpy(np.float64)
    lost = accuracy[front["is_exact"].to_numpy(bool)][0] - accuracy
    fits = lost[None] <= np.maximum(losses, 0.0)[:, None] + 1e-12
    best = np.where(fits, front["energy_saved_pct"].to_numpy(np.float64), -np.inf).max(axis=1)
    return np.where(np.isfinite(best), best, np.nan)


@dataclass(frozen=True, eq=False)
class FinetunedData:
    """Points before and after fine-tuning, relative to the exact network of the same images.

    Attributes:
        title: network and data.
        energy_saved_pct: of each point, float64 [n], percent.
        untuned_lost_points: on the report images, float64 [n], percentage points.
        lost_points: likewise after fine-tuning.
        lost_low: lower end of its 95 % interval, float64 [n].
        lost_high: upper end.
        n_images_report: images behind the intervals.
    """

    title: str
    energy_saved_pct: NDArray[np.float64]
    untuned_lost_points: NDArray[np.float64]
    lost_points: NDArray[np.float64]
    lost_low: NDArray[np.float64]
    lost_high: NDArray[np.float64]
    n_images_report: int


def finetuned_data(table: pd.DataFrame, config: RunConfig) -> FinetunedData:
    """What a picture of fine-tuned points shows.

    Args:
        table: see `dse.runs.finetuned.FinetunedPoints`.
        config: of the run that the points belong to.
    """

    def lost(column: str) -> NDArray[np.float64]:
        return 100 * (table["accuracy_exact"] - table[column]).to_numpy(np.float64)

    return FinetunedData(
        title=f"{config.network.name}, {config.data.dataset}{_top(config)}, fine-tuned",
        energy_saved_pct=table["energy_saved_pct"].to_numpy(np.float64),
        untuned_lost_points=lost("accuracy_untuned"),
        lost_points=lost("accuracy"),
        lost_low=lost("accuracy_high"),
        lost_high=lost("accuracy_low"),
        n_images_report=int(table["n_images_report"].iloc[0]),
    )
