"""Fine-tunes points of a run, or a set of operating points, in a directory that a repeated command continues.

Network, data and library are those of the run, loaded again as its configuration says; the run's own files stay as they
are. Training images are those of the part that ranges were calibrated on; those that decide which epoch is the best are
images of the search; the report images are looked at once, at the end. See `finetuned` for the files.

Points with pruned layers keep their pattern of zeros, and with it energy and memory.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dse.config import RunConfig
from dse.cost.accelerators import Designs, make_accelerator
from dse.errors import ConfigError, MultiplierError, RunError
from dse.files import replace_file
from dse.runs.execution import available_cpus, limit_threads
from dse.runs.finetuned import (
    FOLDER,
    FORMAT,
    FinetuneDirectory,
    FinetunedPoints,
    FinetuneOptions,
    open_finetuned,
)
from dse.runs.front import SEPARATOR, memory_columns, wilson_interval
from dse.runs.manifest import check_unchanged, current_versions
from dse.runs.neuron_shares import check_whole_layers
from dse.runs.preparation import Inputs, Prepared, check_objects, prepare, training_images
from dse.runs.results import Run, open_run
from dse.runs.runner import threads_for
from dse.runs.sparsity import sparsity_levels
from dse.runs.store import SET_FILE, RunDirectory, RunLock

TOP5_CLASSES = 10
"""With more classes than these the accuracy among the five best is worth knowing."""


@dataclass(frozen=True)
class FinetuneStart:
    """What is about to happen, for people; `n_finished` of the `n_jobs` were done by earlier commands."""

    path: str
    source: str
    network: str
    dataset: str
    n_layers: int
    n_images_training: int
    n_images_validation: int
    n_images_report: int
    n_jobs: int
    n_finished: int
    n_epochs: int
    threads: int
    device: str = "cpu"


class FinetuneObserver(Protocol):
    """Told how fine-tuning goes on; must not change anything."""

    def on_start(self, start: FinetuneStart) -> None:
        """Everything is loaded."""

    def on_job(self, name: str, n_left: int) -> None:
        """A point (or a set of them) begins, or goes on from its checkpoint; `n_left` of them come after it."""

    def on_hardening(self, n_done: int, n_steps: int, loss: float) -> None:
        """A step of learning to bear noise is done, before weights are chosen."""

    def on_layer(self, n_done: int, n_layers: int) -> None:
        """The weights of some layers are chosen for their tables, before learning."""

    def on_step(self, n_done: int, n_steps: int, loss: float) -> None:
        """A step of it is done; the loss is the mean of the epoch so far."""

    def on_epoch(self, epoch: int, accuracies: tuple[float, ...]) -> None:
        """An epoch is done; epoch 0 is before learning. Accuracies of its points on the validation images."""

    def on_result(self, name: str, accuracy_untuned: float, accuracy: float, time_s: float) -> None:
        """It is done; accuracies on the report images, the mean over its points."""


class SilentFinetuning(FinetuneObserver):
    """The observer that does nothing: the methods of the protocol are empty."""


@dataclass(frozen=True)
class Job:
    """Points that learn together.

    Attributes:
        stem: of its files.
        names: of the points.
        points: their numbers, on the front or in the set; `None` for a design from elsewhere.
        assignments: names of the multipliers, by point and layer.
        energy_rel: of each point; `None`: to be computed.
    """

    stem: str
    names: tuple[str, ...]
    points: tuple[int | None, ...]
    assignments: tuple[tuple[str, ...], ...]
    energy_rel: tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class Target:
    """What is to be tuned: where it is from, the run it belongs to, its configuration, and the jobs."""

    source: Path
    run: Run
    config: RunConfig
    jobs: tuple[Job, ...]


def finetune_points(
    path: str | Path,
    options: FinetuneOptions,
    *,
    points: str | int | Sequence[int] | None = None,
    assignments: str | Path | None = None,
    threads: int | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    inputs: Inputs | None = None,
    observer: FinetuneObserver | None = None,
) -> FinetunedPoints:
    """Fine-tunes points, or continues; finished ones are left as they are.

    Args:
        path: a directory of `dse explore`, or of `dse operating-points`, whose points learn together.
        options: how.
        points: of the front of a run: numbers, or "all" but the exact design.
        assignments: instead of points a CSV file with a column `assignment`, names of multipliers as in `front.csv`.
        threads: of this process; by default as the run has them.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N"; by default as the run has it.
        out: the directory; by default `finetuned` below `path`.
        inputs: objects that replace what the run's configuration names.
        observer: told how it goes on.

    Raises:
        ConfigError: nothing to tune, or too much of it, or a device that is not here.
        RunError: no such directory or point, data that changed, a directory with other settings, or a loss that is not
            finite.
        DseError: what cannot be loaded or learn.
    """
    inputs, observer = inputs or Inputs(), observer or SilentFinetuning()
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads is {threads}: expected at least 1")
    target = find_target(Path(path), points, assignments)
    check_whole_layers(target.config, target.run.path, "fine-tuning")
    if sparsity_levels(target.config):
        _check_unhardened(options)
    check_objects(target.config, inputs, target.run.path, "dse.finetune")
    config = on_device(target.config, device)
    _check_device(config)
    directory = FinetuneDirectory(Path(out) if out is not None else target.source / FOLDER)
    directory.check(target.source, options)
    with RunLock(RunDirectory(directory.path)):
        prepared = prepare(config, inputs)
        check_unchanged(target.run.manifest, prepared.hashes, target.run.path)
        threads = threads or threads_for(target.config, prepared) or available_cpus()
        limit_threads(threads)
        _Finetuning(directory, target, options, prepared, inputs, observer).run(threads)
    return open_finetuned(directory.path)


def on_device(config: RunConfig, device: str | None) -> RunConfig:
    """The configuration of a run, on another device if one is given; the sums are the same."""
    changes = {} if device is None else {"device": device}
    if config.execution.backend == "gpu":
        changes["backend"] = "auto"  # which a GPU understands as "gpu"
    return config.model_copy(update={"execution": config.execution.model_copy(update=changes)})


def _check_device(config: RunConfig) -> None:
    """Before anything is written. Imports torch."""
    from dse.simulation.devices import find_device

    find_device(config.execution.device)


def _check_unhardened(options: FinetuneOptions) -> None:
    """Before anything is loaded. Imports torch."""
    from dse.recovery.finetuning import check_unhardened

    check_unhardened(options.settings)


def find_target(path: Path, points: str | int | Sequence[int] | None, assignments: str | Path | None) -> Target:
    """What `path` and the options mean, see `finetune_points`."""
    if (path / SET_FILE).exists():
        return _of_set(path, points, assignments)
    run = open_run(path)
    if (points is None) == (assignments is None):
        raise ConfigError(
            f"{path} is a run: say what to fine-tune, either points of its front with --points 3,5 or --points all, "
            "or designs of a file with --assignments FILE.csv. `dse show` lists the points"
        )
    jobs = _file_jobs(Path(assignments)) if points is None else _point_jobs(run, _numbers(points))
    return Target(run.path, run, run.config, jobs)


def _of_set(path: Path, points: Any, assignments: Any) -> Target:
    from dse.runs.point_set import open_points

    if points is not None or assignments is not None:
        option = "--points" if points is not None else "--assignments"
        raise ConfigError(
            f"{path} is a set of operating points, which learn together: leave out {option}, or fine-tune points of a "
            "run"
        )
    found = open_points(path)
    numbers = tuple(int(k) for k in found.table["point"])
    names = tuple(f"point_{k}" for k in numbers)
    job = Job("points", names, numbers, found.assignments, tuple(found.table["energy_rel"]))
    return Target(path, open_run(found.run_path), found.config, (job,))


def _numbers(points: str | int | Sequence[int]) -> tuple[int, ...] | None:
    """Numbers of points; `None` for all of them."""
    if isinstance(points, str) and points.strip() == "all":
        return None
    words = points.split(",") if isinstance(points, str) else [points] if isinstance(points, int) else points
    try:
        numbers = tuple(dict.fromkeys(int(word) for word in words))
    except (ValueError, TypeError):
        raise ConfigError(f"--points {points}: expected numbers with commas between them, as 3,5, or all") from None
    if not numbers:
        raise ConfigError("no points to fine-tune: expected numbers as in --points 3,5, or --points all")
    return numbers


def _point_jobs(run: Run, numbers: tuple[int, ...] | None) -> tuple[Job, ...]:
    front = run.front
    if numbers is None:
        numbers = tuple(front.loc[~front["is_exact"], "point"])
        if not numbers:
            raise ConfigError(f"the front of {run.path} holds the exact design only: there is nothing to fine-tune")
    for number in numbers:
        run.assignment(number)  # says what is wrong with a point that is not there
    rows = [front[front["point"] == number].iloc[0] for number in numbers]
    return tuple(
        Job(
            f"point_{number}", (f"point_{number}",), (int(number),), (tuple(row["assignment"].split(SEPARATOR)),),
            (float(row["energy_rel"]),),
        )
        for number, row in zip(numbers, rows, strict=True)
    )  # fmt: skip


def _file_jobs(path: Path) -> tuple[Job, ...]:
    try:
        table = pd.read_csv(path, dtype={"assignment": str})
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a CSV table"
        raise ConfigError(f"cannot read {path}: {reason}. Expected a CSV file with a column `assignment`") from None
    if "assignment" not in table.columns or table["assignment"].isna().any() or table.empty:
        raise ConfigError(
            f"{path} has no assignment in some row: expected a column `assignment`, names of multipliers with "
            f"{SEPARATOR!r} between them as in front.csv"
        )
    return tuple(
        Job(f"row_{k}", (f"row_{k}",), (None,), (tuple(text.split(SEPARATOR)),), None)
        for k, text in enumerate(table["assignment"])
    )


@dataclass(frozen=True, eq=False)
class _Finetuning:
    """One call: what it needs, and its steps."""

    directory: FinetuneDirectory
    target: Target
    options: FinetuneOptions
    prepared: Prepared
    inputs: Inputs
    observer: FinetuneObserver

    def run(self, threads: int) -> None:
        """Tunes every job that is not finished."""
        assignments = [self._indices(job) for job in self.target.jobs]  # first of all: a name may be wrong
        self.directory.claim(self.target.source, self.options, self._hashes)
        left = [i for i, job in enumerate(self.target.jobs) if not self._is_finished(job, assignments[i])]
        self.observer.on_start(self._start(len(left), threads))
        for n_done, index in enumerate(left):
            self.observer.on_job(self.target.jobs[index].stem, len(left) - n_done - 1)
            self._tune(self.target.jobs[index], assignments[index])
        self.directory.write_table()

    @property
    def _bank(self) -> Any:
        return self.prepared.evaluator.bank

    @property
    def _report(self) -> Any:
        return self.prepared.report_evaluator.split

    @cached_property
    def _training(self) -> Any:
        calibration = self.prepared.guide.calibration
        return training_images(self.target.config, self.inputs, calibration, self.options.training_images)

    @cached_property
    def _validation(self) -> Any:
        split = (self.prepared.confirm_evaluator or self.prepared.evaluator).split
        return split.subset(min(self.options.validation_images, split.n_images))

    @property
    def _hashes(self) -> dict[str, str]:
        images = {"training": self._training, "validation": self._validation, "report": self._report}
        hashes = {name: self.prepared.hashes[name] for name in ("network", "library", "calibration images")}
        return hashes | {f"{name} images": split.fingerprint for name, split in images.items()}

    def _indices(self, job: Job) -> NDArray[np.int64]:
        """Of the library, int64 `[n_points, n_layers]`."""
        n_layers, library = len(self.prepared.layers), self.prepared.library
        for name, names in zip(job.names, job.assignments, strict=True):
            if len(names) != n_layers:
                raise ConfigError(f"{name} names {len(names)} multipliers, the network has {n_layers} layers")
        try:
            rows = [[library.index(multiplier) for multiplier in names] for names in job.assignments]
        except MultiplierError as error:
            raise ConfigError(f"{job.stem}: {error}") from None
        return np.array(rows, dtype=np.int64)

    def _is_finished(self, job: Job, rows: NDArray[np.int64]) -> bool:
        """Whether it is; raises `RunError` where what is there was tuned from something else."""
        found = self.directory.read_result(job.stem)
        if found is None:
            return False
        path = self.directory.network(job.stem)
        if found["key"] != self._key(rows):
            raise RunError(
                f"{path} was tuned from another assignment, network or images, on another kind of device (--device), "
                "or by another version: choose another directory with --out"
            )
        if not path.exists() or found["files"].get(path.name) != hashlib.sha256(path.read_bytes()).hexdigest():
            raise RunError(
                f"{path} is missing or damaged: delete {self.directory.result(job.stem).name} beside it and repeat the "
                "command"
            )
        return True

    def _learnable(self, rows: NDArray[np.int64]) -> tuple[Any, NDArray[np.int64]]:
        """Operators to learn with, and the assignments as indices into their library."""
        if self.prepared.memory is None:
            return self._bank, rows
        from dse.recovery.pruned_network import PrunedDesign

        design = PrunedDesign(self._bank, rows[0])  # points of a run learn one by one
        return design, design.rows

    def _key(self, rows: NDArray[np.int64]) -> str:
        from dse.recovery.finetuning import finetuning_key

        (bank, rows), top = self._learnable(rows), self.target.config.data.top
        return finetuning_key(bank, rows, self._training, self._validation, self.options.settings, top=top)

    def _tune(self, job: Job, rows: NDArray[np.int64]) -> None:
        from dse.recovery.finetuning import finetune

        checkpoint = self.directory.checkpoint(job.stem)
        tuned = finetune(
            *self._learnable(rows), self._training, self._validation, self.options.settings,
            top=self.target.config.data.top, checkpoint=checkpoint,
            on_hardening=self.observer.on_hardening, on_layer=self.observer.on_layer, on_step=self.observer.on_step,
            on_epoch=lambda epoch: self.observer.on_epoch(epoch.epoch, epoch.accuracies),
        )  # fmt: skip
        path = self.directory.network(job.stem)
        tuned.network.save(path)
        table = self._table(job, rows, tuned)
        record = {
            "format": FORMAT,
            "key": tuned.key,
            "device": str(self._bank.device),
            "settings": self.options.to_dict(),
            "best_epoch": tuned.best_epoch,
            "history": [asdict(epoch) | {"loss": epoch.loss if epoch.epoch else None} for epoch in tuned.history],
            "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
            "versions": current_versions(),
            "rows": table.to_dict(orient="records"),
        }
        replace_file(self.directory.result(job.stem), json.dumps(record, indent=2) + "\n")
        checkpoint.unlink(missing_ok=True)
        self.directory.write_table()
        accuracies = table["accuracy_untuned"].mean(), table["accuracy"].mean()
        self.observer.on_result(job.stem, *accuracies, tuned.history[-1].time_s)

    def _table(self, job: Job, rows: NDArray[np.int64], tuned: Any) -> pd.DataFrame:
        """The rows of `finetuned.csv`, see `FinetunedPoints`."""
        from dse.recovery.switchable import switchable_network

        top, n_images = self.target.config.data.top, self._report.n_images
        untuned = switchable_network(*self._learnable(rows))
        ranks, ranks_untuned = tuned.network.ranks(self._report), untuned.ranks(self._report)
        energy = np.array(self._energy_rel(rows) if job.energy_rel is None else job.energy_rel)
        accuracy = (ranks < top).mean(1)
        low, high = wilson_interval(accuracy, n_images)
        columns = {
            "name": job.names,
            "point": job.points,
            "energy_rel": energy,
            "energy_saved_pct": 100 * (1 - energy),
            "accuracy_untuned": (ranks_untuned < top).mean(1),
            "accuracy": accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "accuracy_exact": (self._exact_ranks < top).mean(),
            "n_images_report": n_images,
        }
        if self.prepared.n_classes > TOP5_CLASSES:
            columns["accuracy_top5_untuned"] = (ranks_untuned < 5).mean(1)
            columns["accuracy_top5"] = (ranks < 5).mean(1)
            columns["accuracy_top5_exact"] = (self._exact_ranks < 5).mean()
        columns |= {
            "accuracy_validation_untuned": untuned.hits(self._validation, top=top).mean(1),
            "accuracy_validation": tuned.history[tuned.best_epoch].accuracies,
            "best_epoch": tuned.best_epoch,
            "epochs": tuned.history[-1].epoch,
            "time_s": tuned.history[-1].time_s,
        }
        if len(rows) > 1:
            columns["n_private_parameters"] = tuned.network.n_private_parameters
            columns["overhead_pct"] = 100 * tuned.network.overhead
        if self.prepared.memory is not None:
            columns |= memory_columns(self.prepared.memory, Designs(rows))
        names = {"assignment": [SEPARATOR.join(names) for names in job.assignments]}
        return pd.DataFrame(columns | names)

    def _energy_rel(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of the multiplications, whatever tiles they run on, and of those that are left where layers are pruned."""
        if self.prepared.memory is not None:
            return self.prepared.accelerator.energy_rel(Designs(rows))
        accelerator = make_accelerator("free", self.prepared.layers, library=self.prepared.library)
        return accelerator.energy_rel(Designs(rows))

    @cached_property
    def _exact_ranks(self) -> NDArray[np.int64]:
        """Of the exact network on the report images, int64 `[n_images]`, measured once."""
        from dse.recovery.switchable import switchable_network

        whole = self._bank.whole
        exact = np.full((1, len(self.prepared.layers)), whole.library.exact_index)
        return switchable_network(whole, exact).ranks(self._report)[0]

    def _start(self, n_left: int, threads: int) -> FinetuneStart:
        return FinetuneStart(
            path=str(self.directory.path),
            source=str(self.target.source),
            network=self.target.config.network.name,
            dataset=self.target.config.data.dataset,
            n_layers=len(self.prepared.layers),
            n_images_training=self._training.n_images,
            n_images_validation=self._validation.n_images,
            n_images_report=self._report.n_images,
            n_jobs=len(self.target.jobs),
            n_finished=len(self.target.jobs) - n_left,
            n_epochs=self.options.settings.epochs,
            threads=threads,
            device=str(self._bank.device),
        )
