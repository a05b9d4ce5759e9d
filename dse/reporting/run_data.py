"""Plain data of one run: how its search went, what its layers got, where its energy went, what its library offered.

Points that failed on the report images are left out, so that rows are those of `dse.reporting.data.front_data`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dse.cost.neuron_choices import choice_energy, parse_choice
from dse.errors import DseError, RunError
from dse.multipliers.library import load_library
from dse.multipliers.metrics import error_metrics
from dse.reporting.data import ToleranceData, run_title
from dse.runs.front import SEPARATOR
from dse.runs.results import Run
from dse.runs.run_collection import front_with_losses

WHOLE_SHARES = 100
"""Neurons of a layer where the manifest tells none: shares of them, which are whole percents, need no rounding."""


@dataclass(frozen=True, eq=False)
class ProgressData:
    """A search from its first generation to its last, or to where it is.

    Attributes:
        title: network, data and accelerator.
        n_evaluations: different designs measured so far, on some search images at least, int64 [n_generations].
        n_images: search images simulated for them so far, int64 [n_generations].
        hypervolume: of what was measured on all search images, float64 [n_generations]; the volume that the front
            dominates below the run's `reference_point`.
        best_energy_rel: lowest energy within `accuracy_floor` of the run's progress, float64 [n_generations]; NaN where
            there was none.
        time_s: since the process that ended the search began, float64 [n_generations]; where it continued another one,
            what that had measured took no time.
        reference_point: relative energy and share of images lost, with three objectives also relative memory; all
            minimized.
    """

    title: str
    n_evaluations: NDArray[np.int64]
    n_images: NDArray[np.int64]
    hypervolume: NDArray[np.float64]
    best_energy_rel: NDArray[np.float64]
    time_s: NDArray[np.float64]
    reference_point: tuple[float, ...]


def progress_data(run: Run) -> ProgressData:
    """How a search went, or goes; without rows where no generation has ended yet."""
    if not run.directory.generations.exists():
        nothing, no_numbers = np.empty(0), np.empty(0, dtype=np.int64)
        point = run.manifest.reference_point if run.directory.manifest.exists() else (np.nan, np.nan)
        return ProgressData(run_title(run.config), no_numbers, no_numbers, nothing, nothing, nothing, point)
    table = run.generations
    if "n_images" not in table:  # runs of before measured every design on all images
        table = table.assign(n_images=table["n_eval"] * run.manifest.n_images["search"])
    values = {name: pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64) for name in _PROGRESS}
    if not all(np.isfinite(values[name]).all() for name in _PROGRESS if name != "best_energy_rel"):
        raise RunError(f"{run.directory.generations} is damaged (a row without its numbers): restore it from a copy")
    return ProgressData(
        title=run_title(run.config),
        n_evaluations=values["n_eval"].astype(np.int64),
        n_images=values["n_images"].astype(np.int64),
        hypervolume=values["hypervolume"],
        best_energy_rel=values["best_energy_rel"],
        time_s=values["time_s"],
        reference_point=run.manifest.reference_point,
    )


_PROGRESS = ("n_eval", "n_images", "hypervolume", "best_energy_rel", "time_s")


def run_tolerances(run: Run) -> ToleranceData:
    """What a search learned of its layers before it began; `tolerances.csv` must be there.

    Raises:
        RunError: it is damaged.
    """
    path = run.directory.tolerances
    try:
        types = {"layer": str, "sigma": np.float64, "is_saturated": bool}
        table = pd.read_csv(path, dtype=types, keep_default_na=False)
        layers, sigma, is_saturated = (table[name] for name in ("layer", "sigma", "is_saturated"))
    except (OSError, ValueError, KeyError) as error:  # pandas' own errors are ValueErrors
        raise RunError(f"{path} is damaged ({error!r}): restore it from a copy") from None
    if table.empty:
        raise RunError(f"{path} is damaged (no layers): restore it from a copy")
    return ToleranceData(
        title=run_title(run.config),
        layers=tuple(layers),
        coefficients=np.array([run.config.tolerances.coefficient]),
        sigma=sigma.to_numpy()[None],
        is_saturated=is_saturated.to_numpy()[None],
        accuracy_lost_points=np.array([np.nan]),  # a run does not keep it
    )


@dataclass(frozen=True, eq=False)
class LayersData:
    """What every layer got in every point of a front, by rising energy.

    Attributes:
        title: network, data and accelerator.
        layers: names, in order of execution.
        n_multiplications: of each layer for one image, int64 [n_layers].
        points: numbers of the points, as `front.csv` and `dse show --point` count them, int64 [n_points].
        multipliers: of each point, a name a layer; two joined by `+` where they share the layer's neurons.
        energy_rel: of a multiplication in this layer, relative to the exact multiplier's, float64 [n_points, n_layers].
        energy_saved_pct: of each point, percent of the exact network's multiplication energy, float64 [n_points].
        accuracy_lost_points: on the report images, percentage points, float64 [n_points].
    """

    title: str
    layers: tuple[str, ...]
    n_multiplications: NDArray[np.int64]
    points: NDArray[np.int64]
    multipliers: tuple[tuple[str, ...], ...]
    energy_rel: NDArray[np.float64]
    energy_saved_pct: NDArray[np.float64]
    accuracy_lost_points: NDArray[np.float64]


def layers_data(run: Run) -> LayersData:
    """What the layers of a finished run got.

    Raises:
        RunError: it is unfinished, or `front.csv` does not fit `manifest.json`.
    """
    front = front_with_losses(run)
    multipliers = tuple(tuple(str(text).split(SEPARATOR)) for text in front["assignment"])
    return LayersData(
        title=run_title(run.config),
        layers=tuple(layer["name"] for layer in run.manifest.layers),
        n_multiplications=np.array([layer["n_multiplications"] for layer in run.manifest.layers], dtype=np.int64),
        points=front["point"].to_numpy(np.int64),
        multipliers=multipliers,
        energy_rel=layer_energies(run, multipliers),
        energy_saved_pct=front["energy_saved_pct"].to_numpy(np.float64),
        accuracy_lost_points=front["accuracy_lost_points"].to_numpy(np.float64),
    )


def layer_energies(run: Run, multipliers: tuple[tuple[str, ...], ...]) -> NDArray[np.float64]:
    """Of a multiplication in each layer, relative to the exact one's, float64 [n_points, n_layers].

    Where zeros of pruned layers are skipped, of what is multiplied without them.
    """
    layers = run.manifest.layers
    if run.sparsity is not None:
        return run.sparsity.by_layer(run.sparsity.energy_rel, run.sparsity.assignments(multipliers))
    energies: Mapping[str, float] = {m["name"]: m["energy_rel"] for m in run.manifest.multipliers}
    if any(len(names) != len(layers) for names in multipliers):
        raise RunError(f"{run.directory.front} is damaged: an assignment does not fit the {len(layers)} layers")
    known: dict[tuple[str, int], float] = {}  # a front names the same few choices again and again
    rows = np.empty((len(multipliers), len(layers)))
    for row, names in zip(rows, multipliers, strict=True):
        for position, (name, layer) in enumerate(zip(names, layers, strict=True)):
            key = (name, int(layer.get("n_neurons", WHOLE_SHARES)))
            if key not in known:
                known[key] = _energy(run, name, energies, key[1])
            row[position] = known[key]
    return rows


def _energy(run: Run, name: str, energies: Mapping[str, float], n_neurons: int) -> float:
    """Of a choice; a plain name stands for itself even where it looks like two."""
    try:
        return choice_energy(name, energies, n_neurons) if run.config.search.neuron_shares else energies[name]
    except (KeyError, DseError):
        raise RunError(f"{run.directory.front} is damaged: manifest.json knows no multiplier {name!r}") from None


@dataclass(frozen=True, eq=False)
class EnergyShareData:
    """Where the multiplication energy of one point goes.

    Attributes:
        title: network, data and accelerator.
        point: its number.
        layers: names, in order of execution.
        multipliers: a name a layer.
        before_pct: of each layer with the exact multiplier, percent of the exact network's energy, float64 [n_layers];
            sums to 100.
        after_pct: of each layer in this point, percent of the exact network's energy, float64 [n_layers]; sums to the
            point's energy, but for what idle tiles of a pipelined accelerator leak.
        energy_saved_pct: of the point, percent.
        accuracy_lost_points: of the point on the report images, percentage points.
    """

    title: str
    point: int
    layers: tuple[str, ...]
    multipliers: tuple[str, ...]
    before_pct: NDArray[np.float64]
    after_pct: NDArray[np.float64]
    energy_saved_pct: float
    accuracy_lost_points: float


def energy_share_data(run: Run, point: int) -> EnergyShareData:
    """Where the energy of a point of the front goes.

    Raises:
        RunError: there is no such point, or it failed on the report images.
    """
    data = layers_data(run)
    rows = np.flatnonzero(data.points == point)
    if len(rows) == 0:
        raise RunError(f"{run.path} has no point {point}: expected one of {_listed(data.points)}")
    row = int(rows[0])
    before = 100 * data.n_multiplications / data.n_multiplications.sum()
    return EnergyShareData(
        title=data.title,
        point=point,
        layers=data.layers,
        multipliers=data.multipliers[row],
        before_pct=before,
        after_pct=before * data.energy_rel[row],
        energy_saved_pct=float(data.energy_saved_pct[row]),
        accuracy_lost_points=float(data.accuracy_lost_points[row]),
    )


def _listed(points: NDArray[np.int64]) -> str:
    is_gapless = len(points) > 1 and (np.diff(points) == 1).all()
    return f"{points[0]} to {points[-1]}" if is_gapless else ", ".join(str(point) for point in points)


@dataclass(frozen=True, eq=False)
class LibraryData:
    """The multipliers that a search could choose from, by rising energy.

    Attributes:
        title: network, data and accelerator.
        names: of the multipliers.
        energy_rel: relative to the exact multiplier's, float64 [n_multipliers].
        mae_pct: mean absolute error over all pairs of operands, percent of 2^16, float64 [n_multipliers], as
            EvoApproxLib publishes it; NaN where unknown.
        is_exact: bool [n_multipliers], one is True.
        is_used: whether a point of the front uses it, bool [n_multipliers].
        n_uses: layers of points of the front that use it, int64 [n_multipliers]; each of two that share a layer counts.
        n_points: of the front; 0 where the run is unfinished.
    """

    title: str
    names: tuple[str, ...]
    energy_rel: NDArray[np.float64]
    mae_pct: NDArray[np.float64]
    is_exact: NDArray[np.bool_]
    is_used: NDArray[np.bool_]
    n_uses: NDArray[np.int64]
    n_points: int


def library_data(run: Run) -> LibraryData:
    """The library of a run, finished or not.

    Runs of before did not keep errors: they are computed from the library, where it still lies where it was.
    """
    records = run.manifest.multipliers
    pruned = {m["name"]: m["multiplier"] for m in records if "multiplier" in m}  # a multiplier and a sparsity level
    has_shares = bool(run.config.search.neuron_shares)
    plain = [
        m for m in records if m["name"] == pruned.get(m["name"], m["name"]) and not (has_shares and "+" in m["name"])
    ]
    names = tuple(m["name"] for m in plain)
    fronts = layers_data(run).multipliers if run.is_finished else ()
    n_uses = dict.fromkeys(names, 0)
    for name in (pruned.get(name, name) for row in fronts for name in row):
        for used in {name} if name in n_uses else set(parse_choice(name)[:2]):
            n_uses[used] += 1
    uses = np.array([n_uses[name] for name in names], dtype=np.int64)
    exact_name = run.manifest.multipliers[run.manifest.exact_index]["name"]
    return LibraryData(
        title=run_title(run.config),
        names=names,
        energy_rel=np.array([m["energy_rel"] for m in plain], dtype=np.float64),
        mae_pct=_errors(run, plain),
        is_exact=np.array([name == exact_name for name in names]),
        is_used=uses > 0,
        n_uses=uses,
        n_points=len(fronts),
    )


def _errors(run: Run, multipliers: list[Mapping[str, object]]) -> NDArray[np.float64]:
    if all("mae_pct" in m for m in multipliers):
        return np.array([m["mae_pct"] for m in multipliers], dtype=np.float64)
    found = _errors_by_key(run)
    return np.array([found.get(str(m["key"]), np.nan) for m in multipliers], dtype=np.float64)


def _errors_by_key(run: Run) -> dict[str, float]:
    """Of tables that lie where the run found them; a run directory never makes us compile or import something."""
    options = run.config.library
    if options.compile_c or not (options.path == "builtin" or Path(options.path).exists()):
        return {}
    try:
        library = load_library(options.path, is_signed=options.signed)
    except DseError:
        return {}
    return {m.key: error_metrics(m.table, is_signed=m.is_signed).mae_pct for m in library}
