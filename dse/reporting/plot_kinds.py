"""The kinds of pictures that `dse plot` draws: what each needs, its plain data as a table, and who draws it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dse.config import load_config
from dse.errors import ConfigError, RunError, unknown_name
from dse.reporting.data import (
    ToleranceData,
    finetuned_data,
    front_data,
    points_data,
    prediction_data,
    run_title,
    tolerance_data,
)
from dse.reporting.pictures.canvas import LINE_INCHES
from dse.reporting.pictures.progress import ProgressPicture, Spent, progress, progress_group, progress_table
from dse.reporting.run_data import (
    LayersData,
    energy_share_data,
    layers_data,
    library_data,
    progress_data,
    run_tolerances,
)
from dse.runs.comparability import comparability
from dse.runs.results import Run, open_run
from dse.runs.run_collection import collect
from dse.runs.run_groups import finished_runs_at, names_of_groups, runs_at
from dse.runs.run_status import FoundRun
from dse.runs.store import FINETUNING_FILE, SET_FILE, SWEEP_FILE, mark_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_log = logging.getLogger("dse")

MAX_HEIGHT = 9.0
"""Inches; a page is not higher."""

DEFAULT_LOSS_POINTS = 1.0
"""The point whose energy is shown, where none is named, loses no more."""


@dataclass(frozen=True)
class Wanted:
    """What a picture is to show.

    Attributes:
        paths: of runs, sweeps, folders that hold runs, operating points, tolerances, or fine-tuned points.
        point: of the front, for the kind `energy`; None: the one that saves most within a loss of a point.
        spent_on: what stands along the axis of `progress`.
    """

    paths: tuple[str | Path, ...]
    point: int | None = None
    spent_on: Spent = "evaluations"


@dataclass(frozen=True, eq=False)
class Drawing:
    """A picture that is ready to be drawn.

    Attributes:
        table: what it shows.
        on_axes: draws it.
        on_figure: draws it in several panels on an empty figure; None where it is one.
        height: inches that it needs at a width of so many inches.
    """

    table: pd.DataFrame
    on_axes: Callable[["Axes"], "Axes"]
    height: Callable[[float], float]
    on_figure: "Callable[[Figure], object] | None" = None


def make_drawing(kind: str | None, wanted: Wanted) -> tuple[str, Drawing]:
    """Reads what a picture shows.

    Args:
        kind: one of `KINDS`; None: what suits the directory.
        wanted: what to show.

    Returns:
        The kind, and the drawing.

    Raises:
        ConfigError: an unknown kind.
        RunError: a path holds nothing of that kind.
    """
    kind = default_kind(wanted.paths) if kind is None else kind
    if kind not in KINDS:
        raise ConfigError(unknown_name("kind", kind, KINDS))
    return kind, KINDS[kind](wanted)


def default_kind(paths: Sequence[str | Path]) -> str:
    """What people look at first: the front of a run, or what else a directory holds."""
    mark = mark_of(Path(paths[0])) if len(paths) == 1 else None
    return {SET_FILE: "points", FINETUNING_FILE: "finetuned", SWEEP_FILE: "tolerances"}.get(mark or "", "front")


def plain_height(width: float) -> float:
    """Of one panel: 2.5 inches in a column, half the width on a page."""
    return max(0.5 * width, min(0.72 * width, 2.6))


def _one_run(wanted: Wanted, kind: str) -> Run:
    found = runs_at(wanted.paths)
    if len(found) > 1:
        names = ", ".join(run.name for run in found[:4]) + (", ..." if len(found) > 4 else "")
        raise RunError(f"a picture of kind {kind} shows one run, {len(found)} are given ({names}): name one of them")
    return Run(found[0].directory)


def _front(wanted: Wanted) -> Drawing:
    from dse.reporting.pictures import front as pictures

    found, _ = finished_runs_at(wanted.paths)
    if len(found) == 1:
        one = front_data(Run(found[0].directory))
        return Drawing(pictures.front_table(one), lambda ax: pictures.front(one, ax), plain_height)
    groups = _grouped(found)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    several = pictures.FrontsPicture(
        title=_common_title(found),
        fronts=tuple(
            pictures.LabeledFront(group, numbers[group], front_data(Run(each.directory)))
            for each, group in zip(found, groups, strict=True)
        ),
    )
    return Drawing(pictures.fronts_table(several), lambda ax: pictures.fronts(several, ax), plain_height)


def _progress(wanted: Wanted) -> Drawing:
    found = [run for run in runs_at(wanted.paths) if run.directory.generations.exists()]
    if not found:
        raise RunError(f"no run in {wanted.paths[0]} has ended a generation yet: wait, or see `dse status`")
    _check_one_hypervolume(found)
    members: dict[str, list[FoundRun]] = {}
    for each, group in zip(found, _grouped(found), strict=True):
        members.setdefault(group, []).append(each)
    data = ProgressPicture(
        title=_common_title(found),
        spent_on=wanted.spent_on,
        groups=tuple(
            progress_group(name, [progress_data(Run(each.directory)) for each in runs], wanted.spent_on)
            for name, runs in members.items()
        ),
    )
    return Drawing(progress_table(data), lambda ax: progress(data, ax), plain_height)


def _check_one_hypervolume(found: Sequence[FoundRun]) -> None:
    names: dict[tuple[str, ...], str] = {}
    for each in found:
        names.setdefault(Run(each.directory).objectives, each.name)
    if len(names) > 1:
        told = "; ".join(f"{', '.join(objectives)} in {name}" for objectives, name in names.items())
        raise RunError(
            f"hypervolumes of different objectives are not comparable: {told}. Draw these runs apart, or compare their "
            "fronts in energy and accuracy: --kind front, or `dse compare`"
        )


def _attainment(wanted: Wanted) -> Drawing:
    from dse.reporting.attainment import attainment, attainment_data

    found, unfinished = finished_runs_at(wanted.paths)
    _grouped(found)
    collected = collect(found, n_unfinished=len(unfinished))
    data = attainment_data(collected, title=_common_title(found))
    return Drawing(collected.attainment, lambda ax: attainment(data, ax), plain_height)


def _grouped(found: Sequence[FoundRun]) -> list[str]:
    """The group of each run; says where runs are not of one experiment."""
    for obstacle in comparability({each.name: Run(each.directory) for each in found}).obstacles:
        _log.warning("%s: losses and energies of these runs do not mean the same", obstacle)
    return names_of_groups(found)


def _common_title(found: Sequence[FoundRun]) -> str:
    """What all runs have in common."""
    configs = [Run(each.directory).config for each in found]
    titles = dict.fromkeys(run_title(config) for config in configs)
    networks = dict.fromkeys(f"{config.network.name}, {config.data.dataset}" for config in configs)
    return next(iter(titles)) if len(titles) == 1 else " and ".join(networks)


def _layers(wanted: Wanted) -> Drawing:
    from dse.reporting.pictures.layers import layers, layers_table

    data = layers_data(_one_run(wanted, "layers"))
    return Drawing(layers_table(data), lambda ax: layers(data, ax), _height_of_layers(len(data.layers), 1.3))


def _energy(wanted: Wanted) -> Drawing:
    from dse.reporting.pictures.energy import energy, energy_table

    run = _one_run(wanted, "energy")
    point = default_point(layers_data(run)) if wanted.point is None else wanted.point
    data = energy_share_data(run, point)
    return Drawing(energy_table(data), lambda ax: energy(data, ax), _height_of_layers(len(data.layers), 1.4))


def default_point(data: LayersData) -> int:
    """The point that saves most among those that lose little, or else the one that loses least."""
    lost, saved = data.accuracy_lost_points, data.energy_saved_pct
    within = np.flatnonzero((lost <= DEFAULT_LOSS_POINTS + 1e-9) & (saved > 0))
    if len(within) == 0:
        within = np.flatnonzero(saved > 0)[np.argsort(lost[saved > 0], kind="stable")][:1]
    return int(data.points[within[np.argmax(saved[within])]] if len(within) else data.points[0])


def _height_of_layers(n_layers: int, around: float) -> Callable[[float], float]:
    return lambda width: float(np.clip(around + LINE_INCHES * n_layers, plain_height(min(width, 3.5)), MAX_HEIGHT))


def _library(wanted: Wanted) -> Drawing:
    from dse.reporting.pictures.library import library, library_table

    data = library_data(_one_run(wanted, "library"))
    return Drawing(library_table(data), lambda ax: library(data, ax), plain_height)


def _predictions(wanted: Wanted) -> Drawing:
    from dse.reporting.pictures.predictions import predictions

    data = prediction_data(_one_run(wanted, "predictions"))
    table = _columns(data, ("predicted_points", "std_points", "measured_points", "is_blind"))
    return Drawing(table, lambda ax: predictions(data, ax), lambda width: min(0.85 * width, 4.5))


def _tolerances(wanted: Wanted) -> Drawing:
    from dse.reporting.pictures.tolerances import beyond_inches, tolerance_panel, tolerances, tolerances_table

    data = read_tolerances(wanted)

    def on_axes(ax: "Axes") -> "Axes":
        if len(data.coefficients) > 1:
            raise ConfigError(f"{len(data.coefficients)} coefficients take as many panels: leave out ax")
        return tolerance_panel(data, 0, ax)

    return Drawing(
        tolerances_table(data), on_axes,
        lambda width: min(1.6 + 1.0 * len(data.coefficients) + beyond_inches(data), MAX_HEIGHT),
        lambda figure: tolerances(data, figure),
    )  # fmt: skip


def read_tolerances(wanted: Wanted) -> ToleranceData:
    """Those that `dse tolerances` learned, or those that a search started from.

    Raises:
        RunError: there are none.
    """
    from dse.runs.tolerance_sweep import SweepDirectory

    if len(wanted.paths) == 1 and mark_of(Path(wanted.paths[0])) == SWEEP_FILE:
        path = Path(wanted.paths[0])
        found, config = SweepDirectory(path).read(), load_config(path / SWEEP_FILE)
        if not found:
            raise RunError(f"{path} has no tolerances that are finished: repeat its `dse tolerances` command")
        return tolerance_data(found, title=f"{config.network.name}, {config.data.dataset}, {found[0].method} weights")
    run = _one_run(wanted, "tolerances")
    if not run.directory.tolerances.exists():
        raise RunError(f"{run.path} learned no tolerances: expected a search with initial = agn or surrogate = true")
    return run_tolerances(run)


def _points(wanted: Wanted) -> Drawing:
    from dse.reporting.pictures.points import points
    from dse.runs.point_set import open_points

    data = points_data(open_points(_one_path(wanted, "points", "operating points, of `dse operating-points`")))
    table = _columns(data, ("energy_saved_pct", "accuracy_lost_points", "lost_low", "lost_high", "price_pct"))
    return Drawing(table, lambda ax: points(data, ax), plain_height)


def _finetuned(wanted: Wanted) -> Drawing:
    from dse.reporting.pictures.finetuned import finetuned
    from dse.runs.finetuned import FOLDER, open_finetuned
    from dse.runs.point_set import open_points

    path = Path(_one_path(wanted, "finetuned", "fine-tuned points, of `dse finetune`"))
    found = open_finetuned(path if mark_of(path) == FINETUNING_FILE else path / FOLDER)
    is_set = mark_of(found.source) == SET_FILE
    config = open_points(found.source).config if is_set else open_run(found.source).config
    data = finetuned_data(found.table, config)
    names = ("energy_saved_pct", "untuned_lost_points", "lost_points", "lost_low", "lost_high")
    return Drawing(_columns(data, names), lambda ax: finetuned(data, ax), plain_height)


def _memory(wanted: Wanted) -> Drawing:
    from dse.reporting.memory_data import memory_front_data
    from dse.reporting.pictures.memory import NARROW, memory_front, memory_table

    data = memory_front_data(_one_run(wanted, "memory"))

    def on_axes(ax: "Axes") -> "Axes":
        raise ConfigError("a picture of kind memory has several panels: leave out ax")

    return Drawing(
        memory_table(data), on_axes, lambda width: 2.1 * width if width < NARROW else 0.85 * width,
        lambda figure: memory_front(data, figure),
    )  # fmt: skip


def _one_path(wanted: Wanted, kind: str, what: str) -> str | Path:
    if len(wanted.paths) != 1:
        raise RunError(f"a picture of kind {kind} shows one directory of {what}: {len(wanted.paths)} are given")
    return wanted.paths[0]


def _columns(data: Any, names: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({name: getattr(data, name) for name in names})


KINDS: Mapping[str, Callable[[Wanted], Drawing]] = {
    "front": _front,
    "progress": _progress,
    "attainment": _attainment,
    "layers": _layers,
    "energy": _energy,
    "library": _library,
    "predictions": _predictions,
    "tolerances": _tolerances,
    "points": _points,
    "finetuned": _finetuned,
    "memory": _memory,
}
"""By name: what reads the data of a picture."""
