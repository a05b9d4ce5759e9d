"""The state of a tolerance search in one file, replaced in one step; tensors and plain values only."""

import contextlib
import io
import logging
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dse.errors import RunError

_log = logging.getLogger("dse")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes `state`; readers see the old file or the new one.

    Raises:
        RunError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise RunError(f"cannot write checkpoint {path}: {error}. Check space and permissions of its folder") from None


def weights_bytes(weights: Mapping[str, torch.Tensor]) -> bytes:
    """Content of a weight file that `dse.networks.weight_files.read_weights` reads."""
    buffer = io.BytesIO()
    torch.save(dict(weights), buffer)
    return buffer.getvalue()


def load_checkpoint(path: Path, *, key: str, learning_rate: float) -> dict[str, Any] | None:
    """Reads a state saved for the same search; `None` where there is no file.

    Args:
        path: the file.
        key: must equal the state's own.
        learning_rate: may differ, which is told.

    Raises:
        RunError: not a checkpoint, or one of another search.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["key"]
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise RunError(
            f"{path} is not a checkpoint of a tolerance search ({type(error).__name__}): delete it to start again"
        ) from None
    if found != key:
        raise RunError(
            f"{path} belongs to a search with other settings, images, device or another network: "
            "delete it to start again, or repeat the search it was made by"
        )
    if state["learning_rate"] != learning_rate:
        _log.warning(
            "%s: continuing after step %d, so far with learning rate %g, now %g",
            path, state["n_done"], state["learning_rate"], learning_rate,
        )  # fmt: skip
    return state
