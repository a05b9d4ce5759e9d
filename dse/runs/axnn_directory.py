"""Designs of AxNN's loop on disk: what was asked for, where it lies, and how it is read.

    axnn.toml          network, data and quantization, every default filled
    axnn.json          how neurons are lowered and retrained, and hashes of what that was done with
    loop.pt            where the loop stands, and the network as last accepted: all that the tables are made from
    retraining.pt      the state of the retraining under way
    attempts.csv       one row a group of neurons that was lowered
    bounds.csv         one row a finished bound
    neurons.csv        one row a neuron: its score in the exact network, its level at every finished bound
    bound_<percent>.npz  the network of a finished bound
    axnn.png           picture of attempts and bounds (drawn by `dse.api.neurons`)
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dse.config import RunConfig, differences, load_config, to_toml
from dse.errors import ConfigError, RunError
from dse.files import replace_file
from dse.multipliers.precision import FEWEST_BITS, FULL_BITS, LEVELS
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.runs.finetuned import option_name, read_json
from dse.runs.store import AXNN_FILE, refuse_other_kinds, write_table
from dse.search.neurons import AxnnSettings, LoopState

FORMAT = 1

RETRAINING = FinetuningSettings(
    epochs=2, learning_rate=5e-4, affine_learning_rate=1e-3, reconstruction=False, patience=None
)
"""Of one attempt: short, as there are many, and fast, as neurons rounded to few bits move far."""

_TABLES = ("network", "quantization", "recovery")
_DATA = ("dataset", "dir", "preprocessing", "calibration_images", "confirm_images", "report_images", "top")
_LIBRARY = ("path", "include", "exclude", "compile_c")


@dataclass(frozen=True)
class AxnnOptions:
    """What is designed, and on which images.

    Attributes:
        settings: of the loop.
        retraining: of each attempt.
        bits: of the levels below 8 bits, falling.
        multipliers: instead of these, names of the library, each cheaper than the one before; the exact one need not be
            named.
        training_images: to retrain on; the first of them are those that ranges were calibrated on. None: all there are.
        validation_images: of the search images, at most; they measure the quality that bounds are about.
    """

    settings: AxnnSettings = AxnnSettings()
    retraining: FinetuningSettings = RETRAINING
    bits: tuple[int, ...] = LEVELS
    multipliers: tuple[str, ...] = ()
    training_images: int | None = None
    validation_images: int = 2000

    def __post_init__(self) -> None:
        for name in ("training_images", "validation_images"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"{option_name(name)} is {getattr(self, name)}: expected at least 1 image")
        if self.multipliers:
            return
        for bits in self.bits:
            if not FEWEST_BITS <= bits < FULL_BITS:
                raise ConfigError(
                    f"a level of bits {bits}: expected {FEWEST_BITS} to {FULL_BITS - 1}, fewer than the {FULL_BITS} of "
                    "the exact network; choose others with --levels"
                )
        if not self.bits or list(self.bits) != sorted(set(self.bits), reverse=True):
            raise ConfigError(f"levels {self.bits}: expected numbers of bits that fall, as 7,6,5,4,3,2")

    def to_dict(self) -> dict[str, Any]:
        """Flat, for JSON; by the names of the command line."""
        loop = asdict(self.settings) | {"bounds": [100 * bound for bound in self.settings.bounds]}
        levels = {"levels": [] if self.multipliers else list(self.bits), "multipliers": list(self.multipliers)}
        counts = {"training_images": self.training_images, "validation_images": self.validation_images}
        return loop | asdict(self.retraining) | levels | counts


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a directory has come: all that its tables are made from, but for the layers.

    Attributes:
        loop: where the loop stands.
        scores: of the neurons of the exact network.
        accuracy_exact: on the report images.
        bounds: rows of `bounds.csv`.
        times_s: of each attempt.
    """

    loop: LoopState
    scores: tuple[float, ...]
    accuracy_exact: float
    bounds: tuple[dict[str, Any], ...] = ()
    times_s: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.__dict__, "loop": self.loop.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Progress":
        """What `to_dict` made."""
        return cls(**{**values, "loop": LoopState.from_dict(values["loop"])})


