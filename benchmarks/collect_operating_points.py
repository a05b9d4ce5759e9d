"""Sets of operating points of a run as one table and one picture: what sharing few multipliers costs.

    dse explore benchmarks/runs/resnet20_qos.toml --out runs/resnet20_qos
    for n in 2 3 4; do for m in kmeans enumerate search; do \\
        dse operating-points runs/resnet20_qos --multipliers $n --points 3 --method $m --max-loss 0.5,1.5,4; done; done
    python benchmarks/collect_operating_points.py runs/resnet20_qos --out results/operating_points/resnet20

Accuracies are those of the run's report images, which no choice saw. The hypervolume is that of a set's points with
the exact network, in energy (1 is exact) and accuracy lost (against the exact network), up to `--largest-loss`, as a
share of that rectangle. Beside it stand the front of the run, where every layer chooses freely, and the points of that
front, as many as a set has, that have the largest hypervolume together. Where a set was fine-tuned, its table is taken
too.
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dse import open_points, open_run
from dse.pareto import hypervolume
from dse.runs.finetuned import FOLDER, open_finetuned

MARKERS = {"kmeans": "s", "enumerate": "^", "search": "o"}


def volume(energy_rel, lost, largest: float) -> float:
    """Share of the rectangle between (0, 0) and (1, largest) that is dominated."""
    points = np.column_stack([np.append(energy_rel, 1.0), np.append(np.maximum(lost, 0.0), 0.0)])
    return float(hypervolume(points, (1.0, largest)) / largest)


def best_of_front(front: pd.DataFrame, n_points: int, largest: float) -> float:
    inside = front[front["lost"] < largest]
    values = inside[["energy_rel", "lost"]].to_numpy()
    choices = combinations(range(len(values)), min(n_points, len(values)))
    return max(volume(*values[list(chosen)].T, largest) for chosen in choices)


def rows_of(path: Path, front: pd.DataFrame, largest: float) -> list[dict]:
    points = open_points(path)
    table, n_chosen = points.table, int(points.record["settings"]["n_multipliers"])
    common = {"n_multipliers": n_chosen, "method": points.method, "multipliers": " ".join(points.multipliers)}
    stages = {"chosen": (table, table["accuracy_exact"] - table["accuracy"])}
    if (path / FOLDER / "finetuned.csv").exists():
        tuned = open_finetuned(path / FOLDER).table
        stages["fine-tuned"] = (tuned, tuned["accuracy_exact"] - tuned["accuracy"])
    rows = []
    for stage, (values, lost) in stages.items():
        share = volume(values["energy_rel"], lost, largest)
        for point, (energy, loss) in enumerate(zip(values["energy_rel"], lost, strict=True)):
            rows.append(common | {
                "stage": stage, "point": point, "energy_saved_pct": 100 * (1 - energy), "lost_points": 100 * loss,
                "hypervolume": share, "hypervolume_same_number_of_front": best_of_front(front, len(values), largest),
                "hypervolume_front": volume(front["energy_rel"], front["lost"], largest),
                "overhead_pct": values["overhead_pct"].iloc[0] if "overhead_pct" in values else np.nan,
            })  # fmt: skip
    return rows


def draw(table: pd.DataFrame, front: pd.DataFrame, title: str, largest: float, path: Path) -> None:
    numbers = sorted(table["n_multipliers"].unique())
    figure = Figure(figsize=(1 + 4.5 * len(numbers), 4.2), layout="constrained")
    panels = figure.subplots(1, len(numbers), sharex=True, sharey=True, squeeze=False)[0]
    for axes, number in zip(panels, numbers, strict=True):
        axes.plot(
            100 * (1 - front["energy_rel"]), 100 * front["lost"], color="0.6", marker=".", lw=1, label="unrestricted"
        )
        chosen = table[table["n_multipliers"] == number]
        for (method, stage), rows in chosen.groupby(["method", "stage"], sort=False):
            style = (
                {"linestyle": "-", "fillstyle": "full"}
                if stage == "fine-tuned"
                else {"linestyle": ":", "fillstyle": "none"}
            )
            axes.plot(
                rows["energy_saved_pct"],
                rows["lost_points"],
                marker=MARKERS[method],
                lw=1,
                label=f"{method}, {stage}",
                **style,
            )
        limits = (100 * largest, min(-1.0, table["lost_points"].min() - 0.5))
        axes.set(title=f"{number} multipliers", xlabel="multiplication energy saved (%)", ylim=limits)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="lower left")
    panels[0].set_ylabel("accuracy lost (points)")
    figure.suptitle(title, fontsize="medium")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--largest-loss", type=float, default=10.0, help="percentage points, where pictures and volumes end"
    )
    parser.add_argument("--out", type=Path, required=True, help="path of the results without .csv and .png")
    options = parser.parse_args()
    run, largest = open_run(options.run), options.largest_loss / 100
    front = run.front[["energy_rel", "accuracy"]].copy()
    front["lost"] = run.front.loc[run.front["is_exact"], "accuracy"].iloc[0] - front["accuracy"]
    paths = sorted(path.parent for path in options.run.glob("operating_points/*/operating_points.csv"))
    table = pd.DataFrame([row for path in paths for row in rows_of(path, front, largest)])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out.with_suffix(".csv"), index=False, float_format="%.4g")
    data, name = run.config.data, run.config.network.name.rpartition(":")[2]
    title = f"{name}, {data.dataset}, top-{data.top} on {int(run.front['n_images_report'].iloc[0])} report images"
    draw(table, front, title, options.largest_loss / 100, options.out.with_suffix(".png"))
    print(table.drop(columns="multipliers").to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    main()
