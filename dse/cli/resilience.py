"""Commands about neurons; see `cli`."""

from pathlib import Path
from typing import Annotated

import typer

from dse import stopping
from dse.cli.options import (
    EXECUTION,
    EXIT_INTERRUPTED,
    INPUT,
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
    option,
)
from dse.reporting.terminal.live_line import LiveLine
from dse.reporting.terminal.output import make_console, print_note


def resilience(
    run_file: RunFile = None,
    network: NetworkName = None,
    weights: Weights = None,
    dataset: DatasetName = None,
    data: DataFolder = None,
    preprocessing: Preprocessing = None,
    images: Annotated[int | None, option("Training images to look at; default 1000.", INPUT)] = None,
    calibration_images: CalibrationImages = None,
    signed: Annotated[bool | None, option("For which multipliers.", INPUT, "--signed/--unsigned")] = None,
    scheme: SchemeName = None,
    observer: ObserverName = None,
    per_channel: PerChannel = None,
    exclude: Excluded = None,
    batch_size: Annotated[int | None, option("Images at once; default 64.", EXECUTION)] = None,
    device: Annotated[str, option("auto, cpu, cuda or cuda:N.", EXECUTION, metavar="NAME")] = "cpu",
    out: Annotated[Path | None, option("Directory; default below runs/.", EXECUTION, metavar="DIR")] = None,
    output_format: FormatOption = Format.table,
) -> None:
    """Measure how much the loss depends on each neuron (output channel of a layer), as AxNN does.

    Writes resilience.csv, positions.csv and pictures of both. For example

        dse resilience --network resnet20 --weights resnet20.pt --dataset cifar10 --data cifar/ --images 1000
    """
    options = {name: value for name, value in locals().items() if value is not None}
    for name in ("run_file", "images", "batch_size", "device", "out", "output_format"):
        options.pop(name, None)
    from dse.api.neurons import RESILIENCE_OPTIONS, characterize_and_draw, default_resilience_path
    from dse.api.options import configure
    from dse.reporting.terminal.resilience import CharacterizationWatch, print_resilience

    config, _ = configure(run_file, options, keys=RESILIENCE_OPTIONS)
    path = out or default_resilience_path(config)
    with LiveLine(make_console(to_stderr=True)) as line, stopping.on_signals(at_once=True):
        try:
            found = characterize_and_draw(
                config, images=images, batch_size=batch_size, device=device, out=path,
                watch=CharacterizationWatch(line),
            )  # fmt: skip
        except KeyboardInterrupt:
            line.close()
            print_note("interrupted; nothing was written. Repeat the same command to start again")
            raise typer.Exit(EXIT_INTERRUPTED) from None
    print_resilience(found, output_format, path=path)
