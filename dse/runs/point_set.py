"""A set of operating points on disk: what was asked for, where it lies, and how it is read.

operating_points.json    settings, and once it is finished what was chosen
operating_points.csv     one row a point; its presence means that the choice is finished
operating_points.png     its picture
evaluations.jsonl        everything simulated
errors.csv               predicted error of every layer and multiplier
tolerances.csv           learned tolerance of every layer
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from math import comb
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from dse.config import RecoveryConfig, RunConfig
from dse.errors import ConfigError, RunError, unknown_name
from dse.runs.front import SEPARATOR
from dse.runs.results import open_run
from dse.runs.store import SET_FILE, refuse_other_kinds
from dse.search.operating_points import check_ascending, check_points, default_scales
from dse.search.subsets import MAX_SUBSETS

FORMAT = 1

JOURNAL = "evaluations.jsonl"

FOLDER = "operating_points"
"""In a run directory, where its sets of points are."""

Method = Literal["kmeans", "enumerate", "search"]

METHODS = ("kmeans", "enumerate", "search")

RECOVERY = RecoveryConfig(fold_bias=True, sum_compensation=False, weight_tuning="off")
"""What all operating points can have: weights are shared."""


@dataclass(frozen=True)
class PointSettings:
    """What is asked for.

    Attributes:
        n_multipliers: to build, at most; the exact one counts where it is used.
        n_points: operating points.
        method: `kmeans`, `enumerate` or `search`; None: `enumerate` where subsets are not too many, else `search`.
        scales: of the tolerances, rising, one a point; None: see `default_scales`.
        max_loss: percentage points of accuracy on the search images that a point may lose against the exact network,
            rising, one a point; None: whatever the scales give.
        accuracy_floor: on the search images, in [0, 1], for all points.
        evaluations: assignments that `search` may simulate, besides those of the designs it begins with.
        seed: of clustering and search.
        coefficient: of AGN's reward for noise; None: that of the run.
    """

    n_multipliers: int = 4
    n_points: int = 3
    method: Method | None = None
    scales: tuple[float, ...] | None = None
    max_loss: tuple[float, ...] | None = None
    accuracy_floor: float | None = None
    evaluations: int = 500
    seed: int = 0
    coefficient: float | None = None

    def __post_init__(self) -> None:
        check_points(self.n_multipliers, self.n_points)
        if self.method is not None and self.method not in METHODS:
            raise ConfigError(unknown_name("method", self.method, METHODS))
        if self.scales is not None:
            check_ascending("--scales", self.scales, self.n_points, least=0.0, is_open=True)
        if self.max_loss is not None:
            check_ascending("--max-loss", self.max_loss, self.n_points, least=0.0, is_open=False)
        if self.accuracy_floor is not None and not 0 <= self.accuracy_floor <= 1:
            raise ConfigError(f"--accuracy-floor is {self.accuracy_floor}: expected a fraction of images in [0, 1]")
        if self.evaluations < 1 or self.seed < 0:
            raise ConfigError(
                f"--evaluations is {self.evaluations}, --seed is {self.seed}: expected at least 1 and at least 0"
            )
        if self.coefficient is not None and not 0 <= self.coefficient < float("inf"):
            raise ConfigError(f"--coefficient is {self.coefficient}: expected a finite number of at least 0")

    def resolved(self, n_library: int) -> "PointSettings":
        """With method and scales filled in.

        Raises:
            ConfigError: more multipliers than the library has.
        """
        check_points(self.n_multipliers, self.n_points, n_library=n_library)
        fits = comb(n_library, self.n_multipliers) <= MAX_SUBSETS
        method = self.method or ("enumerate" if fits else "search")
        return replace(self, method=method, scales=self.scales or default_scales(self.n_points))

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what the method does not look at is left out."""
        unused = {"enumerate": {"seed", "evaluations"}, "kmeans": {"evaluations"}}.get(self.method, set())
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {name: value for name, value in values.items() if name not in unused}


