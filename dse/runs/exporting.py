"""A point of a run, or a set of operating points, as two files that stand alone (see `dse.exported.schema`).

Network, data and library are those of the run, loaded again as its configuration says. Points that were fine-tuned are
exported as they were tuned, unless the untuned ones are asked for.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dse.config import RunConfig
from dse.errors import ConfigError, RunError
from dse.runs.front import SEPARATOR
from dse.runs.manifest import check_unchanged
from dse.runs.neuron_shares import check_whole_layers
from dse.runs.point_set import PointsDirectory, open_points
from dse.runs.preparation import Inputs, Prepared, check_objects, prepare
from dse.runs.results import Run, open_run

CHECK_IMAGES = 8
"""That an export is tried on before it is written, at each operating point."""

TUNED_FOLDER = "finetuned"
TUNED_TABLE = "finetuned.csv"


@dataclass(frozen=True, eq=False)
class Export:
    """What was written.

    Attributes:
        arrays, document: the two files.
        is_finetuned: whether these are the fine-tuned points.
        table: one row an operating point: point, energy_rel, accuracy (on the report images; NaN where it is not
            known), n_images_report, assignment.
    """

    arrays: Path
    document: Path
    is_finetuned: bool
    table: pd.DataFrame


def export_points(
    path: str | Path,
    *,
    point: int | None = None,
    out: str | Path | None = None,
    untuned: bool = False,
    inputs: Inputs | None = None,
) -> Export:
    """Exports a point of a run, or all points of a set.

    Args:
        path: a directory of `dse explore`, or of `dse operating-points`.
        point: of the front; of a run only, and needed there.
        out: `NAME.npz`, `NAME.json` or `NAME` of the two files; by default below `path`.
        untuned: the points as they were before fine-tuning.
        inputs: objects that replace what the run's configuration names.

    Raises:
        ConfigError: a run without a point, a set with one, or objects that are missing.
        RunError: not such a directory, no such point, data that changed, or files that cannot be written.
        NetworkError: a network that an export cannot hold; the message says which part of it.
    """
    path, inputs = Path(path), inputs or Inputs()
    source = _of_set(path, point) if PointsDirectory(path).record.exists() else _of_run(path, point)
    check_whole_layers(source.config, source.run.path, "an export")
    check_objects(source.config, inputs, source.run.path, "dse.export")
    if source.tuned.exists() and not untuned:
        source = source.finetuned()
    prepared = prepare(source.config, inputs)
    check_unchanged(source.run.manifest, prepared.hashes, source.run.path)
    arrays, document = _write(source, prepared, source.default_out if out is None else Path(out))
    return Export(arrays, document, source.is_finetuned, source.table)


@dataclass(frozen=True, eq=False)
class _Source:
    """The points to export.

    Attributes:
        run: whose network, data and library they use.
        config: its configuration, as the points need it.
        table: see `Export`.
        names: of the points, for people.
        tuned: the file of these points after fine-tuning; it need not exist.
        default_out: the exported files without their suffix.
        is_finetuned: whether the points in `tuned` are meant.
    """

    run: Run
    config: RunConfig
    table: pd.DataFrame
    names: tuple[str, ...]
    tuned: Path
    default_out: Path
    is_finetuned: bool = False

    def finetuned(self) -> "_Source":
        """The same points after fine-tuning, with the accuracies that they have then, where these are known."""
        return replace(
            self,
            table=self.table.assign(**_tuned_accuracy(self.tuned.parent / TUNED_TABLE, self.table)),
            names=tuple(f"{name}, fine-tuned" for name in self.names),
            default_out=self.default_out.with_name(f"{self.default_out.name}_finetuned"),
            is_finetuned=True,
        )

    @property
    def assignments(self) -> list[list[str]]:
        """Names of multipliers, by point and layer."""
        return [text.split(SEPARATOR) for text in self.table["assignment"]]


_COLUMNS = ["point", "energy_rel", "accuracy", "n_images_report", "assignment"]


def _of_run(path: Path, point: int | None) -> _Source:
    run = open_run(path)
    if point is None:
        raise ConfigError(
            f"{path} is a run, whose points are exported one by one: name one with --point, 0 to {len(run.front) - 1}. "
            "`dse show` lists them"
        )
    run.assignment(point)  # says what is wrong with a point that is not there
    return _Source(
        run=run,
        config=run.config,
        table=run.front.loc[run.front["point"] == point, _COLUMNS].reset_index(drop=True),
        names=(f"point {point} of {path.resolve().name}",),
        tuned=path / TUNED_FOLDER / f"point_{point}.npz",
        default_out=path / "exported" / f"point_{point}",
    )


def _of_set(path: Path, point: int | None) -> _Source:
    found = open_points(path)
    if point is not None:
        raise ConfigError(
            f"{path} is a set of operating points, which is exported as a whole: leave out --point {point}, or export "
            f"a point of its run {found.run_path}"
        )
    return _Source(
        run=open_run(found.run_path),
        config=found.config,
        table=found.table[_COLUMNS],
        names=tuple(f"operating point {k} of {path.resolve().name}" for k in found.table["point"]),
        tuned=path / TUNED_FOLDER / "points.npz",
        default_out=path / "exported" / "points",
    )


def _tuned_accuracy(path: Path, table: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Accuracy on the report images after fine-tuning, by column."""
    unknown = {"accuracy": np.full(len(table), math.nan), "n_images_report": np.zeros(len(table), dtype=np.int64)}
    if not path.exists():
        return unknown
    tuned = pd.read_csv(path)
    if not {"point", *unknown} <= set(tuned.columns):
        return unknown
    rows = tuned.drop_duplicates("point", keep="last").set_index("point").reindex(table["point"])
    accuracy = rows["accuracy"].to_numpy(dtype=np.float64)
    return {"accuracy": accuracy, "n_images_report": rows["n_images_report"].fillna(0).to_numpy(dtype=np.int64)}


