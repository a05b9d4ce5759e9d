"""What a simulated image buys: hypervolume against cost for several ways to search.

    python benchmarks/bench_search.py run --method full --seed 0 --out runs/search      # one search
    python benchmarks/bench_search.py all --seeds 5 --out runs/search                   # all of them, one by one
    python benchmarks/bench_search.py collect --runs runs/search --out results/search   # tables and pictures

Every search runs in `OUT/METHOD/s<SEED>` and continues when its command is repeated. Methods:

- `random-nsga2`: NSGA-II from random designs, what the ALWANN paper describes (`dse explore --plain`)
- `uniform-nsga2`: from uniform designs
- `agn-nsga2`: from designs matched to learned tolerances
- `full`: that, with surrogate and racing (the defaults of `dse explore`)
- `random`: random search
- `optuna`: Optuna's NSGA-II on the same evaluator, its defaults but for the population (`pip install optuna`)

Cost is counted in simulated images (divided by the search images: full evaluations); what was simulated before is free.
Hypervolumes are those of the search images, with the reference point of every run; `--remeasure N` measures the
final fronts of `REMEASURED` again on N images that no search saw, because a search that looks at many designs also
finds lucky ones.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import dse
from dse.config import load_config
from dse.objectives import REFERENCE_POINT
from dse.pareto import front_indices, hypervolume
from dse.runs.preparation import Inputs, prepare

STAGE = Path(__file__).parent / "runs" / "search_benchmark.toml"
POPULATION = 50
PLAIN = {"surrogate": False, "racing": False}
METHODS = {
    "random-nsga2": {"initial": "random", "generations": 80, **PLAIN},
    "uniform-nsga2": {"initial": "uniform", "generations": 4, **PLAIN},
    "agn-nsga2": {"initial": "agn", "generations": 4, **PLAIN},
    "full": {"initial": "agn", "generations": 40, "evaluations": 250, "population_size": 24},
    "random": {"method": "random", "evaluations": 200},
    "optuna": {"evaluations": 200},
}
REMEASURED = ("random-nsga2", "agn-nsga2", "full")
TARGET_COST = 4000
CHECKPOINTS = (50, 100, 200, 250, 1000, 2000, 4000)


def run_method(method: str, seed: int, stage: Path, out: Path) -> None:
    path = out / method / f"s{seed}"
    if method == "optuna":
        run_optuna(stage, seed, path, METHODS[method]["evaluations"])
    else:
        options = {"population_size": POPULATION} | METHODS[method]
        dse.explore(seeded(stage, seed, path), seed=seed, threads=1, out=path, **options)


def seeded(stage: Path, seed: int, path: Path) -> Path:
    """A run file whose tolerances have a seed of their own, so that each search learns and pays for them."""
    run_file = path.parent / f"s{seed}.toml"
    run_file.parent.mkdir(parents=True, exist_ok=True)
    run_file.write_text(f"{stage.read_text()}\n[tolerances]\nseed = {seed}\n")
    return run_file


def run_optuna(stage: Path, seed: int, path: Path, n_evaluations: int) -> None:
    """Its generations.csv, in the columns of a run's; an assignment asked again costs nothing."""
    import optuna

    if (path / "generations.csv").exists():
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    prepared = prepare(load_config(stage, {"search.method": "random"}), Inputs())
    study = optuna.create_study(
        directions=["minimize", "minimize"],
        sampler=optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed),
    )
    names = [f"layer{index}" for index in range(len(prepared.layers))]
    known: dict[tuple[int, ...], np.ndarray] = {}
    rows, begin = [], time.monotonic()
    while len(known) < n_evaluations:
        trial = study.ask()
        key = tuple(trial.suggest_int(name, 0, len(prepared.library) - 1) for name in names)
        if key not in known:
            known[key] = measure(prepared, np.array([key]))[0]
        study.tell(trial, known[key].tolist())
        if len(known) % POPULATION == 0 and (not rows or rows[-1]["n_eval"] != len(known)):
            F = np.array(list(known.values()))
            cost = {"n_eval": len(known), "n_images": len(known) * prepared.evaluator.n_images}
            rows.append({**cost, "hypervolume": hypervolume(F, REFERENCE_POINT), "time_s": time.monotonic() - begin})
    path.mkdir(parents=True, exist_ok=True)
    F = np.array(list(known.values()))
    front = pd.DataFrame(np.array(list(known))[front_indices(F)], columns=names)
    front.to_csv(path / "front_assignments.csv", index=False)
    pd.DataFrame(rows).to_csv(path / "generations.csv", index=False)


def measure(prepared, assignments: np.ndarray) -> np.ndarray:
    """F of assignments: relative energy and accuracy loss."""
    designs = prepared.space.decode(prepared.space.encode(assignments))
    return np.column_stack([prepared.accelerator.energy_rel(designs), 1 - prepared.evaluator(assignments)])


