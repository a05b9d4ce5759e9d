"""Run directories of any size, written without a search: what reads runs is tested and timed on them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dse.config import RunConfig, parse_config, to_toml
from dse.objectives import REFERENCE_POINT
from dse.pareto import nondominated
from dse.runs.front import join_names, wilson_interval
from dse.runs.journal import FORMAT, Evaluation, pack_hits
from dse.runs.manifest import Manifest
from dse.runs.results import Run, open_run
from dse.runs.store import RunDirectory, write_table

N_SEARCH, N_REPORT = 600, 3000
"""Images."""

EXACT_ACCURACY = 0.92


def written_run(
    path: Path,
    *,
    layers: Sequence[str] = tuple(f"layer{i}" for i in range(6)),
    multipliers: Sequence[str] = ("m0", "m1", "m2", "m3", "exact"),
    n_points: int = 8,
    n_evaluations: int = 60,
    is_finished: bool = True,
    seed: int = 0,
    network: str = "digits_cnn",
) -> Run:
    """Writes a run whose front is smooth, and whose accuracies are made up.

    Args:
        path: its directory, which is made.
        layers: their names.
        multipliers: names by rising energy; the last one is exact.
        n_points: of the front, at most.
        n_evaluations: designs of the search, at least `n_points`.
        is_finished: else there is no front.csv, nor what is written with it.
        seed: of the random numbers.
        network: its name.
    """
    directory = RunDirectory(path)
    path.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    config = parse_config(f"[search]\nseed = {seed}", {"network.name": network})
    manifest = _manifest(layers, multipliers, rng, seed)
    directory.resolved.write_text(to_toml(config), encoding="utf-8")
    directory.manifest.write_text(manifest.to_json(), encoding="utf-8")
    assignments = _designs(len(layers), len(multipliers), n_points, n_evaluations, rng)
    energy_rel, accuracy = _figures(manifest, assignments, n_points, rng)
    _write_journal(directory, assignments, energy_rel, accuracy, rng)
    _write_progress(directory, n_evaluations)
    _write_knowledge(directory, layers, rng)
    if is_finished:
        _write_front(directory, manifest, assignments[:n_points], energy_rel[:n_points], accuracy[:n_points], rng)
        _write_predictions(directory, manifest, assignments, energy_rel, accuracy, rng)
    return open_run(path)


def _manifest(layers: Sequence[str], multipliers: Sequence[str], rng: np.random.Generator, seed: int) -> Manifest:
    energies = np.linspace(0.1, 1.0, len(multipliers))
    counts = rng.integers(1, 60, len(layers)) * 10_000
    return Manifest(
        hashes={name: f"{number:064x}" for number, name in enumerate(("network", "report images", "library"))},
        layers=tuple(
            {"name": name, "kind": "conv2d", "n_multiplications": n}
            for name, n in zip(layers, counts.tolist(), strict=True)
        ),
        multipliers=tuple(
            {"name": name, "energy_rel": float(e), "key": "k", "mae_pct": float(3 * (1 - e) ** 3)}
            for name, e in zip(multipliers, energies, strict=True)
        ),
        exact_index=len(multipliers) - 1,
        n_images={"search": N_SEARCH, "report": N_REPORT},
        reference_point=REFERENCE_POINT,
        seed=seed,
        accelerator=RunConfig().accelerator.kind,
        accuracy_floor=None,
        cost_technology="made up",
    )  # fmt: skip


def _designs(n_layers: int, n_multipliers: int, n_points: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """First those of the front, from cheap to exact, then others; int64 [n, n_layers]."""
    steps = np.linspace(0, 1, n_points)[:, None] * np.ones(n_layers)
    steps[:-1] += rng.normal(0, 0.08, (n_points - 1, n_layers))
    front = np.rint(steps.clip(0, 1) * (n_multipliers - 1)).astype(np.int64)
    front[-1] = n_multipliers - 1
    others = rng.integers(0, n_multipliers, (n - n_points, n_layers))
    return np.concatenate([front, others])


def _figures(
    manifest: Manifest, assignments: NDArray[np.int64], n_points: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Relative energies, and accuracies that fall the more is saved, those of others faster; both float64 [n]."""
    energies = np.array([m["energy_rel"] for m in manifest.multipliers])[assignments]
    counts = np.array([layer["n_multiplications"] for layer in manifest.layers], dtype=np.float64)
    energy_rel = energies @ (counts / counts.sum())
    lost = 0.25 * (1 - energy_rel) ** 3
    lost[n_points:] += 0.02 + rng.exponential(0.15, len(lost) - n_points)
    return energy_rel, (EXACT_ACCURACY - lost).clip(0.1, 1)


