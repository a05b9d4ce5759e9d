"""The state of something that learns, in one file, replaced in one step; tensors and plain values only."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dse.errors import RunError
from dse.files import replace_file


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes `state`; readers see the old file or the new one.

    Raises:
        RunError: the file cannot be written.
    """
    replace_file(path, _content(state))


def weights_bytes(weights: Mapping[str, torch.Tensor]) -> bytes:
    """Content of a weight file that `dse.networks.weight_files.read_weights` reads."""
    return _content(dict(weights))


def _content(values: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


def load_checkpoint(path: Path, *, key: str, what: str) -> dict[str, Any] | None:
    """Reads a state saved for the same thing; `None` where there is no file.

    Args:
        path: the file.
        key: must equal the state's own.
        what: it is the state of, for messages: "a tolerance search".

    Raises:
        RunError: not a checkpoint, or one of something else.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["key"]
    except Exception as error:  # torch's unpickler raises almost anything
        raise RunError(
            f"{path} is not a checkpoint of {what} ({type(error).__name__}): delete it to start again"
        ) from None
    if found != key:
        raise RunError(
            f"{path} belongs to {what} with other settings, images, device or another network: "
            "delete it to start again, or repeat the command it was made by"
        )
    return state
