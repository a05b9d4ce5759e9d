"""Re-estimated BatchNorm statistics: every channel of an approximate network gets the mean and spread it had.

QoS-Nets re-estimates the running statistics of each operating point before it is measured. With BatchNorm folded into
scale and bias of an integer layer, that is: `gain = std_exact / std`, and the bias that restores the mean. One forward
pass does it, layer after layer, each on what the corrected layers before it give.
"""

import torch

from dse.datasets import Split
from dse.networks.convert import batches
from dse.recovery.switchable import SwitchableNetwork
from dse.recovery.table_layers import LearningNetwork, TableLayer

MAX_GAIN = 2.0
"""And its inverse: channels that have died keep their scale within these."""

Statistics = tuple[torch.Tensor, torch.Tensor]


def match_statistics(learner: LearningNetwork, exact: SwitchableNetwork, images: Split) -> None:
    """Sets gains and shifts of all operating points, and every layer's unit of shifts.

    Args:
        learner: changed.
        exact: the network with exact multipliers.
        images: seen at once by the learner; some hundred.
    """
    wanted = _statistics_of(exact, images)
    with torch.no_grad():
        for layer, (_, std) in zip(learner.layers, wanted, strict=True):
            layer.unit = max(float(std.square().mean().sqrt()), 1e-6)
        for k in range(learner.n_points):
            learner.set_operating_point(k)
            hooks = [
                layer.register_forward_hook(_Matching(layer, k, *statistics, has_gains=learner.has_gains))
                for layer, statistics in zip(learner.layers, wanted, strict=True)
                if layer.is_convolution
            ]
            try:
                learner(images.images)
            finally:
                for hook in hooks:
                    hook.remove()


class _Matching:
    """Corrects a layer's outputs, and has the layer do so from now on."""

    def __init__(self, layer: TableLayer, k: int, mean: torch.Tensor, std: torch.Tensor, *, has_gains: bool):
        self._layer, self._k, self._mean, self._std, self._has_gains = layer, k, mean, std, has_gains

    def __call__(self, _: torch.nn.Module, inputs: tuple, outputs: torch.Tensor) -> torch.Tensor:
        layer, k = self._layer, self._k
        mean, std = outputs.mean((0, 2, 3)), outputs.std((0, 2, 3))
        gain = torch.ones_like(mean)
        if self._has_gains:
            gain = torch.where(std > 0, self._std / std.clamp_min(1e-12), gain).clamp(1 / MAX_GAIN, MAX_GAIN)
        _, bias = layer.vectors(k)
        changed = (bias - mean) * gain + self._mean
        layer.gains[k].mul_(gain)
        layer.shifts[k].copy_((changed - layer.points[k].bias) / layer.unit)
        view = (1, -1, 1, 1)
        return (outputs - mean.view(view)) * gain.view(view) + self._mean.view(view)


def _statistics_of(exact: SwitchableNetwork, images: Split) -> list[Statistics]:
    """Mean and standard deviation per output channel of every layer, over all images."""
    sums = [None] * exact.network.n_layers

    def note(index: int, y: torch.Tensor) -> None:
        y = y.flatten(0, -2) if exact.network.layers[index].kind == "linear" else y.transpose(0, 1).flatten(1).T
        y = y.to(torch.float64)
        part = torch.stack((torch.full_like(y[0], len(y)), y.sum(0), y.square().sum(0)))
        sums[index] = part if sums[index] is None else sums[index] + part

    hooks = [
        layer.register_forward_hook(lambda _m, _x, y, index=index: note(index, y))
        for index, layer in enumerate(exact.network.integer_layers)
    ]
    try:
        for batch in batches(images):
            exact(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return [_mean_and_std(part) for part in sums]


def _mean_and_std(part: torch.Tensor) -> Statistics:
    count, total, squares = part
    mean = total / count
    return mean.to(torch.float32), (squares / count - mean.square()).clamp_min(0).sqrt().to(torch.float32)
