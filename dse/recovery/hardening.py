"""A network that has learned to bear noise, before its weights are chosen for their tables.

AGN trains a network under Gaussian noise at the outputs of its layers (E. Trommer, B. Waschneck, A. Kumar, "Combining
gradients and probabilities for heterogeneous approximation of neural networks", ICCAD 2022), and learns how large the
noise may be. [ours] Here a design is given, and the noise of each channel is as large as the errors that this design
leaves there. Products are exact meanwhile: gradients are smooth, where through a rough table each rounded weight jumps
from one error to another.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch

from dse.datasets import Split
from dse.recovery.statistics import by_channel, watch_layers
from dse.recovery.switchable import SwitchableNetwork
from dse.recovery.table_layers import LearningNetwork

IMAGES = 64
"""That errors are measured on: every channel has thousands of outputs on them."""


def residual_errors(learner: LearningNetwork, exact: SwitchableNetwork, images: Split) -> list[torch.Tensor]:
    """Standard deviation of what every channel is off by, given the exact network's inputs, float32 `[C_out]` each.

    Args:
        learner: the design; of several operating points the mean of their variances counts.
        exact: the network with exact multipliers.
        images: some dozen.
    """
    variances: list[torch.Tensor | None] = [None] * exact.network.n_layers

    def note(index: int, x: torch.Tensor, y: torch.Tensor) -> None:
        layer = learner.layers[index]
        found = []
        for k in range(learner.n_points):
            layer.point = k
            error = by_channel(layer(x) - y)
            found.append(error.var(1, correction=0))
        variances[index] = torch.stack(found).mean(0)

    watch_layers(exact, [images.subset(min(IMAGES, images.n_images)).images], note)
    learner.set_operating_point(0)
    # Of a layer that these images do not reach nothing is known.
    return [torch.zeros(1) if variance is None else variance.sqrt() for variance in variances]


@contextmanager
def noise(learner: LearningNetwork, sigmas: Sequence[torch.Tensor], *, seed: Sequence[int]) -> Iterator[None]:
    """While it lasts, every channel's outputs have Gaussian noise added.

    Args:
        learner: the network.
        sigmas: standard deviations, float32 `[C_out]` of every layer.
        seed: of the noise; equal seeds draw the same.
    """
    generator = torch.Generator(learner.device).manual_seed(_seed(seed))

    def add(sigma: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        drawn = torch.randn(y.shape, generator=generator, device=y.device)
        return y + drawn * (sigma.view(-1, 1, 1) if y.dim() == 4 else sigma)

    with ExitStack() as stack:
        for layer, sigma in zip(learner.layers, sigmas, strict=True):
            hook = layer.register_forward_hook(lambda _m, _x, y, sigma=sigma: add(sigma.to(y.device), y))
            stack.callback(hook.remove)
        yield


def _seed(words: Sequence[int]) -> int:
    """One number of several."""
    found = 0
    for word in words:
        found = (found * 1_000_003 + word + 1) % (2**63 - 1)
    return found
