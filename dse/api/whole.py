"""The public calls: `explore`, from a trained network to a finished run directory; `evaluate`, without a search;
`tolerances`, what each layer bears; `export`, chosen points as files that stand alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.config import RunConfig, default_run_name, load_config
from dse.errors import ConfigError
from dse.robustness.tolerances import Tolerances
from dse.runs.loop import Observer
from dse.runs.results import Run
from dse.runs.tolerance_sweep import SweepObserver

if TYPE_CHECKING:
    from dse.runs.exporting import Export

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

PLAIN = {"initial": "random", "surrogate": False, "racing": False}
"""What `plain` stands for."""


def explore(
    run_file: str | Path | None = None,
    *,
    network: Any = None,
    weights: str | Path | None = None,
    dataset: Any = None,
    data: str | Path | None = None,
    preprocessing: str | None = None,
    images: int | None = None,
    confirm_images: int | None = None,
    calibration_images: int | None = None,
    report_images: int | None = None,
    top: int | None = None,
    library: Any = None,
    signed: bool | None = None,
    compile_c: bool | None = None,
    scheme: str | None = None,
    observer: str | None = None,
    per_channel: bool | None = None,
    exclude: Sequence[str] | None = None,
    fold_bias: bool | None = None,
    sum_compensation: bool | None = None,
    weight_tuning: str | None = None,
    accelerator: str | None = None,
    method: str | None = None,
    population_size: int | None = None,
    generations: int | None = None,
    evaluations: int | None = None,
    seed: int | None = None,
    accuracy_floor: float | None = None,
    initial: str | None = None,
    initial_designs: int | None = None,
    neuron_shares: Sequence[int] | None = None,
    surrogate: bool | None = None,
    racing: bool | None = None,
    plain: bool | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    backend: str | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    workers_backend: str | None = None,
    cluster: str | None = None,
    workers: int | None = None,
    partition: str | None = None,
    walltime: str | None = None,
    memory: str | None = None,
    interface: str | None = None,
    worker_timeout: float | None = None,
    out: str | Path | None = None,
    watch: Observer | None = None,
) -> Run:
    """Searches which multiplier each layer should use, or continues an earlier search.

    Without arguments: a small CNN on the digits data with the embedded multipliers. Arguments are those of the command
    `dse explore`, win over the run file, and default to what `dse.config` says. The same call continues an interrupted
    run, and returns a finished one at once.

    Args:
        run_file: a TOML file.
        network: a zoo name, `module:function`, or a `torch.nn.Module`.
        weights: state dict for a named network.
        dataset: a name, `module:function`, or `dse.datasets.Splits`.
        data: folder of the dataset's files.
        preprocessing: of the images, see `dse.datasets.preprocessing`.
        images: how many steer the search.
        confirm_images: on how many of the search images the best designs are measured again, to choose the front.
        calibration_images: how many fix the ranges.
        report_images: how many measure the front.
        top: an image counts where its label is among so many best classes.
        library: `builtin`, a path, or a `Library`.
        signed: use the library's signed multipliers.
        compile_c: allow C sources in the library to be compiled and run.
        scheme: `auto`, `unsigned-affine` or `signed-symmetric`.
        observer: `minmax`, `percentile` or `mse`.
        per_channel: one weight scale per output channel.
        exclude: patterns of layer names that stay floating point.
        fold_bias: fold the mean error of each channel into its bias.
        sum_compensation: compensate errors by the sum of each patch.
        weight_tuning: `off`, `uniform` or `histogram`: replace weights by those that the multiplier treats best.
        accelerator: `free`, `tiles:T` or `pipelined:T`.
        method: `nsga2`, `random`, `uniform`, `greedy` or `exhaustive`.
        population_size: designs per generation.
        generations: how many.
        evaluations: different designs measured, at most.
        seed: of the search.
        accuracy_floor: in [0, 1]; designs below are not wanted.
        initial: `agn` (matched to learned tolerances), `sensitivity` (to measured losses of single layers), `uniform`
            or `random`.
        initial_designs: how many of these; a population by default.
        neuron_shares: percents of a layer's neurons (output channels), the most resilient ones, that may get a cheaper
            multiplier than its others, as `[25, 50, 75]`; by default all neurons of a layer have one multiplier.
        surrogate: simulate only offspring that a prediction of the loss cannot rule out.
        racing: stop simulating a design once it is beaten, with confidence, on the images so far.
        plain: plain ALWANN: random initial designs, no surrogate, no racing, but for what is asked for explicitly.
        jobs: worker processes.
        threads: per worker.
        backend: `auto`, one of the kernels `factored`, `rows`, `permute`, `columns`, `direct` or `gpu`, or `reference`.
        device: what simulates: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`.
        batch_size: images per batch.
        workers_backend: of `jobs`: `loky` (processes), `threading` or `dask`.
        cluster: `dask:tcp://host:port` joins a running dask cluster, which must be trusted and is sent code; `slurm`,
            `pbs` or `lsf` starts one there. Results are those of this machine.
        workers: to start there, or to wait for.
        partition: of the batch system, its queue.
        walltime: of a worker's job, as `02:00:00`; workers that end are replaced.
        memory: of a worker, as `4GB`.
        interface: the network by which machines of the cluster reach each other, as `ib0`.
        worker_timeout: s an assignment may take before another worker gets it too; by experience by default.
        out: the run directory; by default below `runs/`, named after the configuration.
        watch: told how the run goes on.

    Returns:
        The finished run.
    """
    names = {*OPTIONS, "plain"}
    given = {name: value for name, value in locals().items() if name in names and value is not None}
    given, objects = objects_apart(given)
    config, text = configure(run_file, given)
    return explore_config(config, config_text=text, out=out, objects=objects, watch=watch)


def evaluate(
    network: Any,
    data: Any,
    *,
    library: Any,
    assignments: Sequence[str | Sequence[str]],
    weights: str | Path | None = None,
    data_dir: str | Path | None = None,
    backend: str = "auto",
    device: str = "auto",
    fold_bias: bool = True,
    images: int | None = None,
) -> NDArray[np.float64]:
    """Accuracies of assignments on the search images, by bit-exact simulation. Deterministic.

    Args:
        network: a zoo name, `module:function`, or a `torch.nn.Module`.
        data: a dataset name, `module:function`, or `dse.datasets.Splits`.
        library: `builtin`, a path, or a `Library`; it needs an exact multiplier.
        assignments: each a multiplier name per layer, or one name for all layers. The names' signedness decides which
            multipliers of a library with both are meant.
        weights: state dict for a named network.
        data_dir: folder of a named dataset.
        backend: "auto", one of the kernels "factored", "rows", "permute", "columns", "direct" or "gpu", or "reference"
            (slow, looks every product up).
        device: what simulates: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".
        fold_bias: fold the mean error of each output channel into its bias.
        images: measure on so many of the search images; all by default.

    Returns:
        float64 `[len(assignments)]`, share of images classified correctly.

    Raises:
        DseError: names, files or shapes that do not fit; the message says which.

    >>> import dse
    >>> dse.evaluate("digits_cnn", "digits", library="builtin", assignments=["u8_exact"], images=100)
    array([...])
    """
    from dse.config import load_config
    from dse.evaluation import assignment_indices
    from dse.multipliers.library import Library, load_library
    from dse.runs.preparation import Inputs, prepare

    whole = library if isinstance(library, Library) else load_library(library)
    options = {
        "network.name": network if isinstance(network, str) else None,
        "network.weights": weights,
        "data.dataset": data if isinstance(data, str) else None,
        "data.dir": data_dir,
        "data.images": images,
        "recovery.fold_bias": fold_bias,
        "execution.backend": backend,
        "execution.device": device,
    }
    config = load_config(None, {key: value for key, value in options.items() if value is not None})
    inputs = Inputs(
        network=None if isinstance(network, str) else network,
        splits=None if isinstance(data, str) else data,
        library=whole.select(is_signed=_signedness(whole, assignments)),
    )
    prepared = prepare(config, inputs)
    indices = assignment_indices(prepared.library, assignments, len(prepared.layers))
    return prepared.evaluator(indices)


def tolerances(
    run_file: str | Path | None = None,
    *,
    network: Any = None,
    weights: str | Path | None = None,
    dataset: Any = None,
    data: str | Path | None = None,
    preprocessing: str | None = None,
    calibration_images: int | None = None,
    signed: bool | None = None,
    scheme: str | None = None,
    observer: str | None = None,
    per_channel: bool | None = None,
    exclude: Sequence[str] | None = None,
    method: str | None = None,
    coefficients: Sequence[float] | None = None,
    sigma_init: float | None = None,
    sigma_max: float | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    sigma_learning_rate: float | None = None,
    training_images: int | None = None,
    seed: int | None = None,
    device: str = "cpu",
    out: str | Path | None = None,
    watch: SweepObserver | None = None,
) -> list[Tolerances]:
    """Learns how much noise the outputs of each layer bear (AGN), for one coefficient or a sweep of them.

    Arguments are those of the command `dse tolerances`; what they have in common with `explore` means the same. The
    same call continues an interrupted sweep, and returns what is finished at once. Search and report images are not
    touched.

    Args:
        run_file: a TOML file.
        network: a zoo name, `module:function`, or a `torch.nn.Module`; not changed.
        weights: state dict for a named network.
        dataset: a name, `module:function`, or `dse.datasets.Splits`.
        data: folder of the dataset's files.
        preprocessing: of the images, see `dse.datasets.preprocessing`.
        calibration_images: how many fix the ranges.
        signed: quantize for signed multipliers.
        scheme: `auto`, `unsigned-affine` or `signed-symmetric`.
        observer: `minmax`, `percentile` or `mse`.
        per_channel: one weight scale per output channel.
        exclude: patterns of layer names that stay floating point.
        method: `frozen` (weights stay, seconds) or `trained` (weights learn too, as published).
        coefficients: of the reward for noise; larger ones trade more accuracy. By default that of the run file, 0.2.
        sigma_init: start of every sigma.
        sigma_max: largest sigma of interest; a tolerance of that size means "at least".
        steps: gradient steps, frozen.
        epochs: passes over the training images, trained.
        batch_size: images a step.
        learning_rate: see `dse.robustness.tolerances.AgnSettings`.
        sigma_learning_rate: likewise.
        training_images: how many; the first of them calibrate. By default the calibration images (frozen) or all.
        seed: of noise and order.
        device: `cpu` or `cuda`.
        out: the directory; by default below `runs/`, named after the configuration.
        watch: told how it goes on.

    Returns:
        Everything finished in the directory, by rising coefficient. Trained weights are files there,
        `weights_<coefficient>.pt`, for `explore(weights=...)`.
    """
    given = {name: value for name, value in locals().items() if name in TOLERANCE_OPTIONS and value is not None}
    given, objects = objects_apart(given)
    config, _ = configure(run_file, given, keys=TOLERANCE_OPTIONS)
    return sweep_config(config, coefficients, device=device, out=out, objects=objects, watch=watch)


def export(
    path: str | Path,
    *,
    point: int | None = None,
    out: str | Path | None = None,
    untuned: bool = False,
    network: Any = None,
    dataset: Any = None,
    library: Any = None,
) -> "Export":
    """Writes a point of a run, or a set of operating points, as two files that stand alone.

    `NAME.npz` holds integer weights, scales, biases, zero codes and tables, `NAME.json` all the rest; their schema is
    in `dse.exported.schema`. `dse.load_exported` runs them with the same bits, without the network's own code.

    Args:
        path: a directory of `dse explore` or `dse operating-points`.
        point: of the front; of a run only, and needed there.
        out: `NAME` of the two files, with or without a suffix; by default in `exported` below `path`.
        untuned: the points as they were before fine-tuning; by default fine-tuned ones where there are any.
        network: the `torch.nn.Module` of a run that was made with one.
        dataset: its `dse.datasets.Splits`, likewise.
        library: its `Library`, likewise.

    Returns:
        The two files, whether they hold fine-tuned points, and a table of the points.

    Raises:
        DseError: what cannot be found or exported; the message says which part of it.
    """
    from dse.runs.exporting import export_points
    from dse.runs.preparation import Inputs

    inputs = Inputs(network, dataset, library)
    return export_points(path, point=point, out=out, untuned=untuned, inputs=inputs)


def sweep_config(
    config: RunConfig,
    coefficients: Sequence[float] | None = None,
    *,
    device: str = "cpu",
    out: str | Path | None = None,
    objects: dict[str, Any] | None = None,
    watch: SweepObserver | None = None,
) -> list[Tolerances]:
    """Learns the tolerances of a configuration in a directory (see `tolerances`) and draws them."""
    from dse.files import replace_file
    from dse.reporting.data import tolerance_data
    from dse.reporting.static import tolerances_png
    from dse.runs.preparation import Inputs
    from dse.runs.tolerance_sweep import SweepDirectory, sweep_tolerances

    objects = objects or {}
    inputs = Inputs(objects.get("network"), objects.get("dataset"))
    path = Path(out) if out is not None else default_sweep_path(config)
    found = sweep_tolerances(config, path, coefficients, inputs=inputs, device=device, observer=watch)
    title = f"{config.network.name}, {config.data.dataset}, {config.tolerances.method} weights"
    replace_file(SweepDirectory(path).picture, tolerances_png(tolerance_data(found, title=title)))
    return found


def default_sweep_path(config: RunConfig) -> Path:
    """Directory of a sweep where none is given."""
    return Path("runs") / f"tolerances-{default_run_name(config)}"


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


def explore_config(
    config: RunConfig,
    *,
    config_text: str | None = None,
    out: str | Path | None = None,
    objects: dict[str, Any] | None = None,
    watch: Observer | None = None,
) -> Run:
    """Runs a configuration in a directory (see `explore`) and draws the front, and predictions where there are any."""
    from dse.files import replace_file
    from dse.reporting.data import front_data, prediction_data
    from dse.reporting.static import front_png, predictions_png
    from dse.runs.preparation import Inputs
    from dse.runs.runner import run

    objects = objects or {}
    inputs = Inputs(objects.get("network"), objects.get("dataset"), objects.get("library"))
    path = Path(out) if out is not None else Path("runs") / default_run_name(config)
    result = run(config, path, config_text=config_text, inputs=inputs, observer=watch)
    directory = result.directory
    if not directory.picture.exists():
        replace_file(directory.picture, front_png(front_data(result)))
    if directory.predictions.exists() and not directory.predictions_picture.exists():
        replace_file(directory.predictions_picture, predictions_png(prediction_data(result)))
    return result


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


def _signedness(library: Any, assignments: Sequence[str | Sequence[str]]) -> bool:
    """Of the first multiplier named; unsigned where nothing is named."""
    for assignment in assignments:
        name = assignment if isinstance(assignment, str) else next(iter(assignment), None)
        if name is not None:
            return library[name].is_signed
    return False
