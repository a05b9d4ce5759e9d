"""Chooses operating points for a run, in a directory that a repeated command continues (see `point_set`).

Network, data, library and images are those of a run of `dse explore`, finished or not. Operating points share their
weights and own one scale and one bias per output channel: so bias folding is the only recovery, whatever the run uses.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dse.config import RunConfig
from dse.cost.accelerators import Designs
from dse.errors import ConfigError
from dse.files import replace_file
from dse.robustness.surrogate import make_surrogate
from dse.runs.cluster import execution_after, make_executor
from dse.runs.execution import Executor
from dse.runs.foreknowledge import Foreknowledge, foreknow
from dse.runs.front import join_names, wilson_interval
from dse.runs.journal import Journal, longest, read_journal
from dse.runs.loop import require_exact
from dse.runs.manifest import check_unchanged, current_versions
from dse.runs.meter import Meter
from dse.runs.neuron_shares import check_whole_layers
from dse.runs.point_selection import Choice, Losses, Task, choose_points
from dse.runs.point_set import (
    FOLDER,
    FORMAT,
    JOURNAL,
    PointsDirectory,
    PointSet,
    PointSettings,
    default_points_path,
    open_points,
    points_config,
)
from dse.runs.preparation import Inputs, Prepared, check_objects, prepare
from dse.runs.results import Run, open_run
from dse.runs.runner import threads_for
from dse.runs.sparsity import check_all_weights
from dse.runs.store import RunDirectory, RunLock, write_table
from dse.search.operating_points import Matching, require_distinct
from dse.search.point_optimization import Refit


@dataclass(frozen=True)
class PointsStart:
    """What is about to happen, for people: sizes, and how much an earlier process left in the journal."""

    path: str
    run: str
    network: str
    dataset: str
    method: str
    n_multipliers: int
    n_points: int
    n_layers: int
    n_library: int
    n_images_search: int
    n_images_report: int
    n_journaled: int
    jobs: int
    threads: int
    place: str = ""
    notes: tuple[str, ...] = ()


class PointsObserver(Protocol):
    """Told how a choice of operating points goes on; must not change anything."""

    def on_start(self, start: PointsStart) -> None:
        """Everything is loaded."""

    def on_learning(self, n_done: int, n_steps: int) -> None:
        """Tolerances are being learned."""

    def on_stage(self, stage: str, detail: str = "") -> None:
        """A stage begins, or goes on with some news."""

    def on_evaluation(self, n_left: int) -> None:
        """Some images are measured; `n_left` evaluations remain in the batch."""


class SilentPoints(PointsObserver):
    """The observer that does nothing: the methods of the protocol are empty."""


def choose_operating_points(
    run: str | Path,
    settings: PointSettings,
    *,
    path: str | Path | None = None,
    inputs: Inputs | None = None,
    execution: Mapping[str, Any] | None = None,
    observer: PointsObserver | None = None,
) -> PointSet:
    """Chooses operating points for a run, or continues; finished ones are returned as they are.

    Args:
        run: a directory of `dse explore`; only read.
        settings: what is asked for.
        path: the directory, made where absent; see `default_points_path`.
        inputs: objects that replace what the run's configuration names.
        execution: where designs are measured, by key of `[execution]`; see `dse.runs.cluster.execution_after`.
        observer: told how it goes on.

    Raises:
        ConfigError: settings that make no sense for this run, a floor that cannot be kept, or points that tie.
        RunError: the directory is foreign, in use, or holds other operating points; or the run's data changed.
    """
    inputs, observer, opened = inputs or Inputs(), observer or SilentPoints(), open_run(run)
    if opened.config.accelerator.kind != "free":
        raise ConfigError(
            f"{run} is for the accelerator {opened.config.accelerator.kind!r}: operating points choose multipliers "
            "themselves, expected 'free'. Explore with --accelerator free first"
        )
    check_whole_layers(opened.config, opened.path, "a choice of operating points")
    check_all_weights(opened.config, opened.path, "a choice of operating points")
    place = execution_after(opened.config.execution, execution or {})
    settings = settings.resolved(len(opened.manifest.multipliers))
    directory = PointsDirectory(Path(path) if path is not None else default_points_path(run, settings))
    directory.check(settings, opened.path)
    if directory.is_finished and inputs.is_empty:
        return open_points(directory.path)
    check_objects(opened.config, inputs, opened.path, "dse.operating_points")
    with RunLock(RunDirectory(directory.path)):
        config = points_config(opened.config, settings.coefficient).model_copy(update={"execution": place})
        prepared = prepare(config, inputs)
        check_unchanged(opened.manifest, prepared.hashes, opened.path)
        if not directory.is_finished:
            _Choosing(directory, opened, config, settings, prepared, observer).run()
    return open_points(directory.path)


@dataclass(frozen=True, eq=False)
class _Choosing:
    """One choice: what it needs, and its steps."""

    directory: PointsDirectory
    source: Run
    config: RunConfig
    settings: PointSettings
    prepared: Prepared
    observer: PointsObserver

    def run(self) -> None:
        """Chooses, measures, and writes the table last."""
        self._write_record({})
        options, prepared = self.config.execution, self.prepared
        with (
            Journal(self.directory.path / JOURNAL) as journal,
            make_executor(options, threads_for(self.config, prepared)) as executor,
        ):
            self._adopt(journal)
            self.observer.on_start(self._start(len(journal), executor))
            self.observer.on_stage("predicting errors, learning tolerances")
            known = self._foreknow()
            require_exact(prepared.evaluator, prepared.exact, executor=executor, journal=journal)
            shared = {"accelerator": prepared.accelerator, "journal": journal, "executor": executor}
            shared["on_results"] = self.observer.on_evaluation
            search = Meter(prepared.evaluator, "search", **shared)
            losses = Losses(search, prepared.exact, n_images=prepared.evaluator.n_images)
            task = self._task(known, losses.exact_accuracy)
            choice = choose_points(self.settings.method, task, losses, on_stage=self.observer.on_stage)
            require_distinct(prepared.accelerator.energy_rel(Designs(choice.assignments)))
            self.observer.on_stage("measuring the points on the report images")
            lost = losses(choice.assignments)
            measured = np.where(np.isfinite(lost), losses.exact_accuracy - lost, np.nan)
            report = Meter(prepared.report_evaluator, "report", **shared)
            accuracy = report(Designs(np.vstack([prepared.exact, choice.assignments]))).accuracy
        self._write_record(self._found(choice))
        write_table(self.directory.table, self._table(choice, losses.exact_accuracy, measured, accuracy))

    def _adopt(self, journal: Journal) -> None:
        """Takes over what the run and its other sets of points have measured in the same way."""
        evaluators = (self.prepared.evaluator, self.prepared.report_evaluator)
        same = {evaluator.fingerprint for evaluator in evaluators}
        others = [self.source.directory.journal, *sorted(self.source.path.glob(f"{FOLDER}/*/{JOURNAL}"))]
        for path in (other for other in others if other != journal.path):
            found = [e for e in longest(read_journal(path)).values() if e.state == "ok" and e.fingerprint in same]
            journal.append(e for e in found if journal.find(e.split, e.assignment, e.fingerprint) is None)

    def _foreknow(self) -> Foreknowledge:
        """Errors and tolerances; those of the run where they are the same."""
        mine, theirs = RunDirectory(self.directory.path), self.source.directory
        if self.source.config.recovery == self.config.recovery:
            _copy(theirs.errors, mine.errors)
        if self.source.config.tolerances == self.config.tolerances:
            _copy(theirs.tolerances, mine.tolerances)
        return foreknow(
            mine,
            self.prepared.guide,
            layers=[layer.name for layer in self.prepared.layers],
            multipliers=self.prepared.library.names,
            with_tolerances=True,
            on_step=self.observer.on_learning,
        )

    def _task(self, known: Foreknowledge, exact_accuracy: float) -> Task:
        settings, library = self.settings, self.prepared.library
        matching = Matching(
            known.residual_std,
            known.tolerance,
            np.asarray(library.energy_rel, dtype=np.float64),
            self.prepared.n_multiplications.astype(np.float64),
            int(library.exact_index),
        )
        return Task(
            matching,
            known.sensitivity[:, None] * known.noise,
            n_multipliers=settings.n_multipliers,
            scales=settings.scales,
            max_loss=None if settings.max_loss is None else tuple(loss / 100 for loss in settings.max_loss),
            accuracy_floor=settings.accuracy_floor,
            seed=settings.seed,
            evaluations=settings.evaluations,
            refit=self._refit(known, exact_accuracy),
        )

    def _refit(self, known: Foreknowledge, exact_accuracy: float) -> Refit | None:
        """Learns from losses by a surrogate; None where the exact network guesses, and has nothing to lose."""
        top, n_classes = self.config.data.top, self.prepared.n_classes
        if exact_accuracy <= top / n_classes:
            return None
        model = make_surrogate(
            known.noise,
            exact_accuracy=exact_accuracy,
            n_classes=n_classes,
            n_images=self.prepared.evaluator.n_images,
            top=top,
            sensitivity=known.sensitivity,
        )
        return lambda assignments, losses: model.fitted(assignments, losses).layer_losses

    def _table(
        self,
        choice: Choice,
        exact_accuracy: float,
        search_accuracy: NDArray[np.float64],
        report_accuracy: NDArray[np.float64],
    ) -> pd.DataFrame:
        """The content of `operating_points.csv`, see `PointSet`; `report_accuracy` begins with the exact network's."""
        n_points, n_images = len(choice.assignments), self.prepared.report_evaluator.n_images
        energy = self.prepared.accelerator.energy_rel(Designs(choice.assignments))
        low, high = wilson_interval(report_accuracy[1:], n_images)
        return pd.DataFrame(
            {
                "point": np.arange(n_points),
                "energy_rel": energy,
                "energy_saved_pct": 100 * (1 - energy),
                "scale": np.full(n_points, np.nan) if choice.scales is None else choice.scales,
                "accuracy": report_accuracy[1:],
                "accuracy_low": low,
                "accuracy_high": high,
                "accuracy_search": search_accuracy,
                "accuracy_exact": report_accuracy[0],
                "accuracy_exact_search": exact_accuracy,
                "n_images_report": n_images,
                "n_multipliers": [len(np.unique(row)) for row in choice.assignments],
                "assignment": [join_names(row, self.prepared.library.names) for row in choice.assignments],
            }
        )

    def _found(self, choice: Choice) -> dict[str, Any]:
        return {"multipliers": [self.prepared.library.names[m] for m in np.unique(choice.assignments)]}

    def _write_record(self, found: dict[str, Any]) -> None:
        """Settings and hashes, and what was found."""
        hashes = self.prepared.hashes
        record = {
            "format": FORMAT,
            "run": _relative(self.source.path, self.directory.path),
            "settings": self.settings.to_dict(),
            "recovery": self.config.recovery.model_dump(),
            "coefficient": self.config.tolerances.coefficient,
            "evaluator": hashes["evaluator"],
            "library": hashes["library"],
            "versions": current_versions(),
            **found,
        }
        replace_file(self.directory.record, json.dumps(record, indent=2) + "\n")

    def _start(self, n_journaled: int, executor: Executor) -> PointsStart:
        notes = []
        if self.source.config.recovery != self.config.recovery:
            notes.append("operating points share their weights: bias folding takes the place of the run's recovery")
        return PointsStart(
            path=str(self.directory.path),
            run=str(self.source.path),
            network=self.config.network.name,
            dataset=self.config.data.dataset,
            method=self.settings.method,
            n_multipliers=self.settings.n_multipliers,
            n_points=self.settings.n_points,
            n_layers=len(self.prepared.layers),
            n_library=len(self.prepared.library),
            n_images_search=self.prepared.evaluator.n_images,
            n_images_report=self.prepared.report_evaluator.n_images,
            n_journaled=n_journaled,
            jobs=executor.jobs,
            threads=executor.threads,
            place=executor.place,
            notes=tuple(notes),
        )


def _copy(source: Path, target: Path) -> None:
    if source.exists() and not target.exists():
        replace_file(target, source.read_bytes())


def _relative(run: Path, path: Path) -> str:
    """The run as seen from `path` where it holds it, so that both can be moved together; else its absolute path."""
    run, path = run.resolve(), path.resolve()
    return os.path.relpath(run, path) if path.is_relative_to(run) else str(run)
