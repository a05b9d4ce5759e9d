"""AGN matching, then fine-tuning: energy saved and accuracy lost for a sweep of lambda, before and after.

    python benchmarks/finetuning_curve.py benchmarks/runs/resnet20_finetuning.toml --out results/finetuning \
        --front results/resnet20_full/full.csv --points 3,5,7

For every lambda the tolerances of the network as given, the cheapest multiplier of every layer within them, and that
design fine-tuned through its tables; beside them points of a front that NSGA-II found without retraining, fine-tuned in
the same way. Accuracies are bit-exact, on the report images. Designs that `--out` holds already are not tuned again.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from dse.config import load_config
from dse.evaluation import assignment_indices
from dse.recovery.finetuning import finetune
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.recovery.switchable import switchable_network
from dse.robustness.tolerance_cache import load_or_search_tolerances
from dse.robustness.tolerances import AgnSettings
from dse.runs.preparation import Inputs, load_data, prepare
from dse.search.matching import tolerance_assignments

COEFFICIENTS = (0.2, 0.5, 0.8, 1.2, 1.6, 2.0, 3.0)
MATCHED, SEARCHED = "AGN matching", "NSGA-II front"


def matched(prepared, coefficients) -> list[tuple[str, float, np.ndarray]]:
    predictions, residual = prepared.guide.predict_errors()
    network, calibration = prepared.guide.evaluator.bank.network, prepared.guide.calibration
    rows = []
    for coefficient in coefficients:
        found = load_or_search_tolerances(None, network, calibration, AgnSettings(coefficient=coefficient))
        X = tolerance_assignments(residual, found.sigma * predictions.output_std, prepared.library.energy_rel)
        rows.append((MATCHED, coefficient, X[0]))
    return rows


def searched(prepared, path: Path, points: list[int]) -> list[tuple[str, float, np.ndarray]]:
    front = pd.read_csv(path).set_index("point")
    names = [front.loc[point, "assignment"].split(";") for point in points]
    rows = assignment_indices(prepared.library, names, len(prepared.layers))
    return [(SEARCHED, float(point), row) for point, row in zip(points, rows, strict=True)]


def tune(prepared, training, validation, report, settings, assignment: np.ndarray, checkpoint: Path) -> dict:
    bank, begin = prepared.guide.evaluator.bank, time.monotonic()

    def on_epoch(epoch) -> None:
        print(f"  epoch {epoch.epoch}: loss {epoch.loss:.4f}, validation {100 * epoch.accuracy:.2f} %", flush=True)

    found = finetune(
        bank, assignment[None], training, validation, settings, checkpoint=checkpoint, on_epoch=on_epoch
    )
    time_s = time.monotonic() - begin
    tuned = found.network.hits(report).mean()
    checkpoint.unlink(missing_ok=True)
    return {
        "accuracy_untuned": float(switchable_network(bank, assignment[None]).hits(report).mean()),
        "accuracy": float(tuned),
        "validation": [epoch.accuracy for epoch in found.history],
        "best_epoch": found.best_epoch,
        "time_s": time_s,
        "time_epoch_s": (found.history[-1].time_s - found.history[0].time_s) / max(1, len(found.history) - 1),
    }


def draw(table: pd.DataFrame, path: Path) -> None:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for (method, rows), color in zip(table.groupby("method"), ("#1f4e9c", "#c0392b"), strict=False):
        rows = rows.sort_values("energy_saved_pct")
        for column, style, label in (("lost_untuned", ":", "before"), ("lost_points", "-", "fine-tuned")):
            axes.plot(
                rows["energy_saved_pct"], rows[column], color=color, linestyle=style, marker="o", markersize=4,
                linewidth=1, label=f"{method}, {label}",
            )  # fmt: skip
    axes.axhline(1, color="0.5", linestyle=":", linewidth=1)
    axes.set(xlabel="multiplication energy saved (%)", ylabel="accuracy lost (points)", ylim=(10, -0.5))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower left")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_file", type=Path, help="network, data, library and recovery; its search is not used")
    parser.add_argument("--front", type=Path, help="front.csv of a run")
    parser.add_argument("--points", default="", help="points of that front, as 3,5")
    parser.add_argument("--coefficients", default=",".join(map(str, COEFFICIENTS)), help="lambdas")
    parser.add_argument("--training-images", type=int, default=40000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=FinetuningSettings.learning_rate)
    parser.add_argument("--affine-learning-rate", type=float, default=FinetuningSettings.affine_learning_rate)
    parser.add_argument("--batch-size", type=int, default=FinetuningSettings.batch_size)
    parser.add_argument("--augmentation", default=FinetuningSettings.augmentation)
    parser.add_argument("--noise-epochs", type=int, default=0)
    parser.add_argument("--noise-scale", type=float, default=FinetuningSettings.noise_scale)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    config = load_config(options.run_file)
    prepared = prepare(config, Inputs())
    report = load_data(config, Inputs()).report
    training = load_data(config, Inputs(), n_calibration=options.training_images).calibration
    validation = load_data(config, Inputs()).search
    settings = FinetuningSettings(
        epochs=options.epochs, learning_rate=options.learning_rate, batch_size=options.batch_size,
        affine_learning_rate=options.affine_learning_rate, augmentation=options.augmentation,
        noise_epochs=options.noise_epochs, noise_scale=options.noise_scale,
    )  # fmt: skip
    designs = matched(prepared, [float(word) for word in options.coefficients.split(",") if word])
    if options.front is not None:
        designs += searched(prepared, options.front, [int(word) for word in options.points.split(",")])
    exact, rows = float(prepared.report_evaluator(prepared.exact[None])[0]), []
    for method, number, assignment in designs:
        energy = prepared.accelerator.energy_rel(prepared.space.decode(prepared.space.encode(assignment[None])))[0]
        path = options.out / f"{method.split()[0]}_{number:g}.json"
        print(f"{method} {number:g}: {100 * (1 - energy):.1f} % saved", flush=True)
        if not path.exists():
            result = tune(
                prepared, training, validation, report, settings, assignment, path.with_suffix(".checkpoint.pt")
            )
            path.write_text(json.dumps(result))
        result = json.loads(path.read_text())
        rows.append(
            {
                "method": method,
                "lambda or point": number,
                "energy_saved_pct": 100 * (1 - energy),
                "lost_untuned": 100 * (exact - result["accuracy_untuned"]),
                "lost_points": 100 * (exact - result["accuracy"]),
                "accuracy": result["accuracy"],
                "accuracy_exact": exact,
                "best_epoch": result["best_epoch"],
                "time_s": result["time_s"],
                "time_epoch_s": result["time_epoch_s"],
                "assignment": ";".join(prepared.library[m].name for m in assignment),
            }
        )
        print({key: value for key, value in rows[-1].items() if key != "assignment"}, flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(options.out / "curve.csv", index=False, float_format="%.6g")
    draw(table, options.out / "curve.png")


if __name__ == "__main__":
    main()
