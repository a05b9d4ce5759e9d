"""Re-estimated BatchNorm statistics: every channel of an approximate network gets the mean and spread it had.

QoS-Nets re-estimates the running statistics of each operating point before it is measured. With BatchNorm folded into
scale and bias of an integer layer, that is: `gain = std_exact / std`, and the bias that restores the mean. One forward
pass does it, layer after layer, each on what the corrected layers before it give. A layer that runs more than once a
pass is left alone: its outputs have several means.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch

from dse.datasets import Split
from dse.networks.convert import batches
from dse.recovery.switchable import SwitchableNetwork
from dse.recovery.table_layers import LearningNetwork, TableLayer

MAX_GAIN = 2.0
"""And its inverse: channels that have died keep their scale within these."""

MEMORY_BYTES = 2 * 2**30
"""For the outputs of layers on all images that are seen at once."""

COPIES = 4
"""Of a layer's outputs that exist at a time, about."""

Note = Callable[[int, torch.Tensor, torch.Tensor], None]
"""Told a layer's index, its input and its output."""

Before = Callable[[int, TableLayer, torch.Tensor], None]
"""Told a layer's index, the layer and its input, before it runs."""


Statistics = tuple[torch.Tensor, torch.Tensor]
"""Mean and standard deviation per channel, float32 `[C]` each."""


def match_statistics(learner: LearningNetwork, exact: SwitchableNetwork, images: Split) -> None:
    """Sets gains and shifts of all operating points, and every layer's unit of shifts.

    Args:
        learner: changed.
        exact: the network with exact multipliers.
        images: some hundred; as many are seen, at once, as `MEMORY_BYTES` allow.
    """
    largest = max(math.prod(info.output_shape) for info in exact.network.layers)
    chosen = images.subset(images_within(4 * largest * COPIES * learner.n_points, images.n_images))
    match_outputs(learner, exact_statistics(exact, chosen), chosen.images)


def images_within(bytes_per_image: int, n_images: int) -> int:
    """How many of `n_images` fit into `MEMORY_BYTES`, at least one."""
    return int(np.clip(MEMORY_BYTES // bytes_per_image, 1, n_images))


def watch_layers(exact: SwitchableNetwork, images: Iterable[torch.Tensor], note: Note) -> None:
    """Runs the exact network on batches, and tells `note` what each layer gets and gives."""
    with ExitStack() as stack:
        for index, layer in enumerate(exact.network.integer_layers):
            hook = layer.register_forward_hook(lambda _m, x, y, index=index: note(index, x[0], y))
            stack.callback(hook.remove)
        for batch in images:
            exact(batch)


def by_channel(y: torch.Tensor) -> torch.Tensor:
    """Outputs `[n, C, H, W]` or `[..., C]` as `[C, n_outputs]`."""
    return y.transpose(0, 1).flatten(1) if y.dim() == 4 else y.flatten(0, -2).T


def channel_statistics(y: torch.Tensor) -> Statistics:
    """Of outputs `[n, C, H, W]`."""
    return y.mean((0, 2, 3)), y.std((0, 2, 3), correction=0)


def exact_statistics(exact: SwitchableNetwork, images: Split) -> list[Statistics]:
    """Of every layer's outputs over all images; of a Linear layer `[..., C]` over all its rows."""
    sums: list[torch.Tensor | None] = [None] * exact.network.n_layers

    def note(index: int, _: torch.Tensor, y: torch.Tensor) -> None:
        is_linear = exact.network.layers[index].kind == "linear"
        rows = (y.flatten(0, -2) if is_linear else y.permute(0, 2, 3, 1).flatten(0, 2)).to(torch.float64)
        part = torch.stack((torch.full_like(rows[0], len(rows)), rows.sum(0), rows.square().sum(0)))
        sums[index] = part if sums[index] is None else sums[index] + part

    watch_layers(exact, batches(images), note)
    # Of a layer that these images do not reach nothing is known.
    unknown = torch.zeros(1, device=exact.device), torch.ones(1, device=exact.device)
    return [unknown if part is None else _of_sums(part) for part in sums]


def _of_sums(part: torch.Tensor) -> Statistics:
    count, total, squares = part
    mean = total / count
    return mean.to(torch.float32), (squares / count - mean.square()).clamp_min(0).sqrt().to(torch.float32)


def match_outputs(
    learner: LearningNetwork, wanted: Sequence[Statistics], images: torch.Tensor, *, before: Before | None = None
) -> None:
    """One forward pass through all operating points that corrects every convolution as it runs.

    Args:
        learner: changed.
        wanted: of every layer.
        images: float32 `[n, C, H, W]`, seen at once by each point.
        before: told of every layer before it runs.
    """
    learner.set_operating_point(None)
    is_single = _is_single(learner, images[:1])
    with ExitStack() as stack, torch.no_grad():
        for index, (layer, (mean, std)) in enumerate(zip(learner.layers, wanted, strict=True)):
            layer.unit = max(float(std.square().mean().sqrt()), 1e-6)
            if not is_single[index]:
                continue
            if before is not None:
                stack.callback(layer.register_forward_pre_hook(partial(_tell, before, index)).remove)
            if layer.is_convolution:
                matching = _Matching(mean, std, has_gains=learner.has_gains)
                stack.callback(layer.register_forward_hook(matching).remove)
        learner(images.repeat(learner.n_points, 1, 1, 1))
    learner.set_operating_point(0)


def _is_single(learner: LearningNetwork, image: torch.Tensor) -> list[bool]:
    """Whether each layer runs once a pass."""
    n_calls = [0] * len(learner.layers)

    def count(index: int) -> None:
        n_calls[index] += 1

    with ExitStack() as stack, torch.no_grad():
        for index, layer in enumerate(learner.layers):
            stack.callback(layer.register_forward_pre_hook(lambda _m, _x, index=index: count(index)).remove)
        learner(image.repeat(learner.n_points, 1, 1, 1))
    return [n == 1 for n in n_calls]


def _tell(before: Before, index: int, layer: TableLayer, inputs: tuple) -> None:
    before(index, layer, inputs[0])


class _Matching:
    """Corrects a layer's outputs at every operating point, and has the layer do so from now on."""

    def __init__(self, mean: torch.Tensor, std: torch.Tensor, *, has_gains: bool):
        self._mean, self._std, self._has_gains = mean, std, has_gains

    def __call__(self, layer: TableLayer, inputs: tuple, outputs: torch.Tensor) -> torch.Tensor:
        parts = enumerate(outputs.chunk(len(layer.points)))
        return torch.cat([self._matched(layer, k, part) for k, part in parts])

    def _matched(self, layer: TableLayer, k: int, y: torch.Tensor) -> torch.Tensor:
        mean, std = channel_statistics(y)
        gain = torch.ones_like(mean)
        if self._has_gains:
            gain = torch.where(std > 0, self._std / std.clamp_min(1e-12), gain).clamp(1 / MAX_GAIN, MAX_GAIN)
        _, bias = layer.vectors(k)
        layer.gains[k].mul_(gain)
        layer.shifts[k].copy_(((bias - mean) * gain + self._mean - layer.points[k].bias) / layer.unit)
        view = (1, -1, 1, 1)
        return (y - mean.view(view)) * gain.view(view) + self._mean.view(view)
