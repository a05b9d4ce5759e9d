"""Every (layer, multiplier) as a ready operator: packed once, corrected once, kept within a memory budget."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from dse.datasets import Split
from dse.errors import ConfigError, unknown_name
from dse.multipliers.library import Library
from dse.multipliers.multiplier import Multiplier, exact_table
from dse.networks.convert import BATCH_SIZE, IntegerNetwork
from dse.networks.layers import LayerOperator
from dse.networks.recording import record_codes
from dse.recovery.bias import Correction, Observed, fit_correction
from dse.recovery.packed_operators import MEMORY_BYTES, PackedOperators
from dse.recovery.weight_tuning import WEIGHT_TUNINGS, histogram_weight_map, uniform_weight_map
from dse.simulation.devices import CPU
from dse.simulation.ops import PreparedConv, prepare
from dse.simulation.problem import IntegerConv, integer_conv


@dataclass(frozen=True, eq=False)
class OperatorParameters:
    """What a layer computes through a multiplier: `y = scale * (sums - slope * SUM_k x_k) + bias`.

    Attributes:
        problem: of the sums; its weight codes are those that go into the table.
        scale, bias: float32 `[C_out]`, on the CPU.
        slope: likewise, of sum compensation; `None` without.
    """

    problem: IntegerConv
    scale: torch.Tensor
    bias: torch.Tensor
    slope: torch.Tensor | None


@dataclass(frozen=True)
class Recovery:
    """Accuracy given back without training; each part is independent of the others.

    Attributes:
        fold_bias: subtract the mean error per output channel.
        sum_compensation: subtract also what is linear in the sum of the activation codes.
        weight_tuning: "off", "uniform" (ALWANN's map) or "histogram" ([ours]).
    """

    fold_bias: bool = True
    sum_compensation: bool = False
    weight_tuning: str = "off"

    def __post_init__(self) -> None:
        if self.weight_tuning not in WEIGHT_TUNINGS:
            raise ConfigError(unknown_name("weight tuning", self.weight_tuning, WEIGHT_TUNINGS))

    @property
    def is_corrected(self) -> bool:
        """Whether mean errors are measured and taken back."""
        return self.fold_bias or self.sum_compensation


class OperatorBank:
    """Operators of every layer of `network` for every multiplier of `library`.

    The first use of a pair packs its weights and, with `recovery`, measures its error on the calibration images,
    through the activations of the exact network. Later uses are look-ups; a pair that was dropped for memory is only
    packed again.

    Codes are recorded on the CPU, so that what is fitted on them does not depend on the device.

    Attributes:
        codes: input codes of every layer in the exact network on calibration images, see `record_codes`; on the CPU.
        device: of the operators' inputs and outputs.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        library: Library,
        calibration: Split,
        *,
        recovery: Recovery,
        backend: str = "auto",
        device: torch.device = CPU,
        memory_bytes: int = MEMORY_BYTES,
    ):
        self.network, self.library, self.recovery, self.backend = network, library, recovery, backend
        self.device = device
        self.calibration_fingerprint = calibration.fingerprint
        self._operators = PackedOperators(memory_bytes, network.n_layers)
        self._corrections: dict[tuple[int, int], Correction] = {}
        self._clear_packed()
        layers = enumerate(network.integer_layers)
        exact = [LayerOperator(self.exact_sums(index), layer.scale, layer.bias) for index, layer in layers]
        self.codes = record_codes(network, exact, calibration)
        pairs = zip(network.integer_layers, self.codes, strict=True)
        self._histograms = [_histogram(layer.problem, codes) for layer, codes in pairs]

    def __getstate__(self) -> dict:
        """Packed weights are made anew where they are needed; corrections travel."""
        packed = ("_packed_exact", "_input_sums", "_moved_network")
        return {key: value for key, value in self.__dict__.items() if key not in packed}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._clear_packed()

    def _clear_packed(self) -> None:
        self._packed_exact: dict[tuple[int, torch.device], PreparedConv] = {}
        self._input_sums: dict[tuple[int, str], PreparedConv] = {}
        self._moved_network: IntegerNetwork | None = None

    @property
    def whole(self) -> "OperatorBank":
        """The operators of the network with all its weights: these."""
        return self

    def stays_zero(self, layer_index: int) -> torch.Tensor | None:
        """Weights of a layer that learning must leave at zero, bool of their shape, all others staying away from it;
        `None`: a weight may become what it likes."""
        return None

    @property
    def moved_network(self) -> IntegerNetwork:
        """The network on the device of the operators."""
        if self._moved_network is None:
            self._moved_network = self.network.to(self.device)
        return self._moved_network

    def operator(self, layer_index: int, multiplier_index: int) -> LayerOperator:
        """The operator that runs layer `layer_index` through multiplier `multiplier_index` of the library."""
        key = (layer_index, multiplier_index)
        return self._operators.find_or_make(key, lambda: self._make(*key))

    def parameters(self, layer_index: int, multiplier_index: int) -> OperatorParameters:
        """What `operator` computes with, corrections included."""
        problem = self._tuned(layer_index, self.library[multiplier_index])
        return self._parameters(layer_index, multiplier_index, problem, None)

    def _make(self, layer_index: int, multiplier_index: int) -> LayerOperator:
        problem = self._tuned(layer_index, self.library[multiplier_index])
        sums = prepare(problem, self.library[multiplier_index], self.backend, device=self.device)
        return self.assembled(layer_index, sums, self._parameters(layer_index, multiplier_index, problem, sums))

    def assembled(self, layer_index: int, sums: PreparedConv, p: OperatorParameters) -> LayerOperator:
        """The operator of a layer from its prepared sums, on this bank's device, and what is done with them."""
        device = self.device
        slope = None if p.slope is None else p.slope.to(device)
        input_sums = None if slope is None else self.input_sums(layer_index, self.backend)
        return LayerOperator(sums, p.scale.to(device), p.bias.to(device), slope=slope, input_sums=input_sums)

    def _parameters(
        self, layer_index: int, multiplier_index: int, problem: IntegerConv, sums: PreparedConv | None
    ) -> OperatorParameters:
        return self.corrected(layer_index, problem, self._correction(layer_index, multiplier_index, problem, sums))

    def corrected(self, layer_index: int, problem: IntegerConv, correction: Correction | None) -> OperatorParameters:
        """The parameters of a layer whose sums are those of `problem`, with a correction or without."""
        layer = self.network.integer_layers[layer_index]
        if correction is None:
            return OperatorParameters(problem, layer.scale, layer.bias, None)
        bias = (layer.bias - layer.scale * correction.offset).to(torch.float32)
        slope = correction.slope.to(torch.float32) if correction.slope.any() else None
        return OperatorParameters(problem, layer.scale, bias, slope)

    def _correction(
        self, layer_index: int, multiplier_index: int, problem: IntegerConv, sums: PreparedConv | None
    ) -> Correction | None:
        multiplier = self.library[multiplier_index]
        if not self.recovery.is_corrected or multiplier.is_exact:
            return None
        key = (layer_index, multiplier_index)
        if key not in self._corrections:
            # Measured through a fast backend, whichever evaluates: all of them agree bit for bit.
            if sums is None or self.backend == "reference":
                sums = prepare(problem, multiplier, device=self.device)
            self._corrections[key] = self.measured_correction(layer_index, sums)
        return self._corrections[key]

    def error_table(self, layer_index: int) -> np.ndarray:
        """What every multiplier is off by in a layer, with the weight tuning in force.

        Returns:
            int32 `[n_multipliers, 256, 256]`: entry `[m, x, w]` is `T_m[x, map_m(w)] - x*w`, operands in natural order.
        """
        exact = exact_table(self.library.is_signed)
        maps = [self._weight_map(layer_index, multiplier) for multiplier in self.library]
        tables = zip(self.library, maps, strict=True)
        return np.stack([m.error if w is None else m.table[:, w] - exact for m, w in tables])

    def histogram(self, layer_index: int) -> np.ndarray:
        """How often each activation code occurs in the exact network, float64 `[256]`, natural order."""
        return self._histograms[layer_index]

    def weight_map(self, layer_index: int, multiplier_index: int) -> torch.Tensor | None:
        """What weight tuning makes of each code, int64 `[256]` from code index to code index; `None` for nothing."""
        found = self._weight_map(layer_index, self.library[multiplier_index])
        return None if found is None else torch.from_numpy(found)

    def _weight_map(self, layer_index: int, multiplier: Multiplier) -> np.ndarray | None:
        """int64 `[256]` from code index to code index, or None where the weights stay."""
        if self.recovery.weight_tuning == "off" or multiplier.is_exact:
            return None
        if self.recovery.weight_tuning == "uniform":
            return uniform_weight_map(multiplier)
        return histogram_weight_map(multiplier, self._histograms[layer_index])

    def _tuned(self, layer_index: int, multiplier: Multiplier) -> IntegerConv:
        problem = self.network.integer_layers[layer_index].problem
        weight_map = self._weight_map(layer_index, multiplier)
        if weight_map is None:
            return problem
        index = torch.from_numpy(weight_map)[problem.weight.to(torch.int64) - problem.w_low]
        return dataclasses.replace(problem, weight=(index + problem.w_low).to(problem.weight.dtype))

    @property
    def _exact(self) -> Multiplier:
        return self.library[self.library.exact_index]

    def measured_correction(self, layer_index: int, sums: PreparedConv) -> Correction:
        """What takes back the mean error of `sums`, against exact ones with the layer's own weights; see `Recovery`."""
        codes = self.codes[layer_index]
        # Every other image: both halves see all classes. A single image serves as both.
        halves = (codes[::2], codes[1::2] if len(codes) > 1 else codes)
        observed = [self.observed(layer_index, sums, half) for half in halves]
        return fit_correction(*observed, is_sloped=self.recovery.sum_compensation)

    def observed(self, layer_index: int, sums: PreparedConv, codes: torch.Tensor) -> Observed:
        """What `sums` are off by in a layer for input codes `[n, C, H, W]`, see `measured_correction`."""
        exact, input_sum = self.exact_sums(layer_index, device=self.device), self.input_sums(layer_index)
        problem = self.network.integer_layers[layer_index].problem
        shape = (problem.n_outputs, len(codes), *problem.output_size(*codes.shape[2:]))
        error, total = torch.empty(shape, dtype=torch.float64), torch.empty(shape, dtype=torch.float64)
        for start in range(0, len(codes), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            chunk = codes[part].to(self.device)
            error[:, part] = sums(chunk).transpose(0, 1)
            error[:, part] -= exact(chunk).transpose(0, 1).cpu()
            total[:, part] = input_sum(chunk).transpose(0, 1)
        return Observed(error.flatten(1), total.flatten(1))

    def exact_sums(self, layer_index: int, *, device: torch.device = CPU) -> PreparedConv:
        """The layer's convolution with exact products, codes in, integer sums (zero points removed) out."""
        key = layer_index, device
        if key not in self._packed_exact:
            problem = self.network.integer_layers[layer_index].problem
            self._packed_exact[key] = prepare(problem, self._exact, device=device)
        return self._packed_exact[key]

    def input_sums(self, layer_index: int, backend: str = "auto") -> PreparedConv:
        """`SUM_k x_k` of every output, repeated for each channel of a group, from codes on the operators' device."""
        key = (layer_index, backend)
        if key not in self._input_sums:
            problem = input_sum_problem(self.network.integer_layers[layer_index].problem)
            self._input_sums[key] = prepare(problem, self._exact, backend, device=self.device)
        return self._input_sums[key]


def input_sum_problem(problem: IntegerConv) -> IntegerConv:
    """`SUM_k x_k` of every output, `[n, C_out, H_out, W_out]`: weights of 1, exact products."""
    p = problem
    return integer_conv(
        torch.ones_like(p.weight), p.x_dtype, x_zero_point=p.x_zero_point, stride=p.stride, padding=p.padding,
        dilation=p.dilation, groups=p.groups,
    )  # fmt: skip


def _histogram(problem: IntegerConv, codes: torch.Tensor) -> np.ndarray:
    """How often each activation code occurs, float64 `[256]`, natural order."""
    index = codes.flatten().to(torch.int64) - problem.x_low
    return torch.bincount(index, minlength=256).to(torch.float64).numpy()
