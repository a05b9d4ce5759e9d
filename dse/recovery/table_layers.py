"""Layers that learn through a multiplier's table: forward as the hardware computes, backward straight through.

Forward is what the integer network computes, bit for bit: codes, look-ups, integer sums, one scale and bias per output
channel. Backward takes rounding for the identity and each column of the table for a straight line (see
`dse.recovery.table_gradients` for which); gradients pass where a value is within its range of codes. Weights are
learned in units of their codes, ranges stay as calibrated.

[ours] Operands of the backward convolutions are codes less their zero point, integers of at most 255, which bfloat16
holds exactly. Where the processor has instructions for it only the incoming gradient is rounded (to 8 bits of
mantissa). A GPU computes backward in float32, or in TF32 where PyTorch is set to it, which holds codes exactly too.
"""

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dse.multipliers.library import Library
from dse.multipliers.multiplier import Multiplier
from dse.networks.graph import aliases_of
from dse.networks.layers import IntegerLayer, LayerInfo, LayerOperator
from dse.recovery.operators import OperatorBank, input_sum_problem
from dse.recovery.switchable import (
    PointParameters,
    SwitchableNetwork,
    layer_multipliers,
    switchable_network,
    with_problems,
)
from dse.recovery.table_gradients import TableGradients, column_slopes, convolution_gradients
from dse.simulation.channels import prepare_channels
from dse.simulation.devices import CPU
from dse.simulation.ops import PreparedConv
from dse.simulation.problem import IntegerConv


@dataclass(frozen=True, eq=False)
class LayerPoint:
    """A layer at an operating point.

    Attributes:
        multipliers: index of the multiplier of every output channel, int64 `[C_out]`.
        scale, bias: initial ones, float32 `[C_out]`.
        slope: of sum compensation, likewise; `None` without.
    """

    multipliers: NDArray[np.int64]
    scale: torch.Tensor
    bias: torch.Tensor
    slope: torch.Tensor | None

    @cached_property
    def key(self) -> bytes:
        """Equal where the multipliers are."""
        return self.multipliers.tobytes()

    def to(self, device: torch.device) -> "LayerPoint":
        """The same on another device."""
        slope = None if self.slope is None else self.slope.to(device)
        return LayerPoint(self.multipliers, self.scale.to(device), self.bias.to(device), slope)


def layer_points(
    points: Sequence[PointParameters], layers: Sequence[LayerInfo], index: int, *, is_shared: bool = False
) -> list[LayerPoint]:
    """Layer `index` of all operating points, with the mean of their biases where these are shared."""
    found = [
        LayerPoint(
            layer_multipliers(point.assignment, layers)[index], point.scales[index], point.biases[index],
            point.slopes[index],
        )
        for point in points
    ]  # fmt: skip
    if not is_shared or len(found) == 1:
        return found
    bias = torch.stack([point.bias for point in found]).mean(0)
    return [dataclasses.replace(point, bias=bias) for point in found]


