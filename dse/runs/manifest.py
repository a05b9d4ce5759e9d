"""What a run was made with: versions, host, seed, and hashes of everything that decides its results.

Hashes must be the same when a run is continued; versions only should be.
"""

import json
import logging
import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dse import __version__
from dse.errors import RunError

_log = logging.getLogger("dse")

PACKAGES = ("torch", "pymoo", "numpy", "moocore", "joblib")


def current_versions() -> dict[str, str]:
    """Versions of dse, Python and the packages that results may depend on; nothing is imported."""
    versions = {"dse": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    return versions


def current_host() -> dict[str, Any]:
    """Where this process runs."""
    return {"name": socket.gethostname(), "system": platform.platform(), "machine": platform.machine(),
            "n_cpus": os.cpu_count()}  # fmt: skip


@dataclass(frozen=True)
class Manifest:
    """The record of a run.

    Attributes:
        hashes: by what they identify (`library`, `evaluator`, ...), hex.
        layers: name, kind and n_multiplications of each layer, in assignment order.
        multipliers: name, energy_rel, key and mae_pct (mean absolute error in percent of 2^16; manifests of before
            lack it, and so do two multipliers that share a layer's neurons) of each multiplier, in library order.
        reference_point: of the hypervolume.
        n_images: by split.
        exact_index: position of the exact multiplier.
        cost_technology: of the library's costs; empty in manifests of before.
    """

    hashes: Mapping[str, str]
    layers: tuple[Mapping[str, Any], ...]
    multipliers: tuple[Mapping[str, Any], ...]
    exact_index: int
    n_images: Mapping[str, int]
    reference_point: tuple[float, ...]
    seed: int
    accelerator: str
    accuracy_floor: float | None
    versions: Mapping[str, str] = field(default_factory=current_versions)
    host: Mapping[str, Any] = field(default_factory=current_host)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    format: int = 1
    cost_technology: str = ""

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        return json.dumps(asdict(self), indent=2) + "\n"


def read_manifest(path: Path) -> Manifest:
    """Reads `manifest.json`.

    Raises:
        RunError: missing, damaged, or of another version.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        known = {name: record[name] for name in Manifest.__dataclass_fields__ if name not in _NEWER or name in record}
        _require_shape(known)
    except FileNotFoundError:
        raise RunError(f"{path} is missing: the run has not begun to search. Start it with `dse explore`") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}. Check the permissions") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error!r}): restore it from a copy") from None
    for name in ("layers", "multipliers", "reference_point"):
        known[name] = tuple(known[name])
    return Manifest(**known)


_RECORDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "layers": {"name": str, "kind": str, "n_multiplications": int},
    "multipliers": {"name": str, "energy_rel": (int, float), "key": str},
}
_KINDS: dict[str, type] = {
    "exact_index": int,
    "seed": int,
    "accelerator": str,
    "versions": dict,
    "reference_point": list,
}
_NEWER: dict[str, type | tuple[type, ...]] = {"cost_technology": str}
"""Fields that manifests of before lack."""


def _require_shape(known: Mapping[str, Any]) -> None:
    """Raises `ValueError` or `KeyError` where a value is of another kind than it is written with."""
    for name, fields in _RECORDS.items():
        if not isinstance(known[name], list) or not known[name]:
            raise ValueError(f"{name} is no list")
        for record in known[name]:
            if not isinstance(record, dict) or not all(isinstance(record[key], kind) for key, kind in fields.items()):
                raise ValueError(f"{name} has an entry {record!r}")
    for name, kind in (("hashes", str), ("n_images", int)):
        if not isinstance(known[name], dict) or not all(isinstance(value, kind) for value in known[name].values()):
            raise ValueError(f"{name} is {known[name]!r}")
    for name, kind in (_KINDS | {name: kind for name, kind in _NEWER.items() if name in known}).items():
        if not isinstance(known[name], kind):
            raise ValueError(f"{name} is {known[name]!r}")
    if not 0 <= known["exact_index"] < len(known["multipliers"]):
        raise ValueError(f"exact_index is {known['exact_index']}")


def check_unchanged(stored: Manifest, hashes: Mapping[str, str], path: Path) -> None:
    """Checks that what was loaded now is what a run was made with: network, library and images.

    Args:
        stored: of the run.
        hashes: of what was loaded, by what they identify; its evaluator may differ.
        path: of the run.

    Raises:
        RunError: naming everything that differs.
    """
    changed = [
        f"{name} was {stored.hashes[name][:12]}, is now {found[:12]}"
        for name, found in sorted(hashes.items())
        if name != "evaluator" and stored.hashes.get(name, found) != found
    ]
    if changed:
        raise RunError(
            f"what {path} was made with has changed: {'; '.join(changed)}. Restore its files, or explore again"
        )


def check_continues(stored: Manifest, current: Manifest, path: Path) -> None:
    """Checks that a run may be continued with what was loaded now; other versions are only warned about.

    Raises:
        RunError: naming everything that differs.
    """
    names = sorted(stored.hashes.keys() | current.hashes.keys())
    changed = [name for name in names if stored.hashes.get(name) != current.hashes.get(name)]
    if changed:
        told = "; ".join(
            f"{name} was {stored.hashes.get(name, 'absent')[:12]}, is now {current.hashes.get(name, 'absent')[:12]}"
            for name in changed
        )
        raise RunError(
            f"{path} cannot be continued, what it measured has changed: {told}. "
            "Restore the files it was started with, or choose another directory with --out"
        )
    for name, old in stored.versions.items():
        if (new := current.versions.get(name)) != old:
            _log.warning("%s was started with %s %s, continues with %s", path, name, old, new)
