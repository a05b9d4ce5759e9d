"""Designs made to be fine-tuned: matched on what their errors will be once weights are chosen for them.

    errors.csv                 predicted errors, as they are before
    tolerances.csv             learned sensitivities of the layers
    reconstructed_errors.csv   errors after reconstruction, one row a layer and multiplier; kept as they are found
    matching.json              hashes of what errors were measured on
    designs.csv                one row a wanted saving; `dse finetune RUN --assignments` takes this file

Every layer gets the multiplier that trades energy against the growth of the cross entropy, `sensitivity * error^2`,
at one price for all layers [ours]; see `dse.search.matching`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dse import stopping
from dse.errors import ConfigError, RunError
from dse.files import replace_file
from dse.runs.execution import available_cpus, limit_threads
from dse.runs.finetuned import FORMAT, read_json
from dse.runs.foreknowledge import Foreknowledge, foreknow
from dse.runs.front import SEPARATOR
from dse.runs.manifest import check_unchanged
from dse.runs.neuron_shares import check_whole_layers
from dse.runs.preparation import Inputs, Prepared, check_objects, prepare, training_images
from dse.runs.results import Run, open_run
from dse.runs.runner import threads_for
from dse.runs.sparsity import check_all_weights
from dse.runs.store import MATCHING_FILE, RunDirectory, RunLock, refuse_other_kinds, write_table
from dse.search.matching import matched_assignments

FOLDER = "matched"
"""Of a run, where nothing else is asked for."""

ROUGH = (0.005, 2.0)
"""Relative errors, the mean over layers: finer multipliers leave nothing to take back, rougher ones nothing to keep.
Those keep the errors that are predicted for them."""

MAX_DESIGNS = 100_000
"""Of the whole curve, more than it has."""


class MatchObserver(Protocol):
    """Told how matching goes on; must not change anything."""

    def on_start(self, path: str, n_multipliers: int, n_finished: int) -> None:
        """Everything is loaded; of so many multipliers errors are measured, some by earlier commands."""

    def on_multiplier(self, name: str, n_done: int) -> None:
        """The errors of a multiplier are measured in all layers."""


class SilentMatch(MatchObserver):
    """The observer that does nothing: the methods of the protocol are empty."""


@dataclass(frozen=True)
class MatchDirectory:
    """The files of matched designs."""

    path: Path

    @property
    def errors(self) -> Path:
        """After reconstruction."""
        return self.path / "reconstructed_errors.csv"

    @property
    def record(self) -> Path:
        """Hashes of what errors were measured on."""
        return self.path / MATCHING_FILE

    def claim(self, hashes: Mapping[str, str]) -> None:
        """Makes the directory, or checks that what it holds was measured on the same things.

        Raises:
            RunError: naming what has changed.
        """
        if not self.record.exists():
            replace_file(self.record, json.dumps({"format": FORMAT, "hashes": dict(hashes)}, indent=2) + "\n")
            return
        stored = read_json(self.record, {"hashes"})["hashes"]
        changed = [name for name, found in hashes.items() if stored.get(name) != found]
        if changed:
            raise RunError(
                f"{self.path} holds designs matched with another {', another '.join(changed)}: choose another "
                "directory with --out"
            )

    @property
    def designs(self) -> Path:
        """The result."""
        return self.path / "designs.csv"


def match_designs(
    run: str | Path,
    energy_saved_pct: Sequence[float],
    *,
    out: str | Path | None = None,
    threads: int | None = None,
    inputs: Inputs | None = None,
    observer: MatchObserver | None = None,
) -> pd.DataFrame:
    """Matches one design for each wanted saving, and writes them. What is measured is kept for later calls.

    Args:
        run: a directory of `dse explore` for the accelerator `free`; only read.
        energy_saved_pct: of the multiplications, in percent; a design saves at least so much.
        out: the directory; by default `matched` in the run.
        threads: of this process; by default as the run has them.
        inputs: objects that replace what the run's configuration names.
        observer: told how it goes on.

    Returns:
        One row a design: `energy_saved_pct`, `predicted_growth` of the cross entropy, `assignment`.

    Raises:
        ConfigError: no savings, or one that no design reaches.
        RunError: the run's data changed, or the directory is in use, or holds something else.
    """
    wanted = [float(value) for value in energy_saved_pct]
    if not wanted or not all(0 < value < 100 for value in wanted):
        raise ConfigError(f"--energy-saved {wanted}: expected percentages between 0 and 100, as 60,70,75")
    inputs, observer, opened = inputs or Inputs(), observer or SilentMatch(), open_run(run)
    check_whole_layers(opened.config, opened.path, "matching")
    check_all_weights(opened.config, opened.path, "matching")
    check_objects(opened.config, inputs, opened.path, "dse.match")
    directory = MatchDirectory(Path(out) if out is not None else opened.path / FOLDER)
    refuse_other_kinds(directory.path, MATCHING_FILE)
    with RunLock(RunDirectory(directory.path)):
        prepared = prepare(opened.config, inputs)
        check_unchanged(opened.manifest, prepared.hashes, opened.path)
        directory.claim({name: prepared.hashes[name] for name in ("network", "library", "calibration images")})
        limit_threads(threads or threads_for(opened.config, prepared) or available_cpus())
        known = _foreknow(directory, prepared)
        errors = _errors(directory, opened, prepared, known, inputs, observer)
        table = _designs(prepared, known.sensitivity, errors, wanted)
        write_table(directory.designs, table)
    return table


def _foreknow(directory: MatchDirectory, prepared: Prepared) -> Foreknowledge:
    return foreknow(
        RunDirectory(directory.path), prepared.guide, layers=[layer.name for layer in prepared.layers],
        multipliers=list(prepared.library.names), with_tolerances=True, on_step=lambda n_done, n_steps: None,
    )  # fmt: skip


def _errors(
    directory: MatchDirectory,
    run: Run,
    prepared: Prepared,
    known: Foreknowledge,
    inputs: Inputs,
    observer: MatchObserver,
) -> NDArray[np.float64]:
    """Relative errors after reconstruction where that matters, float64 `[n_layers, n_multipliers]`."""
    from dse.recovery.reconstructed_errors import IMAGES, reconstructed_errors

    errors = np.sqrt(known.noise)
    names, layers = prepared.library.names, [layer.name for layer in prepared.layers]
    mean = np.sqrt((errors**2).mean(axis=0))
    rough = [int(m) for m in np.flatnonzero((mean > ROUGH[0]) & (mean < ROUGH[1]))]
    found = _read(directory.errors, layers)
    left = [m for m in rough if names[m] not in found]
    observer.on_start(str(directory.path), len(rough), len(rough) - len(left))

    def keep(multiplier: int, of_layers: NDArray[np.float64]) -> None:
        found[names[multiplier]] = of_layers.copy()
        tables = [pd.DataFrame({"layer": layers, "multiplier": name, "error": e}) for name, e in found.items()]
        write_table(directory.errors, pd.concat(tables))
        observer.on_multiplier(names[multiplier], len(found))
        stopping.check()

    if left:
        images = training_images(run.config, inputs, prepared.guide.calibration, IMAGES)
        reconstructed_errors(prepared.evaluator.bank, left, images, on_multiplier=keep)
    for m in rough:
        errors[:, m] = found[names[m]]
    return errors


def _read(path: Path, layers: list[str]) -> dict[str, NDArray[np.float64]]:
    """Errors by name of the multiplier."""
    if not path.exists():
        return {}
    table = pd.read_csv(path)
    if not {"layer", "multiplier", "error"} <= set(table.columns):
        raise RunError(f"{path} is damaged: delete it and repeat the command")
    found = {str(name): rows["error"].to_numpy(np.float64) for name, rows in table.groupby("multiplier", sort=False)}
    if any(len(of_layers) != len(layers) for of_layers in found.values()):
        raise RunError(f"{path} is of another network: delete it and repeat the command")
    return found


def _designs(
    prepared: Prepared, sensitivity: NDArray[np.float64], errors: NDArray[np.float64], wanted: list[float]
) -> pd.DataFrame:
    counts, energies = prepared.n_multiplications, prepared.library.energy_rel
    growth = sensitivity[:, None] * errors**2
    curve = matched_assignments(
        growth, energies, n_multiplications=counts, n_designs=MAX_DESIGNS, max_loss=np.inf
    )
    saved = 100 * (1 - energies[curve] @ (counts / counts.sum()))
    rows = []
    for value in wanted:
        enough = np.flatnonzero(saved >= value)
        if not enough.size:
            raise ConfigError(
                f"no design saves {value:g} % of the energy: expected at most {saved.max():.4g} with these multipliers"
            )
        k = enough[saved[enough].argmin()]
        rows.append(
            {
                "energy_saved_pct": saved[k],
                "predicted_growth": growth[np.arange(len(counts)), curve[k]].sum(),
                "assignment": SEPARATOR.join(prepared.library.names[m] for m in curve[k]),
            }
        )
    return pd.DataFrame(rows)