class PointsDirectory:
    """The files of a set of operating points."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def record(self) -> Path:
        return self.path / "operating_points.json"

    @property
    def table(self) -> Path:
        return self.path / "operating_points.csv"

    @property
    def picture(self) -> Path:
        return self.path / "operating_points.png"

    @property
    def is_finished(self) -> bool:
        """Whether the points are chosen and measured."""
        return self.table.exists()

    def read(self) -> dict[str, Any]:
        """The content of `operating_points.json`.

        Raises:
            RunError: missing, damaged, or of another version.
        """
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
            if record["format"] > FORMAT:
                raise RunError(f"{self.record} has format {record['format']}: expected {FORMAT}. Use a newer dse")
            return record
        except FileNotFoundError:
            raise RunError(
                f"{self.path} holds no operating points: expected a directory made by `dse operating-points`"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self.record} is damaged ({error!r}): delete the directory and choose again") from None

    def check(self, settings: PointSettings, run: Path) -> None:
        """Checks that the directory is new, or holds the same choice, or an unfinished one.

        What is unfinished may go on with other settings, because nothing that was measured depends on them; only
        tolerances depend on the coefficient.

        Raises:
            RunError: a run, or operating points of another run or with other settings, which are named.
        """
        refuse_other_kinds(self.path, SET_FILE)
        if not self.record.exists():
            return
        before, now = self.read()["settings"], settings.to_dict()
        compared = now if self.is_finished else {"coefficient": now["coefficient"]}
        changed = [
            f"{_option(key)} was {_text(before.get(key))}, is now {_text(value)}"
            for key, value in compared.items()
            if before.get(key) != value
        ]
        if self.run_path.resolve() != run.resolve():
            changed.append(f"the run was {self.run_path}, is now {run}")
        if changed:
            raise RunError(
                f"{self.path} holds operating points with other settings: {'; '.join(changed)}. "
                "Choose another directory with --out, or repeat the command with the stored values"
            )

    @property
    def run_path(self) -> Path:
        """The run that the points belong to; relative to this directory where it holds this directory."""
        return Path(os.path.normpath(self.path / self.read()["run"]))


def _text(value: Any) -> str:
    return ",".join(f"{v:g}" for v in value) if isinstance(value, list) else str(value)


def _option(key: str) -> str:
    return "--" + {"n_multipliers": "multipliers", "n_points": "points"}.get(key, key).replace("_", "-")


@dataclass(frozen=True, eq=False)
class PointSet:
    """Operating points that were chosen and measured.

    Attributes:
        path: their directory.
        run_path: the run that they were chosen for.
        config: its configuration, with the recovery that operating points have.
        method: how they were chosen.
        multipliers: names of those to build, in the order of the library.
        table: one row a point: point, energy_rel, energy_saved_pct, scale, accuracy, accuracy_low, accuracy_high (on
            the report images), accuracy_search, accuracy_exact, accuracy_exact_search, n_images_report, n_multipliers,
            assignment.
        assignments: the multiplier of every layer, by name, for every point.
        record: the content of `operating_points.json`: settings, hashes and more.
    """

    path: Path
    run_path: Path
    config: RunConfig
    method: str
    multipliers: tuple[str, ...]
    table: pd.DataFrame
    assignments: tuple[tuple[str, ...], ...]
    record: dict[str, Any]

    def __repr__(self) -> str:
        return f"PointSet({str(self.path)!r}, {len(self.table)} points of {len(self.multipliers)} multipliers)"

    def _repr_html_(self) -> str:
        from dse.runs.notebook import points_html

        return points_html(self)


def open_points(path: str | Path) -> PointSet:
    """Opens a directory of operating points for reading.

    Raises:
        RunError: it holds none, or they are not finished, or their run is gone.

    >>> import dse
    >>> run = dse.explore(population_size=8, generations=2, out="runs/digits")
    >>> chosen = dse.operating_points(run, multipliers=2, points=2)
    >>> open_points(chosen.path).multipliers == chosen.multipliers
    True
    """
    directory = PointsDirectory(Path(path))
    record = directory.read()
    if not directory.is_finished:
        raise RunError(f"{path} is not finished: repeat its `dse operating-points` command to continue it")
    table = pd.read_csv(directory.table)
    return PointSet(
        path=directory.path,
        run_path=directory.run_path,
        config=points_config(open_run(directory.run_path).config, record["settings"]["coefficient"]),
        method=record["settings"]["method"],
        multipliers=tuple(record["multipliers"]),
        table=table,
        assignments=tuple(tuple(names.split(SEPARATOR)) for names in table["assignment"]),
        record=record,
    )


def points_config(config: RunConfig, coefficient: float | None) -> RunConfig:
    """The configuration of a run as operating points need it."""
    changes: dict[str, Any] = {"recovery": RECOVERY}
    if coefficient is not None:
        changes["tolerances"] = config.tolerances.model_copy(update={"coefficient": float(coefficient)})
    return config.model_copy(update=changes)


def default_points_path(run: str | Path, settings: PointSettings) -> Path:
    """Directory of operating points where none is given; the settings need a method."""
    return Path(run) / FOLDER / f"{settings.method}_n{settings.n_multipliers}_m{settings.n_points}"
