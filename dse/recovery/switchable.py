"""Operating points: one integer network, several settings of its multipliers, switched while it runs.

E. Trommer, B. Waschneck, A. Kumar, "QoS-Nets", 2024: all operating points share the weights; each owns the affine
parameters of its BatchNorms. BatchNorm that is folded into an integer layer is what the layer multiplies its sums by
and adds to them, so an operating point owns these: `y = scale * (sums - slope * SUM_k x_k) + bias` per output channel.
A network with a single point is one design with parameters of its own, as fine-tuning leaves it.
"""

import copy
import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dse.datasets import Split
from dse.errors import ConfigError, RunError, ShapeError
from dse.evaluation import logits_by_point, ranks
from dse.files import replace_file
from dse.multipliers.library import Library
from dse.networks.convert import IntegerNetwork
from dse.networks.layers import LayerInfo, LayerOperator
from dse.recovery.neurons import mixed_parameters
from dse.recovery.operators import OperatorBank, input_sum_problem
from dse.simulation.channels import prepare_channels
from dse.simulation.devices import CPU
from dse.simulation.ops import prepare
from dse.simulation.problem import IntegerConv

FORMAT = 1


@dataclass(frozen=True, eq=False)
class PointParameters:
    """What one operating point owns; its tensors are on the CPU, wherever the network runs.

    Attributes:
        assignment: indices into the library, int64 `[n_layers]`; or `[n_neurons]`, layer after layer, where neurons
            (output channels) of a layer differ.
        scales: a layer float32 `[C_out]`, value of one unit of the integer sums.
        biases: a layer float32 `[C_out]`.
        slopes: a layer float32 `[C_out]` of sum compensation, or `None`.
    """

    assignment: NDArray[np.int64]
    scales: tuple[torch.Tensor, ...]
    biases: tuple[torch.Tensor, ...]
    slopes: tuple[torch.Tensor | None, ...]

    def owned(self, layer: int) -> list[torch.Tensor]:
        """The vectors of a layer."""
        vectors = (self.scales[layer], self.biases[layer], self.slopes[layer])
        return [vector for vector in vectors if vector is not None]


