"""Fronts of searches with one multiplier a layer beside fronts of searches that may divide a layer's neurons.

    python benchmarks/compare_neurons.py --out results/axnn/neurons_resnet20 \\
        --layers runs/layers_s0 runs/layers_s1 --neurons runs/neurons_s0 runs/neurons_s1

Runs of a pair differ in `--neuron-shares` alone. Points are compared on the report images, which no search saw:
energy, and accuracy lost against the exact network. "hypervolume" is that of the runs' own reference point (energy 1.1,
loss 1), "hypervolume_5" counts only what loses less than 5 points, as a share of that region. "saved_pct_X" is the
energy saved by the cheapest point that loses at most X points. Rows "combined" are of both fronts of a pair together,
which took twice the evaluations; rows of seed "all" are of all seeds of a kind together. Writes NAME.csv and NAME.png.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import dse
from dse.cost.neuron_choices import parse_choice
from dse.pareto import front_indices, hypervolume

BOUNDS = (0.005, 0.01, 0.02, 0.05)


def points(run) -> pd.DataFrame:
    """Energy, loss on the report images, and the share of layers with divided neurons, of every point of a run."""
    front = run.front
    exact = front.loc[front["is_exact"], "accuracy"].iloc[0]
    names = front["assignment"].str.split(";")
    divided = names.map(lambda layers: np.mean([parse_choice(name)[2] > 0 for name in layers]))
    return pd.DataFrame({"energy_rel": front["energy_rel"], "loss": exact - front["accuracy"], "divided": divided})


def summary(kind: str, seed: str, found: pd.DataFrame, n_evaluations: int) -> dict:
    """One row of the table."""
    F = found[["energy_rel", "loss"]].to_numpy()
    front = found.iloc[front_indices(F)]
    row = {
        "front": kind, "seed": seed, "evaluations": n_evaluations, "points": len(front),
        "divided_layers_pct": 100 * front["divided"].mean(), "hypervolume": hypervolume(F, (1.1, 1.0)),
        "hypervolume_5": hypervolume(F, (1.1, 0.05)) / 0.05,
    }  # fmt: skip
    for bound in BOUNDS:
        within = found.loc[found["loss"] <= bound + 1e-9, "energy_rel"]
        row[f"saved_pct_{100 * bound:g}"] = 100 * (1 - within.min())
    return row


def n_evaluated(run) -> int:
    """Designs measured on the search images, on some of them at least."""
    return int((run.evaluations["split"] == "search").sum())


def draw(fronts: dict[str, list[pd.DataFrame]], path: Path) -> None:
    """All fronts, one color a kind."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for (kind, tables), color, marker in zip(fronts.items(), ("tab:gray", "tab:blue"), ("s", "o"), strict=True):
        for i, found in enumerate(tables):
            front = found.iloc[front_indices(found[["energy_rel", "loss"]].to_numpy())]
            axes.plot(
                100 * (1 - front["energy_rel"]), 100 * front["loss"], marker=marker, markersize=4, color=color,
                alpha=1 - 0.4 * i, linewidth=1, label=f"{kind}, seed {i}",
            )  # fmt: skip
    axes.set(xlabel="multiplication energy saved / %", ylabel="accuracy lost / points", ylim=(-0.5, 8))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Writes the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=Path, nargs="+", required=True)
    parser.add_argument("--neurons", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True, help="of the files, without a suffix")
    options = parser.parse_args()
    runs = {
        "one multiplier a layer": [dse.open_run(path) for path in options.layers],
        "neurons divided": [dse.open_run(path) for path in options.neurons],
    }
    fronts = {kind: [points(run) for run in group] for kind, group in runs.items()}
    counts = {kind: [n_evaluated(run) for run in group] for kind, group in runs.items()}
    rows = []
    for i in range(len(options.layers)):
        rows += [summary(kind, str(i), fronts[kind][i], counts[kind][i]) for kind in runs]
        both = pd.concat([fronts[kind][i] for kind in runs])
        rows.append(summary("combined", str(i), both, sum(counts[kind][i] for kind in runs)))
    rows += [summary(kind, "all", pd.concat(fronts[kind]), sum(counts[kind])) for kind in runs]
    everything = pd.concat([found for group in fronts.values() for found in group])
    rows.append(summary("combined", "all", everything, sum(map(sum, counts.values()))))
    table = pd.DataFrame(rows)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(options.out.with_suffix(".csv"), index=False)
    draw(fronts, options.out.with_suffix(".png"))
    print(table.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
