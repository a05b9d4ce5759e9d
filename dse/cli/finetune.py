"""The command `dse finetune`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dse.cli.options import EXECUTION, INPUT, LEARNING, Format, FormatOption, option, terminable
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.reporting.terminal.live_line import LiveLine
from dse.reporting.terminal.output import make_console
from dse.runs.finetuned import FinetuneOptions

TUNING, VALIDATION_IMAGES = FinetuningSettings(), FinetuneOptions().validation_images


def _default(help_text: str, name: str) -> Any:
    """An option of fine-tuning whose default stands in `FinetuningSettings`."""
    return option(f"{help_text}; default {getattr(TUNING, name)}.", LEARNING)


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
    from dse.api.finetune import finetune_and_draw
    from dse.reporting.terminal.finetuning import FinetuneWatch, print_finetuned

    settings = FinetuningSettings(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, affine_learning_rate=affine_learning_rate,
        distillation=distillation, temperature=temperature, augmentation=augmentation, reconstruction=reconstruction,
        gradient=gradient, private=private, patience=patience or None, seed=seed, noise_epochs=noise_epochs,
        noise_scale=noise_scale, noise_learning_rate=noise_learning_rate,
    )  # fmt: skip
    options = FinetuneOptions(settings, training_images, validation_images)
    with (
        LiveLine(make_console(to_stderr=True)) as line,
        terminable("what was learned is kept", close=line.close),
    ):
        found = finetune_and_draw(
            directory, options, points=points, assignments=assignments, threads=threads, device=device,
            out=out, watch=FinetuneWatch(line),
        )  # fmt: skip
    print_finetuned(found, output_format)
