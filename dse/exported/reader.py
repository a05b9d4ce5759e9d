"""Runs an exported network: all that it needs is in the two files, none of its original code.

The layers are those of dse's simulation, the operations between them the same functions of torch on tensors of the
same memory format: the logits have the bits of the network that was exported. Integer sums are the same on every
machine; float operations between layers (means, excluded layers) may differ in the last bit where another version of
torch, another processor or another number of threads adds up in another order.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dse.datasets import Split
from dse.errors import DataError, NetworkError, ShapeError
from dse.evaluation import hits, logits_by_point
from dse.exported.bundle import file_paths, read_files, unpack
from dse.exported.contents import Contents
from dse.exported.schema import Document, LayerRecord
from dse.multipliers.families import exact
from dse.networks.layers import LayerInfo, LayerOperator
from dse.recovery.operators import input_sum_problem
from dse.simulation.ops import PreparedConv, prepare

_EXACT = -1  # in place of a multiplier's index


def load_exported(path: str | Path, *, backend: str = "auto") -> "ExportedNetwork":
    """Reads what `dse export` wrote. Nothing in the files is executed but operations of a closed list.

    Args:
        path: `NAME.npz`, `NAME.json` or `NAME`; both files are needed.
        backend: of the simulation, see `dse.lut_conv2d`; all give the same bits.

    Returns:
        The network at operating point 0, on the CPU.

    Raises:
        NetworkError: files that are missing, damaged, no exported network or of another version of the schema.

    >>> import dse
    >>> run = dse.explore(population_size=8, generations=2, out="runs/digits")
    >>> files = dse.export(run.path, point=0)
    >>> network = dse.load_exported("runs/digits/exported/point_0")
    >>> len(network.layers), network.points["accuracy"].tolist() == run.front["accuracy"][:1].tolist()
    (5, True)
    """
    where = str(file_paths(path)[1].with_suffix(""))
    document, arrays = unpack(*read_files(path), where)
    return ExportedNetwork(document, arrays, where=where, backend=backend)


class ExportedNetwork:
    """A network with `n_points` operating points, as `dse.recovery.switchable.SwitchableNetwork`.

    Args:
        document, arrays: what the two files hold.
        where: their name, for errors.
        backend: of the simulation.

    Attributes:
        document: the `.json` file, see `dse.exported.schema`.
        multipliers: those that any point uses, with their tables; costs are in `document`.

    Raises:
        NetworkError: content that does not fit together.

    >>> import dse
    >>> run = dse.explore(population_size=8, generations=2, out="runs/digits")
    >>> files = dse.export(run.path, point=0)
    >>> network = dse.load_exported("runs/digits/exported/point_0")
    >>> network(dse.datasets.load_splits("digits", n_search=100).search.images[:3]).shape
    torch.Size([3, 10])
    """

    def __init__(
        self, document: Document, arrays: dict[str, NDArray], *, where: str = "exported network", backend: str = "auto"
    ):
        self.document, self._where, self._backend = document, where, backend
        self._contents = Contents(document, arrays, where)
        self.multipliers = self._contents.multipliers
        self._sums: dict[tuple[int, int], PreparedConv] = {}
        self._point = 0
        self.set_operating_point(0)

    @property
    def n_points(self) -> int:
        """Number of operating points."""
        return len(self.document.points)

    @property
    def operating_point(self) -> int:
        """The point that runs."""
        return self._point

    @property
    def preprocessing(self) -> str:
        """What images go through beforehand, for `dse.datasets.load_splits(..., preprocessing=)`."""
        return self.document.preprocessing

    def set_operating_point(self, k: int) -> None:
        """Switches to operating point `k`; takes effect with the next image.

        Raises:
            ShapeError: no such point.
        """
        if not 0 <= k < self.n_points:
            raise ShapeError(f"operating point {k} does not exist: expected 0 to {self.n_points - 1}")
        for index, layer in enumerate(self._contents.layers):
            layer.operator = self._operator(index, k)
        self._point = k

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, float32 `[n, n_classes]`, of `images` float32 `[n, C, H, W]` at the current point.

        Raises:
            ShapeError: images of another type or number of channels.
            NetworkError: images of a size that the network cannot take.
        """
        channels = self.document.input_shape[0]
        if images.dtype != torch.float32 or images.dim() != 4 or images.shape[1] != channels:
            raise ShapeError(
                f"expected images float32 [n, {channels}, H, W], got {images.dtype} {list(images.shape)}: preprocess "
                f"them as {self.preprocessing!r} says"
            )
        with torch.inference_mode():
            laid_out = images.cpu().contiguous(memory_format=torch.channels_last)
            # A program may work in place, on its input too.
            own = laid_out.clone() if laid_out.data_ptr() == images.data_ptr() else laid_out
            return self._checked(self._contents.program(own), len(images))

    def _checked(self, logits: object, n_images: int) -> torch.Tensor:
        shape = (n_images, self.document.n_classes)
        if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != shape or logits.dtype != torch.float32:
            got = f"{logits.dtype} {list(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise NetworkError(
                f"{self._where}: the program gives {got}: expected logits float32 {list(shape)}; export it again"
            )
        return logits

    def hits(self, split: Split, *, top: int = 1) -> NDArray[np.bool_]:
        """Whether each image's label is among the `top` best logits, bool `[n_points, n_images]`, for all points.

        Raises:
            DataError: labels that the network has no output for.
        """
        if len(split.labels) and int(split.labels.max()) >= self.document.n_classes:
            raise DataError(
                f"label {int(split.labels.max())} has no output: expected labels in 0..{self.document.n_classes - 1}. "
                "Check that network and dataset belong together"
            )
        found = np.zeros((self.n_points, split.n_images), dtype=np.bool_)
        for k, part, logits in logits_by_point(self, split, [_info(record) for record in self.document.layers]):
            found[k, part] = hits(logits, split.labels[part], top=top).numpy()
        return found

    @property
    def layers(self) -> pd.DataFrame:
        """One row a layer: layer, kind, weight_shape, n_multiplications; multiplier, its energy_rel at this point."""
        used = [self.document.multipliers[m] for m in self.document.points[self._point].multipliers]
        records = self.document.layers
        return pd.DataFrame(
            {
                "layer": [record.name for record in records],
                "kind": [record.kind for record in records],
                "weight_shape": [record.weight_shape for record in records],
                "n_multiplications": [record.n_multiplications for record in records],
                "multiplier": [multiplier.name for multiplier in used],
                "energy_rel": [multiplier.energy_rel for multiplier in used],
            }
        )

    @property
    def points(self) -> pd.DataFrame:
        """One row a point: point, name, energy_rel; accuracy, and the top, n_images and images of its measurement."""
        measured = [point.accuracy for point in self.document.points]
        return pd.DataFrame(
            {
                "point": range(self.n_points),
                "name": [point.name for point in self.document.points],
                "energy_rel": [point.energy_rel for point in self.document.points],
                "accuracy": [None if each is None else each.accuracy for each in measured],
                "top": [0 if each is None else each.top for each in measured],
                "n_images": [0 if each is None else each.n_images for each in measured],
                "images": ["" if each is None else each.images for each in measured],
            }
        )

    def __repr__(self) -> str:
        n_layers = len(self.document.layers)
        return f"ExportedNetwork({self.document.network!r}, {n_layers} layers, {self.n_points} operating points)"

    def _operator(self, index: int, k: int) -> LayerOperator:
        scale, bias, slope = (self._contents.vector(k, index, name) for name in ("scale", "bias", "slope"))
        input_sums = None if slope is None else self._prepared(index, _EXACT)
        sums = self._prepared(index, self.document.points[k].multipliers[index])
        return LayerOperator(sums, scale, bias, slope=slope, input_sums=input_sums)

    def _prepared(self, index: int, m: int) -> PreparedConv:
        """Sums of a layer through a multiplier, or of its inputs, packed once for all points."""
        if (index, m) not in self._sums:
            problem = self._contents.layers[index].problem
            if m == _EXACT:
                problem, multiplier = input_sum_problem(problem), exact(is_signed=problem.x_dtype == torch.int8)
            else:
                multiplier = self.multipliers[m]
            self._sums[index, m] = prepare(problem, multiplier, self._backend)
        return self._sums[index, m]


def _info(record: LayerRecord) -> LayerInfo:
    fan_in, n_weights = int(np.prod(record.weight_shape[1:])), int(np.prod(record.weight_shape))
    return LayerInfo(
        record.name, record.kind, record.weight_shape, record.output_shape, record.groups, fan_in, n_weights,
        record.n_multiplications,
    )  # fmt: skip
