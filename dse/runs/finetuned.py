"""Fine-tuned points on disk: what was asked for, where they lie, and how they are read.

finetuning.json        what they belong to and how they learn; marks the directory
finetuned.csv          one row a point
finetuned.png          its picture
point_<K>.npz          point K of a run as it was tuned; row_<K>.npz: a row of a file of assignments; points.npz: all
                       points of a set, which learn together
point_<K>.json         how it was tuned, and what came of it; its presence means that it is finished
checkpoint_<K>.pt      the state of a point that is not
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from dse.errors import ConfigError, RunError
from dse.files import replace_file
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.runs.store import FINETUNING_FILE, refuse_other_kinds, write_table

FORMAT = 1

FOLDER = "finetuned"
"""Of a run, or of a set of operating points, where nothing else is asked for."""

INTEGERS = ("point",)
"""Columns that may have gaps."""


@dataclass(frozen=True)
class FinetuneOptions:
    """How points are tuned, and on which images.

    Attributes:
        settings: of the learning.
        training_images: to learn on; the first of them are those that ranges were calibrated on. None: all there are.
        validation_images: of the search images, at most; they decide which epoch is the best.
    """

    settings: FinetuningSettings = FinetuningSettings()
    training_images: int | None = None
    validation_images: int = 1000

    def __post_init__(self) -> None:
        for name in ("training_images", "validation_images"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"{option_name(name)} is {getattr(self, name)}: expected at least 1 image")

    def to_dict(self) -> dict[str, Any]:
        """Flat, for JSON."""
        counts = {"training_images": self.training_images, "validation_images": self.validation_images}
        return asdict(self.settings) | counts


def option_name(key: str) -> str:
    """How the command line calls it."""
    return "--" + key.replace("_", "-")


class FinetuneDirectory:
    """The files of fine-tuned points.

    Args:
        path: the directory; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def record(self) -> Path:
        return self.path / FINETUNING_FILE

    @property
    def table(self) -> Path:
        return self.path / "finetuned.csv"

    @property
    def picture(self) -> Path:
        return self.path / "finetuned.png"

    @property
    def _is_begun(self) -> bool:
        """Whether there is something that other settings would contradict."""
        return self.record.exists() and any(
            path != self.record for pattern in ("*.json", "checkpoint_*.pt") for path in self.path.glob(pattern)
        )

    def network(self, stem: str) -> Path:
        """Of one fine-tuning."""
        return self.path / f"{stem}.npz"

    def result(self, stem: str) -> Path:
        """Of one fine-tuning, written last."""
        return self.path / f"{stem}.json"

    def checkpoint(self, stem: str) -> Path:
        """Of one fine-tuning."""
        return self.path / f"checkpoint_{stem.removeprefix('point_')}.pt"

    def read(self) -> dict[str, Any]:
        """The content of `finetuning.json`.

        Raises:
            RunError: missing, damaged, or of another version.
        """
        if not self.record.exists():
            raise RunError(f"{self.path} holds nothing fine-tuned: expected a directory made by `dse finetune`")
        return read_json(self.record, {"source", "settings", "hashes"})

    def check(self, source: Path, options: FinetuneOptions) -> None:
        """Checks that the directory is new, or holds points of the same source that learned in the same way.

        Raises:
            RunError: naming every setting that differs.
        """
        refuse_other_kinds(self.path, FINETUNING_FILE)
        if not self._is_begun:
            return
        record, now = self.read(), options.to_dict()
        stored = FinetuneOptions().to_dict() | record["settings"]  # of settings that were not there then, the default
        before = Path(os.path.normpath(self.path.resolve() / record["source"]))
        changed = [
            f"{option_name(key)} was {stored[key]}, is now {value}"
            for key, value in now.items()
            if stored[key] != value
        ]
        if before != source.resolve():
            changed.append(f"they are of {before}, not of {source}")
        if changed:
            raise RunError(
                f"{self.path} holds points that were fine-tuned with other settings: {'; '.join(changed)}. "
                "Choose another directory with --out, or repeat the command with the stored values"
            )

    def claim(self, source: Path, options: FinetuneOptions, hashes: Mapping[str, str]) -> None:
        """Makes the directory that of these points; call it once everything is loaded.

        Raises:
            RunError: it is that of another network or of other images.
        """
        if not self._is_begun:
            relative = os.path.relpath(source.resolve(), self.path.resolve())
            record = {"format": FORMAT, "source": relative, "settings": options.to_dict(), "hashes": dict(hashes)}
            replace_file(self.record, json.dumps(record, indent=2) + "\n")
            return
        stored = self.read()["hashes"]
        changed = [
            f"{name} was {stored.get(name, 'absent')[:12]}, is now {found[:12]}"
            for name, found in hashes.items()
            if stored.get(name) != found
        ]
        if changed:
            raise RunError(
                f"what the points of {self.path} were tuned with has changed: {'; '.join(changed)}. "
                "Choose another directory with --out"
            )

    def read_result(self, stem: str) -> dict[str, Any] | None:
        """What came of one fine-tuning; `None` where it is not finished.

        Raises:
            RunError: a damaged file.
        """
        path = self.result(stem)
        return read_json(path, {"key", "rows", "files"}) if path.exists() else None

    def write_table(self) -> None:
        """Collects the rows of everything finished in `finetuned.csv`, the points of a run first."""
        stems = [path.stem for path in sorted(self.path.glob("*.json")) if path != self.record]
        rows = [row for stem in stems for row in self.read_result(stem)["rows"]]
        table = pd.DataFrame(rows)
        for name in INTEGERS:
            table[name] = table[name].astype("Int64")
        order = pd.DataFrame({"point": table["point"], "row": table["name"].str.rpartition("_")[2].astype(int)})
        write_table(self.table, table.loc[order.sort_values(["point", "row"]).index])


