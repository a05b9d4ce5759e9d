"""What energy, memory and both bought: fronts of a sweep, what they save within a loss, and their hypervolumes.

    dse sweep benchmarks/runs/resnet20_memory_sweep.toml --out runs/memory
    python benchmarks/memory_gains.py runs/memory --out results/memory

All on the report images. `summary.csv` has a row a run, and rows for the parts of fronts of three objectives that two
of them alone would have kept. Fronts are copied of the first seed.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dse.objectives import reference_point
from dse.pareto import hypervolume
from dse.reporting.memory_data import MemoryFrontData, memory_front_data
from dse.reporting.pictures.memory import memory_front_png
from dse.runs.results import open_run

NAMES = ("both", "both_global", "energy", "memory")
LOSSES = (0.5, 1.0, 1.5, 2.0, 3.0)


def figures(name: str, seed: int, data: MemoryFrontData, accuracy: np.ndarray, chosen: np.ndarray) -> dict[str, object]:
    """One row of the summary, of some points of a front."""
    energy, memory, lost = data.energy_saved_pct, data.memory_saved_pct, data.accuracy_lost_points
    F = np.column_stack([1 - energy / 100, 1 - accuracy, 1 - memory / 100])[chosen]
    pairs = {"": [0, 1, 2], "_energy_accuracy": [0, 1], "_memory_accuracy": [2, 1]}
    reference = np.array(reference_point(3))
    row: dict[str, object] = {"front": name, "seed": seed, "n_points": int(chosen.sum())}
    row |= {f"hypervolume{kind}": hypervolume(F[:, columns], reference[columns]) for kind, columns in pairs.items()}
    for loss in LOSSES:
        within = chosen & (lost <= loss + 1e-9)
        best = np.flatnonzero(within)[np.argmax((energy + memory)[within])]
        row |= {
            f"energy_saved_at_{loss:g}": energy[within].max(), f"memory_saved_at_{loss:g}": memory[within].max(),
            f"together_at_{loss:g}": f"{energy[best]:.1f} and {memory[best]:.1f} (point {data.points[best]})",
        }  # fmt: skip
    return row


def rows_of(name: str, path: Path, out: Path) -> list[dict[str, object]]:
    """Rows of a run, whose front is copied where its seed is the first."""
    run = open_run(path)
    data, seed = memory_front_data(run), run.config.search.seed
    accuracy = run.front.loc[run.front["state"] == "ok", "accuracy"].to_numpy()
    rows = [figures(name, seed, data, accuracy, np.ones(len(data.points), dtype=bool))]
    if seed == 0:
        shutil.copyfile(run.directory.front, out / f"{name}.csv")
    if name == NAMES[0]:
        if seed == 0:
            (out / "both.png").write_bytes(memory_front_png(data))
        parts = {f"{p.x} and {p.y}": p.is_front | data.is_exact for p in data.projections if p.y == "loss"}
        rows += [figures(f"{name}, its points for {part}", seed, data, accuracy, own) for part, own in parts.items()]
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    found = [(name, path.parent) for name in NAMES for path in sorted(options.sweep.glob(f"buys_{name}-*/front.csv"))]
    table = pd.DataFrame([row for name, path in found for row in rows_of(name, path, options.out)])
    table.to_csv(options.out / "summary.csv", index=False, float_format="%.4f")
    whole = table[table["front"].isin(NAMES)]
    print(whole.T.to_string())
    print(whole.groupby("front", sort=False)[list(whole.filter(like="hypervolume"))].median().to_string())


if __name__ == "__main__":
    main()
