"""Input codes of every layer while the exact network runs: what corrections and error statistics are fitted on."""

import math
from collections.abc import Sequence

import torch

from dse.datasets import Split
from dse.errors import DataError
from dse.networks.convert import IntegerNetwork, batches
from dse.networks.layers import LayerInfo, LayerOperator

POSITIONS = 32768
"""Outputs a channel that are worth recording: few images for large pictures, many for small ones."""

MIN_IMAGES = 16
"""Images recorded of every layer, however large; all there are where there are fewer."""


def record_codes(
    network: IntegerNetwork, operators: Sequence[LayerOperator], calibration: Split
) -> list[torch.Tensor]:
    """Runs the first calibration images through `operators` and keeps what each layer gets, for enough images a layer.

    Args:
        network: its layers' operators are set for the run and unset at its end.
        operators: one a layer, of the exact multiplier.
        calibration: at least one image.

    Returns:
        For every layer uint8 or int8 `[n, C, H, W]`, or `[n, in, 1, 1]` for a Linear layer. A layer that is called
        several times an image gives its first `n` inputs of the size it saw first.

    Raises:
        DataError: a layer that none of these images reached.
    """
    images, wanted = zip(*(_wanted(info, calibration.n_images) for info in network.layers), strict=True)
    recorded: list[list[torch.Tensor]] = [[] for _ in wanted]
    for layer, operator, kept, n in zip(network.integer_layers, operators, recorded, wanted, strict=True):
        layer.operator = _Recorder(operator, kept, n)
    try:
        for batch in batches(calibration, max(images)):
            network(batch)
    finally:
        for layer in network.integer_layers:
            layer.operator = None
    _check_reached(network, recorded, max(images))
    return [torch.cat(codes) for codes in recorded]


def _check_reached(network: IntegerNetwork, recorded: Sequence[Sequence[torch.Tensor]], n_images: int) -> None:
    missing = [info.name for info, codes in zip(network.layers, recorded, strict=True) if not codes]
    if missing:
        raise DataError(
            f"layers never reached by the {n_images} calibration images: {', '.join(missing)}. Expected some for each: "
            "use other images, or exclude these layers by name (--exclude)"
        )


class _Recorder:
    """Runs an operator and keeps the codes of the first `wanted` inputs."""

    def __init__(self, operator: LayerOperator, kept: list[torch.Tensor], wanted: int):
        self._operator, self._kept, self._missing = operator, kept, wanted

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        # A layer may be called again on another image size: its statistics are those of the first size.
        if self._missing > 0 and (not self._kept or self._kept[0].shape[1:] == codes.shape[1:]):
            self._kept.append(codes[: self._missing].clone())
            self._missing -= len(self._kept[-1])
        return self._operator(codes)


def _wanted(info: LayerInfo, n_images: int) -> tuple[int, int]:
    """Images that give about `POSITIONS` outputs a channel (few for large pictures), and inputs recorded from them."""
    is_conv = info.kind == "conv2d"
    positions = math.prod(info.output_shape[1:] if is_conv else info.output_shape[:-1])
    images = min(n_images, max(MIN_IMAGES, -(-POSITIONS // positions)))
    return images, images if is_conv else images * positions