class TableLayer(nn.Module):
    """An integer layer whose weights, and whose scales and biases at every operating point, learn.

    Args:
        layer: the integer layer.
        points: of every operating point the multiplier, and initial scale, bias and slope.
        weight_map: of weight tuning, by output channel int64 `[C_out, 256]`, or `None`: what goes into the table in
            place of a code.
        library: of multipliers.
        gradients: smoothed ones of the tables, by index of the multiplier; `None` without.
        lines: slope of each column of the tables, float32 `[256]`, by index of the multiplier; `None`: the weight.
        stays_zero: weights that are zero and stay it, while no other becomes zero, bool of the weights' shape; `None`:
            weights are free.
        device: of inputs, outputs and all that learns. Weights are packed on the CPU.
        backend: of the simulation.

    Attributes:
        device: see above.
        weight: codes as real numbers, float32 `[C_out, C_in/groups, kh, kw]`.
        gains: a point float32 `[C_out]`, factors on the scales that it started with.
        shifts: a point float32 `[C_out]`, added to the biases, in units of `unit`.
        unit: what a shift of 1 is, set from outside: about the standard deviation of the outputs.
        point: the operating point that runs; `None`: all of them, each on its part of the batch, without gradients.
        is_convolution: else linear, without BatchNorm: gains stay 1, and all points share the first shift.
    """

    def __init__(
        self,
        layer: IntegerLayer,
        points: Sequence[LayerPoint],
        *,
        weight_map: torch.Tensor | None,
        library: Library,
        gradients: Mapping[int, TableGradients] | None = None,
        lines: Mapping[int, torch.Tensor] | None = None,
        stays_zero: torch.Tensor | None = None,
        device: torch.device = CPU,
        backend: str = "auto",
    ):
        super().__init__()
        self.layer, self.points = layer, tuple(point.to(device) for point in points)
        self._map, self._library, self.device, self._backend = weight_map, library, device, backend
        self.gradients = None if gradients is None else {m: table.to(device) for m, table in gradients.items()}
        self._lines = None
        if lines is not None:
            rows = [torch.stack([lines[int(m)] for m in point.multipliers]) for point in points]
            self._lines = {point.key: slopes.to(device) for point, slopes in zip(points, rows, strict=True)}
        self._distinct = {point.key: point.multipliers for point in points}
        self._w_zero_point = layer.problem.w_zero_point.view(-1, 1, 1, 1).to(device)
        self._stays_zero = None if stays_zero is None else stays_zero.to(device)
        self.weight = nn.Parameter(layer.problem.weight.to(device, torch.float32))
        channels = layer.problem.n_outputs
        self.gains = nn.ParameterList(torch.ones(channels, device=device) for _ in points)
        self.shifts = nn.ParameterList(torch.zeros(channels, device=device) for _ in points)
        self.is_convolution = layer.kind == "conv2d"
        self.unit = 1.0
        self.point: int | None = 0
        info, zero_point = torch.iinfo(layer.problem.x_dtype), layer.problem.x_zero_point
        ends = (info.min - zero_point - 0.5, info.max - zero_point + 0.5)
        self.limits = tuple(end * float(layer.x_scale) for end in ends)

    def quantized(self) -> IntegerConv:
        """The convolution with the weights as they are now, on the CPU, and the zero-point corrections of these."""
        p, weight = self.layer.problem, self.weight.detach()
        codes = weight.round() if self._stays_zero is None else self._in_pattern(weight)
        codes = codes.to(p.weight.dtype).cpu()
        centered = (codes.to(torch.int64) - p.w_zero_point.view(-1, 1, 1, 1)).flatten(1).sum(1)
        return dataclasses.replace(p, weight=codes, constant=-p.x_zero_point * centered)

    def _in_pattern(self, weight: torch.Tensor) -> torch.Tensor:
        """Codes for weights of which some stay zero; one that does not takes a code beside zero where it is near it."""
        zero, info = self._w_zero_point.to(weight.dtype), torch.iinfo(self.layer.problem.weight.dtype)
        is_below = (weight < zero) & (zero > info.min) | (zero == info.max)
        codes = weight.round()
        codes = torch.where(codes == zero, torch.where(is_below, zero - 1, zero + 1), codes)
        return torch.where(self._stays_zero, zero, codes)

    def mapped(self, problem: IntegerConv) -> IntegerConv:
        """`problem` with the weights that go into the table."""
        if self._map is None:
            return problem
        index = self._map.gather(1, problem.weight.to(torch.int64).flatten(1) - problem.w_low).view_as(problem.weight)
        return dataclasses.replace(problem, weight=(index + problem.w_low).to(problem.weight.dtype))

    def pack(self) -> None:
        """Makes the weights ready for all multipliers of the layer; call it after each change of them."""
        with torch.no_grad():
            info = torch.iinfo(self.layer.problem.weight.dtype)
            self.weight.clamp_(info.min, info.max)
            if self._stays_zero is not None:
                self.weight.copy_(torch.where(self._stays_zero, self._w_zero_point.to(torch.float32), self.weight))
        problem = self.quantized()
        self.codes = problem.weight.to(self.device)
        centered = self.codes.to(torch.float32) - self._w_zero_point
        packed = self.mapped(problem)
        self._slopes = [self._slopes_at(point, packed, centered) for point in self.points]
        # A forward pass on another device, in whose midst weights may be chosen, makes new tensors there.
        with nullcontext() if self.device == CPU else CPU:
            self._sums = {key: self._prepared(packed, m) for key, m in self._distinct.items()}
            self._input_sums = None
            if any(point.slope is not None for point in self.points):
                exact = np.full(problem.n_outputs, self._library.exact_index)
                self._input_sums = self._prepared(input_sum_problem(problem), exact)

    def _prepared(self, problem: IntegerConv, multipliers: NDArray[np.int64]) -> PreparedConv:
        return prepare_channels(problem, self._library, multipliers, self._backend, device=self.device)

    def _slopes_at(self, point: LayerPoint, packed: IntegerConv, centered: torch.Tensor) -> torch.Tensor:
        if self._lines is not None:
            index = packed.weight.to(self.device, torch.int64) - packed.w_low
            lines = self._lines[point.key].gather(1, index.flatten(1)).view_as(index)
            centered = lines - self._w_zero_point
        # Sum compensation takes back what the error adds to the slopes: where that is left out, so is this.
        has_error = self._lines is not None or self.gradients is not None
        if has_error and point.slope is not None:
            centered = centered - point.slope.view(-1, 1, 1, 1)
        return centered.contiguous(memory_format=torch.channels_last)

    def slopes(self, k: int) -> torch.Tensor:
        """By how much a sum rises with each code at operating point `k`, shape of `weight`."""
        return self._slopes[k]

    def use_codes(self, codes: torch.Tensor) -> None:
        """Takes `codes`, of the shape of `weight`, chosen for the table: weight tuning does not apply to them."""
        self._map = None
        with torch.no_grad():
            self.weight.copy_(codes)
        self.pack()

    @property
    def is_mapped(self) -> bool:
        """Whether weight tuning stands between the weights and the table."""
        return self._map is not None

    @property
    def keeps_zeros(self) -> bool:
        """Whether weights of zero stay zero, and no other becomes zero."""
        return self._stays_zero is not None

    @property
    def is_exact(self) -> bool:
        """Whether all channels have the exact multiplier at all points; of layers that may be pruned never."""
        if self.keeps_zeros:
            return False
        return all((point.multipliers == self._library.exact_index).all() for point in self.points)

    def rows_by_multipliers(self) -> Iterator[tuple[NDArray[np.int64], tuple[Multiplier, ...]]]:
        """Output channels that have equal multipliers at every operating point, int64 `[n]`, and these."""
        columns = np.stack([point.multipliers for point in self.points])
        distinct, which = np.unique(columns, axis=1, return_inverse=True)
        for i, multipliers in enumerate(distinct.T):
            yield np.flatnonzero(which.ravel() == i), tuple(self._library[int(m)] for m in multipliers)

    def sums(self, codes: torch.Tensor, k: int) -> torch.Tensor:
        """Sums at operating point `k` less what sum compensation takes off, float32 `[n, C_out, H_out, W_out]`."""
        sums = self._sums[self.points[k].key](codes).to(torch.float32)
        slope = self.points[k].slope
        return sums if slope is None else sums - self._input_sums(codes).to(torch.float32) * slope.view(1, -1, 1, 1)

    def operator(self, k: int, scale: torch.Tensor, bias: torch.Tensor) -> LayerOperator:
        """What runs at operating point `k`."""
        point = self.points[k]
        return LayerOperator(self._sums[point.key], scale, bias, slope=point.slope, input_sums=self._input_sums)

    def vectors(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and bias at operating point `k`, with gradients to gain and shift."""
        point, shift = self.points[k], self.shifts[k if self.is_convolution else 0]
        return point.scale * self.gains[k], point.bias + self.unit * shift

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As `IntegerLayer.forward`, at `point`; named as in torch.nn."""
        if self.point is None:
            return self.layer.unshaped(self._at_all_points(input), input)
        outputs = _ThroughTable.apply(self.layer.shaped(input), self.weight, *self.vectors(self.point), self)
        return self.layer.unshaped(outputs, input)

    def _at_all_points(self, input: torch.Tensor) -> torch.Tensor:
        parts = enumerate(self.layer.quantize(input).chunk(len(self.points)))
        return torch.cat([self.operator(k, *self.vectors(k))(codes) for k, codes in parts])


class _ThroughTable(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, layer: TableLayer):
        ctx.layer, ctx.point = layer, layer.point
        codes = layer.layer.quantize_shaped(x)
        low, high = layer.limits
        is_inside = (x >= low) & (x <= high) if ctx.needs_input_grad[0] else None
        ctx.save_for_backward(codes, is_inside, scale)
        return layer.operator(layer.point, scale, bias)(codes)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        codes, is_inside, scale = ctx.saved_tensors
        layer: TableLayer = ctx.layer
        weight = layer.slopes(ctx.point)
        of_sums = gradient * scale.view(1, -1, 1, 1)
        needs_x = is_inside is not None
        by_x, by_weight = _exact_gradients(layer.layer.problem, codes, weight, of_sums, needs_x=needs_x)
        # `scale` times this is the gradient by the sums times the sums: no second pass over the outputs.
        by_scale = (by_weight * weight).flatten(1).sum(1) / scale
        multipliers = layer.points[ctx.point].multipliers
        for m in np.unique(multipliers) if layer.gradients is not None else ():
            own = torch.from_numpy(multipliers == m).to(of_sums.device).view(1, -1, 1, 1)
            more_x, more_weight = layer.gradients[int(m)].apply(
                layer.layer.problem, codes, layer.codes, of_sums * own, needs_x=needs_x
            )
            by_x, by_weight = by_x + more_x if needs_x else None, by_weight + more_weight
        if needs_x:
            by_x = by_x.mul_(is_inside).div_(float(layer.layer.x_scale))
        return by_x, by_weight, by_scale, gradient.sum((0, 2, 3)), None


def _exact_gradients(
    problem: IntegerConv, codes: torch.Tensor, weight: torch.Tensor, of_sums: torch.Tensor, *, needs_x: bool
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Gradients of exact sums of products by codes and by weights, both less their zero points, float32."""
    dtype = torch.bfloat16 if codes.is_cpu and _has_bfloat16() else torch.float32
    centered = codes.to(dtype).sub_(problem.x_zero_point)
    return convolution_gradients(problem, centered, weight.to(dtype), of_sums.to(dtype), needs=(needs_x, True))


@cache
def _has_bfloat16() -> bool:
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _lines(bank: OperatorBank, index: int, points: Sequence[LayerPoint]) -> dict[int, torch.Tensor]:
    """Slopes of the tables that a layer uses, for the activations that it gets in the exact network."""
    used = np.unique(np.concatenate([point.multipliers for point in points]))
    return {int(m): column_slopes(bank.library[int(m)], bank.histogram(index)) for m in used}


def _weight_map(bank: OperatorBank, index: int, point: LayerPoint) -> torch.Tensor | None:
    """What weight tuning makes of each code, by output channel int64 `[C_out, 256]`; `None` for nothing."""
    found = {int(m): bank.weight_map(index, int(m)) for m in np.unique(point.multipliers)}
    if all(weight_map is None for weight_map in found.values()):
        return None
    rows = {m: torch.arange(256) if weight_map is None else weight_map for m, weight_map in found.items()}
    return torch.stack([rows[int(m)] for m in point.multipliers])


class LearningNetwork:
    """Designs as operating points of one network that learns, on the device of `bank`; a single design learns alone.

    Linear layers have no BatchNorm: their points share one bias, which starts as the mean of theirs.

    Args:
        bank: operators of the network, which is not changed; of a `PrunedDesign` weights that are zero stay zero.
        assignments: int64 `[n_points, n_layers]`, or `[n_points, n_neurons]` where neurons of a layer differ.
        gradient: "linear", "ste" or "smoothed", see `dse.recovery.table_gradients`.
        has_gains: whether scales learn, or biases only.

    Attributes:
        layers: the layers that learn, in order of execution.
        n_points: operating points.
        has_gains: see above.
        device: of images, logits and all that learns.

    Raises:
        ConfigError: several points under weight tuning, see `switchable_network`.
    """

    def __init__(
        self, bank: OperatorBank, assignments: NDArray[np.int64], *, gradient: str = "linear", has_gains: bool = True
    ):
        self._start = switchable_network(bank, assignments)
        self._network, self._moved, self._library = bank.network, bank.moved_network, bank.library
        self.n_points, self.has_gains, self.device = self._start.n_points, has_gains, bank.device
        # All backends have the same bits, so the fastest one learns; "gpu" may be asked for where the CPU stands in.
        self._backend = "gpu" if bank.backend == "gpu" else "auto"
        self.module = copy.deepcopy(self._moved.module).requires_grad_(False)  # but for what the layers below own
        for module in self.module.modules():
            if getattr(module, "inplace", False):
                module.inplace = False  # other parts of the network may need what it would overwrite
        gradients = None
        if gradient == "smoothed":
            gradients = {int(m): TableGradients.of(bank.library[int(m)]) for m in np.unique(assignments)}
        self.layers: list[TableLayer] = []
        for index, info in enumerate(bank.network.layers):
            integer = self.module.get_submodule(info.name)
            points = layer_points(self._start.points, bank.network.layers, index, is_shared=info.kind == "linear")
            layer = TableLayer(
                integer,
                points,
                weight_map=_weight_map(bank, index, points[0]),
                library=bank.library,
                gradients=gradients,
                lines=_lines(bank, index, points) if gradient == "linear" else None,
                stays_zero=bank.stays_zero(index),
                device=self.device,
                backend=self._backend,
            )
            for name in aliases_of(self.module, integer):
                self.module.set_submodule(name, layer)
            self.layers.append(layer)
        self.pack()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits at the current point, with gradients."""
        with self._moved.computing():
            return self.module(self._moved.laid_out(images))

    def backward(self, loss: torch.Tensor) -> None:
        """Adds up the gradients of `loss`; on a GPU convolutions do so in the same order each time."""
        if self.device.type == "cpu":
            loss.backward()
            return
        is_rounded = torch.backends.cudnn.allow_tf32  # codes are not, see the module: left as it is
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=is_rounded):
            loss.backward()

    def set_operating_point(self, k: int | None) -> None:
        """Switches all layers; `None`: a batch holds as many equal parts as there are points, one for each."""
        for layer in self.layers:
            layer.point = k

    def pack(self) -> None:
        """Makes all weights ready; call it after each change of them."""
        for layer in self.layers:
            layer.pack()

    def parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Those that learn: weights, which all points share, and gains and shifts, which each owns.

        Linear layers have no BatchNorm: their shift is shared, their gain stays.
        """
        affine: list[nn.Parameter] = []
        for layer in self.layers:
            if layer.is_convolution:
                affine += [*layer.gains, *layer.shifts] if self.has_gains else layer.shifts
            else:
                affine.append(layer.shifts[0])
        return [layer.weight for layer in self.layers], affine

    def share_gradients(self) -> None:
        """Divides the gradients of all that the operating points share by their number."""
        for layer in self.layers:
            shared = [layer.weight] if layer.is_convolution else [layer.weight, layer.shifts[0]]
            for parameter in shared:
                if parameter.grad is not None:  # a forward pass need not reach every layer
                    parameter.grad /= self.n_points

    @property
    def is_finite(self) -> bool:
        """Whether all that learns is a number."""
        return all(bool(torch.isfinite(parameter).all()) for group in self.parameters() for parameter in group)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint; they change as the network learns."""
        return {
            "layers": [layer.state_dict() for layer in self.layers],
            "units": [layer.unit for layer in self.layers],
            "is_mapped": [layer.is_mapped for layer in self.layers],
        }

    def begin_from(self, state: Mapping[str, Any]) -> None:
        """Takes weights and vectors of another design of the same network; multipliers and weight tuning stay.

        Args:
            state: of a learner with a single point, or with as many as this one.
        """
        with torch.no_grad():
            for layer, found, unit in zip(self.layers, state["layers"], state["units"], strict=True):
                layer.weight.copy_(found["weight"])
                layer.unit = unit
                n_found = sum(name.startswith("gains.") for name in found)
                for k in range(self.n_points):
                    layer.gains[k].copy_(found[f"gains.{k if n_found > 1 else 0}"])
                    layer.shifts[k].copy_(found[f"shifts.{k if n_found > 1 else 0}"])
        self.pack()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes such a state."""
        for index, layer in enumerate(self.layers):
            layer.load_state_dict(state["layers"][index])
            layer.unit = state["units"][index]
            if not state["is_mapped"][index]:
                layer.use_codes(layer.weight.detach().clone())
        self.pack()

    def frozen(self) -> SwitchableNetwork:
        """The network as it is now, on the same device."""
        problems = [layer.mapped(layer.quantized()) for layer in self.layers]
        points = []
        with torch.no_grad():
            for k, point in enumerate(self._start.points):
                found = [[vector.cpu() for vector in layer.vectors(k)] for layer in self.layers]
                points.append(PointParameters(point.assignment, *zip(*found, strict=True), point.slopes))
        return SwitchableNetwork(
            with_problems(self._network, problems), self._library, points, origin=self._start.origin,
            backend=self._backend, device=self.device,
        )  # fmt: skip
