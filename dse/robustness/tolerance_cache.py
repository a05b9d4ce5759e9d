"""Tolerances that were learned once are read again: one JSON file a network, images and settings."""

import contextlib
import os
from dataclasses import replace
from pathlib import Path

from torch import nn

from dse.datasets import Split
from dse.disk_cache import cache_directory, keep
from dse.errors import RunError
from dse.networks.convert import IntegerNetwork
from dse.robustness.agn import search_key, search_tolerances
from dse.robustness.learning import OnStep
from dse.robustness.tolerances import AgnSettings, Tolerances


def load_or_search_tolerances(
    network: nn.Module | None,
    integer_network: IntegerNetwork,
    training: Split,
    settings: AgnSettings,
    *,
    device: str = "cpu",
    on_step: OnStep | None = None,
) -> Tolerances:
    """`search_tolerances`, or what an earlier call with the same arguments found. Trained weights are not kept.

    The cache lies in `$DSE_CACHE`, else `$XDG_CACHE_HOME/dse`, else `~/.cache/dse`. A damaged file is learned anew; a
    folder that cannot be written costs time on the next start. An interrupted search that trains weights goes on.
    """
    key = search_key(integer_network, training, settings, device=device)
    path = cache_directory() / f"tolerances-{key}.json"
    found = _read(path, key)
    if found is not None:
        return found
    checkpoint = path.with_suffix(".pt") if settings.trains_weights and _is_writable(path.parent) else None
    found = search_tolerances(
        network, integer_network, training, settings, device=device, checkpoint=checkpoint, on_step=on_step
    )
    found = replace(found, weights=None)
    keep(path, found.to_json().encode())
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return found


def _read(path: Path, key: str) -> Tolerances | None:
    try:
        found = Tolerances.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RunError):
        return None  # absent or damaged
    return found if found.key == key else None


def _is_writable(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return os.access(folder, os.W_OK)
