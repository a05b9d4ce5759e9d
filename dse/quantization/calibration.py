"""Calibration: histograms of the inputs of chosen modules, from two passes over calibration images.

The first pass finds each range, the second fills equal bins over it. Ranges are fixed here, never per batch.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from dse.errors import DataError
from dse.quantization.observers import N_BINS, Histogram


def calibrate(
    network: nn.Module, modules: Mapping[str, nn.Module], batches: Iterable[torch.Tensor]
) -> dict[str, Histogram]:
    """Histogram of the first input of every module in `modules`, over all of its calls.

    Args:
        network: called on each batch, in eval mode, without gradients.
        modules: by qualified name; each must be reached.
        batches: float32 `[n, C, H, W]`; gone through twice.

    Raises:
        DataError: no images, or activations that are not finite.
    """
    batches = list(batches)
    if not sum(len(batch) for batch in batches):
        raise DataError("calibration needs at least one image, got none: check the calibration split")
    ranges: dict[str, tuple[float, float]] = {}
    _run(network, modules, batches, lambda name, x: _widen(ranges, name, x))
    counts = {name: torch.zeros(N_BINS, dtype=torch.float64) for name in ranges}
    _run(network, modules, batches, lambda name, x: _count(counts[name], x, ranges[name]))
    return {name: Histogram(*ranges[name], counts[name]) for name in ranges}


def _widen(ranges: dict, name: str, x: torch.Tensor) -> None:
    low, high = (value.item() for value in torch.aminmax(x))
    if not (-float("inf") < low and high < float("inf")):  # also false for NaN
        raise DataError(f"layer {name!r} received activations that are not finite: check weights and preprocessing")
    old = ranges.get(name, (low, high))
    ranges[name] = (min(low, old[0]), max(high, old[1]))


def _count(counts: torch.Tensor, x: torch.Tensor, limits: tuple[float, float]) -> None:
    low, high = limits
    high = high if high > low else low + max(1.0, abs(low))
    counts += torch.histc(x.to(torch.float32), N_BINS, low, high).to(torch.float64)


def _run(network, modules, batches, visit) -> None:
    handles = [
        module.register_forward_pre_hook(
            lambda _, inputs, named, name=name: visit(name, (inputs or tuple(named.values()))[0].detach()),
            with_kwargs=True,
        )
        for name, module in modules.items()
    ]
    try:
        with torch.inference_mode():
            for batch in batches:
                network(batch)
    finally:
        for handle in handles:
            handle.remove()
