"""Noise on the outputs of layers while tolerances are learned, and the fake quantization around it.

E. Trommer, B. Waschneck, A. Kumar, "Combining gradients and probabilities for heterogeneous approximation of neural
networks", ICCAD 2022 (AGN): `y~ = y + |sigma_l| * std(y) * eps` before the bias, eps standard normal for each element,
fresh in each forward pass, `std(y)` one number over the batch, through which gradients flow.

With one weight scale per output channel, `y` could also be taken in units of the integer sums, where a multiplier's
errors arise. Measured, that is worse: the logarithm of predicted over measured rises of the cross entropy (ResNet-20,
one layer approximate at a time, 91 pairs of layer and multiplier) scatters by 1.19, with `y` as it is by 0.97.

[ours] While only sigmas learn, noise comes in mirrored pairs on the same images. The slope of sigma is the response to
noise times that noise; its largest part is linear, averages to zero, and in the sum over a pair is zero at once.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from dse.errors import NetworkError
from dse.networks.convert import IntegerNetwork
from dse.networks.graph import aliases_of
from dse.networks.layers import IntegerLayer
from dse.quantization.affine import Scheme, choose_weight_qparams, dequantize_affine

_SMALLEST_VARIANCE = 1e-30  # the square root of 0 has no gradient


class NoiseSource:
    """Standard normal numbers of a seeded generator.

    Attributes:
        is_mirrored: the second half of every draw is minus the first half.
    """

    def __init__(self, seed: int, device: torch.device, *, is_mirrored: bool = False):
        self.is_mirrored = is_mirrored
        self._generator = torch.Generator(device).manual_seed(seed)

    @property
    def state(self) -> torch.Tensor:
        """uint8; may be set."""
        return self._generator.get_state()

    @state.setter
    def state(self, value: torch.Tensor) -> None:
        self._generator.set_state(value.cpu())

    def draw(self, shape: torch.Size) -> torch.Tensor:
        """float32 of `shape`."""
        device = self._generator.device
        if not self.is_mirrored or len(shape) < 2 or shape[0] % 2:
            return torch.randn(shape, generator=self._generator, device=device)
        half = torch.randn((shape[0] // 2, *shape[1:]), generator=self._generator, device=device)
        return torch.cat((half, -half))


def add_noise(
    y: torch.Tensor, sigma: torch.Tensor, noise: torch.Tensor, *, bias: torch.Tensor | None
) -> torch.Tensor:
    """`y + |sigma| * std(y - bias) * noise`.

    Args:
        y: outputs of a layer, float32 `[n, C, H, W]` or `[..., C]`.
        sigma: scalar.
        noise: shape of `y`.
        bias: part of `y`, broadcast against it, or `None`.
    """
    variance = (y if bias is None else y - bias).var(correction=0)
    return y + noise * (sigma.abs() * variance.clamp_min(_SMALLEST_VARIANCE).sqrt())


class NoisyNetwork:
    """A private copy of a network with quantized operands, noisy while `sigmas` are set.

    Args:
        module: the copy; changed in place.
        layers: its layers with noise, in order.
        source: of the noise.
        device: where it runs.

    Attributes:
        sigmas: one scalar tensor a layer, or `None` for no noise.
        is_reached: which layers have run.
    """

    def __init__(self, module: nn.Module, layers: list[nn.Module], *, source: NoiseSource, device: torch.device):
        self.module = module.to(device)
        self.source, self.device = source, device
        self.sigmas: list[torch.Tensor] | None = None
        self.is_reached = [False] * len(layers)
        self._layers = layers
        self._channel_shapes = [(-1, 1, 1) if layer.weight.dim() == 4 else (-1,) for layer in layers]
        for index, layer in enumerate(layers):
            layer.register_forward_hook(lambda _m, _x, y, index=index: self._visit(index, y))

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits `[n, n_classes]`."""
        return self.module(images)

    def _visit(self, index: int, y: torch.Tensor) -> torch.Tensor | None:
        self.is_reached[index] = True
        if self.sigmas is None:
            return None
        layer, shape = self._layers[index], self._channel_shapes[index]
        bias = None if layer.bias is None else layer.bias.view(shape)
        return add_noise(y, self.sigmas[index], self.source.draw(y.shape), bias=bias)


def frozen_network(integer_network: IntegerNetwork, *, source: NoiseSource, device: torch.device) -> NoisyNetwork:
    """[ours] The integer network in floating point: folded, in eval mode, weights the dequantized codes."""
    module = copy.deepcopy(integer_network.module).eval().requires_grad_(False)
    layers = []
    for info in integer_network.layers:
        integer = module.get_submodule(info.name)
        layer = _DequantizedLayer(integer)
        for alias in aliases_of(module, integer):
            module.set_submodule(alias, layer)
        layers.append(layer)
    return NoisyNetwork(module, layers, source=source, device=device)


