"""AxNN on six applications, against the same precision for all neurons and against retraining the exact network.

    DSE_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/axnn_applications.py [NAME ...] --cache DIR --runs DIR

A repeated command continues. Each application has a directory of `dse.axnn` below --runs, and the files <name>.csv and
<name>_uniform.csv beside it, which are collected in results/axnn whenever one is finished:

    applications.csv   one row an application and bound, and the mean improvements beside the paper's
    applications.md    for people: points lost and improvement at each bound, and what retraining alone does
    uniform.csv        all neurons at as many bits (8: the exact network), retrained for as many passes
    applications.png   both
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from axnn_networks import APPLICATIONS, trained

import dse
from dse.config import load_config
from dse.cost.quality_engine import QualityConfigurableEngine, precision_level
from dse.datasets import Split, Splits
from dse.files import replace_file
from dse.multipliers.families import exact
from dse.multipliers.library import Library
from dse.multipliers.precision import LEVELS, precision_levels
from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.recovery.finetuning import finetune
from dse.recovery.operators import OperatorBank, Recovery
from dse.reporting.pictures.canvas import png_bytes
from dse.reporting.pictures.style import EXACT_COLOR, FRONT_COLOR, POINTS_COLOR
from dse.runs.axnn import AxnnRun, SilentAxnn
from dse.runs.axnn_directory import RETRAINING
from dse.runs.store import write_table

BOUNDS = (0.5, 2.5, 7.5)
TARGETS = {0.5: 1.43, 2.5: 1.58, 7.5: 1.75}
"""Mean improvements of the paper, by percent."""

FEW: dict[str, Any] = {"group_share": 0.5, "smallest_share": 0.1}
SETTINGS: dict[str, dict[str, Any]] = dict.fromkeys(APPLICATIONS, FEW) | {
    "cnn_sounds": FEW | {"training_images": 3000},
    "resnet20_cifar10": {
        "group_share": 0.5, "smallest_share": 0.125, "levels": (6, 5, 4, 3, 2), "training_images": 1536,
        "retraining": replace(RETRAINING, epochs=1, learning_rate=1e-4, affine_learning_rate=3e-4),
    }
}  # fmt: skip
"""Of `dse.axnn`."""

MOST_PASSES, FEW_PASSES = 12, {"resnet20_cifar10": 4}
"""Over the training images by what AxNN is compared with, at most: as many as its accepted attempts took."""


class Lines(SilentAxnn):
    """A line an attempt."""

    def on_attempt(self, number, attempt, accuracy_exact, time_s):
        """See `AxnnObserver`."""
        kept = "kept" if attempt.is_accepted else "taken back"
        lost = 100 * (accuracy_exact - attempt.accuracy)
        print(
            f"  {number}: {attempt.n_lowered} neurons, energy {attempt.energy_rel:.3f}, lost {lost:.2f} of "
            f"{100 * attempt.bound:g} points, {kept}, {time_s:.1f} s", flush=True,
        )  # fmt: skip

    def on_bound(self, row):
        """See `AxnnObserver`."""
        print(
            f"  bound {row['bound_pct']:g} %: {row['lost_points']:.2f} points lost, {row['improvement']:.2f}x",
            flush=True,
        )


def main() -> None:
    """Runs what is named, and collects everything finished."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="applications; default all")
    parser.add_argument("--cache", type=Path, default=Path("runs/axnn_networks"), help="folder of trained networks")
    parser.add_argument("--runs", type=Path, default=Path("runs/axnn"), help="folder of the designs")
    parser.add_argument("--out", type=Path, default=Path("results/axnn"))
    parser.add_argument("--collect", action="store_true", help="only collect")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in () if arguments.collect else arguments.names or APPLICATIONS:
        print(name, flush=True)
        apply(name, *trained(name, arguments.cache), arguments.runs)
        collect(arguments.runs, arguments.out)
    collect(arguments.runs, arguments.out)