class AxnnDirectory:
    """The files of a design.

    Args:
        path: the directory; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def config(self) -> Path:
        return self.path / "axnn.toml"

    @property
    def record(self) -> Path:
        return self.path / AXNN_FILE

    @property
    def loop(self) -> Path:
        return self.path / "loop.pt"

    @property
    def retraining(self) -> Path:
        return self.path / "retraining.pt"

    @property
    def attempts(self) -> Path:
        return self.path / "attempts.csv"

    @property
    def bounds(self) -> Path:
        return self.path / "bounds.csv"

    @property
    def neurons(self) -> Path:
        return self.path / "neurons.csv"

    @property
    def picture(self) -> Path:
        return self.path / "axnn.png"

    def network(self, bound: float) -> Path:
        """Of a finished bound, a share."""
        return self.path / f"bound_{percent_text(bound)}.npz"

    @property
    def _is_begun(self) -> bool:
        """Whether there is something that other settings would contradict."""
        return self.record.exists() and (self.loop.exists() or self.retraining.exists())

    def check(self, config: RunConfig, options: AxnnOptions) -> None:
        """Checks that the directory is new, or holds an earlier part of this design.

        Raises:
            RunError: naming every setting that differs.
        """
        refuse_other_kinds(self.path, AXNN_FILE)
        if not self._is_begun:
            return
        stored, now = read_json(self.record, {"settings", "hashes"})["settings"], options.to_dict()
        changed = [*_changed_keys(load_config(self.config), config, options), *_changed_options(stored, now)]
        if changed:
            raise RunError(
                f"{self.path} holds a design with other settings: {'; '.join(changed)}. "
                "Choose another directory with --out, or repeat the command with the stored values"
            )

    def claim(self, config: RunConfig, options: AxnnOptions, hashes: Mapping[str, str]) -> str:
        """Makes the directory that of this design; call it once everything is loaded.

        Returns:
            A key of all that decides the result.

        Raises:
            RunError: it is that of another network, of other images or multipliers.
        """
        settings = options.to_dict()
        if self._is_begun:
            stored = read_json(self.record, {"settings", "hashes"})["hashes"]
            changed = [
                f"{name} was {stored.get(name, 'absent')[:12]}, is now {found[:12]}"
                for name, found in hashes.items()
                if stored.get(name) != found
            ]
            if changed:
                raise RunError(
                    f"what the design in {self.path} was made with has changed: {'; '.join(changed)}. "
                    "Choose another directory with --out"
                )
        else:
            record = {"format": FORMAT, "settings": settings, "hashes": dict(hashes)}
            replace_file(self.record, json.dumps(record, indent=2) + "\n")
        replace_file(self.config, to_toml(config))
        return hashlib.sha256(json.dumps([settings, dict(hashes)], sort_keys=True).encode()).hexdigest()

    def write_tables(self, progress: Progress, layers: Sequence[Any], labels: Sequence[str]) -> None:
        """All three; `labels` are those of the levels."""
        write_table(self.attempts, attempts_table(progress))
        write_table(self.neurons, neurons_table(progress, layers, labels))
        if progress.bounds:
            write_table(self.bounds, bounds_table(progress))


def percent_text(bound: float) -> str:
    """A share as short text in percent.

    >>> percent_text(0.005), percent_text(0.025), percent_text(0.1)
    ('0.5', '2.5', '10')
    """
    return f"{100 * bound:.6g}"


def attempts_table(progress: Progress) -> pd.DataFrame:
    """One row an attempt. Columns: attempt, bound_pct, n_lowered, accuracy (on the validation images), is_accepted,
    energy_rel, time_s."""
    rows = [
        {
            "attempt": number,
            "bound_pct": float(percent_text(attempt.bound)),
            "n_lowered": attempt.n_lowered,
            "accuracy": attempt.accuracy,
            "is_accepted": attempt.is_accepted,
            "energy_rel": attempt.energy_rel,
            "time_s": time_s,
        }
        for number, (attempt, time_s) in enumerate(zip(progress.loop.attempts, progress.times_s, strict=True))
    ]
    return pd.DataFrame(
        rows, columns=["attempt", "bound_pct", "n_lowered", "accuracy", "is_accepted", "energy_rel", "time_s"]
    )


def bounds_table(progress: Progress) -> pd.DataFrame:
    """One row a finished bound.

    Columns: bound_pct, accuracy_validation, accuracy, accuracy_exact (both on the report images), lost_points,
    energy_rel, improvement (its inverse), n_images_report, neurons_<level> for every level.
    """
    return pd.DataFrame(list(progress.bounds))


def neurons_table(progress: Progress, layers: Sequence[Any], labels: Sequence[str]) -> pd.DataFrame:
    """One row a neuron. Columns: layer, neuron, score, level_<percent> for every finished bound.

    Args:
        progress: of the design.
        layers: of the network.
        labels: of the levels.
    """
    counts = [layer.weight_shape[0] for layer in layers]
    columns: dict[str, Any] = {
        "layer": np.repeat([layer.name for layer in layers], counts),
        "neuron": np.concatenate([np.arange(n) for n in counts]),
        "score": progress.scores,
    }
    for row, levels in zip(progress.bounds, progress.loop.finished, strict=True):
        columns[f"level_{row['bound_pct']:g}"] = np.array(labels)[list(levels)]
    return pd.DataFrame(columns)


def _changed_keys(before: RunConfig, now: RunConfig, options: AxnnOptions) -> Iterator[str]:
    for key, old, new in differences(before, now, may_move=True):  # hashes are compared later
        table, name = key.split(".")
        is_library = name == "signed" or (bool(options.multipliers) and name in _LIBRARY)
        if table in _TABLES or (table == "data" and name in _DATA) or (table == "library" and is_library):
            yield f"{key} was {old!r}, is now {new!r}"


def _changed_options(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key, value in now.items():
        if before.get(key) != value:
            yield f"{option_name(key)} was {_text(before.get(key))}, is now {_text(value)}"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(f"{each:g}" if isinstance(each, float) else str(each) for each in value) or "not given"
    return str(value)
