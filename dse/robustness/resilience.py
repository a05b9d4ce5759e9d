"""How much each neuron matters: the resilience characterization of AxNN.

Venkataramani, Ranjan, Roy and Raghunathan, "AxNN: energy-efficient neuromorphic systems using approximate computing",
ISLPED 2014. Parameters frozen, the error at the outputs is propagated back over the data; a neuron that little of it
reaches is resilient. With `z` the output of the neuron's integer layer, before the nonlinearity,

    score_i = mean over images n and positions p of |dLoss_n / dz_i(n, p)|,

`Loss_n` the cross entropy of image `n` with its true label. The magnitude is taken before the mean: slopes of both
signs would cancel.

- A layer that runs several times for an image adds up: its score is the sum over calls of the calls' means, its map
  that of the calls with the layer's usual output shape; standard deviations are over all calls.
- A layer that does not run, or that changes nothing, has scores of 0.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn import functional as F

from dse.datasets import Split
from dse.errors import ConfigError, DataError, NetworkError
from dse.networks.convert import IntegerNetwork
from dse.networks.layers import LayerInfo
from dse.robustness.neuron_scores import LayerResilience, Resilience
from dse.robustness.noise import NoiseSource, frozen_network
from dse.simulation.devices import CPU

BATCH_SIZE = 64
"""Images whose slopes are computed at once; no result depends on it but by rounding."""

OnBatch = Callable[[int, int], None]
"""Told how many images are done, and of how many."""


def characterize_network(
    integer_network: IntegerNetwork,
    split: Split,
    *,
    batch_size: int = BATCH_SIZE,
    device: torch.device = CPU,
    on_batch: OnBatch | None = None,
) -> Resilience:
    """`characterize` for an integer network with exact products, in floating point."""
    network = frozen_network(integer_network, source=NoiseSource(0, device), device=device)
    modules = [network.module.get_submodule(info.name) for info in integer_network.layers]
    return characterize(
        network, modules, integer_network.layers, split, batch_size=batch_size, device=device, on_batch=on_batch
    )


def characterize(
    forward: Callable[[torch.Tensor], torch.Tensor],
    modules: Sequence[nn.Module],
    infos: Sequence[LayerInfo],
    split: Split,
    *,
    batch_size: int = BATCH_SIZE,
    device: torch.device = CPU,
    on_batch: OnBatch | None = None,
) -> Resilience:
    """Scores of all neurons of a network. Deterministic where the network is.

    Args:
        forward: images float32 `[n, C, H, W]` to logits `[n, n_classes]`, differentiable, each image by itself (no
            BatchNorm in training mode).
        modules: its layers; hooks are put on them for the time of the call.
        infos: what is known of each.
        split: labeled images.
        batch_size: images at once, 1 or more.
        device: where `forward` runs.
        on_batch: told how it goes on.

    Raises:
        ConfigError: a batch size below 1.
        DataError: no images, a label without an output, or a loss that is not a number.
        NetworkError: no gradient comes from the logits to a layer that they depend on.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}: expected 1 or more images")
    if split.n_images < 1:
        raise DataError("a resilience characterization needs images, got none: ask for more of them")
    layers = [_Layer(info) for info in infos]
    loss, n_correct = 0.0, 0
    with _watched(modules, layers), torch.enable_grad():
        for start in range(0, split.n_images, batch_size):
            stop = min(start + batch_size, split.n_images)
            images, labels = split.batch(start, stop).to(device), split.labels[start:stop].to(device)
            for layer in layers:
                layer.n_images = stop - start
            logits = forward(images)
            loss += _propagate(logits, labels, layers, start)
            n_correct += int((logits.detach().argmax(1) == labels).sum())
            if start == 0:
                _check_connections(forward, images, modules, layers)
            if on_batch is not None:
                on_batch(stop, split.n_images)
    found = tuple(layer.result(split.n_images) for layer in layers)
    return Resilience(found, split.n_images, loss / split.n_images, n_correct / split.n_images)


def _propagate(logits: torch.Tensor, labels: torch.Tensor, layers: Sequence["_Layer"], start: int) -> float:
    """Propagates the loss of a batch back to all layers; returns its sum over the images."""
    if int(labels.max()) >= logits.shape[1]:
        raise DataError(
            f"label {int(labels.max())} has no output: the network has {logits.shape[1]} outputs. "
            "Check that network and dataset belong together"
        )
    loss = F.cross_entropy(logits, labels, reduction="sum")  # of each image its own loss
    if not math.isfinite(loss.item()):
        raise DataError(_not_finite("the cross entropy is", start))
    ends = [tensor for layer in layers for tensor in layer.take_ends()]
    if not loss.requires_grad:
        raise NetworkError(_cut_off("a layer"))
    try:
        torch.autograd.grad(loss, ends, allow_unused=True)
    except RuntimeError as error:  # of autograd
        reason = str(error).splitlines()[0].partition(" Hint: ")[0].rstrip(". ")
        raise NetworkError(
            f"no gradient comes through the network as its forward pass is written: {reason}. Where it changes "
            "tensors in place, write x = x + y for x += y, and relu(x) for relu_(x)"
        ) from error
    bad = next((layer.name for layer in layers if not layer.is_finite), None)
    if bad is not None:
        raise DataError(_not_finite(f"outputs or gradients of layer {bad!r} are", start))
    return loss.item()


