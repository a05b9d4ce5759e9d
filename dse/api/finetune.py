"""The public call `finetune`: chosen points learn what their multipliers do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dse.recovery.finetuning_settings import FinetuningSettings
from dse.runs.finetuned import FinetunedPoints, FinetuneOptions
from dse.runs.finetuning import FinetuneObserver

DEFAULTS = FinetuningSettings()
VALIDATION_IMAGES = FinetuneOptions().validation_images


def finetune(
    path: Any,
    *,
    points: str | int | Sequence[int] | None = None,
    assignments: str | Path | None = None,
    training_images: int | None = None,
    validation_images: int = VALIDATION_IMAGES,
    epochs: int = DEFAULTS.epochs,
    batch_size: int = DEFAULTS.batch_size,
    learning_rate: float = DEFAULTS.learning_rate,
    affine_learning_rate: float = DEFAULTS.affine_learning_rate,
    distillation: float = DEFAULTS.distillation,
    temperature: float = DEFAULTS.temperature,
    augmentation: str = DEFAULTS.augmentation,
    reconstruction: bool = DEFAULTS.reconstruction,
    gradient: str = DEFAULTS.gradient,
    private: str = DEFAULTS.private,
    patience: int | None = DEFAULTS.patience,
    noise_epochs: int = DEFAULTS.noise_epochs,
    noise_scale: float = DEFAULTS.noise_scale,
    noise_learning_rate: float = DEFAULTS.noise_learning_rate,
    seed: int = DEFAULTS.seed,
    threads: int | None = None,
    device: str | None = None,
    network: Any = None,
    dataset: Any = None,
    library: Any = None,
    out: str | Path | None = None,
    watch: FinetuneObserver | None = None,
) -> FinetunedPoints:
    """Fine-tunes points of a run, each by itself, or a set of operating points, jointly.

    Network, data, library and images are those of the run. The same call continues an interrupted fine-tuning, and
    tunes nothing twice. Arguments are those of the command `dse finetune`. The report images are looked at once, at the
    end.

    Args:
        path: a directory of `explore` or of `operating_points`, or what these return.
        points: of the front of a run: a number, several, or "all" but the exact design.
        assignments: instead of points a CSV file with a column `assignment`, names as in `front.csv`.
        training_images: how many; all of the part of the data that calibrates by default.
        validation_images: of the search images, at most; they decide which epoch is the best.
        epochs: passes over the training images, at most.
        batch_size: images a step.
        learning_rate: of the weights, in parts of a channel's range of weights.
        affine_learning_rate: of scales (in parts of 1) and biases (in standard deviations of the outputs).
        distillation: share of the loss that compares with the exact network, in [0, 1].
        temperature: of both softmaxes in that comparison.
        augmentation: of training images: "none", "flip", "crop" or "crop-flip".
        reconstruction: begin by choosing each layer's weights for its table, see `dse.recovery.reconstruction`.
        gradient: "linear", "ste" (straight-through) or "smoothed", see `dse.recovery.table_gradients`.
        private: what each operating point owns: "affine" (scale and bias of every channel), "bias", or "auto": affine
            where the network has BatchNorm.
        patience: epochs without a better validation accuracy after which it stops; None: never.
        noise_epochs: before all that, passes over the training images through exact products under noise as large as
            the errors of the design, see `dse.recovery.hardening`.
        noise_scale: of this noise, relative to the errors.
        noise_learning_rate: as `learning_rate`, in these passes.
        seed: of order and augmentation of the images.
        threads: of this process; by default as the run has them.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N"; by default as the run has it. Learning on
            a GPU is tested with stand-ins for one, and not measured.
        network: the `torch.nn.Module` of a run that was made with one.
        dataset: likewise the `dse.datasets.Splits`.
        library: likewise the `Library`.
        out: the directory; by default `finetuned` below `path`.
        watch: told how it goes on.

    Returns:
        A table of everything fine-tuned in the directory; see `dse.runs.finetuned.FinetunedPoints`.

    Raises:
        DseError: what cannot be found, loaded or learn; the message says what to do.

    >>> import dse
    >>> run = dse.explore(population_size=8, generations=2, out="runs/digits")
    >>> found = dse.finetune(run, points=0, epochs=1, validation_images=100)
    >>> found.table[["point", "accuracy_untuned", "accuracy"]].round(1)
       point  accuracy_untuned  accuracy
    0      0               1.0       1.0
    """
    settings = FinetuningSettings(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, affine_learning_rate=affine_learning_rate,
        distillation=distillation, temperature=temperature, augmentation=augmentation,
        reconstruction=reconstruction, gradient=gradient, private=private, patience=patience, seed=seed,
        noise_epochs=noise_epochs, noise_scale=noise_scale, noise_learning_rate=noise_learning_rate,
    )  # fmt: skip
    return finetune_and_draw(
        getattr(path, "path", path), FinetuneOptions(settings, training_images, validation_images), points=points,
        assignments=assignments, threads=threads, device=device, objects=(network, dataset, library), out=out,
        watch=watch,
    )  # fmt: skip


def finetune_and_draw(
    path: str | Path,
    options: FinetuneOptions,
    *,
    points: str | int | Sequence[int] | None = None,
    assignments: str | Path | None = None,
    threads: int | None = None,
    device: str | None = None,
    objects: tuple[Any, Any, Any] = (None, None, None),
    out: str | Path | None = None,
    watch: FinetuneObserver | None = None,
) -> FinetunedPoints:
    """Fine-tunes points (see `finetune`) and draws them."""
    from dse.files import replace_file
    from dse.reporting.data import finetuned_data
    from dse.reporting.pictures.finetuned import finetuned_png
    from dse.runs.finetuned import FinetuneDirectory
    from dse.runs.finetuning import find_target, finetune_points
    from dse.runs.preparation import Inputs

    found = finetune_points(
        path, options, points=points, assignments=assignments, threads=threads, device=device, out=out,
        inputs=Inputs(*objects), observer=watch,
    )  # fmt: skip
    config = find_target(Path(path), points, assignments).config
    replace_file(FinetuneDirectory(found.path).picture, finetuned_png(finetuned_data(found.table, config)))
    return found