def read_json(path: Path, keys: set[str]) -> dict[str, Any]:
    """A JSON object with these keys, of this format.

    Raises:
        RunError: damaged, or of another version.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] > FORMAT:
            raise RunError(f"{path} has format {found['format']}: expected {FORMAT}. Use a newer dse")
        missing = keys - set(found)
        if missing:
            raise KeyError(*sorted(missing))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error!r}): delete it, and repeat the command that made it") from None
    return found


@dataclass(frozen=True, eq=False)
class FinetunedPoints:
    """Points that were fine-tuned.

    Attributes:
        path: their directory.
        source: the run, or the set of operating points, that they belong to.
        options: how they were tuned.
        table: one row a point: name, point (of the front; missing for designs that are not on it), energy_rel,
            energy_saved_pct, accuracy_untuned, accuracy, accuracy_low, accuracy_high, accuracy_exact (all on the report
            images; the exact network is not tuned), n_images_report, accuracy_validation_untuned,
            accuracy_validation, best_epoch, epochs, time_s, assignment. With more than 10 classes also
            accuracy_top5_untuned, accuracy_top5 and accuracy_top5_exact; for sets n_private_parameters and overhead_pct
            (of all points together, relative to a network with one); where layers may be pruned sparsities,
            memory_bytes and memory_rel, as in `front.csv`: learning leaves them.
    """

    path: Path
    source: Path
    options: FinetuneOptions
    table: pd.DataFrame

    def __repr__(self) -> str:
        return f"FinetunedPoints({str(self.path)!r}, {len(self.table)} points)"

    def _repr_html_(self) -> str:
        from dse.runs.notebook import finetuned_html

        return finetuned_html(self)


def open_finetuned(path: str | Path) -> FinetunedPoints:
    """Opens a directory of `dse finetune` for reading.

    Raises:
        RunError: it is none, or nothing in it is finished.
    """
    directory = FinetuneDirectory(Path(path))
    record = directory.read()
    if not directory.table.exists():
        raise RunError(f"{path} has no point that is finished: repeat its `dse finetune` command to continue it")
    try:
        settings = dict(record["settings"])
        counts = {name: settings.pop(name) for name in ("training_images", "validation_images")}
        known = {field.name for field in fields(FinetuningSettings)}
        learning = FinetuningSettings(**{name: value for name, value in settings.items() if name in known})
        options = FinetuneOptions(learning, **counts)
        source = Path(os.path.normpath(directory.path / record["source"]))
    except (TypeError, ValueError, KeyError) as error:
        raise RunError(f"{directory.record} is damaged ({error}): restore it from a copy") from None
    return FinetunedPoints(path=directory.path, source=source, options=options, table=read_table(directory.table))


def read_table(path: Path) -> pd.DataFrame:
    """The content of `finetuned.csv`; `point` is an integer, or missing.

    Raises:
        RunError: it is damaged.
    """
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(INTEGERS, "Int64"))
    except (OSError, ValueError, TypeError) as error:  # pandas' own errors are ValueErrors
        raise RunError(f"{path} is damaged ({error}): delete it and repeat the command that made it") from None
    if not {"name", "point"} <= set(table.columns):
        raise RunError(f"{path} is damaged (a column is missing): delete it and repeat the command that made it")
    return table
