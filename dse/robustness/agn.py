"""AGN search: how much noise each layer's outputs bear, learned by gradient.

E. Trommer, B. Waschneck, A. Kumar, "Combining gradients and probabilities for heterogeneous approximation of neural
networks", ICCAD 2022. With noise as in `dse.robustness.noise` and one free scalar sigma a layer,

    Loss = CE - lambda * SUM_l (N_l / SUM N) * min(|sigma_l|, sigma_max),    N_l multiplications of layer l.

The paper trains weights and sigmas together (`trains_weights=True`): its sigmas are what the network can be made to
bear. [ours] By default the weights stay, BatchNorm is folded, and only the sigmas learn, in seconds: what the network
as given bears, which is what a search without retraining needs (how they learn: `dse.robustness.sigma_updates`).
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dse.datasets import Split
from dse.errors import ConfigError, DataError, NetworkError
from dse.networks.convert import IntegerNetwork
from dse.robustness.learning import OnStep, Search
from dse.robustness.noise import NoiseSource, NoisyNetwork, frozen_network, plain_state, trainable_network
from dse.robustness.tolerances import AgnSettings, Tolerances

VERSION = 2
"""Part of every key; raised when the same settings give other tolerances."""

ACCURACY_IMAGES = 1024
"""Training images that accuracies are measured on, at most."""

SMALL_NETWORK = 2_000_000
"""Multiplications an image below which threads cost more than they bring."""

_SATURATED = 0.98  # of sigma_max: gradient descent stops just below or above


def search_tolerances(
    network: nn.Module | None,
    integer_network: IntegerNetwork,
    training: Split,
    settings: AgnSettings,
    *,
    device: str = "cpu",
    checkpoint: Path | None = None,
    on_step: OnStep | None = None,
) -> Tolerances:
    """Learns the tolerance of every layer. Deterministic on one thread; an interrupted search goes on bit by bit.

    Args:
        network: the user's, not changed; needed only where weights are trained.
        integer_network: of it, with the calibrated ranges; not changed.
        training: labeled images, none of those that designs are measured on.
        settings: see there.
        device: "cpu" or "cuda".
        checkpoint: file that the state is saved in now and then and read from at the start; the caller removes it when
            the result is safe.
        on_step: told how it goes on.

    Raises:
        ConfigError: no such device.
        DataError: no training images, or labels without an output.
        NetworkError: a layer that never runs, or no gradient from the logits to a layer's noise.
        RunError: loss, weights or sigmas that are not finite or diverge; the last good state is in `checkpoint`.
    """
    start = time.perf_counter()
    _check_images(training, integer_network.n_classes)
    where = _device(device)
    source = NoiseSource(settings.seed, where, is_mirrored=not settings.trains_weights)
    if not settings.trains_weights:
        noisy = frozen_network(integer_network, source=source, device=where)
    elif network is None:
        raise NetworkError("training weights needs the float network, got None: pass it, or use the method `frozen`")
    else:
        noisy = trainable_network(network, integer_network, source=source, device=where)
    # Learning rates are no part of what a checkpoint belongs to: one may be lowered to go on after a failure.
    resumable = replace(settings, learning_rate=1.0, sigma_learning_rate=1.0 if settings.trains_weights else None)
    search = Search(
        noisy, integer_network.layers, training, settings,
        checkpoint=checkpoint, key=search_key(integer_network, training, resumable, device=device),
    )  # fmt: skip
    with _few_threads(integer_network):
        search.run(on_step)
        sigma = search.update.tolerance().numpy()
        clean, with_noise = (_accuracy(noisy, training, value, settings) for value in (None, sigma))
    return Tolerances(
        layers=tuple(info.name for info in integer_network.layers),
        n_multiplications=np.array([info.n_multiplications for info in integer_network.layers], dtype=np.int64),
        sigma=sigma,
        is_saturated=sigma >= _SATURATED * settings.sigma_max,
        sensitivity=search.slopes.sensitivity().numpy(),
        coefficient=float(settings.coefficient),
        accuracy=clean,
        accuracy_with_noise=with_noise,
        n_images=training.n_images,
        n_steps=search.n_steps,
        time_s=time.perf_counter() - start,
        method=settings.method,
        key=search_key(integer_network, training, settings, device=device),
        weights=plain_state(noisy.module) if settings.trains_weights else None,
    )


def search_key(integer_network: IntegerNetwork, training: Split, settings: AgnSettings, *, device: str = "cpu") -> str:
    """sha256, hexadecimal, of all that decides the tolerances."""
    values = sorted(asdict(settings).items())
    parts = (VERSION, device, integer_network.fingerprint(), training.fingerprint, values)
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def _check_images(training: Split, n_classes: int) -> None:
    if training.n_images < 1:
        raise DataError("a tolerance search needs training images, got none: raise training_images")
    largest = int(training.labels.max())
    if largest >= n_classes:
        raise DataError(
            f"label {largest} of the training images has no output: the network has {n_classes}. "
            "Check that network and dataset belong together"
        )


def _device(name: str) -> torch.device:
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r}: expected 'cpu' or 'cuda'")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda': this machine or this build of torch has no GPU. Use device 'cpu'")
    return torch.device(name)


@contextmanager
def _few_threads(integer_network: IntegerNetwork) -> Iterator[None]:
    """One thread for small networks: more would wait for each other."""
    before = torch.get_num_threads()
    is_small = sum(info.n_multiplications for info in integer_network.layers) < SMALL_NETWORK
    torch.set_num_threads(1 if is_small else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _accuracy(noisy: NoisyNetwork, training: Split, sigma: NDArray[np.float64] | None, settings: AgnSettings) -> float:
    """Top-1 on the first training images in eval mode, with noise of `sigma` or without any."""
    n_images = min(training.n_images, ACCURACY_IMAGES)
    noisy.module.eval()
    noisy.source = NoiseSource(settings.seed + 1, noisy.device)
    noisy.sigmas = None if sigma is None else list(torch.from_numpy(sigma).float().to(noisy.device).unbind())
    n_correct = 0
    with torch.inference_mode():
        for start in range(0, n_images, settings.batch_size):
            stop = min(start + settings.batch_size, n_images)
            predicted = noisy(training.batch(start, stop).to(noisy.device)).argmax(1).cpu()
            n_correct += int((predicted == training.labels[start:stop]).sum())
    noisy.sigmas = None
    return n_correct / n_images