def _write_journal(
    directory: RunDirectory,
    assignments: NDArray[np.int64],
    energy_rel: NDArray[np.float64],
    accuracy: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    lines = [f'{{"kind": "header", "format": {FORMAT}}}']
    for row, energy, share in zip(assignments.tolist(), energy_rel.tolist(), accuracy.tolist(), strict=True):
        hits = pack_hits(rng.random(N_SEARCH) < share)
        found = Evaluation("search", tuple(row), "f" * 64, share, energy_rel=energy, n_images=N_SEARCH, hits=hits)
        lines.append(found.to_json())
    directory.journal.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_progress(directory: RunDirectory, n_evaluations: int) -> None:
    n_generations = max(1, min(200, n_evaluations // 20))
    done = np.linspace(n_evaluations / n_generations, n_evaluations, n_generations).astype(int)
    table = {
        "n_gen": np.arange(1, n_generations + 1), "n_eval": done, "n_new": done, "n_images": done * N_SEARCH,
        "cache_hits": 0, "hypervolume": 0.9 - 0.2 * np.exp(-4 * done / n_evaluations), "best_energy_rel": 0.4,
        "accuracy_floor": 0.9, "time_s": 0.5 * done,
    }  # fmt: skip
    write_table(directory.generations, pd.DataFrame(table))


def _write_knowledge(directory: RunDirectory, layers: Sequence[str], rng: np.random.Generator) -> None:
    sigma = np.exp(rng.normal(-3, 1, len(layers)))
    table = {"layer": layers, "sigma": sigma, "is_saturated": sigma > np.quantile(sigma, 0.9), "sensitivity": sigma**-2}
    write_table(directory.tolerances, pd.DataFrame(table))


def _write_front(
    directory: RunDirectory,
    manifest: Manifest,
    assignments: NDArray[np.int64],
    energy_rel: NDArray[np.float64],
    accuracy: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    kept = nondominated(np.column_stack([energy_rel, 1 - accuracy]), keep_equal=False)
    kept[-1] = True
    order = np.flatnonzero(kept)[np.argsort(energy_rel[kept], kind="stable")]
    hits = rng.binomial(N_REPORT, accuracy[order])
    low, high = wilson_interval(hits / N_REPORT, N_REPORT)
    names = [m["name"] for m in manifest.multipliers]
    table = {
        "point": np.arange(len(order)), "energy_rel": energy_rel[order], "energy_pj": 1e6 * energy_rel[order],
        "energy_saved_pct": 100 * (1 - energy_rel[order]), "accuracy": hits / N_REPORT, "accuracy_low": low,
        "accuracy_high": high, "accuracy_search": accuracy[order], "n_images_report": N_REPORT, "state": "ok",
        "is_exact": (assignments[order] == manifest.exact_index).all(axis=1),
        "assignment": [join_names(row, names) for row in assignments[order]],
    }  # fmt: skip
    write_table(directory.front, pd.DataFrame(table))


def _write_predictions(
    directory: RunDirectory,
    manifest: Manifest,
    assignments: NDArray[np.int64],
    energy_rel: NDArray[np.float64],
    accuracy: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    lost = EXACT_ACCURACY - accuracy
    names = [m["name"] for m in manifest.multipliers]
    table = {
        "batch": np.arange(len(lost)) // 20, "energy_rel": energy_rel,
        "predicted_loss": lost * np.exp(rng.normal(0, 0.2, len(lost))), "predicted_std": 0.2 * np.abs(lost),
        "measured_loss": lost, "is_complete": True, "assignment": [join_names(row, names) for row in assignments],
    }  # fmt: skip
    write_table(directory.predictions, pd.DataFrame(table))
