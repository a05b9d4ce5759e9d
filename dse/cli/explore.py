"""The command `dse explore`."""

from pathlib import Path
from typing import Annotated

from dse.cli.options import (
    EXECUTION,
    INPUT,
    INTEGER,
    SEARCH,
    CalibrationImages,
    Cluster,
    DataFolder,
    DatasetName,
    Excluded,
    Format,
    FormatOption,
    Interface,
    Jobs,
    Memory,
    NetworkName,
    ObserverName,
    Partition,
    PerChannel,
    Preprocessing,
    RunFile,
    SchemeName,
    Threads,
    Walltime,
    Weights,
    Workers,
    WorkersBackend,
    WorkerTimeout,
    numbers,
    option,
    terminable,
)
from dse.reporting.terminal.fronts import print_front


def explore(
    run_file: RunFile = None,
    network: NetworkName = None,
    weights: Weights = None,
    dataset: DatasetName = None,
    data: DataFolder = None,
    preprocessing: Preprocessing = None,
    images: Annotated[int | None, option("Images that steer the search.", INPUT)] = None,
    confirm_images: Annotated[int | None, option("Images that decide what is on the front.", INPUT)] = None,
    calibration_images: CalibrationImages = None,
    report_images: Annotated[int | None, option("Images that measure the front, at the end.", INPUT)] = None,
    top: Annotated[int | None, option("Best classes that a label may be among; 1.", INPUT)] = None,
    library: Annotated[str | None, option("builtin, a table file or a folder.", INPUT, metavar="PATH")] = None,
    signed: Annotated[bool | None, option("Which multipliers of it.", INPUT, "--signed/--unsigned")] = None,
    compile_c: Annotated[bool | None, option("Compile and run C sources; only those you trust.", INPUT)] = None,
    accelerator: Annotated[str | None, option("free, tiles:T or pipelined:T.", INPUT, metavar="KIND")] = None,
    scheme: SchemeName = None,
    observer: ObserverName = None,
    per_channel: PerChannel = None,
    exclude: Excluded = None,
    fold_bias: Annotated[bool | None, option("Fold mean errors into the biases.", INTEGER)] = None,
    sum_compensation: Annotated[bool | None, option("Compensate errors by input sums.", INTEGER)] = None,
    weight_tuning: Annotated[
        str | None, option("Map weights to ones with less error: off, uniform or histogram.", INTEGER, metavar="NAME")
    ] = None,
    objectives: Annotated[
        str | None, option("energy,accuracy or energy,accuracy,memory.", SEARCH, metavar="NAME,NAME,..")
    ] = None,
    sparsity_levels: Annotated[
        str | None, option("Percents of a layer's weights that may be pruned; 0,50,70,80,90.", SEARCH, metavar="P,P,..")
    ] = None,
    pruning_rates: Annotated[
        str | None, option("Levels are shares of a layer's weights (layer) or of all (global).", SEARCH, metavar="NAME")
    ] = None,
    pruned: Annotated[
        str | None, option("What is pruned together: weights (each by itself) or channels.", SEARCH, metavar="NAME")
    ] = None,
    refit: Annotated[
        bool | None, option("Choose the weights that remain anew, so that layers give what they gave.", SEARCH)
    ] = None,
    zero_weights: Annotated[
        str | None, option("Whether weights of zero are skipped or multiplied.", SEARCH, metavar="NAME")
    ] = None,
    method: Annotated[
        str | None, option("nsga2, random, uniform, greedy or exhaustive.", SEARCH, metavar="NAME")
    ] = None,
    population_size: Annotated[int | None, option("Designs per generation.", SEARCH)] = None,
    generations: Annotated[int | None, option("Generations.", SEARCH)] = None,
    evaluations: Annotated[int | None, option("Different designs measured, at most.", SEARCH)] = None,
    seed: Annotated[int | None, option("Same seed, same front.", SEARCH)] = None,
    accuracy_floor: Annotated[float | None, option("Designs below are not wanted; 0 to 1.", SEARCH)] = None,
    initial: Annotated[str | None, option("agn, sensitivity, uniform or random.", SEARCH, metavar="NAME")] = None,
    initial_designs: Annotated[int | None, option("How many of these; a population by default.", SEARCH)] = None,
    neuron_shares: Annotated[
        str | None, option("Percents of a layer's neurons that may get a cheaper multiplier.", SEARCH, metavar="P,P,..")
    ] = None,
    surrogate: Annotated[bool | None, option("Simulate only what a prediction cannot rule out.", SEARCH)] = None,
    racing: Annotated[bool | None, option("Stop simulating a design once it is beaten.", SEARCH)] = None,
    plain: Annotated[
        bool | None, option("Plain ALWANN: random initial designs, no surrogate, no racing.", SEARCH, "--plain")
    ] = None,
    jobs: Jobs = None,
    threads: Threads = None,
    backend: Annotated[str | None, option("auto, a kernel, or reference.", EXECUTION, metavar="NAME")] = None,
    device: Annotated[str | None, option("auto, cpu, cuda or cuda:N.", EXECUTION, metavar="NAME")] = None,
    batch_size: Annotated[int | None, option("Images per batch.", EXECUTION)] = None,
    workers_backend: WorkersBackend = None,
    cluster: Cluster = None,
    workers: Workers = None,
    partition: Partition = None,
    walltime: Walltime = None,
    memory: Memory = None,
    interface: Interface = None,
    worker_timeout: WorkerTimeout = None,
    out: Annotated[Path | None, option("Run directory; default below runs/.", EXECUTION, metavar="DIR")] = None,
    live: Annotated[bool, option("Draw the growing front at the terminal.", EXECUTION, "--live")] = False,
    output_format: FormatOption = Format.table,
) -> None:
    """Search the front of energy against accuracy (and memory), or continue an interrupted search.

    Without options: a small CNN on handwritten digits with the embedded multipliers. For example

        dse explore --network resnet20 --weights resnet20.pt --dataset cifar10 --data cifar/ --images 1000

    The same command continues an interrupted run; a finished one is only printed.
    """
    options = {name: value for name, value in locals().items() if value is not None}
    for name in ("run_file", "out", "live", "output_format"):
        options.pop(name, None)
    from dse.api.explore import explore_config
    from dse.api.options import configure
    from dse.config import default_run_name
    from dse.reporting.terminal.live_watch import make_watch

    if neuron_shares is not None:
        options["neuron_shares"] = numbers(neuron_shares, "--neuron-shares", "25,50,75", number=int)
    if sparsity_levels is not None:
        options["sparsity_levels"] = numbers(sparsity_levels, "--sparsity-levels", "0,50,80", number=int)
    if objectives is not None:
        options["objectives"] = tuple(name.strip() for name in objectives.split(","))
    config, text = configure(run_file, options)
    path = out or Path("runs") / default_run_name(config)
    with make_watch(is_live=live) as watch, terminable(f"everything measured is in {path}", close=watch.close):
        run = explore_config(config, config_text=text, out=path, watch=watch)
    print_front(run, output_format)
