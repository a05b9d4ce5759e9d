"""The command `dse tolerances`."""

from pathlib import Path
from typing import Annotated

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
from dse.reporting.terminal.tolerances import SweepWatch, print_tolerances


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
    from dse.api.options import TOLERANCE_OPTIONS, configure
    from dse.api.tolerances import default_sweep_path, sweep_config

    config, _ = configure(run_file, options, keys=TOLERANCE_OPTIONS)
    path = out or default_sweep_path(config)
    with SweepWatch() as watch, terminable(f"what was learned is in {path}", close=watch.close):
        values = numbers(coefficients, "--coefficients", "0.1,0.2,0.5")
        found = sweep_config(config, values, device=device, out=path, watch=watch)
    print_tolerances(found, output_format, path=path)
