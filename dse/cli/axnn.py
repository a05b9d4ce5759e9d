"""The command `dse axnn`; see `cli`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from dse.api.neurons import BOUNDS, DESIGN, VALIDATION_IMAGES
from dse.cli.options import (
    EXECUTION,
    INPUT,
    LEARNING,
    CalibrationImages,
    DataFolder,
    DatasetName,
    Excluded,
    Format,
    FormatOption,
    NetworkName,
    ObserverName,
    PerChannel,
    Preprocessing,
    RunFile,
    SchemeName,
    Weights,
    numbers,
    option,
    terminable,
)
from dse.errors import ConfigError
from dse.multipliers.precision import LEVELS
from dse.reporting.terminal.live_line import LiveLine
from dse.reporting.terminal.output import make_console
from dse.runs.axnn_directory import RETRAINING

NEURONS = "Neurons"
"""A panel of the help text."""


def axnn(
    run_file: RunFile = None,
    bounds: Annotated[
        str, option("Percent of the images that may be lost; default 0.5,2.5,7.5.", NEURONS, metavar="NUMBERS")
    ] = ",".join(map(str, BOUNDS)),
    levels: Annotated[
        str | None, option("Bits that neurons may be lowered to; default 7,6,5,4,3,2.", NEURONS, metavar="NUMBERS")
    ] = None,
    multipliers: Annotated[
        str | None, option("Instead, of the library, from exact to cheapest.", NEURONS, metavar="NAMES")
    ] = None,
    group_share: Annotated[
        float, option(f"Energy of neurons lowered at a time, share; default {DESIGN.group_share}.", NEURONS)
    ] = DESIGN.group_share,
    smallest_share: Annotated[
        float, option(f"A group is halved down to this; default {DESIGN.smallest_share}.", NEURONS)
    ] = DESIGN.smallest_share,
    order: Annotated[
        str, option("harm (for the energy saved) or score (the paper's).", NEURONS, metavar="NAME")
    ] = DESIGN.order,
    confidence: Annotated[
        float, option(f"Standard errors below the bound; default {DESIGN.confidence:g}.", NEURONS)
    ] = DESIGN.confidence,
    epochs: Annotated[
        int, option(f"Passes over the training images an attempt; default {RETRAINING.epochs}.", LEARNING)
    ] = RETRAINING.epochs,
    learning_rate: Annotated[
        float, option(f"Of weights, in parts of a channel's range; default {RETRAINING.learning_rate}.", LEARNING)
    ] = RETRAINING.learning_rate,
    affine_learning_rate: Annotated[
        float, option(f"Of scales and biases; default {RETRAINING.affine_learning_rate}.", LEARNING)
    ] = RETRAINING.affine_learning_rate,
    augmentation: Annotated[
        str, option("none, flip, crop or crop-flip; default none.", LEARNING, metavar="NAME")
    ] = RETRAINING.augmentation,
    seed: Annotated[int, option("Same seed, same result; default 0.", LEARNING)] = RETRAINING.seed,
    training_images: Annotated[int | None, option("To retrain on; default all there are.", INPUT)] = None,
    validation_images: Annotated[
        int, option(f"Search images that bounds are about; default {VALIDATION_IMAGES}.", INPUT)
    ] = VALIDATION_IMAGES,
    network: NetworkName = None,
    weights: Weights = None,
    dataset: DatasetName = None,
    data: DataFolder = None,
    preprocessing: Preprocessing = None,
    calibration_images: CalibrationImages = None,
    report_images: Annotated[int | None, option("Images that measure what comes of it.", INPUT)] = None,
    top: Annotated[int | None, option("The label must be among so many best classes; default 1.", INPUT)] = None,
    library: Annotated[str | None, option("Of --multipliers; default builtin.", INPUT, metavar="PATH")] = None,
    signed: Annotated[bool | None, option("Signed operands or unsigned ones.", INPUT, "--signed/--unsigned")] = None,
    compile_c: Annotated[bool | None, option("Compile and run C sources in the library.", INPUT, "--compile-c")] = None,
    scheme: SchemeName = None,
    observer: ObserverName = None,
    per_channel: PerChannel = None,
    exclude: Excluded = None,
    threads: Annotated[int | None, option("Of this process.", EXECUTION)] = None,
    device: Annotated[str, option("auto, cpu, cuda or cuda:N.", EXECUTION, metavar="NAME")] = "cpu",
    out: Annotated[Path | None, option("Directory; default below runs/.", EXECUTION, metavar="DIR")] = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Give each neuron (output channel) as few bits as a bound on the lost accuracy allows, retraining on the way.

    AxNN's loop: the neurons that matter least go down a level, the network is retrained with them in place, and keeps
    the change if it loses no more than the bound on validation images; else it is taken back, and half as many are
    tried. Each bound goes on from the one before. For example, in a few minutes,

        dse axnn --bounds 3,10 --levels 5,3 --group-share 1 --smallest-share 0.3

    Writes attempts.csv, bounds.csv, neurons.csv, a picture and the networks. The same command continues an interrupted
    design; a finished one is only printed. A bound needs validation images to tell it from chance: 800 for 0.5 %.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    from dse.api.neurons import AXNN_OPTIONS, axnn_options, default_axnn_path, design_and_draw
    from dse.api.options import configure
    from dse.reporting.terminal.axnn import AxnnWatch, print_axnn

    if levels is not None and multipliers is not None:
        raise ConfigError("--levels and --multipliers: neurons have one or the other; leave out one of them")
    retraining = replace(
        RETRAINING, epochs=epochs, learning_rate=learning_rate, affine_learning_rate=affine_learning_rate,
        augmentation=augmentation, seed=seed,
    )  # fmt: skip
    options = axnn_options(
        numbers(bounds, "--bounds", "0.5,2.5,7.5"),
        levels=LEVELS if levels is None else numbers(levels, "--levels", "7,6,5,4,3,2", number=int),
        multipliers=() if multipliers is None else [name.strip() for name in multipliers.split(",")],
        group_share=group_share, smallest_share=smallest_share, order=order, confidence=confidence,
        training_images=training_images, validation_images=validation_images, retraining=retraining,
    )  # fmt: skip
    config, _ = configure(run_file, {k: v for k, v in given.items() if k in AXNN_OPTIONS}, keys=AXNN_OPTIONS)
    path = out or default_axnn_path(config)
    with (
        LiveLine(make_console(to_stderr=True)) as line,
        terminable("every attempt is kept", close=line.close),
    ):
        found = design_and_draw(config, options, device=device, out=path, watch=AxnnWatch(line))
    print_axnn(found, output_format)
