"""From a configuration to a finished run directory.

The steps: take the directory's lock, load and prepare, compare with the manifest of an earlier part, search, measure
the best designs on all search images, measure the front on the report images, write it.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dse.config import RunConfig
from dse.cost.accelerators import Designs
from dse.cost.neuron_choices import NeuronChoices
from dse.cost.sparse_choices import SparseChoices
from dse.files import replace_file
from dse.multipliers.library import Library
from dse.multipliers.metrics import error_metrics
from dse.objectives import reference_point
from dse.runs.beginning import begin_search, needs_foreknowledge
from dse.runs.cluster import make_executor
from dse.runs.execution import Evaluator, Executor
from dse.runs.foreknowledge import foreknow, predictions_table
from dse.runs.front import front_table, join_names
from dse.runs.journal import Journal, Split
from dse.runs.loop import (
    Observer,
    Progress,
    Start,
    require_exact,
    search,
    select_candidates,
    select_front,
)
from dse.runs.manifest import Manifest, check_continues, read_manifest
from dse.runs.measured import Measured
from dse.runs.meter import BudgetSpent, Meter
from dse.runs.preparation import Inputs, Prepared, prepare
from dse.runs.recorded_sparsity import choice_record, layer_record
from dse.runs.results import Run, open_run
from dse.runs.store import RunDirectory, RunLock, write_table
from dse.runs.work import MIN_BLOCK
from dse.search.racing import Race
from dse.search.seeding import Initial

_log = logging.getLogger("dse")

DISPLAY_LOSS = 0.01
"""Without an accuracy floor, progress shows the best energy within this loss of the exact network."""

SMALL_NETWORK = 2_000_000
"""Multiplications an image below which threads cost more than they bring: they wait for each other."""

CONFIRM_DESIGNS = 30
"""Designs measured on all search images before the front is chosen, about."""


class Silent(Observer):
    """The observer that does nothing: the methods of the protocol are empty."""


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
        directory.check_same(config, may_move=True)
        if directory.is_finished and inputs.is_empty and directory.is_made_from(config):
            return open_run(path)
    with RunLock(directory):
        prepared = prepare(config, inputs)
        _record(directory, config, prepared, config_text)
        if not directory.is_finished:
            _explore(directory, config, prepared, observer)
    return open_run(path)


def _record(directory: RunDirectory, config: RunConfig, prepared: Prepared, config_text: str | None) -> None:
    """Writes config and manifest, or checks that an earlier part of the run had the same."""
    manifest = Manifest(
        hashes=prepared.hashes,
        layers=tuple(_layer_record(prepared, index, config) for index in range(len(prepared.layers))),
        multipliers=tuple(_multiplier_records(prepared.library)),
        exact_index=int(prepared.library.exact_index),
        n_images=prepared.n_images,
        reference_point=reference_point(prepared.n_objectives),
        seed=config.search.seed,
        accelerator=prepared.accelerator.name,
        accuracy_floor=config.search.accuracy_floor,
        cost_technology=_plain(prepared.library).technology,
    )
    if directory.manifest.exists():
        check_continues(read_manifest(directory.manifest), manifest, directory.path)
    directory.claim(config, config_text)
    if not directory.manifest.exists():
        replace_file(directory.manifest, manifest.to_json())


def _layer_record(prepared: Prepared, index: int, config: RunConfig) -> dict[str, Any]:
    """What a run keeps of a layer; its neurons only where they are divided, its sizes only where it may be pruned."""
    layer = prepared.layers[index]
    record = {"name": layer.name, "kind": layer.kind, "n_multiplications": int(layer.n_multiplications)}
    if prepared.memory is not None:
        record |= layer_record(index, prepared.memory, prepared.accelerator)
    return record | ({"n_neurons": int(layer.weight_shape[0])} if config.search.neuron_shares else {})


def _plain(library: Library | NeuronChoices | SparseChoices) -> Library:
    return library if isinstance(library, Library) else library.library


def _multiplier_records(library: Library | NeuronChoices | SparseChoices) -> Iterator[dict[str, Any]]:
    """What a run keeps of what a layer may be given; errors where it is one multiplier for all weights."""
    tables = {m.name: m for m in _plain(library)}
    for member, energy_rel in zip(library, library.energy_rel, strict=True):
        record = {"name": member.name, "energy_rel": float(energy_rel), "key": member.key}
        if member.name in tables:
            table = tables[member.name].table
            record["mae_pct"] = error_metrics(table, is_signed=tables[member.name].is_signed).mae_pct
        yield record | (choice_record(member, library) if isinstance(library, SparseChoices) else {})


def _tell_of_idle(n_workers: int, population_size: int, *, n_images: int) -> None:
    n_busy = population_size * max(1, n_images // MIN_BLOCK)
    if n_workers > n_busy:
        _log.warning(
            "%d workers: generations of %d designs on %d images keep %d busy. Use a larger --population-size, or do "
            "several runs at a time with `dse sweep`", n_workers, population_size, n_images, n_busy,
        )  # fmt: skip


def _explore(directory: RunDirectory, config: RunConfig, prepared: Prepared, observer: Observer) -> None:
    options = config.execution
    with Journal(directory.journal) as journal, make_executor(options, threads_for(config, prepared)) as executor:
        observer.on_start(_start(directory, config, prepared, journal, executor))
        _tell_of_idle(executor.jobs, config.search.population_size, n_images=int(prepared.evaluator.n_images))
        progress = Progress()

        def on_results(n_left: int) -> None:
            observer.on_evaluation(replace(progress, n_left=n_left))

        meter = Meter(
            prepared.evaluator, "search", accelerator=prepared.accelerator, memory=prepared.objective_memory,
            journal=journal, executor=executor, budget=config.search.evaluations, race=_race(config),
            on_results=on_results,
        )  # fmt: skip
        rows: list[dict[str, Any]] = []

        def on_generation(now: Progress) -> None:
            nonlocal progress
            progress = now
            rows.append({k: v for k, v in vars(now).items() if k not in ("phase", "n_left", "F")})
            write_table(directory.generations, pd.DataFrame(rows))
            observer.on_generation(now)

        exact_energy = float(prepared.accelerator.energy_rel(Designs(prepared.exact[None]))[0])
        require_exact(prepared.evaluator, prepared.exact, executor=executor, journal=journal, energy_rel=exact_energy)
        _search(directory, config, prepared, meter, observer, on_generation)

        def later(phase: Split, evaluator: Evaluator) -> Meter:
            nonlocal progress
            progress = replace(progress, phase=phase)
            return Meter(
                evaluator, phase, accelerator=prepared.accelerator, memory=prepared.objective_memory, journal=journal,
                executor=executor, on_results=on_results,
            )  # fmt: skip

        measured, bounds = meter.everything(), {"exact": prepared.exact, "accuracy_floor": config.search.accuracy_floor}
        if prepared.confirm_evaluator is not None:
            candidates = select_candidates(measured, **bounds, n_designs=CONFIRM_DESIGNS)
            measured = later("confirm", prepared.confirm_evaluator)(candidates.designs)
        _write_front(directory, prepared, select_front(measured, **bounds), later("report", prepared.report_evaluator))


def _race(config: RunConfig) -> Race | None:
    """The other methods are baselines, which measure all that they ask for."""
    return Race() if config.search.racing and config.search.method == "nsga2" else None


def threads_for(config: RunConfig, prepared: Prepared) -> int | None:
    """Threads a worker; None shares the cores evenly."""
    is_small = sum(int(layer.n_multiplications) for layer in prepared.layers) < SMALL_NETWORK
    return config.execution.threads or (1 if is_small else None)


def _search(
    directory: RunDirectory, config: RunConfig, prepared: Prepared, meter: Meter, observer: Observer, on_generation: Any
) -> None:
    """Everything up to the end of the search; all that was measured is in the meter."""
    options, known, begin = config.search, None, time.monotonic()
    if needs_foreknowledge(config):
        known = foreknow(
            directory,
            prepared.guide,
            layers=[layer.name for layer in prepared.layers],
            multipliers=prepared.library.names,
            with_tolerances=options.initial == "agn",
            on_step=observer.on_learning,
        )
    try:
        exact = meter(prepared.space.decode(prepared.space.encode(prepared.exact[None])))
        beginning = begin_search(config, prepared, meter, float(exact.accuracy[0]), known)
    except BudgetSpent:
        _log.warning("the %d evaluations were spent before the first generation", options.evaluations)
        return
    optimizer, screen = beginning.optimizer, beginning.screen
    write_table(directory.initial, _initial_table(prepared, beginning.initial))
    floor = options.accuracy_floor
    display_floor = floor if floor is not None else float(exact.accuracy[0]) - DISPLAY_LOSS
    search(
        optimizer, prepared.space, meter, accuracy_floor=floor, display_floor=display_floor,
        on_generation=on_generation, begin=begin,
    )  # fmt: skip
    if screen is not None and screen.checked:  # the budget may end amid the first generation
        everything = meter.everything()
        complete = set(everything.take(np.flatnonzero(everything.is_complete)).keys)
        write_table(directory.predictions, predictions_table(screen.checked, complete, prepared.library.names))
    _log.info("search ended: %s", optimizer.finish_reason or f"all {options.evaluations} evaluations done")


def _initial_table(prepared: Prepared, initial: Initial) -> pd.DataFrame:
    """The content of `initial.csv`: origin, energy_rel and assignment of every design that was started from."""
    designs = prepared.space.decode(initial.genomes)
    names = [join_names(row, prepared.library.names) for row in designs.assignments]
    energy_rel = prepared.accelerator.energy_rel(designs)
    return pd.DataFrame({"origin": initial.origins, "energy_rel": energy_rel, "assignment": names})


def _write_front(directory: RunDirectory, prepared: Prepared, chosen: Measured, report: Meter) -> None:
    measured = report(chosen.designs)
    table = front_table(
        chosen,
        measured.accuracy,
        n_images_report=prepared.report_evaluator.n_images,
        accelerator=prepared.accelerator,
        names=prepared.library.names,
        exact_index=prepared.library.exact_index,
        memory=prepared.memory,
    )
    write_table(directory.front, table)


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
        place=executor.place,
        data_files=prepared.data_files,
    )