def _write(source: _Source, prepared: Prepared, out: Path) -> tuple[Path, Path]:
    """Imports torch."""
    from dse.exported.writer import Description, write_exported
    from dse.recovery.pruned_network import PrunedDesign
    from dse.recovery.switchable import SwitchableNetwork, switchable_network
    from dse.simulation.devices import CPU

    bank, library = prepared.evaluator.bank, prepared.library
    assignments = np.array([[library.index(name) for name in row] for row in source.assignments], dtype=np.int64)
    if source.run.sparsity is not None:
        bank = PrunedDesign(bank, assignments[0])
        library, assignments = bank.library, bank.rows
    if source.is_finetuned:
        model = SwitchableNetwork.load(source.tuned, bank.network, library, backend=source.config.execution.backend)
        if not np.array_equal(np.stack([point.assignment for point in model.points]), assignments):
            raise RunError(
                f"{source.tuned} holds other points than {source.run.path}: fine-tune them again, or export with "
                "--untuned"
            )
    else:
        model = switchable_network(bank, assignments, device=CPU)  # as the export, with the same bits
    images = prepared.guide.calibration
    description = Description(
        network=source.config.network.name,
        preprocessing=images.preprocessing.text,
        points=source.names,
        accuracies=_accuracies(source),
        energies_rel=None if source.run.sparsity is None else tuple(source.table["energy_rel"].tolist()),
    )
    return write_exported(model, out, images.batch(0, CHECK_IMAGES), description=description)


def _accuracies(source: _Source) -> tuple[Any, ...]:
    from dse.exported.schema import AccuracyRecord

    top, rows = source.config.data.top, zip(source.table["accuracy"], source.table["n_images_report"], strict=True)
    return tuple(
        None if math.isnan(accuracy) else AccuracyRecord(accuracy=accuracy, top=top, n_images=int(n), images="report")
        for accuracy, n in rows
    )
