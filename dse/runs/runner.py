"""From a configuration to a finished run directory.

The steps: take the directory's lock, load and prepare, compare with the manifest of an earlier part, search, measure
the best designs on all search images, measure the front on the report images, write it.
"""

import io
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dse.config import RunConfig
from dse.runs.execution import Evaluator, Executor
from dse.runs.front import front_table
from dse.runs.journal import Journal, Split
from dse.runs.loop import (
    REFERENCE_POINT,
    BudgetSpent,
    Measured,
    Meter,
    Observer,
    Progress,
    Start,
    require_exact,
    search,
    select_candidates,
    select_front,
)
from dse.runs.manifest import Manifest, check_continues, read_manifest
from dse.runs.preparation import Inputs, Prepared, prepare
from dse.runs.results import Run, open_run
from dse.runs.store import RunDirectory, RunLock, write_atomic
from dse.search.matching import matched_assignments
from dse.search.methods import make_search
from dse.search.optimizers import Optimizer
from dse.search.seeding import initial_designs, loss_matrix, probe_multipliers, sensitivity_assignments

_log = logging.getLogger("dse")

DISPLAY_LOSS = 0.01
"""Without an accuracy floor, progress shows the best energy within this loss of the exact network."""

PROBE_SHARE = 0.25
"""Part of the evaluations that the single-layer measurements may take."""

SMALL_NETWORK = 2_000_000
"""Multiplications an image below which threads cost more than they bring: they wait for each other."""

MAX_PROBES = 6
"""Multipliers tried per layer by the single-layer measurements, at most."""

CONFIRM_DESIGNS = 30
"""Designs measured on all search images before the front is chosen, about."""


class Silent:
    """The observer that does nothing."""

    def on_start(self, start: Start) -> None:
        """See `Observer`."""

    def on_evaluation(self, progress: Progress) -> None:
        """See `Observer`."""

    def on_generation(self, progress: Progress) -> None:
        """See `Observer`."""


def run(
    config: RunConfig,
    path: Path,
    *,
    config_text: str | None = None,
    inputs: Inputs | None = None,
    observer: Observer | None = None,
) -> Run:
    """Starts or continues the run in a directory; a finished one is returned as it is.

    Args:
        config: what to run.
        path: the run directory, made where absent.
        config_text: the run file as given, kept for the record.
        inputs: objects that replace what the configuration names.
        observer: told how it goes on.

    Raises:
        RunError: the directory is foreign, not writable, in use, or holds a run with another configuration or other
            data; or the disk is full.
        DseError: the network, the data or the library cannot be used.
    """
    inputs, observer = inputs or Inputs(), observer or Silent()
    directory = RunDirectory(path)
    if directory.resolved.exists():
        directory.check_same(config)
        if directory.is_finished and inputs.is_empty:
            return open_run(path)
    with RunLock(directory):
        prepared = prepare(config, inputs)
        _record(directory, config, prepared, config_text)
        if not directory.is_finished:
            _explore(directory, config, prepared, observer)
    return open_run(path)


def _record(directory: RunDirectory, config: RunConfig, prepared: Prepared, config_text: str | None) -> None:
    """Writes config and manifest, or checks that an earlier part of the run had the same."""
    energies = prepared.library.energy_rel
    manifest = Manifest(
        hashes=prepared.hashes,
        layers=tuple(
            {"name": layer.name, "kind": layer.kind, "n_multiplications": int(layer.n_multiplications)}
            for layer in prepared.layers
        ),
        multipliers=tuple(
            {"name": m.name, "energy_rel": float(e), "key": m.key}
            for m, e in zip(prepared.library, energies, strict=True)
        ),
        exact_index=int(prepared.library.exact_index),
        n_images=prepared.n_images,
        reference_point=REFERENCE_POINT,
        seed=config.search.seed,
        accelerator=prepared.accelerator.name,
        accuracy_floor=config.search.accuracy_floor,
    )
    if directory.manifest.exists():
        check_continues(read_manifest(directory.manifest), manifest, directory.path)
    directory.claim(config, config_text)
    if not directory.manifest.exists():
        write_atomic(directory.manifest, manifest.to_json())


def _explore(directory: RunDirectory, config: RunConfig, prepared: Prepared, observer: Observer) -> None:
    options = config.execution
    threads = options.threads or (1 if _is_small(prepared) else None)
    with Journal(directory.journal) as journal, Executor(options.jobs, threads) as executor:
        observer.on_start(_start(directory, config, prepared, journal, executor))
        progress = Progress()

        def on_results(n_left: int) -> None:
            observer.on_evaluation(replace(progress, n_left=n_left))

        meter = Meter(
            prepared.evaluator, "search", accelerator=prepared.accelerator, journal=journal, executor=executor,
            budget=config.search.evaluations, on_results=on_results,
        )  # fmt: skip
        rows: list[dict[str, Any]] = []

        def on_generation(now: Progress) -> None:
            nonlocal progress
            progress = now
            rows.append({k: v for k, v in asdict(now).items() if k not in ("phase", "n_left")})
            _write_csv(directory.generations, pd.DataFrame(rows))
            observer.on_generation(now)

        require_exact(prepared.evaluator, prepared.exact, executor=executor, journal=journal)
        _search(config, prepared, meter, on_generation)

        def later(phase: Split, evaluator: Evaluator) -> Meter:
            nonlocal progress
            progress = replace(progress, phase=phase)
            return Meter(
                evaluator, phase, accelerator=prepared.accelerator, journal=journal, executor=executor,
                on_results=on_results,
            )  # fmt: skip

        measured, bounds = meter.everything(), {"exact": prepared.exact, "accuracy_floor": config.search.accuracy_floor}
        if prepared.confirm_evaluator is not None:
            candidates = select_candidates(measured, **bounds, n_designs=CONFIRM_DESIGNS)
            measured = later("confirm", prepared.confirm_evaluator)(candidates.designs)
        _write_front(
            directory, prepared, select_front(measured, **bounds), later("report", prepared.report_evaluator)
        )


