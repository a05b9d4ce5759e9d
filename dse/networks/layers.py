"""Layers of an integer network: what a search needs to know of one, and how one runs.

A layer quantizes its input to codes, an operator turns codes into outputs: the integer sums of the prepared
convolution, rescaled. Switching a layer's multiplier is switching its operator.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from dse.quantization.affine import quantize_affine
from dse.simulation.native import quantize
from dse.simulation.native_library import load
from dse.simulation.ops import PreparedConv, rescaled
from dse.simulation.problem import IntegerConv, rescale


@dataclass(frozen=True)
class LayerInfo:
    """One layer as searches and cost models see it.

    Attributes:
        name: qualified name in the network.
        kind: "conv2d" or "linear".
        weight_shape: `[C_out, C_in/groups, kh, kw]` or `[out, in]`.
        output_shape: without the batch axis, of one call.
        groups: of the convolution; 1 for linear.
        fan_in: products summed into one output, `K`.
        n_weights: number of weights.
        n_multiplications: products for ONE input sample, `N_l`, over all calls of the layer.
    """

    name: str
    kind: str
    weight_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    groups: int
    fan_in: int
    n_weights: int
    n_multiplications: int


class LayerOperator:
    """Codes to float outputs: `y = scale * (sums - slope * SUM_k x_k) + bias`, per output channel.

    Args:
        sums: the prepared convolution.
        scale: float32 `[C_out]`, `x_scale * w_scale`.
        bias: float32 `[C_out]`.
        slope: float32 `[C_out]` for sum compensation, with `input_sums` the prepared `SUM_k x_k` (one channel a group,
            repeated to `C_out`); `None` without.
    """

    def __init__(
        self,
        sums: PreparedConv,
        scale: torch.Tensor,
        bias: torch.Tensor,
        *,
        slope: torch.Tensor | None = None,
        input_sums: PreparedConv | None = None,
    ):
        self.sums = sums
        self._scale, self._bias, self._slope = scale.contiguous(), bias.contiguous(), slope
        self._input_sums = input_sums

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        """float32 `[n, C_out, H_out, W_out]`."""
        if self._slope is None:
            return rescaled(self.sums, codes, self._scale, self._bias)
        outputs = self.sums(codes).to(torch.float32)
        # Separate roundings, as in `rescale`.
        outputs.sub_(self._input_sums(codes).to(torch.float32) * self._slope.view(1, -1, 1, 1))
        return rescale(outputs, self._scale, self._bias)


class IntegerLayer(nn.Module):
    """A Conv2d or Linear layer on integer codes; `operator` is set from outside before it runs.

    Args:
        problem: the exact-product convolution with all zero-point corrections; its weight codes are the original ones.
        x_scale: float32 scalar.
        w_scale: float32 `[C_out]`.
        bias: float32 `[C_out]`.
        kind: "conv2d" or "linear".
        padding_mode: of the Conv2d; modes other than "zeros" pad the float input by `float_padding`.
        float_padding: (left, right, top, bottom).
        is_channels_last: whether outputs may keep the memory format of the simulation, which is faster; code that calls
            `view` on them needs the usual one.
    """

    def __init__(
        self,
        problem: IntegerConv,
        *,
        x_scale: torch.Tensor,
        w_scale: torch.Tensor,
        bias: torch.Tensor,
        kind: str,
        padding_mode: str = "zeros",
        float_padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        is_channels_last: bool = True,
    ):
        super().__init__()
        self.problem = problem
        self.x_scale, self.w_scale, self.bias = x_scale, w_scale, bias
        self.kind = kind
        self.padding_mode, self.float_padding = padding_mode, float_padding
        self.is_channels_last = is_channels_last
        self.operator: Callable[[torch.Tensor], torch.Tensor] | None = None
        self._zero_point = torch.tensor(float(problem.x_zero_point))

    @property
    def scale(self) -> torch.Tensor:
        """float32 `[C_out]`: value of one unit of the integer sums."""
        return self.x_scale * self.w_scale

    def shaped(self, x: torch.Tensor) -> torch.Tensor:
        """A float input as `[n, C, H, W]`: a Linear one `[..., in]` becomes `[prod(...), in, 1, 1]`, and modes of
        padding other than "zeros" are carried out."""
        if self.kind == "linear":
            return x.reshape(-1, x.shape[-1], 1, 1)
        return x if self.padding_mode == "zeros" else F.pad(x, self.float_padding, mode=self.padding_mode)

    def quantize(self, x: torch.Tensor) -> torch.Tensor:
        """Codes `[n, C, H, W]` of a float input."""
        return self.quantize_shaped(self.shaped(x))

    def quantize_shaped(self, x: torch.Tensor) -> torch.Tensor:
        """Codes of what `shaped` gives."""
        library = load()
        if library is None or not x.is_cpu or x.dtype != torch.float32:
            return quantize_affine(x, self.x_scale, self._zero_point, self.problem.x_dtype)
        return quantize(x, self.x_scale, self.problem.x_zero_point, self.problem.x_dtype, library)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """float32 outputs of the layer's usual shape; the argument is named as in torch.nn, for calls by name."""
        return self.unshaped(self.operator(self.quantize(input)), input)

    def unshaped(self, outputs: torch.Tensor, input: torch.Tensor) -> torch.Tensor:
        """Outputs `[n, C_out, H_out, W_out]` in the shape that `input` asks for."""
        if self.kind == "linear":
            return outputs.reshape(*input.shape[:-1], self.problem.n_outputs)
        return outputs if self.is_channels_last else outputs.contiguous()

    def __getstate__(self) -> dict:
        """Without the operator: packed weights are made anew where they are needed."""
        return {**self.__dict__, "operator": None}
