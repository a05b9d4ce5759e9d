"""AxNN's design loop in a directory that a repeated command continues; see `axnn_directory` for the files.

Groups of neurons are lowered, the network is retrained with them in place, and kept while it loses no more than a
bound on the validation images (`dse.search.neurons`). The report images are looked at for the exact network and at the
end of each bound.

Where the loop stands is saved together with the network, in one file that is replaced in one step, after each attempt.
The retraining under way has a file of its own that is gone before that, so that it never meets another network. A kill
loses what a retraining did since its last checkpoint; what comes of it all is the same.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from dse.config import RunConfig
from dse.cost.quality_engine import Level, QualityConfigurableEngine, precision_level
from dse.errors import ConfigError, MultiplierError
from dse.multipliers.families import exact
from dse.multipliers.library import Library
from dse.multipliers.precision import FULL_BITS, precision_levels
from dse.runs.axnn_directory import (
    AxnnDirectory,
    AxnnOptions,
    Progress,
    attempts_table,
    bounds_table,
    neurons_table,
    percent_text,
)
from dse.runs.execution import limit_threads
from dse.runs.preparation import Inputs, load_data, load_network, make_integer_network, read_library, training_images
from dse.runs.store import RunDirectory, RunLock
from dse.search.neurons import Attempt, LoopState, check_bounds, design, start


@dataclass(frozen=True)
class AxnnStart:
    """What is about to happen, for people; `n_attempts` and `n_bounds_finished` are of earlier commands."""

    path: str
    network: str
    dataset: str
    n_layers: int
    n_neurons: int
    levels: tuple[str, ...]
    bounds: tuple[float, ...]
    n_images_training: int
    n_images_validation: int
    n_images_report: int
    n_attempts: int
    n_bounds_finished: int
    device: str = "cpu"


class AxnnObserver(Protocol):
    """Told how a design goes on; must not change anything."""

    def on_start(self, start: AxnnStart) -> None:
        """Everything is loaded."""

    def on_step(self, n_done: int, n_steps: int, loss: float) -> None:
        """A step of a retraining is done."""

    def on_attempt(self, number: int, attempt: Attempt, accuracy_exact: float, time_s: float) -> None:
        """A group was tried; the accuracy is that of the exact network on the validation images."""

    def on_bound(self, row: dict[str, Any]) -> None:
        """A bound is finished; a row of `bounds.csv`."""


class SilentAxnn(AxnnObserver):
    """The observer that does nothing: the methods of the protocol are empty."""


@dataclass(frozen=True, eq=False)
class AxnnRun:
    """A finished design.

    Attributes:
        path: its directory.
        options: how it was made.
        bounds: one row a bound, see `axnn_directory.bounds_table`.
        attempts: one row a group that was tried, see `axnn_directory.attempts_table`.
        neurons: one row a neuron, see `axnn_directory.neurons_table`.
    """

    path: Path
    options: AxnnOptions
    bounds: pd.DataFrame
    attempts: pd.DataFrame
    neurons: pd.DataFrame
    _work: "_Work"

    def network(self, bound: float) -> Any:
        """The network of a bound in percent, a `dse.recovery.switchable.SwitchableNetwork` with one point."""
        from dse.recovery.switchable import SwitchableNetwork

        known = [percent_text(each) for each in self.options.settings.bounds]
        if f"{bound:.6g}" not in known:
            raise ConfigError(f"a bound of {bound:g} %: expected one of {', '.join(known)}, as this design has")
        path = AxnnDirectory(self.path).network(bound / 100)
        return SwitchableNetwork.load(path, self._work.network, self._work.levels.library)


@dataclass(frozen=True, eq=False)
class Levels:
    """What neurons may stand at.

    Attributes:
        library: of the multipliers.
        levels: energies, the exact one first.
        labels: what tables call them: bits, or names.
    """

    library: Library
    levels: tuple[Level, ...]
    labels: tuple[str, ...]

    @property
    def positions(self) -> list[int]:
        """In the library, of every level."""
        return [self.library.index(level.name) for level in self.levels]


def make_levels(config: RunConfig, options: AxnnOptions, inputs: Inputs) -> Levels:
    """Those that the options name.

    Raises:
        ConfigError: a multiplier that costs no less than the one before it.
        MultiplierError: an unknown one.
    """
    if options.multipliers:
        whole = inputs.library if inputs.library is not None else read_library(config)
        whole = whole.searchable()
        top = whole[whole.exact_index]
        chosen = [top, *(whole[name] for name in options.multipliers if whole[name].key != top.key)]
        library = Library(chosen).searchable()
        if len(library) < len(chosen):
            raise MultiplierError(
                f"--multipliers {','.join(options.multipliers)}: some of them are the same circuit: expected different "
                "ones, from exact to cheapest"
            )
        energy = library.energy_rel
        found = [Level(m.name, float(energy[library.index(m.name)]), 1.0) for m in chosen]
        return Levels(library, tuple(found), tuple(m.name for m in chosen))
    top = exact(is_signed=config.library.signed if inputs.library is None else inputs.library.is_signed)
    chosen, bits = [top, *precision_levels(top, options.bits)], (FULL_BITS, *options.bits)
    found = [precision_level(m.name, b) for m, b in zip(chosen, bits, strict=True)]
    return Levels(Library(chosen).searchable(), tuple(found), tuple(map(str, bits)))


def design_neurons(
    config: RunConfig,
    path: Path,
    options: AxnnOptions,
    *,
    inputs: Inputs | None = None,
    device: str = "cpu",
    observer: AxnnObserver | None = None,
) -> AxnnRun:
    """Lowers the neurons of a configured network within each bound, or continues. Imports torch.

    Args:
        config: network, data, quantization, recovery; the library where multipliers are named.
        path: the directory, made where absent.
        options: how.
        inputs: objects that replace what the configuration names. Of their calibration images as many fix the ranges
            as the configuration says, all are there for retraining.
        device: "auto", "cpu", "cuda" or "cuda:N".
        observer: told how it goes on.

    Raises:
        ConfigError: bounds that the validation images cannot resolve, levels that do not get cheaper.
        NetworkError: no gradient comes through the network.
        RunError: the directory is foreign, in use, or of another configuration, network or data.
        DseError: what cannot be loaded or learn.
    """
    from dse.simulation.devices import find_device

    find_device(device)
    inputs, observer = inputs or Inputs(), observer or SilentAxnn()
    directory = AxnnDirectory(path)
    levels = make_levels(config, options, inputs)
    directory.check(config, options)
    with RunLock(RunDirectory(path)):
        directory.check(config, options)
        work = _Work.load(config, options, inputs, levels, device)
        check_bounds(options.settings.bounds, work.validation.n_images)
        _ = work.engine  # says what is wrong with the levels
        key = directory.claim(config, options, work.hashes)
        if config.execution.threads:
            limit_threads(config.execution.threads)
        progress = _Loop(directory, work, key, observer).run()
    return AxnnRun(
        directory.path, options, bounds_table(progress), attempts_table(progress),
        neurons_table(progress, work.network.layers, levels.labels), work,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Work:
    """Everything loaded; images are `dse.datasets.Split`s."""

    config: RunConfig
    options: AxnnOptions
    levels: Levels
    network: Any
    ranges: Any
    training: Any
    validation: Any
    report: Any
    device: str

    @classmethod
    def load(cls, config: RunConfig, options: AxnnOptions, inputs: Inputs, levels: Levels, device: str) -> "_Work":
        network, splits = load_network(config, inputs), load_data(config, inputs)
        whole = splits.calibration
        ranges = whole.subset(min(config.data.calibration_images, whole.n_images))
        integer = make_integer_network(config, network, ranges, is_signed=levels.library.is_signed)
        training = training_images(config, inputs, whole, options.training_images)
        validation = splits.search.subset(min(options.validation_images, splits.search.n_images))
        return cls(config, options, levels, integer, ranges, training, validation, splits.report, device)

    @cached_property
    def engine(self) -> QualityConfigurableEngine:
        """What neurons cost."""
        return QualityConfigurableEngine(self.network.layers, self.levels.levels)

    @property
    def hashes(self) -> dict[str, str]:
        """Of all that decides the result."""
        images = {
            "calibration": self.ranges, "training": self.training, "validation": self.validation, "report": self.report,
        }  # fmt: skip
        found = {"network": self.network.fingerprint(), "library": self.levels.library.fingerprint}
        return found | {f"{name} images": split.fingerprint for name, split in images.items()}

    def neurons(self, checkpoint: Path, on_step: Any) -> Any:
        """What the loop works on, see `dse.recovery.neuron_network`."""
        from dse.recovery.neuron_network import NeuronNetwork
        from dse.recovery.operators import OperatorBank, Recovery
        from dse.simulation.devices import find_device

        recovery = Recovery(**self.config.recovery.model_dump())
        bank = OperatorBank(
            self.network, self.levels.library, self.ranges, recovery=recovery, backend=self.config.execution.backend,
            device=find_device(self.device),
        )  # fmt: skip
        return NeuronNetwork(
            bank, self.engine, np.array(self.levels.positions), self.training, self.validation, self.options.retraining,
            top=self.config.data.top, checkpoint=checkpoint, on_step=on_step,
        )  # fmt: skip


class _Loop:
    """One call: the loop, and what is kept of it."""

    def __init__(self, directory: AxnnDirectory, work: _Work, key: str, observer: AxnnObserver) -> None:
        self._directory, self._work, self._key, self._observer = directory, work, key, observer
        self._progress: Progress | None = None
        self._neurons: Any = None
        self._since = 0.0

    def run(self) -> Progress:
        """To the end, from where the directory stands."""
        from dse.checkpoint import load_checkpoint

        stored = load_checkpoint(self._directory.loop, key=self._key, what="a design of neurons")
        settings = self._work.options.settings
        if stored is not None:
            self._progress = Progress.from_dict(stored["progress"])
        is_over = stored is not None and self._progress.loop.bound_index >= len(settings.bounds)
        self._observer.on_start(self._start())
        if not is_over:
            self._neurons = self._work.neurons(self._directory.retraining, self._observer.on_step)
            self._begin(stored)
            self._since = time.monotonic()
            design(self._neurons, settings, state=self._progress.loop, on_attempt=self._on_state)
        self._write_tables()
        return self._progress

    def _begin(self, stored: dict[str, Any] | None) -> None:
        """From the checkpoint, or from the exact network."""
        if stored is not None:
            self._neurons.load_state(stored["network"])
            return
        scores = tuple(self._neurons.scores().tolist())  # says what is wrong with a network without gradients
        loop = start(self._neurons, self._work.options.settings)
        self._progress = Progress(loop, scores, self._accuracy())
        self._save()

    def _on_state(self, loop: LoopState) -> None:
        progress = self._progress
        if len(loop.finished) > len(progress.loop.finished):
            row = self._finish(loop)
            self._progress = replace(progress, loop=loop, bounds=(*progress.bounds, row))
            self._save()
            self._observer.on_bound(row)
        else:
            time_s, self._since = time.monotonic() - self._since, time.monotonic()
            self._progress = replace(progress, loop=loop, times_s=(*progress.times_s, time_s))
            self._save()
            number = len(loop.attempts) - 1
            self._observer.on_attempt(number, loop.attempts[-1], self._neurons.accuracy_exact, time_s)

    def _finish(self, loop: LoopState) -> dict[str, Any]:
        """Saves the network of a finished bound; its row of `bounds.csv`."""
        bound, levels = self._work.options.settings.bounds[loop.bound_index - 1], np.array(loop.finished[-1])
        self._neurons.network.save(self._directory.network(bound))
        accepted = [attempt.accuracy for attempt in loop.attempts if attempt.is_accepted]
        accuracy, exact_accuracy = self._accuracy(), self._progress.accuracy_exact
        energy = self._neurons.energy_rel(levels)
        labels = self._work.levels.labels
        return {
            "bound_pct": float(percent_text(bound)),
            "accuracy_validation": accepted[-1] if accepted else self._neurons.accuracy_exact,
            "accuracy": accuracy,
            "accuracy_exact": exact_accuracy,
            "lost_points": 100 * (exact_accuracy - accuracy),
            "energy_rel": energy,
            "improvement": 1 / energy,
            "n_images_report": self._work.report.n_images,
            **{f"neurons_{label}": int((levels == v).sum()) for v, label in enumerate(labels)},
        }

    def _accuracy(self) -> float:
        """Of the network as last accepted, on the report images."""
        return float(self._neurons.network.hits(self._work.report, top=self._work.config.data.top).mean())

    def _save(self) -> None:
        from dse.checkpoint import save_checkpoint

        state = {"key": self._key, "progress": self._progress.to_dict(), "network": self._neurons.state()}
        save_checkpoint(self._directory.loop, state)
        self._write_tables()

    def _write_tables(self) -> None:
        labels: Sequence[str] = self._work.levels.labels
        self._directory.write_tables(self._progress, self._work.network.layers, labels)

    def _start(self) -> AxnnStart:
        work, progress = self._work, self._progress
        return AxnnStart(
            path=str(self._directory.path),
            network=work.config.network.name,
            dataset=work.config.data.dataset,
            n_layers=work.network.n_layers,
            n_neurons=sum(layer.weight_shape[0] for layer in work.network.layers),
            levels=work.levels.labels,
            bounds=work.options.settings.bounds,
            n_images_training=work.training.n_images,
            n_images_validation=work.validation.n_images,
            n_images_report=work.report.n_images,
            n_attempts=0 if progress is None else len(progress.loop.attempts),
            n_bounds_finished=0 if progress is None else len(progress.bounds),
            device=work.device,
        )
