"""Tolerances for several coefficients, in a directory that a repeated command continues.

    tolerances.toml          every default filled
    tolerances.csv           one row a coefficient and layer, of all that is finished
    tolerances.png           its picture
    coefficient_<c>.json     one finished coefficient
    weights_<c>.pt           its trained weights, where they are trained
    checkpoint_<c>.pt        the state of a search that is not finished
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dse.config import RunConfig, differences, load_config, to_toml
from dse.errors import ConfigError, RunError
from dse.files import replace_file
from dse.robustness.tolerances import AgnSettings, Tolerances
from dse.runs.preparation import Inputs, agn_settings, load_data, load_network, make_integer_network, training_split
from dse.runs.store import SWEEP_FILE, RunDirectory, RunLock, refuse_other_kinds, write_table

_RATES = {"tolerances.learning_rate", "tolerances.sigma_learning_rate"}
_DATA = {"data.dataset", "data.dir", "data.preprocessing", "data.calibration_images"}


@dataclass(frozen=True)
class SweepStart:
    """What is about to run: counts, and `n_finished` of the coefficients that earlier commands did."""

    path: str
    network: str
    dataset: str
    method: str
    n_layers: int
    n_images: int
    n_coefficients: int
    n_finished: int


class SweepObserver(Protocol):
    """Told how a sweep goes on; must not change anything."""

    def on_start(self, start: SweepStart) -> None:
        """Everything is loaded."""

    def on_step(self, coefficient: float, n_done: int, n_steps: int, loss: float) -> None:
        """A step is done."""

    def on_coefficient(self, found: Tolerances) -> None:
        """A coefficient is done."""


class SilentSweep(SweepObserver):
    """The observer that does nothing: the methods of the protocol are empty."""


class SweepDirectory:
    """The files of a sweep."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def config(self) -> Path:
        return self.path / SWEEP_FILE

    @property
    def table(self) -> Path:
        return self.path / "tolerances.csv"

    @property
    def picture(self) -> Path:
        return self.path / "tolerances.png"

    def finished(self, coefficient: float) -> Path:
        """Of one coefficient."""
        return self.path / f"coefficient_{float(coefficient)}.json"

    def weights(self, coefficient: float) -> Path:
        """Of one coefficient."""
        return self.path / f"weights_{float(coefficient)}.pt"

    def checkpoint(self, coefficient: float) -> Path:
        """Of one coefficient."""
        return self.path / f"checkpoint_{float(coefficient)}.pt"

    def read(self) -> list[Tolerances]:
        """Everything finished, by rising coefficient.

        Raises:
            RunError: a damaged file.
        """
        found = []
        for path in self.path.glob("coefficient_*.json"):
            try:
                found.append(Tolerances.from_json(path.read_text(encoding="utf-8")))
            except RunError as error:
                raise RunError(f"{path}: {error}") from None
        return sorted(found, key=lambda tolerances: tolerances.coefficient)

    def claim(self, config: RunConfig) -> None:
        """Makes the directory that of this sweep; call it once everything is loaded, so that a failure leaves no trace.

        Raises:
            RunError: see `check`.
        """
        self.check(config)
        replace_file(self.config, to_toml(config))

    def check(self, config: RunConfig) -> None:
        """Checks that the directory is new, or holds an earlier part of this sweep.

        Raises:
            RunError: a run of `dse explore`, or a sweep with another configuration.
        """
        refuse_other_kinds(self.path, SWEEP_FILE)
        if self.config.exists():
            # A search that failed for its learning rate may go on with a lower one.
            free = set() if self.read() else _RATES
            found = differences(load_config(self.config), config, may_move=True)  # hashes are compared later
            compared = [entry for entry in found if _matters(entry[0])]
            changed = [f"{key} was {old!r}, is now {new!r}" for key, old, new in compared if key not in free]
            if changed:
                raise RunError(
                    f"{self.path} holds tolerances with another configuration: {'; '.join(changed)}. "
                    "Choose another directory with --out, or repeat the command with the stored values"
                )


def _matters(key: str) -> bool:
    """Whether tolerances depend on a key of the configuration (which coefficients there are is no part of it)."""
    table = key.split(".")[0]
    return key in _DATA or key == "library.signed" or (
        table in ("network", "quantization", "tolerances") and key != "tolerances.coefficient"
    )  # fmt: skip