class SwitchableNetwork:
    """An integer network with `n_points` operating points that share its weights.

    Args:
        network: its layers' weights are those of all points; not changed, but copied.
        library: what the assignments index.
        points: at least one.
        origin: fingerprint of the network that the weights were made from; of `network` itself by default.
        backend: of the simulation.
        device: where it runs.

    Attributes:
        network: the copy that runs.
        library, points, origin, device: see above.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        library: Library,
        points: Sequence[PointParameters],
        *,
        origin: str | None = None,
        backend: str = "auto",
        device: torch.device = CPU,
    ):
        if not points:
            raise ConfigError("a network without operating points cannot run: give at least one")
        for index, point in enumerate(points):
            _check_point(point, network, library, where=f"operating point {index}")
        self.network = with_problems(network, [layer.problem for layer in network.integer_layers]).to(device)
        self.library, self.points, self.device, self._backend = library, tuple(points), device, backend
        self.origin = network.fingerprint() if origin is None else origin
        self._sums: dict = {}
        self._point = 0
        self.set_operating_point(0)

    @property
    def n_points(self) -> int:
        """Number of operating points."""
        return len(self.points)

    @property
    def operating_point(self) -> int:
        """The point that runs."""
        return self._point

    def set_operating_point(self, k: int) -> None:
        """Switches to operating point `k`; takes effect with the next image.

        Raises:
            ShapeError: no such point.
        """
        if not 0 <= k < self.n_points:
            raise ShapeError(f"operating point {k} does not exist: expected 0 to {self.n_points - 1}")
        multipliers = layer_multipliers(self.points[k].assignment, self.network.layers)
        for index, layer in enumerate(self.network.integer_layers):
            layer.operator = self._operator(index, self.points[k], multipliers[index])
        self._point = k

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, float32 `[n, n_classes]`, of `images` float32 `[n, C, H, W]` at the current point."""
        return self.network(images)

    def ranks(self, split: Split) -> NDArray[np.int64]:
        """How many classes are better than each image's label, int64 `[n_points, n_images]`, for all points."""
        found = np.zeros((self.n_points, split.n_images), dtype=np.int64)
        for k, part, logits in logits_by_point(self, split, self.network.layers, device=self.device):
            found[k, part] = ranks(logits.cpu(), split.labels[part]).numpy()
        return found

    def hits(self, split: Split, *, top: int = 1) -> NDArray[np.bool_]:
        """Whether each image's label is among the `top` best logits, bool `[n_points, n_images]`, for all points."""
        return self.ranks(split) < top

    @property
    def n_parameters(self) -> int:
        """Weights and vectors of one point."""
        weights = sum(layer.problem.weight.numel() for layer in self.network.integer_layers)
        return weights + sum(v.numel() for index in range(self.network.n_layers) for v in self.points[0].owned(index))

    @property
    def n_private_parameters(self) -> int:
        """What the further points add: their vectors, as far as they differ from the first point's."""
        first = self.points[0]
        return sum(
            vector.numel()
            for point in self.points[1:]
            for index in range(self.network.n_layers)
            for vector in point.owned(index)
            if not any(torch.equal(vector, other) for other in first.owned(index))
        )

    @property
    def overhead(self) -> float:
        """`n_private_parameters / n_parameters`: memory that switching costs, relative to a network with one point."""
        return self.n_private_parameters / self.n_parameters

    def _operator(self, index: int, point: PointParameters, multipliers: NDArray[np.int64]) -> LayerOperator:
        scale, bias = (vectors[index].to(self.device) for vectors in (point.scales, point.biases))
        sums, slope, input_sums = self._prepared(index, multipliers), point.slopes[index], None
        if slope is not None:
            slope, input_sums = slope.to(self.device), self._prepared(index, None)
        return LayerOperator(sums, scale, bias, slope=slope, input_sums=input_sums)

    def _prepared(self, index: int, multipliers: NDArray[np.int64] | None):
        """Sums of a layer through its multipliers, or of its inputs, packed once for all points."""
        key = (index, None if multipliers is None else multipliers.tobytes())
        if key not in self._sums:
            problem = self.network.integer_layers[index].problem
            if multipliers is None:
                exact = self.library[self.library.exact_index]
                self._sums[key] = prepare(input_sum_problem(problem), exact, self._backend, device=self.device)
            else:
                self._sums[key] = prepare_channels(
                    problem, self.library, multipliers, self._backend, device=self.device
                )
        return self._sums[key]

    def save(self, path: Path) -> None:
        """Writes all points to one `.npz` file (arrays and a JSON text, no pickle), in one step.

        Raises:
            RunError: the file cannot be written.
        """
        arrays: dict[str, np.ndarray] = {"assignments": np.stack([point.assignment for point in self.points])}
        for index, layer in enumerate(self.network.integer_layers):
            arrays[f"weight_{index}"] = layer.problem.weight.numpy()
            arrays[f"constant_{index}"] = layer.problem.constant.numpy()
            for name in ("scales", "biases", "slopes"):
                vectors = [getattr(point, name)[index] for point in self.points]
                for k, vector in enumerate(vectors):
                    if vector is not None:
                        arrays[f"{name}_{index}_{k}"] = vector.numpy()
        header = {"format": FORMAT, "origin": self.origin, "multipliers": [m.key for m in self.library]}
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        replace_file(Path(path), buffer.getvalue())

    @classmethod
    def load(
        cls,
        path: Path,
        network: IntegerNetwork,
        library: Library,
        *,
        backend: str = "auto",
        device: torch.device = CPU,
    ) -> "SwitchableNetwork":
        """Reads what `save` wrote.

        Args:
            path: the file.
            network: the integer network that the points were made from, calibrated in the same way.
            library: the same one.
            backend: of the simulation.
            device: where it is to run.

        Raises:
            RunError: not such a file, or of another network or library.
        """
        arrays, header = _read(Path(path))
        if header["origin"] != network.fingerprint():
            raise RunError(
                f"{path} belongs to another network (or to another calibration of it): use the network, weights, "
                "data and quantization that it was made with"
            )
        if header["multipliers"] != [m.key for m in library]:
            raise RunError(f"{path} belongs to another library of multipliers: use the one that it was made with")
        try:
            problems = [
                dataclasses.replace(
                    layer.problem,
                    weight=torch.from_numpy(arrays[f"weight_{index}"]),
                    constant=torch.from_numpy(arrays[f"constant_{index}"]),
                )
                for index, layer in enumerate(network.integer_layers)
            ]
            points = [
                PointParameters(assignment, *(_vectors(arrays, name, network.n_layers, k) for name in _VECTORS))
                for k, assignment in enumerate(arrays["assignments"])
            ]
        except KeyError as error:
            raise RunError(f"{path} is damaged, {error} is missing: make it again") from None
        changed = with_problems(network, problems)
        return cls(changed, library, points, origin=header["origin"], backend=backend, device=device)


_VECTORS = ("scales", "biases", "slopes")


