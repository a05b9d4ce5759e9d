"""Matched assignments for a sweep of AGN's lambda: energy and accuracy before any retraining.

    python benchmarks/agn_curve.py benchmarks/runs/resnet20_agn.toml --out results/agn

For every lambda the tolerances of the network as given (frozen weights), the cheapest multiplier of every layer within
them, its energy, and its accuracy on the report images, bit-exact. Beside it, from the same searches: all tolerances of
one lambda scaled together, and designs that trade energy against the learned sensitivities [ours]. Nothing here is a
search over measured designs: each assignment is computed from predictions alone, and then measured.

    dse tolerances --method trained ... --coefficients 0.2,1 --out runs/trained
    python benchmarks/agn_curve.py benchmarks/runs/resnet20_agn.toml --trained runs/trained --out results/agn

The second command also measures designs matched to tolerances that were learned together with the weights (the paper's
way), on those weights; losses are then against the exact network with the given weights.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dse.config import load_config
from dse.robustness.tolerance_cache import load_or_search_tolerances
from dse.robustness.tolerances import AgnSettings, Tolerances
from dse.runs.preparation import Inputs, prepare
from dse.search.matching import matched_assignments, spread, tolerance_assignments, tolerance_curve

COEFFICIENTS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0)
N_CURVE = 8
MAX_GROWTH = 0.5


def learn(prepared, coefficient: float):
    guide, settings = prepared.guide, AgnSettings(coefficient=coefficient)
    return load_or_search_tolerances(None, guide.evaluator.bank.network, guide.calibration, settings)


def energy_of(prepared, X: np.ndarray) -> np.ndarray:
    return prepared.accelerator.energy_rel(prepared.space.decode(prepared.space.encode(X)))


def by_energy(prepared, X: np.ndarray, n_designs: int) -> np.ndarray:
    X = np.unique(X, axis=0)
    energy = energy_of(prepared, X)
    order = np.argsort(energy)
    return X[order][spread(energy[order], n_designs)]


def assignments(prepared, learned: dict, residual: np.ndarray, output_std: np.ndarray) -> pd.DataFrame:
    """Rows of method, coefficient, assignment."""
    energies, counts = prepared.library.energy_rel, prepared.n_multiplications
    noise = (residual / output_std[:, None]) ** 2
    rows = []
    for coefficient, found in learned.items():
        matched = tolerance_assignments(residual, found.sigma * output_std, energies)
        rows.append(("matched, lambda", coefficient, matched[0]))
    middle = learned[0.2]
    growth = middle.sensitivity[:, None] * noise
    curve = tolerance_curve(residual, middle.sigma * output_std, energies, n_multiplications=counts)
    curve = curve[growth[np.arange(len(counts)), curve].sum(1) <= MAX_GROWTH]
    traded = matched_assignments(
        growth, energies, n_multiplications=counts, n_designs=1000, max_loss=MAX_GROWTH
    )
    for method, designs in (("matched, scaled", curve), ("traded by sensitivity", traded)):
        rows += [(method, 0.2, design) for design in by_energy(prepared, designs, N_CURVE)]
    return pd.DataFrame(rows, columns=["method", "coefficient", "assignment"])


def trained_rows(run_file: Path, folder: Path) -> pd.DataFrame:
    """Rows of designs matched to tolerances of trained weights, measured on those weights."""
    rows = []
    for path in sorted(folder.glob("coefficient_*.json")):
        found = Tolerances.from_json(path.read_text())
        weights = folder / f"weights_{found.coefficient}.pt"
        prepared = prepare(load_config(run_file, {"network.weights": weights}), Inputs())
        predictions, residual = prepared.guide.predict_errors()
        X = tolerance_assignments(residual, found.sigma * predictions.output_std, prepared.library.energy_rel)
        rows.append(
            {
                "method": "matched, trained weights",
                "coefficient": found.coefficient,
                "energy_saved_pct": 100 * (1 - energy_of(prepared, X)[0]),
                "accuracy": float(prepared.report_evaluator(X)[0]),
                "own_exact_accuracy": float(prepared.report_evaluator(prepared.exact[None])[0]),
                "assignment": ";".join(prepared.library[m].name for m in X[0]),
            }
        )
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, path: Path) -> None:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for (method, rows), marker in zip(table.groupby("method"), "o^sD", strict=False):
        rows = rows.sort_values("energy_saved_pct")
        axes.plot(rows["energy_saved_pct"], rows["lost_points"], marker=marker, ms=4, lw=1, label=method)
    axes.axhline(1, color="0.5", ls=":", lw=1)
    axes.set(xlabel="multiplication energy saved (%)", ylabel="accuracy lost (points)", ylim=(12, -1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_file", type=Path, help="network, data, library and recovery; its search is not used")
    parser.add_argument("--trained", type=Path, help="folder of `dse tolerances --method trained`")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    prepared = prepare(load_config(options.run_file), Inputs())
    predictions, residual = prepared.guide.predict_errors()
    learned = {}
    for coefficient in COEFFICIENTS:
        begin = time.monotonic()
        learned[coefficient] = learn(prepared, coefficient)
        print(f"lambda {coefficient}: {time.monotonic() - begin:.0f} s", flush=True)
    sigmas = pd.concat(
        pd.DataFrame({"coefficient": c, "layer": t.layers, "sigma": t.sigma, "is_saturated": t.is_saturated,
                      "sensitivity": t.sensitivity}) for c, t in learned.items()
    )  # fmt: skip
    sigmas.to_csv(options.out / "tolerances.csv", index=False, float_format="%.6g")
    table = assignments(prepared, learned, residual, predictions.output_std)
    X = np.stack(table["assignment"])
    table["energy_saved_pct"] = 100 * (1 - energy_of(prepared, X))
    exact = float(prepared.report_evaluator(prepared.exact[None])[0])
    accuracy = []
    for row, x in zip(table.itertuples(), X, strict=True):
        accuracy.append(float(prepared.report_evaluator(x[None])[0]))
        print(f"{row.method} {row.coefficient}: {row.energy_saved_pct:.1f} % saved, {accuracy[-1]:.4f}", flush=True)
    table["accuracy"] = accuracy
    table["assignment"] = [";".join(prepared.library[m].name for m in x) for x in X]
    if options.trained is not None:
        table = pd.concat([table, trained_rows(options.run_file, options.trained)], ignore_index=True)
    table["lost_points"] = 100 * (exact - table["accuracy"])
    table["exact_accuracy"], table["n_images"] = exact, prepared.report_evaluator.n_images
    table.to_csv(options.out / "curve.csv", index=False, float_format="%.6g")
    draw(table, options.out / "curve.png")
    print(table.drop(columns="assignment").round(2).to_string(index=False))


if __name__ == "__main__":
    main()
