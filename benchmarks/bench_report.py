"""Size of reports, and how long a browser takes to open them.

    python benchmarks/bench_report.py                          # made-up runs up to the largest that is promised
    python benchmarks/bench_report.py --run runs/first         # besides, one of yours

Made-up runs have no search behind them (`dse.testing.written_runs`). A page is opened `--repeats` times from a file, in
Chromium without a window or a GPU. Two times count from the start of the navigation: until the page answers, with the
front, its panel and its table, and until every picture is drawn. Medians go to `--out`, with the processor time
that Python takes to make the file, and how busy the machine was.
"""

import argparse
import datetime
import os
import statistics
import tempfile
import time
from pathlib import Path

import pandas as pd

import dse
from dse.testing.browser import chromium, wait_until_drawn
from dse.testing.written_runs import written_run

ROOT = Path(__file__).resolve().parents[1]

SIZES = ((20, 50, 500), (20, 50, 10_000), (100, 500, 10_000))
"""Layers, points of the front, evaluations."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, action="append", default=[], help="a run directory; repeatable")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "report.csv")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        made = [made_up(Path(folder), *size) for size in SIZES]
        rows = [measured(browser, path, Path(folder), options.repeats) for path in [*options.run, *made]]
    table = pd.DataFrame(rows)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out, index=False)
    print(table.to_string(index=False))


def made_up(folder: Path, n_layers: int, n_points: int, n_evaluations: int) -> Path:
    """A run with names as long as real ones."""
    layers = [f"features.{i}.block.conv{i % 3}" for i in range(n_layers)]
    multipliers = [f"mul8u_{i:04X}" for i in range(36)]
    path = folder / f"made up, {n_layers} layers, {n_points} points, {n_evaluations} evaluations"
    written_run(path, layers=layers, multipliers=multipliers, n_points=n_points, n_evaluations=n_evaluations)
    return path


def measured(browser, run: Path, folder: Path, n_repeats: int) -> dict[str, object]:
    """One row."""
    started_s = time.process_time()
    page = dse.report(run, out=folder / "report.html")
    written_s = time.process_time() - started_s
    opened, complete = zip(*(opening(browser, page) for _ in range(n_repeats)), strict=True)
    return {
        "run": run.name,
        "evaluations": len(dse.open_run(run).evaluations),
        "points": len(dse.open_run(run).front),
        "layers": len(dse.open_run(run).layers),
        "size_mb": round(page.stat().st_size / 1e6, 2),
        "written_cpu_s": round(written_s, 2),
        "opened_s": round(statistics.median(opened), 2),
        "opened_worst_s": round(max(opened), 2),
        "complete_s": round(statistics.median(complete), 2),
        "n_repeats": n_repeats,
        "load": round(os.getloadavg()[0], 1),
        "n_cpus": os.cpu_count(),
        "date": datetime.date.today().isoformat(),
    }


def opening(browser, path: Path) -> tuple[float, float]:
    """Seconds until a page answers, and until it is complete; nothing of it is in a cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(path.as_uri())
    wait_until_drawn(page)
    times = [
        page.evaluate(f"performance.getEntriesByName('{name}')[0].startTime / 1000")
        for name in ("dse-opened", "dse-complete")
    ]
    context.close()
    return times[0], times[1]


if __name__ == "__main__":
    main()