def layer_multipliers(assignment: NDArray[np.int64], layers: Sequence[LayerInfo]) -> tuple[NDArray[np.int64], ...]:
    """Multiplier of every output channel, by layer int64 `[C_out]`.

    Args:
        assignment: of layers `[n_layers]`, or of neurons `[n_neurons]`.
        layers: of the network.

    Raises:
        ShapeError: another length.
    """
    counts = np.array([info.weight_shape[0] for info in layers])
    if np.shape(assignment) not in ((len(layers),), (counts.sum(),)):
        raise ShapeError(
            f"an assignment has shape {np.shape(assignment)}: expected [{len(layers)}], one multiplier a layer, or "
            f"[{counts.sum()}], one a neuron"
        )
    by_neuron = np.repeat(assignment, counts) if len(assignment) == len(layers) else np.asarray(assignment)
    return tuple(np.split(by_neuron, np.cumsum(counts)[:-1]))


def switchable_network(
    bank: OperatorBank, assignments: NDArray[np.int64], *, device: torch.device | None = None
) -> SwitchableNetwork:
    """The designs of `assignments` as operating points; they compute what `bank` does.

    Args:
        bank: gives their parameters.
        assignments: int64 `[n_points, n_layers]`, or `[n_points, n_neurons]` where neurons of a layer differ.
        device: where they run; by default as the operators of `bank`.

    Raises:
        ConfigError: weights that differ between points, as weight tuning makes them.
    """
    rows = np.asarray(assignments, dtype=np.int64)
    found = [
        [mixed_parameters(bank, index, m) for index, m in enumerate(layer_multipliers(row, bank.network.layers))]
        for row in rows
    ]
    for index, info in enumerate(bank.network.layers):
        weights = [row[index].problem.weight for row in found]
        if not all(torch.equal(weight, weights[0]) for weight in weights):
            raise ConfigError(
                f"weight tuning gives layer {info.name!r} other weights at each operating point, which share them: "
                "use weight tuning `off`"
            )
    points = [
        PointParameters(row, *(tuple(getattr(p, name) for p in parameters) for name in ("scale", "bias", "slope")))
        for row, parameters in zip(rows, found, strict=True)
    ]
    network = with_problems(bank.network, [parameters.problem for parameters in found[0]])
    return SwitchableNetwork(
        network, bank.library, points, origin=bank.network.fingerprint(), backend=bank.backend,
        device=bank.device if device is None else device,
    )  # fmt: skip


def with_problems(network: IntegerNetwork, problems: Sequence[IntegerConv]) -> IntegerNetwork:
    """A copy of `network` whose layers have other weights."""
    changed = copy.copy(network)
    changed.module = copy.deepcopy(network.module)
    changed.integer_layers = tuple(changed.module.get_submodule(info.name) for info in network.layers)
    for layer, problem in zip(changed.integer_layers, problems, strict=True):
        layer.problem = problem
    return changed


def _vectors(arrays: dict[str, np.ndarray], name: str, n_layers: int, k: int) -> tuple[torch.Tensor | None, ...]:
    keys = [f"{name}_{index}_{k}" for index in range(n_layers)]
    if name == "slopes":
        return tuple(torch.from_numpy(arrays[key]) if key in arrays else None for key in keys)
    return tuple(torch.from_numpy(arrays[key]) for key in keys)


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:  # numpy leaves damaged files open
            arrays = dict(file)
        header = json.loads(arrays.pop("header").tobytes())
        if header["format"] != FORMAT or not {"origin", "multipliers"} <= set(header):
            raise ValueError
    except FileNotFoundError:
        raise RunError(f"{path} does not exist: expected a file made by `dse finetune`") from None
    except Exception as error:  # whatever zipfile, zlib, numpy and json find wrong with it
        raise RunError(
            f"{path} is not a file of operating points ({type(error).__name__}): expected one made by `dse finetune`"
        ) from None
    return arrays, header


def _check_point(point: PointParameters, network: IntegerNetwork, library: Library, *, where: str) -> None:
    layer_multipliers(point.assignment, network.layers)  # says what is wrong with its length
    if point.assignment.min() < 0 or point.assignment.max() >= len(library):
        raise ShapeError(f"{where} must hold multiplier indices in 0..{len(library) - 1}")
    for index, layer in enumerate(network.integer_layers):
        for vector in point.owned(index):
            if vector.shape != (layer.problem.n_outputs,) or vector.dtype != torch.float32:
                raise ShapeError(
                    f"{where}, layer {network.layers[index].name!r}: got {vector.dtype} {list(vector.shape)}, expected "
                    f"float32 [{layer.problem.n_outputs}]"
                )