def _check_connections(
    forward: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    modules: Sequence[nn.Module],
    layers: Sequence["_Layer"],
) -> None:
    """Refuses layers that change the logits without a gradient; one that changes nothing is resilient indeed."""
    suspects = [index for index, layer in enumerate(layers) if not layer.has_slopes]
    with torch.no_grad():
        before = forward(images) if suspects else None
        for index in suspects:
            handle = modules[index].register_forward_hook(lambda _m, _x, y: 2 * y + 1)
            try:
                is_connected = not torch.equal(before, forward(images))
            finally:
                handle.remove()
            if is_connected:
                raise NetworkError(_cut_off(f"layer {layers[index].name!r}"))


@contextmanager
def _watched(modules: Sequence[nn.Module], layers: Sequence["_Layer"]) -> Iterator[None]:
    """Hooks on all modules, whose parameters are frozen meanwhile."""
    learning = [p for module in modules for p in module.parameters() if p.requires_grad]
    with ExitStack() as stack:
        for module, layer in zip(modules, layers, strict=True):
            stack.callback(module.register_forward_hook(lambda _m, _x, y, layer=layer: layer.visit(y)).remove)
        for parameter in learning:
            stack.callback(parameter.requires_grad_, True)
            parameter.requires_grad_(False)
        yield


class _Layer:
    """Sums of a layer's slopes and moments of its outputs, as batches go by.

    Attributes:
        name: of the layer.
        n_images: of the batch that goes by.
    """

    def __init__(self, info: LayerInfo):
        self.name, self._is_linear = info.name, info.kind == "linear"
        shape = (1, 1) if self._is_linear else info.output_shape[-2:]
        n_channels = info.weight_shape[0]
        self._n_positions = math.prod(info.output_shape) // n_channels
        self._scores = torch.zeros(n_channels, dtype=torch.float64)
        self._map = torch.zeros(shape, dtype=torch.float64)
        self._count, self._mean, self._squares = 0, torch.zeros_like(self._scores), torch.zeros_like(self._scores)
        self._ends: list[torch.Tensor] = []
        self.n_images = 0

    def visit(self, y: torch.Tensor) -> torch.Tensor | None:
        """Takes an output in; returns it with a slope that will come by."""
        if not torch.is_grad_enabled():
            return None
        if not y.requires_grad:
            origin = torch.zeros((), device=y.device, dtype=y.dtype, requires_grad=True)
            y = y + origin
            self._ends.append(origin)
        self._add_outputs(self._columns(y.detach()))
        # The hook sees the slope by this value, also where it is overwritten afterwards.
        y.register_hook(self._add_slopes)
        self._ends.append(y)
        return y

    def take_ends(self) -> list[torch.Tensor]:
        """Where gradients of the batch are to go, given away."""
        taken, self._ends = self._ends, []
        return taken

    @property
    def is_finite(self) -> bool:
        """Whether everything so far is a number."""
        return bool(torch.isfinite(self._scores).all() and torch.isfinite(self._squares).all())

    @property
    def has_slopes(self) -> bool:
        """Whether there was a slope other than 0."""
        return bool(self._scores.any())

    def result(self, n_images: int) -> LayerResilience:
        """What all `n_images` images say."""
        return LayerResilience(
            name=self.name,
            scores=(self._scores / n_images).numpy(),
            output_std=(self._squares / max(self._count, 1)).sqrt().numpy(),
            position_map=(self._map / n_images).numpy(),
            n_positions=self._n_positions,
        )

    def _columns(self, y: torch.Tensor) -> torch.Tensor:
        """`[n, C, H, W]` as `[n, C, H * W]`, of a Linear layer `[..., C]` as `[rows, C, 1]`."""
        return y.reshape(-1, y.shape[-1], 1) if self._is_linear else y.flatten(2)

    def _add_outputs(self, columns: torch.Tensor) -> None:
        """Moments of two sets of outputs put together."""
        n = columns.shape[0] * columns.shape[2]
        variance, mean = torch.var_mean(columns, dim=(0, 2), correction=0)
        difference = mean.to("cpu", torch.float64) - self._mean
        self._squares += n * variance.to("cpu", torch.float64)
        self._squares += difference.square() * (self._count * n / (self._count + n))
        self._count += n
        self._mean += difference * (n / self._count)

    def _add_slopes(self, gradient: torch.Tensor) -> None:
        """Means over rows and positions, for each image of the batch."""
        magnitude = gradient.detach().abs()
        columns = self._columns(magnitude)
        share = self.n_images / (columns.shape[0] * columns.shape[2])
        scores = columns.sum(2).to("cpu", torch.float64).sum(0) * share
        self._scores += scores
        if self._is_linear:
            self._map += scores.mean()
        elif magnitude.shape[2:] == self._map.shape:
            self._map += magnitude.mean(1).to("cpu", torch.float64).mean(0) * self.n_images


def _cut_off(what: str) -> str:
    return (
        f"no gradient reaches {what}: the forward pass cuts it off before the logits (no_grad, detach, round, argmax). "
        "A resilience characterization needs a network that could be trained"
    )


def _not_finite(what: str, start: int) -> str:
    return (
        f"{what} NaN or infinite, on the images from number {start} on: expected numbers. "
        "Check the images, and that the network's weights are finite"
    )