def _is_small(prepared: Prepared) -> bool:
    return sum(int(layer.n_multiplications) for layer in prepared.layers) < SMALL_NETWORK


def _search(config: RunConfig, prepared: Prepared, meter: Meter, on_generation: Any) -> None:
    """Everything up to the end of the search; all that was measured is in the meter."""
    options = config.search
    try:
        exact = meter(prepared.space.decode(prepared.space.encode(prepared.exact[None])))
        optimizer = _optimizer(config, prepared, meter, float(exact.accuracy[0]))
    except BudgetSpent:
        _log.warning("the %d evaluations were spent before the first generation", options.evaluations)
        return
    floor = options.accuracy_floor
    display_floor = floor if floor is not None else float(exact.accuracy[0]) - DISPLAY_LOSS
    search(
        optimizer, prepared.space, meter, accuracy_floor=floor, display_floor=display_floor, on_generation=on_generation
    )
    _log.info("search ended: %s", optimizer.finish_reason or f"all {options.evaluations} evaluations done")


def _optimizer(config: RunConfig, prepared: Prepared, meter: Meter, exact_accuracy: float) -> Optimizer:
    options, exact_index = config.search, prepared.library.exact_index
    initial = None
    if options.method == "nsga2" and options.initial == "random":
        initial = prepared.space.encode(prepared.exact[None])
    elif options.method == "nsga2":
        matched = None
        if options.initial == "sensitivity":
            matched = _matched(config, prepared, meter, exact_accuracy)
        n_uniform = max(1, options.population_size // 3)
        initial = initial_designs(prepared.space, exact_index, matched=matched, n_uniform=n_uniform)
        initial = initial[: options.population_size]
    return make_search(
        options.method,
        prepared.space,
        exact_index=exact_index,
        population_size=options.population_size,
        n_generations=options.generations,
        n_evaluations=options.evaluations,
        seed=options.seed,
        initial=initial,
    )


def _matched(
    config: RunConfig, prepared: Prepared, meter: Meter, exact_accuracy: float
) -> NDArray[np.int64] | None:
    """Assignments matched to measured single-layer losses; `None` where the budget is too small to measure them."""
    options, n_layers, n_multipliers = config.search, len(prepared.layers), len(prepared.library)
    total = options.evaluations or options.population_size * options.generations
    n_probes = min(int(PROBE_SHARE * total / n_layers), MAX_PROBES)
    if n_probes < 1:
        _log.info("too few evaluations to measure single layers: starting from uniform designs")
        return None
    sizes = {"n_layers": n_layers, "n_multipliers": n_multipliers, "exact_index": prepared.library.exact_index}
    sizes["probes"] = probe_multipliers(prepared.library.energy_rel, n_probes)
    assignments = sensitivity_assignments(**sizes)
    fits = prepared.space.is_representable(assignments)
    if not fits.any():
        _log.info("%s cannot approximate single layers: starting from uniform designs", prepared.accelerator.name)
        return None
    accuracies = np.full(len(assignments), np.nan)
    accuracies[fits] = meter(prepared.space.decode(prepared.space.encode(assignments[fits]))).accuracy
    return matched_assignments(
        loss_matrix(accuracies, exact_accuracy, **sizes),
        prepared.library.energy_rel,
        n_multiplications=[layer.n_multiplications for layer in prepared.layers],
        n_designs=max(1, options.population_size - 1 - options.population_size // 3),
        n_tiles=prepared.accelerator.n_tiles,
    )


def _write_front(directory: RunDirectory, prepared: Prepared, chosen: Measured, report: Meter) -> None:
    measured = report(chosen.designs)
    table = front_table(
        chosen,
        measured.accuracy,
        n_images_report=prepared.report_evaluator.n_images,
        accelerator=prepared.accelerator,
        names=prepared.library.names,
        exact_index=prepared.library.exact_index,
    )
    _write_csv(directory.front, table)


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    text = io.StringIO()
    table.to_csv(text, index=False, lineterminator="\n")
    write_atomic(path, text.getvalue())


def _start(
    directory: RunDirectory, config: RunConfig, prepared: Prepared, journal: Journal, executor: Executor
) -> Start:
    return Start(
        path=str(directory.path),
        network=config.network.name,
        dataset=config.data.dataset,
        n_layers=len(prepared.layers),
        n_multiplications=sum(int(layer.n_multiplications) for layer in prepared.layers),
        n_multipliers=len(prepared.library),
        n_images_search=prepared.evaluator.n_images,
        n_images_report=prepared.report_evaluator.n_images,
        n_generations=config.search.generations if config.search.method == "nsga2" else None,
        n_evaluations=config.search.evaluations,
        n_journaled=len(journal),
        jobs=executor.jobs,
        threads=executor.threads,
        data_files=prepared.data_files,
    )
