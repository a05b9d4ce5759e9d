"""What each recovery without training gives back: the points of a finished run, measured under other settings.

    python benchmarks/recovery_curves.py runs/free --images 1000 --out results/resnet20

The assignments stay those of the run's front; only folding, sum compensation and weight tuning change. Measured on the
first images of the report split, with the run's own network, data, library and quantization.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure

import dse
from dse.config import RunConfig
from dse.evaluation import assignment_indices
from dse.runs.front import SEPARATOR
from dse.runs.preparation import Inputs, prepare

SETTINGS = {
    "none": (False, False, "off"),
    "folding": (True, False, "off"),
    "folding + sums": (True, True, "off"),
    "tuning (uniform, ALWANN)": (False, False, "uniform"),
    "tuning (histogram)": (False, False, "histogram"),
    "folding + tuning (histogram)": (True, False, "histogram"),
    "all": (True, True, "histogram"),
}


def changed(config: RunConfig, setting: tuple[bool, bool, str], n_images: int) -> RunConfig:
    """The run's configuration with other recovery, measuring `n_images` of the report split."""
    fold, sums, tuning = setting
    recovery = {"fold_bias": fold, "sum_compensation": sums, "weight_tuning": tuning}
    values = config.model_dump()
    values["recovery"] = recovery
    values["data"] |= {"report_images": n_images}
    return RunConfig.model_validate(values)


def draw(table: pd.DataFrame, path: Path) -> None:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for index, name in enumerate(SETTINGS):
        marker = "osD^vPX"[index]
        axes.plot(table["energy_saved_pct"], 100 * table[name], marker=marker, ms=4, lw=1, label=name)
    axes.set(xlabel="multiplication energy saved (%)", ylabel="top-1 (%)", title="The same assignments, other recovery")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run = dse.open_run(options.run)
    table = run.front[["energy_saved_pct"]].copy()
    for name, setting in SETTINGS.items():
        prepared = prepare(changed(run.config, setting, options.images), Inputs())
        names = [text.split(SEPARATOR) for text in run.front["assignment"]]
        indices = assignment_indices(prepared.library, names, len(prepared.layers))
        table[name] = prepared.report_evaluator(indices)
        print(name, table[name].to_list(), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "recovery.csv", index=False, float_format="%.4f")
    draw(table, options.out / "recovery.png")
    print((100 * table.set_index("energy_saved_pct")).round(1).to_string())


if __name__ == "__main__":
    main()
