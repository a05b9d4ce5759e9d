"""Options of public calls and commands: their keys in run files, and objects in place of names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dse.config import RunConfig, load_config
from dse.errors import ConfigError

OPTIONS = {
    "network": "network.name",
    "weights": "network.weights",
    "dataset": "data.dataset",
    "data": "data.dir",
    "preprocessing": "data.preprocessing",
    "images": "data.images",
    "confirm_images": "data.confirm_images",
    "calibration_images": "data.calibration_images",
    "report_images": "data.report_images",
    "top": "data.top",
    "library": "library.path",
    "signed": "library.signed",
    "compile_c": "library.compile_c",
    "scheme": "quantization.scheme",
    "observer": "quantization.observer",
    "per_channel": "quantization.per_channel",
    "exclude": "quantization.exclude",
    "fold_bias": "recovery.fold_bias",
    "sum_compensation": "recovery.sum_compensation",
    "weight_tuning": "recovery.weight_tuning",
    "accelerator": "accelerator.kind",
    "objectives": "search.objectives",
    "sparsity_levels": "pruning.sparsity_levels",
    "pruning_rates": "pruning.rates",
    "pruned": "pruning.structure",
    "refit": "pruning.refit",
    "zero_weights": "pruning.zero_weights",
    "method": "search.method",
    "population_size": "search.population_size",
    "generations": "search.generations",
    "evaluations": "search.evaluations",
    "seed": "search.seed",
    "accuracy_floor": "search.accuracy_floor",
    "initial": "search.initial",
    "initial_designs": "search.initial_designs",
    "neuron_shares": "search.neuron_shares",
    "surrogate": "search.surrogate",
    "racing": "search.racing",
    "jobs": "execution.jobs",
    "threads": "execution.threads",
    "backend": "execution.backend",
    "device": "execution.device",
    "batch_size": "execution.batch_size",
    "workers_backend": "execution.workers_backend",
    "cluster": "execution.cluster",
    "workers": "execution.workers",
    "partition": "execution.partition",
    "walltime": "execution.walltime",
    "memory": "execution.memory",
    "interface": "execution.interface",
    "worker_timeout": "execution.worker_timeout_s",
}
"""Options of `explore` and of the command line, and the keys of the run file that they override."""

TOLERANCE_OPTIONS = {
    name: OPTIONS[name]
    for name in (
        "network", "weights", "dataset", "data", "preprocessing", "calibration_images", "signed", "scheme", "observer",
        "per_channel", "exclude",
    )
} | {
    name: f"tolerances.{name}"
    for name in (
        "method", "sigma_init", "sigma_max", "steps", "epochs", "batch_size", "learning_rate", "sigma_learning_rate",
        "training_images", "seed",
    )
}  # fmt: skip
"""Those of `tolerances`."""

EXECUTION_OPTIONS = {
    name: OPTIONS[name].partition(".")[2]
    for name in (
        "jobs", "threads", "workers_backend", "cluster", "workers", "partition", "walltime", "memory", "interface",
        "worker_timeout",
    )
}  # fmt: skip
"""Those that say where designs are measured, and their keys of `[execution]`; of `operating_points` too."""

PLAIN = {"initial": "random", "surrogate": False, "racing": False}
"""What `plain` stands for."""


def configure(
    run_file: str | Path | None, options: dict[str, Any], *, keys: dict[str, str] = OPTIONS
) -> tuple[RunConfig, str | None]:
    """The configuration of a run file with options (by their names in `keys`) on top, and the file's text."""
    values = dict(options)
    if values.pop("plain", None):
        values = PLAIN | values
    for name in ("library", "dataset", "network"):
        if isinstance(values.get(name), Path):
            values[name] = str(values[name])
    path = None if run_file is None else Path(run_file)
    config = load_config(path, {keys[name]: value for name, value in values.items()})
    return config, None if path is None else path.read_text(encoding="utf-8")


def execution_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `EXECUTION_OPTIONS` that are not None, by their keys of `[execution]`."""
    return {key: options[name] for name, key in EXECUTION_OPTIONS.items() if options[name] is not None}


def objects_apart(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options with what configurations call an object in its place, and the objects: network, dataset, library."""
    objects = {name: given[name] for name in ("network", "dataset", "library") if not is_named(given.get(name))}
    named = given | {name: f"object:{type(value).__name__}" for name, value in objects.items()}
    if "library" in objects:
        named["signed"] = objects["library"].is_signed
    return named, objects


def is_named(value: Any) -> bool:
    """Whether an argument names something, or is absent, rather than being the object itself."""
    if isinstance(value, type):
        raise ConfigError(f"{value!r} is a class: expected an object or a name. Call it to make one")
    return value is None or isinstance(value, str | Path)
