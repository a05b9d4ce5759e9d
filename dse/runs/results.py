"""Finished and unfinished runs as tables."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from dse.config import RunConfig, load_config
from dse.cost.neuron_choices import choice_energy
from dse.errors import RunError
from dse.objectives import ACCURACY, MEMORY_REL
from dse.pareto import nondominated
from dse.runs.finetuned import FOLDER, FinetuneDirectory, read_table
from dse.runs.front import SEPARATOR, join_names
from dse.runs.journal import Evaluation, longest, read_journal
from dse.runs.manifest import Manifest, read_manifest
from dse.runs.recorded_sparsity import RecordedSparsity, recorded_sparsity
from dse.runs.sparsity import has_memory
from dse.runs.store import RunDirectory

GENERATIONS = ("n_gen", "n_eval", "hypervolume", "best_energy_rel", "time_s")
PREDICTIONS = ("batch", "predicted_loss", "predicted_std", "measured_loss", "is_complete", "assignment")
"""Columns that every version wrote."""

_FLOATS = (
    "energy_rel", "energy_pj", "energy_saved_pct", "accuracy", "accuracy_low", "accuracy_high", "accuracy_search",
    "memory_rel", "hypervolume", "best_energy_rel", "time_s", "predicted_loss", "predicted_std", "measured_loss",
)  # fmt: skip
_INTEGERS = ("point", "n_images_report", "memory_bytes", "n_gen", "n_eval", "batch")
_TYPES = {
    "assignment": str, "sparsities": str, "is_exact": bool, "is_complete": bool,
    **dict.fromkeys(_FLOATS, float), **dict.fromkeys(_INTEGERS, int),
}  # fmt: skip
"""Of columns, where a table has them."""


def open_run(path: str | Path) -> "Run":
    """Opens a run directory for reading; it may still be running.

    Raises:
        RunError: the directory holds no run.

    >>> import dse
    >>> run = dse.explore(population_size=8, generations=2, out="runs/digits")
    >>> dse.open_run("runs/digits").front.equals(run.front)
    True
    """
    directory = RunDirectory(Path(path))
    if not directory.resolved.exists():
        found = "is not a directory" if not directory.path.is_dir() else "holds no resolved.toml"
        raise RunError(f"{path} {found}: expected a run directory. Make one with `dse explore --out {path}`")
    return Run(directory)


def read_run_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A table of a run directory that has these columns; numbers are numbers, `assignment` is text.

    Raises:
        RunError: it is damaged.
    """
    try:
        table = pd.read_csv(path, dtype=_TYPES)
    except (OSError, ValueError, OverflowError) as error:  # pandas' own errors are ValueErrors
        raise RunError(f"{path} is damaged ({error}): restore it from a copy") from None
    missing = [name for name in columns if name not in table.columns]
    if missing or ("assignment" in columns and table["assignment"].isna().any()):
        told = f"without a column {missing[0]!r}" if missing else "without an assignment in some row"
        raise RunError(f"{path} is damaged ({told}): restore it from a copy")
    return table


