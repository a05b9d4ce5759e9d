"""`dse.explore`: from a trained network to a finished run directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dse.api.options import OPTIONS, configure, objects_apart
from dse.config import RunConfig, default_run_name
from dse.runs.loop import Observer
from dse.runs.results import Run


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
    objectives: Sequence[str] | None = None,
    sparsity_levels: Sequence[int] | None = None,
    pruning_rates: str | None = None,
    pruned: str | None = None,
    refit: bool | None = None,
    zero_weights: str | None = None,
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
        scheme: `auto`, `unsigned-affine`, `unsigned-centered` or `signed-symmetric`.
        observer: `minmax`, `percentile` or `mse`.
        per_channel: one weight scale per output channel.
        exclude: patterns of layer names that stay floating point.
        fold_bias: fold the mean error of each channel into its bias.
        sum_compensation: compensate errors by the sum of each patch.
        weight_tuning: `off`, `uniform` or `histogram`: replace weights by those that the multiplier treats best.
        accelerator: `free`, `tiles:T` or `pipelined:T`.
        objectives: `["energy", "accuracy"]`, or these and `"memory"`, the bytes of the weights in int8 or dCSR.
        sparsity_levels: percents of a layer's weights that may be pruned (0 always may), chosen by layer; by default
            `[0, 50, 70, 80, 90]` where memory is an objective, else nothing is pruned.
        pruning_rates: `layer`: a level is the share of the layer's own weights; `global`: a share of all layers'
            weights, of which a layer loses what LAMP's scores say.
        pruned: `weights`, each by itself, or all weights of `channels`.
        refit: choose the weights that remain in a pruned layer anew, so that it gives what it gave; no training.
        zero_weights: `multiplied`, as in a dense array, or `skipped`, which is the default where layers may be pruned.
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

    >>> import dse
    >>> run = dse.explore(population_size=8, generations=2, out="runs/digits")
    >>> run.front.columns[:5].tolist()
    ['point', 'energy_rel', 'energy_pj', 'energy_saved_pct', 'accuracy']
    >>> run.front["energy_saved_pct"].round().tolist()
    [65.0, ..., 0.0]
    """
    names = {*OPTIONS, "plain"}
    given = {name: value for name, value in locals().items() if name in names and value is not None}
    given, objects = objects_apart(given)
    config, text = configure(run_file, given)
    return explore_config(config, config_text=text, out=out, objects=objects, watch=watch)


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
    from dse.reporting.memory_data import memory_front_data
    from dse.reporting.pictures.front import front_png
    from dse.reporting.pictures.memory import memory_front_png
    from dse.reporting.pictures.predictions import predictions_png
    from dse.runs.preparation import Inputs
    from dse.runs.runner import run

    objects = objects or {}
    inputs = Inputs(objects.get("network"), objects.get("dataset"), objects.get("library"))
    path = Path(out) if out is not None else Path("runs") / default_run_name(config)
    result = run(config, path, config_text=config_text, inputs=inputs, observer=watch)
    directory = result.directory
    if not directory.picture.exists():
        replace_file(directory.picture, front_png(front_data(result)))
    if "memory" in result.objectives and not directory.memory_picture.exists():
        replace_file(directory.memory_picture, memory_front_png(memory_front_data(result)))
    if directory.predictions.exists() and not directory.predictions_picture.exists():
        replace_file(directory.predictions_picture, predictions_png(prediction_data(result)))
    return result
