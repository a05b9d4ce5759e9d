"""The table of a finished run: every point of the front, measured on images that the search never saw.

The interval is Wilson's (J. Am. Stat. Assoc. 22, 1927), with `p = k / n` correct of n images and z = 1.96:

    (p + z^2/2n +- z sqrt(p(1 - p)/n + z^2/4n^2)) / (1 + z^2/n)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dse.cost.accelerators import Accelerator, Designs
from dse.cost.weight_memory import WeightMemory
from dse.runs.measured import Measured

Z_95 = 1.959963984540054

SEPARATOR = ";"
"""Between the multiplier names of an assignment."""


def wilson_interval(accuracy: ArrayLike, n_images: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper end of the 95 % interval of an accuracy in [0, 1] over `n_images`; NaN stays NaN.

    >>> [float(round(end[0], 4)) for end in wilson_interval([0.9], 100)]
    [0.8256, 0.9448]
    """
    p = np.asarray(accuracy, dtype=np.float64)
    z2 = Z_95**2 / n_images
    center = p + z2 / 2
    half = np.sqrt(z2 * (p * (1 - p) + z2 / 4))
    return np.maximum((center - half) / (1 + z2), 0.0), np.minimum((center + half) / (1 + z2), 1.0)


def front_table(
    chosen: Measured,
    report_accuracy: NDArray[np.float64],
    *,
    n_images_report: int,
    accelerator: Accelerator,
    names: Sequence[str],
    exact_index: int,
    memory: WeightMemory | None = None,
) -> pd.DataFrame:
    """The content of `front.csv`.

    Args:
        chosen: designs sorted by energy, with their accuracy on the search split.
        report_accuracy: their accuracy on the report split, float64 [n], NaN where it failed.
        n_images_report: images of that split.
        accelerator: gives the energies.
        names: multiplier names in library order.
        exact_index: the exact multiplier among them.
        memory: gives the sizes where layers may be pruned.

    Returns:
        One row a point: point, energy_rel, energy_pj, energy_saved_pct, accuracy, accuracy_low, accuracy_high,
        accuracy_search, n_images_report, state, is_exact, assignment; with tiles, also tiles, n_tiles and
        throughput_per_s; where layers may be pruned, also sparsities (levels in percent, a layer each), memory_bytes
        and memory_rel (to int8 without pruning).
    """
    designs = chosen.designs
    low, high = wilson_interval(report_accuracy, n_images_report)
    table = pd.DataFrame(
        {
            "point": np.arange(len(designs)),
            "energy_rel": chosen.energy_rel,
            "energy_pj": accelerator.energy_pj(designs),
            "energy_saved_pct": 100 * (1 - chosen.energy_rel),
            "accuracy": report_accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "accuracy_search": chosen.accuracy,
            "n_images_report": n_images_report,
            "state": np.where(np.isnan(report_accuracy), "failed", "ok"),
            "is_exact": (designs.assignments == exact_index).all(axis=1),
            "assignment": [join_names(row, names) for row in designs.assignments],
        }
    )
    if designs.tiles is not None:
        table["tiles"] = [SEPARATOR.join(str(t) for t in row) for row in designs.tiles]
        table["n_tiles"] = [len(np.unique(row)) for row in designs.tiles]
        table["throughput_per_s"] = accelerator.throughput(designs)
    if memory is not None:
        table = table.assign(**memory_columns(memory, designs))
    return table


def memory_columns(memory: WeightMemory, designs: Designs) -> dict[str, Any]:
    """What tables tell of designs whose layers may be pruned, by column: sparsities, memory_bytes, memory_rel."""
    sparsities = memory.choices.sparsities_pct(designs.assignments)
    return {
        "sparsities": [SEPARATOR.join(str(s) for s in row) for row in sparsities],
        "memory_bytes": memory.bytes(designs),
        "memory_rel": memory.rel(designs),
    }


def join_names(assignment: Sequence[int], names: Sequence[str]) -> str:
    """Multiplier names of an assignment as one text.

    >>> join_names([1, 0], ["cheap", "exact"])
    'exact;cheap'
    """
    return SEPARATOR.join(names[m] for m in assignment)
