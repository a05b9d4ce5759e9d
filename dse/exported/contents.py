"""What the two files hold, checked and made into layers, multipliers and a program that runs."""

import torch
from numpy.typing import NDArray

from dse.errors import NetworkError, ShapeError
from dse.exported.interpreter import Interpreter
from dse.exported.modules import make_module
from dse.exported.schema import Document
from dse.exported.values import decode
from dse.multipliers.multiplier import Multiplier
from dse.networks.layers import IntegerLayer
from dse.simulation.problem import integer_conv


class Contents:
    """The parts of an exported network.

    Args:
        document, arrays: what the two files hold.
        where: their name, for errors.

    Attributes:
        document: see there.
        layers: in order; their operators are set from outside.
        multipliers: in order.
        program: from images to logits, once the operators are set.

    Raises:
        NetworkError: content that does not fit together.
    """

    def __init__(self, document: Document, arrays: dict[str, NDArray], where: str):
        self.document, self._where = document, where
        if not document.points or not document.layers:
            raise NetworkError(
                f"{where} has no operating points, or no layers: expected some; export the network again"
            )
        self._vectors = {
            name: _tensor(document, arrays, name) for name in arrays if name.startswith(("layers/", "points/"))
        }
        self.multipliers = tuple(_multiplier(document, arrays, m, where) for m in range(len(document.multipliers)))
        self.layers = tuple(self._make_layer(index) for index in range(len(document.layers)))
        for k in range(len(document.points)):
            self._check_point(k)
        self.program = self._make_program(arrays)

    def vector(self, k: int, index: int, name: str) -> torch.Tensor | None:
        """What point `k` owns of a layer, float32 `[C_out]`: "scale", "bias", or "slope", which may be absent."""
        return self._vectors.get(f"points/{k}/{index}/{name}")

    def _make_layer(self, index: int) -> IntegerLayer:
        record = self.document.layers[index]
        n_axes = 4 if record.kind == "conv2d" else 2
        weight_shape = (*record.weight_shape, 1, 1)[:4] if len(record.weight_shape) == n_axes else ()
        vector = (*weight_shape[:1],)
        arrays = {
            name: self._array(f"layers/{index}/{name}", dtype, shape)
            for name, dtype, shape in (
                ("weight", getattr(torch, record.dtype), weight_shape),
                ("w_zero_point", torch.int64, vector),
                ("constant", torch.int64, vector),
                ("x_scale", torch.float32, ()),
                ("w_scale", torch.float32, vector),
                ("bias", torch.float32, vector),
            )
        }
        try:
            problem = integer_conv(
                arrays["weight"],
                getattr(torch, record.dtype),
                x_zero_point=record.x_zero_point,
                stride=record.stride,
                padding=record.padding,
                dilation=record.dilation,
                groups=record.groups,
                w_zero_point=arrays["w_zero_point"],
                constant=arrays["constant"],
            )
        except ShapeError as error:
            raise NetworkError(f"{self._where}: layer {record.name!r} does not fit together: {error}") from None
        floats = {name: arrays[name] for name in ("x_scale", "w_scale", "bias")}
        return IntegerLayer(
            problem,
            **floats,
            kind=record.kind,
            padding_mode=record.padding_mode,
            float_padding=record.float_padding,
        )

    def _check_point(self, k: int) -> None:
        point, n_layers = self.document.points[k], len(self.layers)
        if len(point.multipliers) != n_layers or not all(m < len(self.multipliers) for m in point.multipliers):
            raise NetworkError(
                f"{self._where}: operating point {k} names the multipliers {list(point.multipliers)}: expected "
                f"{n_layers} indices below {len(self.multipliers)}, one a layer; export the network again"
            )
        for index, (layer, m) in enumerate(zip(self.layers, point.multipliers, strict=True)):
            if self.multipliers[m].is_signed != (layer.problem.x_dtype == torch.int8):
                raise NetworkError(
                    f"{self._where}: multiplier {self.multipliers[m].name!r} does not take the {layer.problem.x_dtype} "
                    f"codes of layer {self.document.layers[index].name!r}: expected one of the same signedness"
                )
            names = [f"points/{k}/{index}/{name}" for name in ("scale", "bias", "slope")]
            for name in names[:2] + [name for name in names[2:] if name in self._vectors]:
                if not self._array(name, torch.float32, (layer.problem.n_outputs,)).isfinite().all():
                    raise NetworkError(f"{self._where}: array {name!r} has NaN or infinite values: export it again")

    def _array(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
        array = self._vectors.get(name)
        if array is None or array.dtype != dtype or tuple(array.shape) != shape:
            got = "is missing" if array is None else f"is {array.dtype} {list(array.shape)}"
            raise NetworkError(
                f"{self._where}: array {name!r} {got}: expected {dtype} {list(shape)}; export the network again"
            )
        return array

    def _make_program(self, arrays: dict[str, NDArray]) -> Interpreter:
        document = self.document
        tensors = {
            name.removeprefix("tensors/"): _tensor(document, arrays, name)
            for name in arrays
            if name.startswith("tensors/")
        }
        modules = {}
        for name, record in document.modules.items():
            where = f"{self._where}: module {name!r}"
            missing = sorted(str(t) for t in record.tensors.values() if str(t) not in tensors)
            if missing:
                raise NetworkError(f"{where} needs the array 'tensors/{missing[0]}', which is missing: export it again")
            own = {part: tensors[str(t)] for part, t in record.tensors.items()}
            settings = {key: decode(value, where) for key, value in record.settings.items()}
            modules[name] = make_module(record.kind, settings, own, where)
        layers = dict(zip((record.name for record in document.layers), self.layers, strict=True))
        if len(layers) < len(self.layers):
            raise NetworkError(f"{self._where}: two layers have the same name; expected one of its own for each")
        return Interpreter(document.program, layers=layers, modules=modules, tensors=tensors)


def _tensor(document: Document, arrays: dict[str, NDArray], name: str) -> torch.Tensor:
    """A copy that torch may write to."""
    tensor = torch.from_numpy(arrays[name].copy())
    if document.arrays[name].is_channels_last and tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def _multiplier(document: Document, arrays: dict[str, NDArray], m: int, where: str) -> Multiplier:
    record = document.multipliers[m]
    if f"tables/{m}" not in arrays:
        raise NetworkError(f"{where}: the table of multiplier {record.name!r} is missing: export the network again")
    multiplier = Multiplier(record.name, arrays[f"tables/{m}"], is_signed=record.is_signed, origin=where)
    if multiplier.key != record.hash:
        raise NetworkError(
            f"{where}: the table of multiplier {record.name!r} has the hash {multiplier.key[:12]}.., expected "
            f"{record.hash[:12]}..: it is another table; export the network again"
        )
    return multiplier
