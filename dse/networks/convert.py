"""A float network to an integer network: fold, calibrate, quantize, replace layers by qualified name."""

import copy
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from dse.datasets import Split
from dse.errors import ConfigError, unknown_name
from dse.networks.graph import FoldedNetwork, aliases_of, fold_network
from dse.networks.layers import IntegerLayer, LayerInfo
from dse.quantization.affine import Scheme, choose_qparams_affine, choose_weight_qparams, quantize_affine
from dse.quantization.calibration import calibrate
from dse.quantization.observers import OBSERVERS
from dse.simulation.devices import CPU
from dse.simulation.problem import integer_conv

BATCH_SIZE = 64
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class IntegerNetwork:
    """A network whose chosen layers compute on 8-bit codes; what lies between them stays in float32.

    Attributes:
        module: the network; its integer layers run once their `operator` is set.
        layers: what a search needs to know of each integer layer, in order of execution.
        integer_layers: the modules themselves, in the same order.
        scheme: of both operands.
        folded: whether and how the network came here (BatchNorms folded, traced or not).
        n_classes: logits an image.
        device: where it runs; what describes it stays on the CPU.
    """

    device = CPU

    def __init__(
        self,
        module: nn.Module,
        layers: Sequence[LayerInfo],
        integer_layers: Sequence[IntegerLayer],
        scheme: Scheme,
        folded: FoldedNetwork,
    ):
        self.module = module
        self.layers = tuple(layers)
        self.integer_layers = tuple(integer_layers)
        self.scheme = scheme
        self.is_traced, self.folded, self.n_classes = folded.is_traced, folded.folded, folded.n_classes

    @property
    def n_layers(self) -> int:
        """Number of layers that take a multiplier."""
        return len(self.layers)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, float32 `[n, n_classes]`, of `images` float32 `[n, C, H, W]`, through the layers' operators."""
        with self.running():
            return self.module(self.laid_out(images))

    def to(self, device: torch.device) -> "IntegerNetwork":
        """The network on another device: a copy, whose operators are to be set anew.

        Integer sums are the same everywhere. What the network computes in float32 between its layers may differ in the
        last bit where a device adds up in another order (means, excluded layers).
        """
        if device == self.device:
            return self
        moved = copy.copy(self)
        moved.device, moved.module = device, copy.deepcopy(self.module).to(device)
        moved.integer_layers = tuple(moved.module.get_submodule(info.name) for info in self.layers)
        return moved

    @contextmanager
    def running(self) -> Iterator[None]:
        """The state of PyTorch in which the network runs: inference, and on a GPU float32 that is float32."""
        with torch.inference_mode(), self.computing():
            yield

    @contextmanager
    def computing(self) -> Iterator[None]:
        """As `running`, but for a network that learns: with gradients."""
        with ExitStack() as stack:
            if self.device.type != "cpu":
                stack.enter_context(self.device)  # where code of the network makes tensors
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False))
            yield

    def laid_out(self, images: torch.Tensor) -> torch.Tensor:
        """The images on the network's device, in the memory format that runs there: channels last where it is safe."""
        # Only in a traced network is every `view` known to have become a `reshape`.
        layout = torch.channels_last if self.is_traced else torch.contiguous_format
        return images.to(self.device).contiguous(memory_format=layout)

    def fingerprint(self) -> str:
        """sha256, hexadecimal, of all that decides its outputs but the multipliers."""
        digest = hashlib.sha256()
        digest.update(str(getattr(self.module, "code", type(self.module))).encode())
        # Settings without parameters (pooling sizes, slopes, eps) are in the text only; addresses differ every time.
        for name, module in self.module.named_modules():
            digest.update(f"{name}{type(module).__qualname__}{_ADDRESS.sub('', module.extra_repr())}".encode())
        for name, tensor in sorted(self.module.state_dict().items()):
            _update(digest, name, tensor)
        for info, layer in zip(self.layers, self.integer_layers, strict=True):
            digest.update(f"{info}{layer.padding_mode}{layer.float_padding}".encode())
            p = layer.problem
            digest.update(f"{p.x_zero_point}{p.stride}{p.padding}{p.dilation}{p.groups}".encode())
            for tensor in (p.weight, p.w_zero_point, layer.x_scale, layer.w_scale, layer.bias):
                _update(digest, "", tensor)
        return digest.hexdigest()


def _update(digest, name: str, tensor: torch.Tensor) -> None:
    digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())


