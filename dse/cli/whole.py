"""The command `dse`: parse, call, print. What it calls is there in Python too (`dse.explore`, `dse.open_run`)."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dse import __version__, cli_axnn, cli_match, cli_neurons, cli_sweeps
from dse.cli_options import (
    EXECUTION,
    INPUT,
    INTEGER,
    LEARNING,
    POINTS,
    SEARCH,
    CalibrationImages,
    Cluster,
    DataFolder,
    DatasetName,
    Excluded,
    Format,
    FormatOption,
    Interface,
    Memory,
    NetworkName,
    ObserverName,
    Partition,
    PerChannel,
    Preprocessing,
    RunFile,
    SchemeName,
    Walltime,
    Weights,
    Workers,
    WorkersBackend,
    WorkerTimeout,
    numbers,
    option,
    terminable,
)
from dse.errors import DseError
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.reporting import terminal
from dse.reporting.live_line import LiveLine
from dse.runs.finetuned import FinetuneOptions

EXIT_ERROR = 2

app = typer.Typer(
    name="dse",
    help="Find which approximate multiplier each layer of a neural network should use.\n\n"
    "Start with `dse explore`, which runs a small example in about a minute.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
multipliers = typer.Typer(no_args_is_help=True, help="List, show and check multipliers.")
app.add_typer(multipliers, name="multipliers")

LibraryOption = Annotated[str, typer.Option(help="`builtin`, a table file, or a folder of them.", metavar="PATH")]
SignedOption = Annotated[bool | None, typer.Option("--signed/--unsigned", help="Only these.", show_default=False)]
CompileOption = Annotated[bool, typer.Option("--compile-c", help="Compile and run C sources; only those you trust.")]


def main() -> None:
    """Runs the command and turns errors into one line and an exit code."""
    debug = "--debug" in sys.argv
    try:
        app()
    except DseError as error:
        if debug:
            raise
        terminal.print_error(str(error))
        sys.exit(EXIT_ERROR)
    except OSError as error:  # a disk or a file that fails where nobody thought of it
        if debug:
            raise
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        terminal.print_error(f"{what}. Everything finished before is saved: repeat the same command to continue")
        sys.exit(EXIT_ERROR)


def _version(is_asked: bool) -> None:
    if is_asked:
        print(f"dse {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    terminal.configure_logging(debug)


TUNING, VALIDATION_IMAGES = FinetuningSettings(), FinetuneOptions().validation_images


def _default(help_text: str, name: str) -> Any:
    """An option of fine-tuning whose default stands in `FinetuningSettings`."""
    return option(f"{help_text}; default {getattr(TUNING, name)}.", LEARNING)


@app.command()
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
    jobs: Annotated[int | None, option("Worker processes.", EXECUTION)] = None,
    threads: Annotated[int | None, option("Threads per worker.", EXECUTION)] = None,
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
    output_format: FormatOption = Format.table,
) -> None:
    """Search the front of energy against accuracy, or continue an interrupted search.

    Without options: a small CNN on handwritten digits with the embedded multipliers. For example

        dse explore --network resnet20 --weights resnet20.pt --dataset cifar10 --data cifar/ --images 1000

    The same command continues an interrupted run; a finished one is only printed.
    """
    options = {name: value for name, value in locals().items() if value is not None}
    for name in ("run_file", "out", "output_format"):
        options.pop(name, None)
    from dse.api import configure, explore_config
    from dse.config import default_run_name

    if neuron_shares is not None:
        options["neuron_shares"] = numbers(neuron_shares, "--neuron-shares", "25,50,75", number=int)
    config, text = configure(run_file, options)
    path = out or Path("runs") / default_run_name(config)
    with terminal.Watch() as watch, terminable(f"everything measured is in {path}", close=watch.close):
        run = explore_config(config, config_text=text, out=path, watch=watch)
    terminal.print_front(run, output_format)


@app.command()
def tolerances(
    run_file: RunFile = None,
    network: NetworkName = None,
    weights: Weights = None,
    dataset: DatasetName = None,
    data: DataFolder = None,
    preprocessing: Preprocessing = None,
    calibration_images: CalibrationImages = None,
    signed: Annotated[bool | None, option("For which multipliers.", INPUT, "--signed/--unsigned")] = None,
    scheme: SchemeName = None,
    observer: ObserverName = None,
    per_channel: PerChannel = None,
    exclude: Excluded = None,
    coefficients: Annotated[
        str | None, option("Rewards for noise, as 0.1,0.2,0.5; default 0.2.", LEARNING, metavar="NUMBERS")
    ] = None,
    method: Annotated[
        str | None, option("frozen weights (seconds), or trained with the sigmas.", LEARNING, metavar="NAME")
    ] = None,
    sigma_init: Annotated[float | None, option("Start of every sigma.", LEARNING)] = None,
    sigma_max: Annotated[float | None, option("Largest sigma of interest.", LEARNING)] = None,
    steps: Annotated[int | None, option("Gradient steps, frozen.", LEARNING)] = None,
    epochs: Annotated[int | None, option("Passes over the training images, trained.", LEARNING)] = None,
    learning_rate: Annotated[float | None, option("Of weights and sigmas.", LEARNING)] = None,
    sigma_learning_rate: Annotated[float | None, option("Of the sigmas, trained.", LEARNING)] = None,
    training_images: Annotated[int | None, option("Images to learn on.", LEARNING)] = None,
    seed: Annotated[int | None, option("Same seed, same tolerances.", LEARNING)] = None,
    batch_size: Annotated[int | None, option("Images a step.", EXECUTION)] = None,
    device: Annotated[str, option("cpu or cuda.", EXECUTION, metavar="NAME")] = "cpu",
    out: Annotated[Path | None, option("Directory; default below runs/.", EXECUTION, metavar="DIR")] = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Learn how much noise the outputs of each layer bear (AGN), without simulating a multiplier.

    Writes tolerances.csv and a picture. For example

        dse tolerances --network resnet20 --weights resnet20.pt --dataset cifar10 --data cifar/ --coefficients 0.1,0.5

    The same command continues an interrupted sweep; what is finished is only printed.
    """
    options = {name: value for name, value in locals().items() if value is not None}
    for name in ("run_file", "coefficients", "device", "out", "output_format"):
        options.pop(name, None)
    from dse.api import TOLERANCE_OPTIONS, configure, default_sweep_path, sweep_config

    config, _ = configure(run_file, options, keys=TOLERANCE_OPTIONS)
    path = out or default_sweep_path(config)
    with terminal.SweepWatch() as watch, terminable(f"what was learned is in {path}", close=watch.close):
        values = numbers(coefficients, "--coefficients", "0.1,0.2,0.5")
        found = sweep_config(config, values, device=device, out=path, watch=watch)
    terminal.print_tolerances(found, output_format, path=path)


