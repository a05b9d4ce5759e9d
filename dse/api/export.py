"""`dse.export`: chosen points as files that stand alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dse.runs.exporting import Export


def export(
    path: str | Path,
    *,
    point: int | None = None,
    out: str | Path | None = None,
    untuned: bool = False,
    network: Any = None,
    dataset: Any = None,
    library: Any = None,
) -> "Export":
    """Writes a point of a run, or a set of operating points, as two files that stand alone.

    `NAME.npz` holds integer weights, scales, biases, zero codes and tables, `NAME.json` all the rest; their schema is
    in `dse.exported.schema`. `dse.load_exported` runs them with the same bits, without the network's own code.

    Args:
        path: a directory of `dse explore` or `dse operating-points`.
        point: of the front; of a run only, and needed there.
        out: `NAME` of the two files, with or without a suffix; by default in `exported` below `path`.
        untuned: the points as they were before fine-tuning; by default fine-tuned ones where there are any.
        network: the `torch.nn.Module` of a run that was made with one.
        dataset: its `dse.datasets.Splits`, likewise.
        library: its `Library`, likewise.

    Returns:
        The two files, whether they hold fine-tuned points, and a table of the points.

    Raises:
        DseError: what cannot be found or exported; the message says which part of it.

    >>> import dse
    >>> run = dse.explore(population_size=8, generations=2, out="runs/digits")
    >>> found = dse.export(run.path, point=0)
    >>> sorted(path.name for path in (run.path / "exported").iterdir())
    ['point_0.json', 'point_0.npz']
    """
    from dse.runs.exporting import export_points
    from dse.runs.preparation import Inputs

    inputs = Inputs(network, dataset, library)
    return export_points(path, point=point, out=out, untuned=untuned, inputs=inputs)