def apply(name: str, network: torch.nn.Module, splits: Splits, runs: Path) -> None:
    """One application: AxNN, then what it is compared with."""
    settings = SETTINGS[name]
    found = dse.axnn(network=network, dataset=splits, bounds=BOUNDS, out=runs / name, watch=Lines(), **settings)
    write_table(runs / f"{name}.csv", found.bounds.assign(application=name, time_min=found.attempts.time_s.sum() / 60))
    retraining = found.options.retraining
    passes = retraining.epochs * int(found.attempts["is_accepted"].sum())
    compare(name, network, splits, found, min(passes, FEW_PASSES.get(name, MOST_PASSES)), runs)


def compare(
    name: str, network: torch.nn.Module, splits: Splits, found: AxnnRun, passes: int, runs: Path
) -> None:
    """All neurons at 8 to 2 bits, each retrained from the exact network for so many passes."""
    path = runs / f"{name}_uniform.csv"
    rows = pd.read_csv(path).to_dict(orient="records") if path.exists() else []
    rows = [row for row in rows if row["passes"] == passes]
    ranges = splits.calibration.subset(min(load_config(None).data.calibration_images, splits.calibration.n_images))
    integer = quantize_network(network, ranges, scheme=scheme_for(False))
    multipliers = [exact(), *precision_levels(exact())]
    library, bits = Library(multipliers).searchable(), (8, *LEVELS)
    bank = OperatorBank(integer, library, ranges, recovery=Recovery())
    names = [multiplier.name for multiplier in multipliers]
    engine = QualityConfigurableEngine(integer.layers, list(map(precision_level, names, bits)))
    training, validation = images(splits, found)
    settings = replace(found.options.retraining, epochs=passes)
    for level, (b, multiplier) in enumerate(zip(bits, names, strict=True)):
        if any(row["bits"] == b for row in rows):
            continue
        assignment = np.full((1, integer.n_layers), library.index(multiplier))
        checkpoint = runs / f"{name}_{b}_bits_{passes}.pt"
        tuned = finetune(bank, assignment, training, validation, settings, checkpoint=checkpoint)
        energy = engine.energy_rel(np.full((1, int(engine.n_neurons.sum())), level))[0]
        rows.append(
            {
                "application": name,
                "bits": b,
                "energy_rel": energy,
                "accuracy_validation": tuned.history[tuned.best_epoch].accuracy,
                "accuracy": tuned.network.hits(splits.report).mean(),
                "passes": passes,
            }
        )
        write_table(path, pd.DataFrame(rows))
        checkpoint.unlink(missing_ok=True)
        print(f"  {b} bits: {100 * rows[-1]['accuracy']:.2f} % at energy {energy:.3f}", flush=True)


def images(splits: Splits, found: AxnnRun) -> tuple[Split, Split]:
    """Those that `found` was trained and validated on."""
    n_training, n_validation = found.options.training_images, found.options.validation_images
    training, search = splits.calibration, splits.search
    return (
        training.subset(min(n_training or training.n_images, training.n_images)),
        search.subset(min(n_validation, search.n_images)),
    )


def collect(runs: Path, out: Path) -> None:
    """What is finished, as two tables and a picture."""
    finished = [name for name in APPLICATIONS if (runs / f"{name}.csv").exists()]
    if not finished:
        return
    bounds = pd.concat([pd.read_csv(runs / f"{name}.csv") for name in finished], ignore_index=True)
    paths = [runs / f"{name}_uniform.csv" for name in finished]
    uniform = [pd.read_csv(path) for path in paths if path.exists()]
    uniform = pd.concat(uniform, ignore_index=True) if uniform else pd.DataFrame(columns=["application"])
    bounds["accuracy_uniform"] = [
        at_equal_energy(uniform[uniform["application"] == row.application], row.energy_rel)
        for row in bounds.itertuples()
    ]
    out.mkdir(parents=True, exist_ok=True)
    columns = (
        "application", "bound_pct", "accuracy_exact", "accuracy", "lost_points", "energy_rel", "improvement",
        "accuracy_uniform", "accuracy_validation", "n_images_report", "time_min",
    )  # fmt: skip
    means = bounds.groupby("bound_pct")[["lost_points", "improvement"]].mean().reset_index()
    means = means.assign(application=f"mean of {len(finished)}", target=means["bound_pct"].map(TARGETS))
    table = pd.concat([bounds[list(columns)], means], ignore_index=True)
    write_table(out / "applications.csv", table.round(5))
    write_table(out / "uniform.csv", uniform.round(5))
    replace_file(out / "applications.md", markdown(bounds, uniform, finished))
    replace_file(out / "applications.png", picture(bounds, uniform, finished))
    print(means.to_string(index=False), flush=True)