app.command()(cli_match.match)
app.command()(cli_neurons.resilience)
app.command()(cli_axnn.axnn)
app.command()(cli_sweeps.sweep)
app.command()(cli_sweeps.status)
app.command()(cli_sweeps.collect)


@app.command("operating-points")
def operating_points(
    run: Annotated[
        Path | None,
        typer.Argument(help="A run directory; by default that of `dse explore` without options.", metavar="[RUN]"),
    ] = None,
    multipliers: Annotated[int, option("How many may be built; default 4.", POINTS, metavar="N")] = 4,
    points: Annotated[int, option("How many operating points; default 3.", POINTS, metavar="M")] = 3,
    method: Annotated[
        str | None, option("kmeans (QoS-Nets), enumerate (all subsets) or search.", POINTS, metavar="NAME")
    ] = None,
    scales: Annotated[
        str | None, option("Of the tolerances, one a point; default 0.3,1,2 for 3.", POINTS, metavar="NUMBERS")
    ] = None,
    max_loss: Annotated[
        str | None,
        option("Percentage points a point may lose on the search images, as 0.3,1,2.3.", POINTS, metavar="NUMBERS"),
    ] = None,
    accuracy_floor: Annotated[float | None, option("No point falls below; 0 to 1.", POINTS)] = None,
    coefficient: Annotated[float | None, option("AGN's reward for noise; default as the run.", POINTS)] = None,
    evaluations: Annotated[int, option("Designs that a search may simulate; default 500.", SEARCH)] = 500,
    seed: Annotated[int, option("Same seed, same points; default 0.", SEARCH)] = 0,
    out: Annotated[Path | None, option("Directory; default in the run.", EXECUTION, metavar="DIR")] = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Choose few multipliers for several operating points, each a multiplier of them for every layer.

    The run gives network, data and multipliers; it need not be finished. For example

        dse operating-points runs/resnet20 --multipliers 3 --points 3 --max-loss 0.3,1,2.3

    The same command continues an interrupted choice; a finished one is only printed.
    """
    from dse.api_points import choose_and_draw, default_run
    from dse.reporting.terminal_points import PointsWatch, print_points
    from dse.runs.point_set import PointSettings

    settings = PointSettings(
        multipliers, points, method, numbers(scales, "--scales", "0.3,1,2"),
        numbers(max_loss, "--max-loss", "0.3,1,2.3"), accuracy_floor, evaluations, seed, coefficient,
    )  # fmt: skip
    with terminable("everything measured is kept"):
        if run is None:
            with terminal.Watch() as watch:
                run = default_run(watch)
        with PointsWatch() as watch:
            found = choose_and_draw(run, settings, out=out, watch=watch)
    print_points(found, output_format)


@app.command()
def finetune(
    directory: Annotated[Path, typer.Argument(help="A run, or a set of operating points.", metavar="DIR")],
    points: Annotated[str | None, option("Of the front of a run, as 3,5, or all.", INPUT, metavar="NUMBERS")] = None,
    assignments: Annotated[
        Path | None, option("Designs of a CSV file instead, column `assignment`.", INPUT, metavar="FILE")
    ] = None,
    training_images: Annotated[int | None, option("Images to learn on; default all there are.", INPUT)] = None,
    validation_images: Annotated[
        int, option("Search images that choose the best epoch; default 1000.", INPUT)
    ] = VALIDATION_IMAGES,
    epochs: Annotated[int, _default("Passes over the training images, at most", "epochs")] = TUNING.epochs,
    batch_size: Annotated[int, _default("Images a step", "batch_size")] = TUNING.batch_size,
    learning_rate: Annotated[
        float, _default("Of weights, in parts of a channel's range", "learning_rate")
    ] = TUNING.learning_rate,
    affine_learning_rate: Annotated[
        float, _default("Of scales and biases", "affine_learning_rate")
    ] = TUNING.affine_learning_rate,
    distillation: Annotated[
        float, _default("Share of the loss that compares with the exact network", "distillation")
    ] = TUNING.distillation,
    temperature: Annotated[float, _default("Of softmaxes in it", "temperature")] = TUNING.temperature,
    augmentation: Annotated[str, _default("none, flip, crop or crop-flip", "augmentation")] = TUNING.augmentation,
    reconstruction: Annotated[
        bool, _default("Begin by choosing weights for their table", "reconstruction")
    ] = TUNING.reconstruction,
    gradient: Annotated[str, _default("Of the tables: linear, ste or smoothed", "gradient")] = TUNING.gradient,
    private: Annotated[str, _default("What a point owns: affine, bias or auto", "private")] = TUNING.private,
    patience: Annotated[
        int, _default("Epochs without a better one before it stops, 0 for never", "patience")
    ] = TUNING.patience or 0,
    noise_epochs: Annotated[
        int, _default("Passes before, under noise as large as the errors", "noise_epochs")
    ] = TUNING.noise_epochs,
    noise_scale: Annotated[float, _default("Of this noise", "noise_scale")] = TUNING.noise_scale,
    noise_learning_rate: Annotated[
        float, _default("As --learning-rate, in these passes", "noise_learning_rate")
    ] = TUNING.noise_learning_rate,
    seed: Annotated[int, _default("Same seed, same result", "seed")] = TUNING.seed,
    threads: Annotated[int | None, option("Of this process; default as the run.", EXECUTION)] = None,
    device: Annotated[
        str | None, option("auto, cpu, cuda or cuda:N; default as the run.", EXECUTION, metavar="NAME")
    ] = None,
    out: Annotated[Path | None, option("Directory; default DIR/finetuned.", EXECUTION, metavar="DIR")] = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Fine-tune points of a run, each by itself, or a set of operating points, which share their weights.

    Forward goes through the multipliers' tables. The run's own files stay as they are. For example

        dse finetune runs/resnet20 --points 3,5 --epochs 3

    The same command continues an interrupted fine-tuning; what is finished is only printed.
    """
    from dse.api_finetuning import finetune_and_draw
    from dse.reporting.terminal_finetuning import FinetuneWatch, print_finetuned

    settings = FinetuningSettings(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, affine_learning_rate=affine_learning_rate,
        distillation=distillation, temperature=temperature, augmentation=augmentation, reconstruction=reconstruction,
        gradient=gradient, private=private, patience=patience or None, seed=seed, noise_epochs=noise_epochs,
        noise_scale=noise_scale, noise_learning_rate=noise_learning_rate,
    )  # fmt: skip
    options = FinetuneOptions(settings, training_images, validation_images)
    with (
        LiveLine(terminal.make_console(to_stderr=True)) as line,
        terminable("what was learned is kept", close=line.close),
    ):
        found = finetune_and_draw(
            directory, options, points=points, assignments=assignments, threads=threads, device=device,
            out=out, watch=FinetuneWatch(line),
        )  # fmt: skip
    print_finetuned(found, output_format)


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="A run directory.", metavar="RUN")],
    point: Annotated[int | None, typer.Option(help="Show the multiplier of every layer at this point.")] = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Print the front of a run, or one point of it.

    For example `dse show runs/digits --point 3`.
    """
    from dse.runs.results import open_run

    opened = open_run(run)
    if point is None:
        terminal.print_front(opened, output_format)
    else:
        terminal.print_point(opened, point, output_format)


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(help="A run, or a set of operating points.", metavar="DIR")],
    point: Annotated[int | None, typer.Option(help="Of the front of a run.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="The two files, without suffix; default in DIR/exported.", metavar="NAME")
    ] = None,
    untuned: Annotated[bool, typer.Option("--untuned", help="As they were before fine-tuning.")] = False,
    output_format: FormatOption = Format.table,
) -> None:
    """Write a point of a run, or all points of a set, as NAME.npz and NAME.json that stand alone.

    For example `dse export runs/digits --point 3`. In Python, `dse.load_exported(NAME)` runs it with the same bits,
    without the network's own code. Points that were fine-tuned are exported so.
    """
    from dse.reporting.terminal_export import print_export
    from dse.runs.exporting import export_points

    print_export(export_points(directory, point=point, out=out, untuned=untuned), output_format)


@app.command()
def networks(output_format: FormatOption = Format.table) -> None:
    """List the networks and datasets that have a name."""
    import pandas as pd

    from dse.datasets import dataset_names
    from dse.networks.zoo import network_names

    rows = [("network", name) for name in network_names()] + [("dataset", name) for name in dataset_names()]
    terminal.print_table(pd.DataFrame(rows, columns=["kind", "name"]), output_format)


@app.command()
def doctor(output_format: FormatOption = Format.table) -> None:
    """Say what this machine and installation bring to simulation, and what would make it faster."""
    from dse.simulation.diagnosis import diagnose

    terminal.print_diagnosis(diagnose(), output_format)


@multipliers.command("list")
def list_multipliers(
    library: LibraryOption = "builtin",
    signed: SignedOption = None,
    compile_c: CompileOption = False,
    output_format: FormatOption = Format.table,
) -> None:
    """List the multipliers of a library with cost and error metrics.

    For example `dse multipliers list --library evoapprox/ --unsigned --format csv`.
    """
    from dse.multipliers.library import load_library

    terminal.print_library(load_library(library, is_signed=signed, allow_compile=compile_c), output_format)


@multipliers.command("show")
def show_multiplier(
    name: Annotated[str, typer.Argument(help="Name or alias.", metavar="NAME")],
    library: LibraryOption = "builtin",
    compile_c: CompileOption = False,
    output_format: FormatOption = Format.table,
) -> None:
    """Show everything known about one multiplier.

    For example `dse multipliers show exact`.
    """
    from dse.multipliers.library import load_library

    loaded = load_library(library, allow_compile=compile_c)
    terminal.print_multiplier(loaded, name, output_format)


@multipliers.command("check")
def check_multipliers(
    path: Annotated[Path, typer.Argument(help="A table file or a folder of them.", metavar="FILE")],
    signed: SignedOption = None,
    compile_c: CompileOption = False,
    output_format: FormatOption = Format.table,
) -> None:
    """Check tables for traps: products of zero, swapped operands, zero power, metadata that disagrees.

    For example `dse multipliers check mul8u_2AC.bin`.
    """
    from dse.multipliers.library import load_library

    terminal.print_checks(load_library(path, is_signed=signed, allow_compile=compile_c), output_format)
