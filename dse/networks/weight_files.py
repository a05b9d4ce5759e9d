"""Weight files: state dicts saved by torch (read with `weights_only=True`, so no code runs) or as `.npz`."""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dse.errors import NetworkError

_COUNTER = "num_batches_tracked"  # of BatchNorm: many weight files leave it out, and evaluation does not use it
_N_NAMED = 5  # how many differing names a message lists


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """State dict of a `.npz` file (arrays by parameter name) or of a file saved by `torch.save`.

    Raises:
        NetworkError: no such file, not readable, not a dictionary of tensors, or with NaN or infinite values.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise NetworkError(f"no weights file {path}: expected a .pt or .npz file with a state dict")
    try:
        state = _read_npz(path) if path.suffix == ".npz" else _read_torch(path)
    except Exception as failure:  # torch's unpickler, zipfile and NumPy raise almost anything
        if type(failure).__name__ != "UnpicklingError":
            expected = "expected a state dict saved by torch.save or .npz"
            raise NetworkError(f"{path} cannot be read: {expected}") from failure
        raise NetworkError(
            f"{path} holds more than tensors, which is not loaded: expected a state dict, "
            "as in torch.save(network.state_dict(), path)"
        ) from failure
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]  # a checkpoint of the usual form
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise NetworkError(f"{path} does not hold a state dict: expected tensors by parameter name")
    check_finite(state.items(), where=str(path))
    return dict(state)


def load_weights(network: nn.Module, state: Mapping[str, torch.Tensor], *, where: str) -> None:
    """Copy a state dict into a network.

    Raises:
        NetworkError: names or shapes that differ; the message lists a few.
    """
    expected = network.state_dict()
    needed = {name for name in expected if not name.endswith(_COUNTER)}
    missing = sorted(needed - state.keys())
    unexpected = sorted(state.keys() - expected.keys())
    if missing or unexpected:
        raise NetworkError(
            f"weights of {where} do not fit the network: missing {_some(missing)}; unexpected {_some(unexpected)}. "
            "Expected the parameter names of this architecture; check the network's name"
        )
    differing = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    if differing:
        raise NetworkError(f"weights of {where} have other shapes: {_some(differing)}; check n_classes")
    network.load_state_dict({**{name: expected[name] for name in expected.keys() - needed}, **state})


def check_finite(tensors: Iterable[tuple[str, torch.Tensor]], *, where: str) -> None:
    """Raise `NetworkError`, naming the parameter, where a tensor has NaN or infinite values."""
    for name, tensor in tensors:
        if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
            raise NetworkError(
                f"{where}: parameter {name} of a lazy layer has no values yet; call the network on one image before "
                "it is returned"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            n_bad = int((~torch.isfinite(tensor)).sum())
            raise NetworkError(
                f"{where}: parameter {name} has {n_bad} NaN or infinite values of {tensor.numel()}; "
                "expected finite weights; train or export the network again"
            )


def _read_npz(path: Path) -> dict[str, torch.Tensor]:
    # NumPy leaves a file that it cannot read open, so it gets an open one
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def _read_torch(path: Path) -> object:
    with warnings.catch_warnings():  # torch warns of pickles that it then refuses
        warnings.simplefilter("ignore", UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def _some(names: list[str]) -> str:
    if not names:
        return "none"
    rest = f" and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
    return ", ".join(names[:_N_NAMED]) + rest
