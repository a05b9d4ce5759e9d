"""Weights of an integer network as sparse matrices, and back.

The matrix of a layer has a row for each output channel and a column for each of its products, in the order of
`torch.nn.functional.unfold` (input channels, then kernel rows and columns): a convolution is the product of this matrix
with unfolded codes. Its cells are codes less the zero code, so that weights of zero are zeros in every scheme.
"""

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dse.errors import NetworkError
from dse.networks.convert import IntegerNetwork
from dse.networks.layers import IntegerLayer
from dse.simulation.problem import IntegerConv
from dse.sparse.dcsr import DcsrMatrix, decode, encode


@dataclass(frozen=True, eq=False)
class CompressedLayer:
    """One layer's weights.

    Attributes:
        name: qualified name in the network.
        weight_shape: `(C_out, C_in/groups, kh, kw)`; a Linear layer has a 1x1 kernel.
        w_dtype: type of the codes, "int8" or "uint8".
        matrix: codes less zero code, `[C_out, C_in/groups * kh * kw]`.
        w_zero_point: int64 `[C_out]`.
        w_scale: float32 `[C_out]`.
        bias: float32 `[C_out]`.
    """

    name: str
    weight_shape: tuple[int, int, int, int]
    w_dtype: str
    matrix: DcsrMatrix
    w_zero_point: np.ndarray
    w_scale: np.ndarray
    bias: np.ndarray


def weight_matrix(layer: IntegerLayer) -> np.ndarray:
    """Codes less zero code, int16 `[C_out, C_in/groups * kh * kw]`."""
    return centered_matrix(layer.problem)


def centered_matrix(problem: IntegerConv) -> np.ndarray:
    """The `weight_matrix` of a convolution."""
    codes = problem.weight.cpu().flatten(1).to(torch.int16)
    return (codes - problem.w_zero_point.cpu().to(torch.int16)[:, None]).numpy()


def weight_codes(layer: CompressedLayer) -> torch.Tensor:
    """The codes of a compressed layer, `w_dtype` `weight_shape`.

    Raises:
        NetworkError: the matrix is damaged, or gives values that are not codes.
    """
    values = decode(layer.matrix).astype(np.int64) + layer.w_zero_point[:, None]
    info = np.iinfo(layer.w_dtype)
    if values.min() < info.min or values.max() > info.max:
        raise NetworkError(
            f"layer {layer.name!r}: weights and zero codes give codes of {values.min()} to {values.max()}, expected "
            f"{info.min} to {info.max}: they do not belong together; compress the network again"
        )
    return torch.from_numpy(values.astype(layer.w_dtype)).view(layer.weight_shape)


def compress(network: IntegerNetwork) -> tuple[CompressedLayer, ...]:
    """The weights of all integer layers, in order of execution.

    Raises:
        NetworkError: weights less zero code do not fit int8, as can happen with unsigned affine codes.
        ShapeError: a layer has more products an output than dCSR has columns.
    """
    pairs = zip(network.layers, network.integer_layers, strict=True)
    return tuple(_compressed(info.name, layer) for info, layer in pairs)


def _compressed(name: str, layer: IntegerLayer) -> CompressedLayer:
    problem = layer.problem
    try:
        matrix = encode(weight_matrix(layer))
    except ValueError as error:  # both leaves that `encode` raises
        raise type(error)(f"layer {name!r}: {error}") from None
    return CompressedLayer(
        name=name,
        weight_shape=tuple(problem.weight.shape),
        w_dtype=str(problem.weight.dtype).removeprefix("torch."),
        matrix=matrix,
        w_zero_point=problem.w_zero_point.cpu().numpy(),
        w_scale=layer.w_scale.cpu().numpy(),
        bias=layer.bias.cpu().numpy(),
    )


def restore(network: IntegerNetwork, layers: Sequence[CompressedLayer]) -> IntegerNetwork:
    """A copy of `network` with the weights, their scales and the biases of `layers`; operators are to be set anew.

    Raises:
        NetworkError: layers of another network, or damaged ones.
    """
    names = [info.name for info in network.layers]
    if [layer.name for layer in layers] != names:
        raise NetworkError(
            f"compressed layers {[layer.name for layer in layers]} are of another network: expected {names}; restore "
            "them into the network that was compressed"
        )
    restored = copy.copy(network)
    restored.module = copy.deepcopy(network.module)
    restored.integer_layers = tuple(restored.module.get_submodule(name) for name in names)
    for layer, compressed in zip(restored.integer_layers, layers, strict=True):
        _put(layer, compressed)
    return restored


def _put(layer: IntegerLayer, compressed: CompressedLayer) -> None:
    problem = layer.problem
    expected = tuple(problem.weight.shape)
    if compressed.weight_shape != expected or f"torch.{compressed.w_dtype}" != str(problem.weight.dtype):
        raise NetworkError(
            f"compressed layer {compressed.name!r} has weights {compressed.w_dtype} {list(compressed.weight_shape)}: "
            f"expected {problem.weight.dtype} {list(expected)}; restore it into the network that was compressed"
        )
    device = problem.weight.device
    codes, zero_point = weight_codes(compressed).to(device), torch.from_numpy(compressed.w_zero_point.copy()).to(device)
    centered_sum = (codes.to(torch.int64) - zero_point.view(-1, 1, 1, 1)).flatten(1).sum(1)
    layer.problem = dataclasses.replace(
        problem, weight=codes, w_zero_point=zero_point, constant=-problem.x_zero_point * centered_sum
    )
    layer.w_scale = torch.from_numpy(compressed.w_scale.copy()).to(device)
    layer.bias = torch.from_numpy(compressed.bias.copy()).to(device)
