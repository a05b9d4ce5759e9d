"""The command `dse`: parse, call, print. What it calls is there in Python too (`dse.explore`, `dse.open_run`)."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dse import __version__
from dse.errors import ConfigError, DseError
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.reporting import terminal
from dse.reporting.live_line import LiveLine
from dse.runs.finetuned import FinetuneOptions

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

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


class Format(StrEnum):
    """How a table is printed."""

    table = "table"
    json = "json"
    csv = "csv"


FormatOption = Annotated[Format, typer.Option("--format", help="How the table is printed.")]
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


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM, as batch systems send it, ends a search as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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


def _option(help_text: str, panel: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=panel, metavar=metavar, show_default=False)


TUNING, VALIDATION_IMAGES = FinetuningSettings(), FinetuneOptions().validation_images


def _default(help_text: str, name: str) -> Any:
    """An option of fine-tuning whose default stands in `FinetuningSettings`."""
    return _option(f"{help_text}; default {getattr(TUNING, name)}.", _LEARNING)


_INPUT, _INTEGER, _SEARCH, _EXECUTION = "Network, data, multipliers", "Quantization and recovery", "Search", "Execution"
_LEARNING, _POINTS = "Learning", "Operating points"

RunFile = Annotated[Path | None, typer.Argument(help="A TOML run file; options win over it.", metavar="RUN.toml")]
NetworkName = Annotated[str | None, _option("Zoo name or MODULE:FUNCTION.", _INPUT, metavar="NAME")]
Weights = Annotated[Path | None, _option("State dict of the network.", _INPUT, metavar="FILE")]
DatasetName = Annotated[str | None, _option("Dataset name or MODULE:FUNCTION.", _INPUT, metavar="NAME")]
DataFolder = Annotated[Path | None, _option("Folder of the dataset's files.", _INPUT, metavar="DIR")]
Preprocessing = Annotated[
    str | None, _option("unit, raw, centered, imagenet or mean=..;std=..", _INPUT, metavar="TEXT")
]
CalibrationImages = Annotated[int | None, _option("Images that fix the ranges.", _INPUT)]
SchemeName = Annotated[str | None, _option("unsigned-affine or signed-symmetric.", _INTEGER, metavar="NAME")]
ObserverName = Annotated[str | None, _option("minmax, percentile or mse.", _INTEGER, metavar="NAME")]
PerChannel = Annotated[bool | None, _option("One weight scale per output channel.", _INTEGER)]
Excluded = Annotated[
    list[str] | None, _option("Layer (or pattern) that stays exact; repeatable.", _INTEGER, metavar="NAME")
]


@app.command()
def explore(
    run_file: RunFile = None,
    network: NetworkName = None,
    weights: Weights = None,
    dataset: DatasetName = None,
    data: DataFolder = None,
    preprocessing: Preprocessing = None,
    images: Annotated[int | None, _option("Images that steer the search.", _INPUT)] = None,
    confirm_images: Annotated[int | None, _option("Images that decide what is on the front.", _INPUT)] = None,
    calibration_images: CalibrationImages = None,
    report_images: Annotated[int | None, _option("Images that measure the front, at the end.", _INPUT)] = None,
    top: Annotated[int | None, _option("Best classes that a label may be among; 1.", _INPUT)] = None,
    library: Annotated[str | None, _option("builtin, a table file or a folder.", _INPUT, metavar="PATH")] = None,
    signed: Annotated[bool | None, _option("Which multipliers of it.", _INPUT, "--signed/--unsigned")] = None,
    compile_c: Annotated[bool | None, _option("Compile and run C sources; only those you trust.", _INPUT)] = None,
    accelerator: Annotated[str | None, _option("free, tiles:T or pipelined:T.", _INPUT, metavar="KIND")] = None,
    scheme: SchemeName = None,
    observer: ObserverName = None,
    per_channel: PerChannel = None,
    exclude: Excluded = None,
    fold_bias: Annotated[bool | None, _option("Fold mean errors into the biases.", _INTEGER)] = None,
    sum_compensation: Annotated[bool | None, _option("Compensate errors by input sums.", _INTEGER)] = None,
    weight_tuning: Annotated[
        str | None, _option("Map weights to ones with less error: off, uniform or histogram.", _INTEGER, metavar="NAME")
    ] = None,
    method: Annotated[
        str | None, _option("nsga2, random, uniform, greedy or exhaustive.", _SEARCH, metavar="NAME")
    ] = None,
    population_size: Annotated[int | None, _option("Designs per generation.", _SEARCH)] = None,
    generations: Annotated[int | None, _option("Generations.", _SEARCH)] = None,
    evaluations: Annotated[int | None, _option("Different designs measured, at most.", _SEARCH)] = None,
    seed: Annotated[int | None, _option("Same seed, same front.", _SEARCH)] = None,
    accuracy_floor: Annotated[float | None, _option("Designs below are not wanted; 0 to 1.", _SEARCH)] = None,
    initial: Annotated[str | None, _option("agn, sensitivity, uniform or random.", _SEARCH, metavar="NAME")] = None,
    initial_designs: Annotated[int | None, _option("How many of these; a population by default.", _SEARCH)] = None,
    surrogate: Annotated[bool | None, _option("Simulate only what a prediction cannot rule out.", _SEARCH)] = None,
    racing: Annotated[bool | None, _option("Stop simulating a design once it is beaten.", _SEARCH)] = None,
    plain: Annotated[
        bool | None, _option("Plain ALWANN: random initial designs, no surrogate, no racing.", _SEARCH, "--plain")
    ] = None,
    jobs: Annotated[int | None, _option("Worker processes.", _EXECUTION)] = None,
    threads: Annotated[int | None, _option("Threads per worker.", _EXECUTION)] = None,
    backend: Annotated[str | None, _option("auto, a kernel, or reference.", _EXECUTION, metavar="NAME")] = None,
    device: Annotated[str | None, _option("auto, cpu, cuda or cuda:N.", _EXECUTION, metavar="NAME")] = None,
    batch_size: Annotated[int | None, _option("Images per batch.", _EXECUTION)] = None,
    out: Annotated[Path | None, _option("Run directory; default below runs/.", _EXECUTION, metavar="DIR")] = None,
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

    config, text = configure(run_file, options)
    path = out or Path("runs") / default_run_name(config)
    with terminal.Watch() as watch, _terminable():
        try:
            run = explore_config(config, config_text=text, out=path, watch=watch)
        except KeyboardInterrupt:
            watch.close()
            terminal.print_note(f"interrupted; everything measured is in {path}. Repeat the same command to continue")
            raise typer.Exit(EXIT_INTERRUPTED) from None
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
    signed: Annotated[bool | None, _option("For which multipliers.", _INPUT, "--signed/--unsigned")] = None,
    scheme: SchemeName = None,
    observer: ObserverName = None,
    per_channel: PerChannel = None,
    exclude: Excluded = None,
    coefficients: Annotated[
        str | None, _option("Rewards for noise, as 0.1,0.2,0.5; default 0.2.", _LEARNING, metavar="NUMBERS")
    ] = None,
    method: Annotated[
        str | None, _option("frozen weights (seconds), or trained with the sigmas.", _LEARNING, metavar="NAME")
    ] = None,
    sigma_init: Annotated[float | None, _option("Start of every sigma.", _LEARNING)] = None,
    sigma_max: Annotated[float | None, _option("Largest sigma of interest.", _LEARNING)] = None,
    steps: Annotated[int | None, _option("Gradient steps, frozen.", _LEARNING)] = None,
    epochs: Annotated[int | None, _option("Passes over the training images, trained.", _LEARNING)] = None,
    learning_rate: Annotated[float | None, _option("Of weights and sigmas.", _LEARNING)] = None,
    sigma_learning_rate: Annotated[float | None, _option("Of the sigmas, trained.", _LEARNING)] = None,
    training_images: Annotated[int | None, _option("Images to learn on.", _LEARNING)] = None,
    seed: Annotated[int | None, _option("Same seed, same tolerances.", _LEARNING)] = None,
    batch_size: Annotated[int | None, _option("Images a step.", _EXECUTION)] = None,
    device: Annotated[str, _option("cpu or cuda.", _EXECUTION, metavar="NAME")] = "cpu",
    out: Annotated[Path | None, _option("Directory; default below runs/.", _EXECUTION, metavar="DIR")] = None,
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
    with terminal.SweepWatch() as watch, _terminable():
        try:
            values = _numbers(coefficients, "--coefficients", "0.1,0.2,0.5")
            found = sweep_config(config, values, device=device, out=path, watch=watch)
        except KeyboardInterrupt:
            watch.close()
            terminal.print_note(f"interrupted; what was learned is in {path}. Repeat the same command to continue")
            raise typer.Exit(EXIT_INTERRUPTED) from None
    terminal.print_tolerances(found, output_format, path=path)


def _numbers(text: str | None, option: str, example: str) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(float(word) for word in text.split(","))
    except ValueError:
        raise ConfigError(f"{option} {text}: expected numbers with commas between them, as {example}") from None


@app.command("operating-points")
def operating_points(
    run: Annotated[
        Path | None,
        typer.Argument(help="A run directory; by default that of `dse explore` without options.", metavar="[RUN]"),
    ] = None,
    multipliers: Annotated[int, _option("How many may be built; default 4.", _POINTS, metavar="N")] = 4,
    points: Annotated[int, _option("How many operating points; default 3.", _POINTS, metavar="M")] = 3,
    method: Annotated[
        str | None, _option("kmeans (QoS-Nets), enumerate (all subsets) or search.", _POINTS, metavar="NAME")
    ] = None,
    scales: Annotated[
        str | None, _option("Of the tolerances, one a point; default 0.3,1,2 for 3.", _POINTS, metavar="NUMBERS")
    ] = None,
    max_loss: Annotated[
        str | None,
        _option("Percentage points a point may lose on the search images, as 0.3,1,2.3.", _POINTS, metavar="NUMBERS"),
    ] = None,
    accuracy_floor: Annotated[float | None, _option("No point falls below; 0 to 1.", _POINTS)] = None,
    coefficient: Annotated[float | None, _option("AGN's reward for noise; default as the run.", _POINTS)] = None,
    evaluations: Annotated[int, _option("Designs that a search may simulate; default 500.", _SEARCH)] = 500,
    seed: Annotated[int, _option("Same seed, same points; default 0.", _SEARCH)] = 0,
    out: Annotated[Path | None, _option("Directory; default in the run.", _EXECUTION, metavar="DIR")] = None,
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
        multipliers, points, method, _numbers(scales, "--scales", "0.3,1,2"),
        _numbers(max_loss, "--max-loss", "0.3,1,2.3"), accuracy_floor, evaluations, seed, coefficient,
    )  # fmt: skip
    with _terminable():
        try:
            if run is None:
                with terminal.Watch() as watch:
                    run = default_run(watch)
            with PointsWatch() as watch:
                found = choose_and_draw(run, settings, out=out, watch=watch)
        except KeyboardInterrupt:
            terminal.print_note("interrupted; everything measured is kept. Repeat the same command to continue")
            raise typer.Exit(EXIT_INTERRUPTED) from None
    print_points(found, output_format)


@app.command()
def finetune(
    directory: Annotated[Path, typer.Argument(help="A run, or a set of operating points.", metavar="DIR")],
    points: Annotated[str | None, _option("Of the front of a run, as 3,5, or all.", _INPUT, metavar="NUMBERS")] = None,
    assignments: Annotated[
        Path | None, _option("Designs of a CSV file instead, column `assignment`.", _INPUT, metavar="FILE")
    ] = None,
    training_images: Annotated[int | None, _option("Images to learn on; default all there are.", _INPUT)] = None,
    validation_images: Annotated[
        int, _option("Search images that choose the best epoch; default 1000.", _INPUT)
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
    seed: Annotated[int, _default("Same seed, same result", "seed")] = TUNING.seed,
    threads: Annotated[int | None, _option("Of this process; default as the run.", _EXECUTION)] = None,
    device: Annotated[
        str | None, _option("auto, cpu, cuda or cuda:N; default as the run.", _EXECUTION, metavar="NAME")
    ] = None,
    out: Annotated[Path | None, _option("Directory; default DIR/finetuned.", _EXECUTION, metavar="DIR")] = None,
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
        gradient=gradient, private=private, patience=patience or None, seed=seed,
    )  # fmt: skip
    options = FinetuneOptions(settings, training_images, validation_images)
    with LiveLine(terminal.make_console(to_stderr=True)) as line, _terminable():
        try:
            found = finetune_and_draw(
                directory, options, points=points, assignments=assignments, threads=threads, device=device,
                out=out, watch=FinetuneWatch(line),
            )  # fmt: skip
        except KeyboardInterrupt:
            line.close()
            terminal.print_note("interrupted; what was learned is kept. Repeat the same command to continue")
            raise typer.Exit(EXIT_INTERRUPTED) from None
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
