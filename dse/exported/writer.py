"""Writes a network with its operating points to two files that stand alone; see `dse.exported.schema`.

Before anything is written, the export is read back and must give the logits of the network, bit for bit, on a few
images at every operating point.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dse import __version__
from dse.cost.energy import relative_energy
from dse.errors import MultiplierError, NetworkError
from dse.exported.bundle import pack, unpack, write_files
from dse.exported.program import encode_program
from dse.exported.reader import ExportedNetwork
from dse.exported.schema import (
    SCHEMA,
    VERSION,
    AccuracyRecord,
    ArrayRecord,
    Document,
    LayerRecord,
    MultiplierRecord,
    PointRecord,
)
from dse.networks.layers import IntegerLayer, LayerInfo
from dse.recovery.switchable import SwitchableNetwork


@dataclass(frozen=True)
class Description:
    """What people want to know of an export.

    Attributes:
        network: its name.
        preprocessing: of its images, see `dse.datasets.preprocessing`.
        points: a name for every operating point.
        accuracies: of every point, where it is known.
        energies_rel: of every point; `None` where it follows from the multipliers, as with all weights it does.
    """

    network: str
    preprocessing: str
    points: tuple[str, ...]
    accuracies: tuple[AccuracyRecord | None, ...]
    energies_rel: tuple[float, ...] | None = None


def write_exported(
    model: SwitchableNetwork, path: str | Path, images: torch.Tensor, *, description: Description
) -> tuple[Path, Path]:
    """Exports a network with all its operating points.

    Args:
        model: its operating point stays as it is.
        path: `NAME.npz`, `NAME.json` or `NAME`; both files are made, existing ones replaced.
        images: preprocessed, float32 `[n, C, H, W]`, a few that the export is tried on before it is written.
        description: with a name and an accuracy for every point of the model.

    Returns:
        The two files.

    Raises:
        NetworkError: a network that the files cannot hold, or whose logits they do not reproduce.
        RunError: they cannot be written.
    """
    npz, text = pack(*_document(model, tuple(images.shape[1:]), description))
    _check(model, ExportedNetwork(*unpack(npz, text, "the export")), images)
    return write_files(path, npz, text)


def _check(model: SwitchableNetwork, exported: ExportedNetwork, images: torch.Tensor) -> None:
    before = model.operating_point
    try:
        for k in range(model.n_points):
            model.set_operating_point(k)
            exported.set_operating_point(k)
            model(images.clone())  # a network that changes itself gives other logits the second time
            expected, found = model(images.clone()).cpu(), exported(images)
            n_other = int((expected.view(torch.int32) != found.view(torch.int32)).sum())
            if n_other:
                raise NetworkError(
                    f"the export does not reproduce the network: at operating point {k}, {n_other} of "
                    f"{expected.numel()} logits differ, by up to {(expected - found).abs().max():.3g}. Nothing was "
                    "written. Expected a network that gives the same logits for the same images every time: look for "
                    "random numbers, or buffers that change, in its `forward`"
                )
    finally:
        model.set_operating_point(before)


def _document(
    model: SwitchableNetwork, input_shape: tuple[int, ...], description: Description
) -> tuple[Document, dict[str, NDArray]]:
    program = encode_program(model.network)
    used = sorted({int(m) for point in model.points for m in point.assignment})
    tensors = _tensors(model, used)
    tensors |= {f"tensors/{t}": tensor.detach() for t, tensor in enumerate(program.tensors)}
    arrays = {name: tensor.cpu().contiguous().numpy() for name, tensor in tensors.items()}
    document = Document(
        schema=SCHEMA,
        version=VERSION,
        dse_version=__version__,
        torch_version=torch.__version__,
        network=description.network,
        preprocessing=description.preprocessing,
        input_shape=input_shape,
        n_classes=model.network.n_classes,
        layers=[_layer(*pair) for pair in zip(model.network.layers, model.network.integer_layers, strict=True)],
        points=_points(model, used, description),
        multipliers=_multipliers(model, used),
        modules=program.modules,
        program=program.nodes,
        arrays={name: _array(tensor, arrays[name]) for name, tensor in tensors.items()},
        npz_sha256="0" * 64,
    )
    return document, arrays


def _tensors(model: SwitchableNetwork, used: list[int]) -> dict[str, torch.Tensor]:
    """All arrays but those between the layers."""
    tensors = {f"tables/{i}": torch.tensor(model.library[m].table) for i, m in enumerate(used)}
    for index, layer in enumerate(model.network.integer_layers):
        problem = layer.problem
        own = {
            "weight": problem.weight,
            "w_zero_point": problem.w_zero_point,
            "constant": problem.constant,
            "x_scale": layer.x_scale,
            "w_scale": layer.w_scale,
            "bias": layer.bias,
        }
        tensors |= {f"layers/{index}/{name}": tensor for name, tensor in own.items()}
    for k, point in enumerate(model.points):
        for index in range(model.network.n_layers):
            own = {"scale": point.scales[index], "bias": point.biases[index], "slope": point.slopes[index]}
            tensors |= {f"points/{k}/{index}/{name}": tensor for name, tensor in own.items() if tensor is not None}
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _array(tensor: torch.Tensor, array: NDArray) -> ArrayRecord:
    is_channels_last = (
        tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
    )
    return ArrayRecord(shape=array.shape, dtype=array.dtype.name, is_channels_last=is_channels_last)


def _layer(info: LayerInfo, layer: IntegerLayer) -> LayerRecord:
    problem = layer.problem
    return LayerRecord(
        name=info.name,
        kind=layer.kind,
        weight_shape=tuple(info.weight_shape),
        output_shape=tuple(info.output_shape),
        dtype=str(problem.x_dtype).removeprefix("torch."),
        x_zero_point=problem.x_zero_point,
        stride=tuple(problem.stride),
        padding=tuple(problem.padding),
        dilation=tuple(problem.dilation),
        groups=problem.groups,
        padding_mode=layer.padding_mode,
        float_padding=tuple(layer.float_padding),
        n_multiplications=info.n_multiplications,
    )


def _energy_rel(model: SwitchableNetwork) -> NDArray[np.float64]:
    """Of every multiplier of the library, NaN where it is unknown."""
    try:
        return model.library.energy_rel
    except MultiplierError:
        return np.full(len(model.library), math.nan)


def _multipliers(model: SwitchableNetwork, used: list[int]) -> list[MultiplierRecord]:
    energy = _energy_rel(model)
    records = []
    for m in used:
        multiplier = model.library[m]
        cost = multiplier.cost
        records.append(
            MultiplierRecord(
                name=multiplier.name,
                hash=multiplier.key,
                is_signed=multiplier.is_signed,
                energy_rel=_known(energy[m]),
                power_mw=cost.value if cost is not None and cost.unit == "mW" else None,
            )
        )
    return records


def _points(model: SwitchableNetwork, used: list[int], description: Description) -> list[PointRecord]:
    assignments = np.stack([point.assignment for point in model.points])
    counts = [info.n_multiplications for info in model.network.layers]
    energy = description.energies_rel
    if energy is None:
        energy = relative_energy(assignments, n_multiplications=counts, energy_rel=_energy_rel(model))
    rows = zip(assignments, energy, description.points, description.accuracies, strict=True)
    return [
        PointRecord(
            name=name,
            multipliers=tuple(used.index(int(m)) for m in assignment),
            energy_rel=_known(value),
            accuracy=accuracy,
        )
        for assignment, value, name, accuracy in rows
    ]


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