def sweep_tolerances(
    config: RunConfig,
    path: Path,
    coefficients: Sequence[float] | None = None,
    *,
    inputs: Inputs | None = None,
    device: str = "cpu",
    observer: SweepObserver | None = None,
) -> list[Tolerances]:
    """Learns tolerances for each of `coefficients` that the directory does not hold yet. Imports torch.

    Args:
        config: what to run; of its coefficient only where `coefficients` is `None`.
        path: the directory, made where absent.
        coefficients: of the reward, each 0 or larger.
        inputs: objects that replace what the configuration names.
        device: "cpu" or "cuda".
        observer: told how it goes on.

    Returns:
        Everything that the directory then holds, by rising coefficient; trained weights are in files beside.

    Raises:
        RunError: the directory is foreign, in use, or of another configuration, network or data; or a search failed.
        DseError: the network or the data cannot be used.
    """
    inputs, observer = inputs or Inputs(), observer or SilentSweep()
    values = [config.tolerances.coefficient] if coefficients is None else list(dict.fromkeys(map(float, coefficients)))
    if not values:
        raise ConfigError("no coefficients: expected at least one number, as in --coefficients 0.1,0.2")
    settings = [replace(agn_settings(config), coefficient=value) for value in values]
    directory = SweepDirectory(path)
    with RunLock(RunDirectory(path)):
        directory.check(config)
        search = _Prepared.load(config, inputs, device)
        directory.claim(config)
        n_finished = sum(directory.finished(value).exists() for value in values)
        observer.on_start(
            SweepStart(
                path=str(path), network=config.network.name, dataset=config.data.dataset,
                method=config.tolerances.method, n_layers=len(search.integer_network.layers),
                n_images=search.training.n_images, n_coefficients=len(values), n_finished=n_finished,
            )
        )  # fmt: skip
        for each in settings:
            _one(directory, search, each, observer)
        found = directory.read()
        write_table(directory.table, tolerances_table(found))
    return found


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What every search of a sweep needs."""

    network: Any
    integer_network: Any
    training: Any
    device: str

    @classmethod
    def load(cls, config: RunConfig, inputs: Inputs, device: str) -> "_Prepared":
        is_signed = config.library.signed if inputs.library is None else inputs.library.is_signed
        network, splits = load_network(config, inputs), load_data(config, inputs)
        integer_network = make_integer_network(config, network, splits.calibration, is_signed=is_signed)
        return cls(network, integer_network, training_split(config, inputs, splits.calibration), device)


def _one(directory: SweepDirectory, search: _Prepared, settings: AgnSettings, observer: SweepObserver) -> None:
    """Learns one coefficient, or checks that what is there was learned the same way."""
    from dse.checkpoint import weights_bytes
    from dse.robustness.agn import search_key, search_tolerances

    coefficient = settings.coefficient
    path, checkpoint = directory.finished(coefficient), directory.checkpoint(coefficient)
    if path.exists():
        key = search_key(search.integer_network, search.training, settings, device=search.device)
        if Tolerances.from_json(path.read_text(encoding="utf-8")).key != key:
            raise RunError(
                f"{path} was learned from another network, other images, on another device or by another version: "
                "choose another directory with --out"
            )
        return

    def on_step(n_done: int, n_steps: int, loss: float, _: NDArray[np.float64]) -> None:
        observer.on_step(coefficient, n_done, n_steps, loss)

    found = search_tolerances(
        search.network, search.integer_network, search.training, settings,
        device=search.device, checkpoint=checkpoint, on_step=on_step,
    )  # fmt: skip
    if found.weights is not None:
        replace_file(directory.weights(coefficient), weights_bytes(found.weights))
    replace_file(path, found.to_json())
    checkpoint.unlink(missing_ok=True)
    write_table(directory.table, tolerances_table(directory.read()))
    observer.on_coefficient(found)


def tolerances_table(found: Sequence[Tolerances]) -> pd.DataFrame:
    """One row a coefficient and layer.

    Columns: coefficient, layer, n_multiplications, sigma, is_saturated, sensitivity, accuracy_with_noise, accuracy.
    """
    tables = [
        pd.DataFrame(
            {
                "coefficient": each.coefficient,
                "layer": each.layers,
                "n_multiplications": each.n_multiplications,
                "sigma": each.sigma,
                "is_saturated": each.is_saturated,
                "sensitivity": each.sensitivity,
                "accuracy_with_noise": each.accuracy_with_noise,
                "accuracy": each.accuracy,
            }
        )
        for each in found
    ]
    return pd.concat(tables, ignore_index=True)