def markdown(bounds: pd.DataFrame, uniform: pd.DataFrame, names: list[str]) -> str:
    """Points lost on the report images, in brackets those lost uniformly at equal energy, improvement of energy."""
    heads = [f"bound {bound:g} %" for bound in BOUNDS]
    lines = [f"| application | exact % | retrained exact % | {' | '.join(heads)} |", "|---" * (3 + len(BOUNDS)) + "|"]
    for name in names:
        own = bounds[bounds["application"] == name]
        exact_accuracy = own["accuracy_exact"].iloc[0]
        same = uniform[uniform["application"] == name]
        alone = same.loc[same["bits"] == 8, "accuracy"] if len(same) else []
        cells = [name, f"{100 * exact_accuracy:.2f}", f"{100 * alone.iloc[0]:.2f}" if len(alone) else ""]
        for row in own.itertuples():
            same_lost = 100 * (exact_accuracy - row.accuracy_uniform)
            beside = "" if np.isnan(same_lost) else f" ({same_lost:.2f})"
            cells.append(f"{row.lost_points:.2f}{beside}, {row.improvement:.2f}x")
        lines.append(f"| {' | '.join(cells)} |")
    means = bounds.groupby("bound_pct")[["lost_points", "improvement"]].mean()
    cells = [f"{row.lost_points:.2f}, **{row.improvement:.2f}x** ({TARGETS[b]}x)" for b, row in means.iterrows()]
    lines.append(f"| mean (target) | | | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def at_equal_energy(uniform: pd.DataFrame, energy_rel: float) -> float:
    """Accuracy of the straight lines between the levels; below the lowest level that of the lowest."""
    if uniform.empty:
        return np.nan
    uniform = uniform.sort_values("energy_rel")
    return float(np.interp(energy_rel, uniform["energy_rel"], uniform["accuracy"]))


def picture(bounds: pd.DataFrame, uniform: pd.DataFrame, names: list[str]) -> bytes:
    """A panel an application: points lost on the report images against energy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), dpi=150, layout="constrained")
    panels = figure.subplots(2, 3, sharex=True).ravel()
    for panel, name in zip(panels, names, strict=False):
        own, same = bounds[bounds["application"] == name], uniform[uniform["application"] == name]
        exact_accuracy = own["accuracy_exact"].iloc[0]
        if len(same):
            lost = 100 * (exact_accuracy - same["accuracy"])
            panel.plot(100 * same["energy_rel"], lost, color=FRONT_COLOR, marker="o", markersize=4, linewidth=0.8,
                       label="all neurons at 8 to 2 bits, retrained")  # fmt: skip
        panel.plot(100 * own["energy_rel"], own["lost_points"], color=POINTS_COLOR, marker="s", linewidth=0.8,
                   label="AxNN, bounds of 0.5, 2.5 and 7.5 %")  # fmt: skip
        panel.plot(100, 0, color=EXACT_COLOR, marker="D", linestyle="none", label="exact network")
        panel.set_title(f"{name}, exact {100 * exact_accuracy:.1f} %", fontsize="small")
        panel.set_ylim(max(12.0, own["lost_points"].max() + 1), min(-1.0, own["lost_points"].min() - 1))
        panel.grid(visible=True, alpha=0.25)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    panels[0].legend(fontsize="x-small", loc="lower right")
    figure.supxlabel("energy (% of the exact network)", fontsize="medium")
    figure.supylabel("accuracy lost on report images (points)", fontsize="medium")
    return png_bytes(figure)


if __name__ == "__main__":
    main()