class Run:
    """A run directory as pandas tables; each is read once, when first asked for.

    >>> import dse
    >>> run = dse.explore(population_size=8, generations=2, out="runs/digits")
    >>> run.front[["point", "energy_saved_pct", "accuracy", "is_exact"]].tail(1)
       point  energy_saved_pct  accuracy  is_exact
    ...    0.0  0.99...      True
    >>> run.generations["n_eval"].tolist()
    [8, 16]
    >>> run.evaluations["split"].unique().tolist()
    ['search', 'report']
    """

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @property
    def is_finished(self) -> bool:
        """Whether the front is there."""
        return self.directory.is_finished

    @cached_property
    def config(self) -> RunConfig:
        """The configuration, every default filled."""
        return load_config(self.directory.resolved)

    @cached_property
    def manifest(self) -> Manifest:
        """Versions, hashes, layers and multipliers."""
        return read_manifest(self.directory.manifest)

    @property
    def objectives(self) -> tuple[str, ...]:
        """`energy` and `accuracy`, or these and `memory`."""
        return self.config.search.objectives

    @cached_property
    def sparsity(self) -> RecordedSparsity | None:
        """What its choices of sparsity take; `None` where no layer may be pruned."""
        return recorded_sparsity(self.manifest)

    @cached_property
    def front(self) -> pd.DataFrame:
        """The front, sorted by energy; accuracies are those of the report split. See `dse.runs.front`."""
        if not self.is_finished:
            raise RunError(
                f"{self.path} is not finished, it has no front yet. Repeat its `dse explore` command to continue it; "
                "`.evaluations` has what was measured so far"
            )
        return read_run_table(self.directory.front, ("point", "energy_rel", "accuracy", "assignment"))

    @cached_property
    def generations(self) -> pd.DataFrame:
        """Progress of the search: n_gen, n_eval, n_new, n_images, hypervolume, best_energy_rel, time_s, ..."""
        if not self.directory.generations.exists():
            raise RunError(f"{self.path} has no generations yet. Repeat its `dse explore` command to continue it")
        return read_run_table(self.directory.generations, GENERATIONS)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """What the surrogate predicted of every simulated design, beside what was measured.

        Columns: batch (0: nothing was measured yet), energy_rel, predicted_loss, predicted_std, measured_loss,
        is_complete (else the measured loss is an estimate), assignment.
        """
        if not self.directory.predictions.exists():
            raise RunError(
                f"{self.path} has no predictions: expected a finished search with search.surrogate = true, and a "
                "generation that its budget did not cut short"
            )
        return read_run_table(self.directory.predictions, PREDICTIONS)

    @property
    def has_finetuned(self) -> bool:
        """Whether there are points that `dse finetune` tuned, in the run's own directory."""
        return FinetuneDirectory(self.path / FOLDER).table.exists()

    @cached_property
    def finetuned(self) -> pd.DataFrame:
        """Points after fine-tuning, beside what they were before; see `dse.runs.finetuned.FinetunedPoints`."""
        if not self.has_finetuned:
            raise RunError(f"{self.path} has no fine-tuned points yet: make them with `dse finetune {self.path}`")
        return read_table(FinetuneDirectory(self.path / FOLDER).table)

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """Everything measured, one row an assignment and split.

        Columns: split, state, accuracy, n_images, energy_rel, energy_saved_pct, is_dominated, assignment, message;
        where layers may be pruned, also memory_rel. The
        state is `ok` where all images were measured, `raced` where a race stopped it early, `partial` where it goes on
        when the run is continued, or `failed`; accuracy is that of the `n_images` measured. `is_dominated` compares
        within a split those that are `ok`; all others are dominated.
        """
        names = [m["name"] for m in self.manifest.multipliers]
        records = list(longest(read_journal(self.directory.journal)).values())
        table = pd.DataFrame(
            {
                "split": [e.split for e in records],
                "state": [e.state for e in records],
                "accuracy": [e.accuracy for e in records],
                "n_images": [self._n_images(e) for e in records],
                "energy_rel": [e.energy_rel for e in records],
                "energy_saved_pct": [100 * (1 - e.energy_rel) for e in records],
                "is_dominated": np.ones(len(records), dtype=bool),
                "assignment": [join_names(e.assignment, names) for e in records],
                "message": [e.message for e in records],
            }
        )
        columns = [table["energy_rel"], ACCURACY.to_minimize(table["accuracy"])]
        if self.sparsity is not None:
            assignments = np.array([e.assignment for e in records], dtype=np.int64).reshape(len(records), -1)
            table["memory_rel"] = self.sparsity.memory_rel(assignments)
            columns += [MEMORY_REL.to_minimize(table["memory_rel"])] if has_memory(self.config) else []
        F = np.column_stack(columns).astype(np.float64)
        F[table["state"] != "ok"] = np.nan
        for split in table["split"].unique():
            rows = np.flatnonzero(table["split"] == split)
            table.loc[rows, "is_dominated"] = ~nondominated(F[rows])
        return table

    @property
    def others(self) -> pd.DataFrame:
        """Those of `evaluations` on all search images whose designs are not on the front."""
        table = self.evaluations
        is_searched = (table["split"] == "search") & (table["state"] == "ok")
        return table[is_searched & ~table["assignment"].isin(self.front["assignment"])]

    def _n_images(self, evaluation: Evaluation) -> int:
        # Lines of the first journal format do not tell: they stand for all images.
        unknown = self.manifest.n_images.get(evaluation.split, 0) if evaluation.state == "ok" else 0
        return evaluation.n_images or unknown

    @cached_property
    def layers(self) -> pd.DataFrame:
        """Name, kind and n_multiplications of every layer, in assignment order."""
        return pd.DataFrame(list(self.manifest.layers))

    def assignment(self, point: int) -> pd.DataFrame:
        """The multiplier of every layer for a point of the front.

        Returns:
            One row a layer: layer, kind, n_multiplications, multiplier, energy_rel (of the multiplier; the mean over
            the neurons where two share them),
            energy_share_pct (of this design's multiplication energy), saved_share_pct (of the exact network's energy,
            saved in this layer); with tiles, also tile; where layers may be pruned, also sparsity_pct
            (the level, which is the layer's own share of zeros or, with global rates, that of all layers), zeros_pct
            (of the layer's weights; NaN in runs of before) and memory_bytes.
        """
        row = self._point(point)
        energies: Mapping[str, float] = {m["name"]: m["energy_rel"] for m in self.manifest.multipliers}
        table = self.layers[["name", "kind", "n_multiplications"]].rename(columns={"name": "layer"})
        names = row["assignment"].split(SEPARATOR)
        tiles = str(row["tiles"]).split(SEPARATOR) if "tiles" in row else None
        if len(names) != len(table) or (tiles is not None and not _are_numbers(tiles, len(table))):
            raise RunError(
                f"{self.directory.front} is damaged: point {point} does not fit the {len(table)} layers of the network"
            )
        table["multiplier"] = names
        chosen = None if self.sparsity is None else self.sparsity.assignments([names])
        if chosen is not None:
            table["multiplier"] = [self.sparsity.multipliers[c] for c in chosen[0]]
            table["energy_rel"] = self.sparsity.by_layer(self.sparsity.energy_rel, chosen)[0]
        elif self.config.search.neuron_shares:
            pairs = zip(table["multiplier"], self.layers["n_neurons"], strict=True)
            table["energy_rel"] = [choice_energy(name, energies, int(n)) for name, n in pairs]
        else:
            table["energy_rel"] = table["multiplier"].map(energies).astype(float)
        energy = table["n_multiplications"] * table["energy_rel"]
        table["energy_share_pct"] = 100 * energy / max(energy.sum(), 1e-300)
        saved = table["n_multiplications"] * (1 - table["energy_rel"])
        table["saved_share_pct"] = 100 * saved / table["n_multiplications"].sum()
        if tiles is not None:
            table["tile"] = [int(tile) for tile in tiles]
        if chosen is not None:
            table["sparsity_pct"] = self.sparsity.sparsity_pct[chosen[0]]
            table["zeros_pct"] = 100 * self.sparsity.by_layer(self.sparsity.zero_share, chosen)[0]
            table["memory_bytes"] = self.sparsity.by_layer(self.sparsity.layer_bytes, chosen)[0]
        return table

    def _point(self, point: int) -> pd.Series:
        rows = self.front[self.front["point"] == point]
        if rows.empty:
            raise RunError(f"{self.path} has no point {point}: expected 0 to {len(self.front) - 1}")
        return rows.iloc[0]

    def __repr__(self) -> str:
        state = f"{len(self.front)} points" if self.is_finished else "unfinished"
        return f"Run({str(self.path)!r}, {state})"

    def _repr_html_(self) -> str:
        from dse.runs.notebook import run_html

        return run_html(self)


def _are_numbers(texts: list[str], n: int) -> bool:
    return len(texts) == n and all(text.isdecimal() for text in texts)