def quantize_network(
    network: nn.Module,
    calibration: Split,
    *,
    scheme: Scheme,
    observer: str = "percentile",
    per_channel: bool = True,
    exclude: Sequence[str] = (),
) -> IntegerNetwork:
    """Integer copy of `network`; ranges of activations come from `calibration`, of weights from the weights.

    Args:
        network: maps float32 `[n, C, H, W]` to logits; not changed.
        calibration: images the ranges are fixed on.
        scheme: of both operands, see `dse.quantization.affine.scheme_for`.
        observer: "minmax", "percentile" or "mse", for activations.
        per_channel: one weight scale per output channel instead of one per layer.
        exclude: names or patterns of layers that stay in floating point.

    Raises:
        ConfigError: unknown observer.
        DataError: no calibration images.
        NetworkError, UnsupportedLayerError: see `dse.networks.graph.fold_network`.
    """
    if observer not in OBSERVERS:
        raise ConfigError(unknown_name("observer", observer, OBSERVERS))
    folded = fold_network(network, calibration.batch(0, 2), exclude)
    modules = {name: folded.module.get_submodule(name) for name in folded.names}
    histograms = calibrate(folded.module, modules, batches(calibration))
    infos = _layer_infos(folded.module, modules, calibration.batch(0, 1))
    integer_layers = []
    for name, layer in modules.items():
        low, high = OBSERVERS[observer](histograms[name], scheme)
        integer = _integer_layer(layer, low, high, scheme, per_channel)
        integer.is_channels_last = folded.is_traced
        for alias in aliases_of(folded.module, layer):
            folded.module.set_submodule(alias, integer)
        integer_layers.append(integer)
    return IntegerNetwork(folded.module, infos, integer_layers, scheme, folded)


def batches(split: Split, n_images: int | None = None, batch_size: int = BATCH_SIZE) -> Iterator[torch.Tensor]:
    """Images of `split` in order, float32 `[<= batch_size, C, H, W]`."""
    n_images = split.n_images if n_images is None else min(n_images, split.n_images)
    for start in range(0, n_images, batch_size):
        yield split.batch(start, min(start + batch_size, n_images))


def _integer_layer(
    layer: nn.Conv2d | nn.Linear, low: float, high: float, scheme: Scheme, per_channel: bool
) -> IntegerLayer:
    x_scale, x_zero_point = choose_qparams_affine(torch.tensor(low), torch.tensor(high), scheme)
    is_conv = isinstance(layer, nn.Conv2d)
    weight = layer.weight.detach().to(torch.float32)
    weight = weight if is_conv else weight[:, :, None, None]
    w_scale, w_zero_point = _weight_qparams(weight, scheme, per_channel)
    shape = (-1, 1, 1, 1)
    codes = quantize_affine(weight, w_scale.view(shape), w_zero_point.view(shape), scheme.dtype)
    # SUM (x - z_x)(w - z_w) = SUM x*w - z_w SUM x - z_x SUM (w - z_w)
    centered_sum = (codes.to(torch.int64) - w_zero_point.view(shape)).flatten(1).sum(1)
    padding = tuple(layer._reversed_padding_repeated_twice) if is_conv else (0, 0, 0, 0)
    pads_codes = is_conv and layer.padding_mode == "zeros"
    problem = integer_conv(
        codes,
        scheme.dtype,
        x_zero_point=int(x_zero_point),
        stride=tuple(layer.stride) if is_conv else (1, 1),
        padding=padding if pads_codes else (0, 0, 0, 0),
        dilation=tuple(layer.dilation) if is_conv else (1, 1),
        groups=layer.groups if is_conv else 1,
        w_zero_point=w_zero_point,
        constant=-int(x_zero_point) * centered_sum,
    )
    bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach().to(torch.float32)
    return IntegerLayer(
        problem,
        x_scale=x_scale,
        w_scale=w_scale,
        bias=bias,
        kind="conv2d" if is_conv else "linear",
        padding_mode=layer.padding_mode if is_conv else "zeros",
        float_padding=padding,
    )


def _weight_qparams(weight: torch.Tensor, scheme: Scheme, per_channel: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero code per output channel, `[C_out]` each; equal entries unless `per_channel`."""
    flat = weight.flatten(1)
    low, high = flat.amin(1), flat.amax(1)
    if not per_channel:
        low, high = low.amin().expand_as(low), high.amax().expand_as(high)
    return choose_weight_qparams(low, high, scheme)


def _layer_infos(network: nn.Module, modules: dict[str, nn.Module], image: torch.Tensor) -> list[LayerInfo]:
    """Layer table from one forward pass of a single image; layers called more than once add up."""
    shapes: dict[str, list[tuple[int, ...]]] = {name: [] for name in modules}
    handles = [
        module.register_forward_hook(lambda _m, _x, y, name=name: shapes[name].append(tuple(y.shape)))
        for name, module in modules.items()
    ]
    try:
        with torch.inference_mode():
            network(image)
    finally:
        for handle in handles:
            handle.remove()
    return [_layer_info(name, module, shapes[name]) for name, module in modules.items()]


def _layer_info(name: str, module: nn.Conv2d | nn.Linear, shapes: list[tuple[int, ...]]) -> LayerInfo:
    fan_in = module.weight[0].numel()
    n_outputs = sum(int(torch.Size(shape).numel()) for shape in shapes)
    return LayerInfo(
        name=name,
        kind="conv2d" if isinstance(module, nn.Conv2d) else "linear",
        weight_shape=tuple(module.weight.shape),
        output_shape=shapes[0][1:],
        groups=getattr(module, "groups", 1),
        fan_in=fan_in,
        n_weights=module.weight.numel(),
        n_multiplications=fan_in * n_outputs,
    )
