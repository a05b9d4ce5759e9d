"""Copies the fronts of finished runs into a folder of results, with one table and one picture of all of them.

    python benchmarks/collect_fronts.py --out results/resnet20 runs/free runs/tiles4

For every run, the energy saved within 0.6 and 1 points of the exact network. "Chosen on search" is what
a user would do: the cheapest point whose loss on the search images is within the bound, and read its loss off the
report images. "On report" is the cheapest point whose loss on the report images is within the bound.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import dse

BOUNDS = (0.006, 0.01)


def best_within(front: pd.DataFrame, column: str, bound: float) -> pd.Series:
    """The cheapest point that loses at most `bound` in `column` against the exact network."""
    exact = front.loc[front["is_exact"], column].max()
    return front[front[column] >= exact - bound - 1e-9].sort_values("energy_rel").iloc[0]


def summary(name: str, run) -> dict:
    front = run.front
    exact = front.loc[front["is_exact"], "accuracy"].max()
    row = {
        "run": name,
        "accelerator": run.manifest.accelerator,
        "recovery": recovery_text(run),
        "evaluations": int((run.evaluations["split"] == "search").sum()),
        "exact_accuracy_pct": 100 * exact,
    }
    for bound in BOUNDS:
        chosen, on_report = best_within(front, "accuracy_search", bound), best_within(front, "accuracy", bound)
        points = f"{100 * bound:g}"
        row[f"saved_pct_{points}_chosen_on_search"] = chosen["energy_saved_pct"]
        row[f"its_loss_points_{points}"] = 100 * (exact - chosen["accuracy"])
        row[f"saved_pct_{points}_on_report"] = on_report["energy_saved_pct"]
    return row


def recovery_text(run) -> str:
    options = run.config.recovery
    parts = ["folding"] * options.fold_bias + ["sums"] * options.sum_compensation
    parts += [f"tuning ({options.weight_tuning})"] * (options.weight_tuning != "off")
    return " + ".join(parts) or "none"


def draw(runs: dict, path: Path, title: str) -> None:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for index, (name, run) in enumerate(runs.items()):
        front = run.front
        exact = front.loc[front["is_exact"], "accuracy"].max()
        marker = "osD^vPX*<>"[index % 10]
        loss = 100 * (exact - front["accuracy"])
        axes.plot(front["energy_saved_pct"], loss, marker=marker, ms=4, lw=1, label=name)
    axes.axhline(0.6, color="0.5", ls=":", lw=1)
    axes.set(xlabel="multiplication energy saved (%)", ylabel="accuracy lost (points)", title=title, ylim=(8, -1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--title", default="")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    runs = {path.name: dse.open_run(path) for path in options.runs}
    for name, run in runs.items():
        for source, suffix in ((run.directory.front, "csv"), (run.directory.picture, "png")):
            shutil.copyfile(source, options.out / f"{name}.{suffix}")
    table = pd.DataFrame([summary(name, run) for name, run in runs.items()])
    table.to_csv(options.out / "summary.csv", index=False, float_format="%.2f")
    draw(runs, options.out / "fronts.png", options.title)
    print(table.round(2).to_string(index=False, na_rep="", float_format=lambda v: f"{v:.2f}" if np.isfinite(v) else ""))


if __name__ == "__main__":
    main()
