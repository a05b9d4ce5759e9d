"""Networks by name: the zoo, and anyone's own through `MODULE:FUNCTION`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from dse.entry_points import call_entry_point, is_entry_point
from dse.errors import NetworkError, unknown_name
from dse.networks.architectures.mobilenet import MobileNetV2
from dse.networks.architectures.resnet import CifarResNet
from dse.networks.architectures.small import DigitsCnn, LeNet5, Vgg8
from dse.networks.weight_files import check_finite, load_weights, read_weights

_EMBEDDED = Path(__file__).parent / "embedded"
_N_CLASSES = 10


@dataclass(frozen=True)
class _Entry:
    make: Callable[..., nn.Module]
    preprocessing: str
    embedded: str | None = None


_ZOO = {
    "digits_cnn": _Entry(DigitsCnn, "unit", "digits_cnn.npz"),
    "lenet5": _Entry(partial(LeNet5, is_padded=True), "unit"),
    "lenet5_32": _Entry(partial(LeNet5, is_padded=False), "unit"),
    "mobilenetv2": _Entry(MobileNetV2, "imagenet"),
    "vgg8": _Entry(Vgg8, "imagenet"),
    **{f"resnet{6 * k + 2}": _Entry(partial(CifarResNet, k), "imagenet") for k in (3, 5, 7, 9, 18)},
}


def network_names() -> list[str]:
    """Names of the zoo, sorted: what `network` may be besides `MODULE:FUNCTION` and a `torch.nn.Module`.

    >>> "digits_cnn" in network_names()
    True
    """
    return sorted(_ZOO)


def default_preprocessing(name: str) -> str | None:
    """Preprocessing that a network of the zoo expects; None for `MODULE:FUNCTION`, which may expect anything.

    >>> default_preprocessing("resnet20")
    'imagenet'
    """
    return None if is_entry_point(name) else _entry(name).preprocessing


def create_network(name: str, *, weights: Path | str | None = None, n_classes: int | None = None) -> nn.Module:
    """A network in eval mode, on the CPU, in float32.

    Args:
        name: one of `network_names()`; or `MODULE:FUNCTION`, a function that is called without arguments and returns a
            `torch.nn.Module` with its weights.
        weights: state dict, `.pt` or `.npz`. Without it `digits_cnn` has its embedded weights, and the others random
            ones, the same at each call.
        n_classes: outputs of a network of the zoo. Default: as many as the weights have, else 10.

    Raises:
        NetworkError: unknown name, unusable entry point, weights that are missing, do not fit or are not finite.
    """
    if is_entry_point(name):
        return _from_entry_point(name, weights, n_classes)
    entry = _entry(name)
    path = weights
    if path is None and entry.embedded is not None and n_classes in (None, _N_CLASSES):
        path = _EMBEDDED / entry.embedded
    state = None if path is None else read_weights(Path(path))
    if n_classes is None:
        n_classes = _count_outputs(state)
    with torch.random.fork_rng(devices=[]):  # leaves the caller's random numbers alone
        torch.manual_seed(0)
        network = entry.make(n_classes=n_classes)
    if state is not None:
        load_weights(network, state, where=str(path))
    return network.eval()


def _entry(name: str) -> _Entry:
    if name not in _ZOO:
        raise NetworkError(unknown_name("network", name, _ZOO) + ", or MODULE:FUNCTION")
    return _ZOO[name]


def _count_outputs(state: dict[str, torch.Tensor] | None) -> int:
    classifier = None if state is None else state.get("linear.weight")  # its name in every architecture here
    return _N_CLASSES if classifier is None else int(classifier.shape[0])


def _from_entry_point(name: str, weights: Path | str | None, n_classes: int | None) -> nn.Module:
    if n_classes is not None:
        raise NetworkError(f"n_classes has no effect on {name}: expected none; the function decides it")
    network = call_entry_point(name, error=NetworkError)
    if not isinstance(network, nn.Module):
        raise NetworkError(f"{name} returned a {type(network).__name__}; expected a torch.nn.Module")
    if weights is not None:
        load_weights(network, read_weights(Path(weights)), where=str(weights))
    check_finite(network.state_dict().items(), where=name)
    return network.eval()