def read_curves(runs: Path, n_images: int) -> pd.DataFrame:
    """Every generation of every search: method, seed, cost (full evaluations), hypervolume, time_s."""
    tables = []
    for path in sorted(runs.glob("*/s*/generations.csv")):
        table = pd.read_csv(path)
        seconds = table["time_s"]
        tables.append(
            pd.DataFrame(
                {
                    "method": path.parts[-3],
                    "seed": int(path.parts[-2][1:]),
                    "cost": table["n_images"] / n_images,
                    "hypervolume": table["hypervolume"],
                    "time_s": seconds,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def at_cost(curve: pd.DataFrame, cost: float) -> float:
    """Hypervolume of one search when it had cost that much; NaN where it ended before."""
    if curve["cost"].max() < 0.98 * cost:
        return float("nan")
    reached = curve[curve["cost"] <= cost * 1.02]
    return float(reached["hypervolume"].max()) if len(reached) else float("nan")


def cost_to_reach(curve: pd.DataFrame, hypervolume_goal: float) -> float:
    reached = curve[curve["hypervolume"] >= hypervolume_goal]
    return float(reached["cost"].min()) if len(reached) else float("nan")


def summary(curves: pd.DataFrame) -> pd.DataFrame:
    """Median (and range over seeds) of the hypervolume at each checkpoint, and of the cost to reach the target."""
    target = np.nanmedian([at_cost(c, TARGET_COST) for _, c in curves[curves.method == "random-nsga2"].groupby("seed")])
    rows = []
    for method, group in curves.groupby("method"):
        seeds = [curve for _, curve in group.groupby("seed")]
        row = {"method": method, "seeds": len(seeds)}
        for checkpoint in CHECKPOINTS:
            row[f"at {checkpoint}"] = spread_text([at_cost(curve, checkpoint) for curve in seeds], "{:.4f}")
        row[f"cost to {target:.4f}"] = spread_text([cost_to_reach(curve, target) for curve in seeds], "{:.0f}")
        rows.append(row)
    return pd.DataFrame(rows)


def spread_text(values: list[float], number: str) -> str:
    known = [v for v in values if np.isfinite(v)]
    if not known:
        return "-"
    text = f"{number.format(np.median(known))} ({number.format(min(known))}..{number.format(max(known))})"
    return text if len(known) == len(values) else f"{text}, {len(known)} of {len(values)}"


def draw(curves: pd.DataFrame, path: Path) -> None:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, (column, label) in zip(
        figure.subplots(1, 2, sharey=True), (("cost", "full evaluations simulated"), ("time_s", "seconds")), strict=True
    ):
        for index, (method, group) in enumerate(curves.groupby("method")):
            color = f"C{index}"
            for _, curve in group.groupby("seed"):
                axes.plot(curve[column], curve["hypervolume"].cummax(), color=color, lw=0.5, alpha=0.5)
            last = [curve.iloc[-1] for _, curve in group.groupby("seed")]
            middle = sorted(last, key=lambda row: row["hypervolume"])[len(last) // 2]
            axes.plot(middle[column], middle["hypervolume"], "o", color=color, ms=4, label=method)
        axes.set(xscale="log", xlabel=label)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("hypervolume, search images")
    figure.axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=130)


def front_assignments(path: Path, prepared) -> np.ndarray:
    """Assignments on the front of the search images, int64 [n, n_layers]."""
    if (path / "front_assignments.csv").exists():
        return pd.read_csv(path / "front_assignments.csv").to_numpy(np.int64)
    table = dse.open_run(path).evaluations
    chosen = table[(table["split"] == "search") & ~table["is_dominated"]]
    return np.array([[prepared.library.index(n) for n in row.split(";")] for row in chosen["assignment"]])


def remeasure(runs: Path, stage: Path, n_images: int) -> pd.DataFrame:
    """Hypervolume of every final front on images that no search saw."""
    overrides = {"data.report_images": n_images, "search.method": "random"}
    prepared = prepare(load_config(stage, overrides), Inputs())
    evaluator, known, rows = prepared.report_evaluator, {}, []
    paths = (p.parent for method in REMEASURED for p in runs.glob(f"{method}/s*/generations.csv"))
    for path in sorted(paths):
        X = front_assignments(path, prepared)
        for assignment in X:
            if tuple(assignment) not in known:
                known[tuple(assignment)] = float(evaluator(assignment[None])[0])
        energy = prepared.accelerator.energy_rel(prepared.space.decode(prepared.space.encode(X)))
        F = np.column_stack([energy, [1 - known[tuple(a)] for a in X]])
        rows.append({"method": path.parent.name, "seed": int(path.name[1:]), "n_points": len(X),
                     "hypervolume": hypervolume(F, REFERENCE_POINT)})  # fmt: skip
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def collect(runs: Path, stage: Path, out: Path, n_remeasured: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    curves = read_curves(runs, load_config(stage).data.images)
    curves.to_csv(out / "curves.csv", index=False, float_format="%.6g")
    draw(curves, out / "curves.png")
    table = summary(curves)
    table.to_csv(out / "summary.csv", index=False)
    print(table.to_string(index=False))
    if n_remeasured:
        fresh = remeasure(runs, stage, n_remeasured)
        fresh.to_csv(out / "remeasured.csv", index=False, float_format="%.6g")
        print(fresh.groupby("method")["hypervolume"].describe()[["count", "min", "50%", "max"]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one, every, gather = verbs.add_parser("run"), verbs.add_parser("all"), verbs.add_parser("collect")
    one.add_argument("--method", choices=METHODS, required=True)
    one.add_argument("--seed", type=int, default=0)
    every.add_argument("--seeds", type=int, default=5)
    gather.add_argument("--runs", type=Path, required=True)
    gather.add_argument("--remeasure", type=int, default=0, metavar="IMAGES")
    for verb in (one, every, gather):
        verb.add_argument("--stage", type=Path, default=STAGE, help="a run file: everything but the search")
        verb.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if options.verb == "run":
        run_method(options.method, options.seed, options.stage, options.out)
    elif options.verb == "all":
        for method in METHODS:
            for seed in range(options.seeds):
                run_method(method, seed, options.stage, options.out)
    else:
        collect(options.runs, options.stage, options.out, options.remeasure)


if __name__ == "__main__":
    main()