def trainable_network(
    network: nn.Module, integer_network: IntegerNetwork, *, source: NoiseSource, device: torch.device
) -> NoisyNetwork:
    """The user's network in training mode, BatchNorm apart, weights quantized at each use by their own range.

    Raises:
        NetworkError: no parameter that learns, or a weight that is itself computed.
    """
    module = copy.deepcopy(network).to(device, torch.float32).train()
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise NetworkError(
            "no parameter of the network requires a gradient, so nothing can be trained: call "
            "network.requires_grad_(True), or use the method `frozen`"
        )
    per_channel = any(bool((layer.w_scale != layer.w_scale[0]).any()) for layer in integer_network.integer_layers)
    layers = []
    for info, integer in zip(integer_network.layers, integer_network.integer_layers, strict=True):
        layer = module.get_submodule(info.name)
        if not isinstance(layer._parameters.get("weight"), nn.Parameter):
            raise NetworkError(
                f"the weight of layer {info.name!r} is computed by a parametrization (weight_norm or the like): "
                "remove it before the search, or use the method `frozen`"
            )
        quantizer = _FakeQuantizedWeight(integer_network.scheme, per_channel=per_channel)
        parametrize.register_parametrization(layer, "weight", quantizer)
        layer.register_forward_pre_hook(_InputQuantizer(integer), with_kwargs=True)
        layers.append(layer)
    return NoisyNetwork(module, layers, source=source, device=device)


def plain_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """State dict of a trainable network by the names of the user's, copied to the CPU."""
    state = {name.replace(".parametrizations.weight.original", ".weight"): value
             for name, value in module.state_dict().items()}  # fmt: skip
    prefix = "parametrizations.weight.original"  # the network is itself the layer
    return {("weight" if name == prefix else name): value.detach().cpu().clone() for name, value in state.items()}


class _DequantizedLayer(nn.Module):
    """A layer of an integer network in floating point, on fake-quantized inputs."""

    def __init__(self, layer: IntegerLayer):
        super().__init__()
        p, shape = layer.problem, (-1, 1, 1, 1)
        weight = dequantize_affine(p.weight, layer.w_scale.view(shape), p.w_zero_point.view(shape))
        self.is_linear = layer.kind == "linear"
        self.register_buffer("weight", weight.flatten(1) if self.is_linear else weight)
        self.register_buffer("bias", layer.bias.clone())
        self.quantize = _InputQuantizer(layer)
        self.padding_mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        self.padding = p.padding if layer.padding_mode == "zeros" else layer.float_padding
        self.stride, self.dilation, self.groups = p.stride, p.dilation, p.groups

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        x = self.quantize.values(input)
        if self.is_linear:
            return F.linear(x, self.weight, self.bias)
        left, right, top, bottom = self.padding
        if (left, top) == (right, bottom) and self.padding_mode == "constant":
            return F.conv2d(x, self.weight, self.bias, self.stride, (top, left), self.dilation, self.groups)
        x = F.pad(x, self.padding, mode=self.padding_mode)
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class _InputQuantizer:
    """Fake quantization of a layer's input with its calibrated range; a forward pre-hook when called."""

    def __init__(self, layer: IntegerLayer):
        info = torch.iinfo(layer.problem.x_dtype)
        self._qparams = (float(layer.x_scale), layer.problem.x_zero_point, info.min, info.max)

    def values(self, x: torch.Tensor) -> torch.Tensor:
        """Shape of `x`; gradients pass where `x` is within the range."""
        return torch.fake_quantize_per_tensor_affine(x, *self._qparams)

    def __call__(self, _: nn.Module, inputs: tuple, named: dict) -> tuple[tuple, dict]:
        if inputs:
            return (self.values(inputs[0]), *inputs[1:]), named
        return inputs, {key: self.values(value) if key == "input" else value for key, value in named.items()}


class _FakeQuantizedWeight(nn.Module):
    """Fake quantization of a weight with its present range, gradients straight through."""

    def __init__(self, scheme: Scheme, *, per_channel: bool):
        super().__init__()
        self._scheme, self._per_channel = scheme, per_channel

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        flat = weight.detach().flatten(1)
        low, high = flat.amin(1), flat.amax(1)
        if not self._per_channel:
            low, high = low.amin().expand_as(low), high.amax().expand_as(high)
        scale, zero_point = choose_weight_qparams(low, high, self._scheme)
        info = torch.iinfo(self._scheme.dtype)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero_point.to(torch.int32), 0, info.min, info.max)
