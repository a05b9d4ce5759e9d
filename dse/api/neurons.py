"""The public calls about neurons: `resilience`, how much each of a network matters; `axnn`, what each may cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dse.api.options import OPTIONS, TOLERANCE_OPTIONS, configure, objects_apart
from dse.config import RunConfig, default_run_name
from dse.errors import ConfigError
from dse.multipliers.precision import LEVELS
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.robustness.neuron_scores import Resilience
from dse.runs.axnn import AxnnObserver, AxnnRun
from dse.runs.axnn_directory import RETRAINING, AxnnOptions
from dse.runs.characterization import CharacterizationObserver
from dse.search.neurons import AxnnSettings

RESILIENCE_OPTIONS = {
    name: key for name, key in TOLERANCE_OPTIONS.items() if key.split(".")[0] != "tolerances"
}  # fmt: skip
"""Options of `resilience`, and the keys of the run file that they override."""

AXNN_OPTIONS = {
    name: OPTIONS[name]
    for name in (
        "network", "weights", "dataset", "data", "preprocessing", "confirm_images", "calibration_images",
        "report_images", "top", "library", "signed", "compile_c", "scheme", "observer", "per_channel", "exclude",
        "fold_bias", "sum_compensation", "weight_tuning", "threads",
    )
}  # fmt: skip
"""Likewise of `axnn`."""

BOUNDS = (0.5, 2.5, 7.5)
"""Of the paper, in percent."""

DESIGN = AxnnSettings()
VALIDATION_IMAGES = AxnnOptions().validation_images


def resilience(
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
    images: int | None = None,
    batch_size: int | None = None,
    device: str = "cpu",
    out: str | Path | None = None,
    watch: CharacterizationObserver | None = None,
) -> Resilience:
    """Measures how much the loss depends on each neuron (output channel of a layer), as AxNN does.

    The error at the outputs is propagated back through the exact integer network, on training images; search and report
    images are not touched. Arguments are those of the command `dse resilience`; what they have in common with `explore`
    means the same. Writes tables and pictures, see `dse.runs.characterization`.

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
        images: training images, 1000 by default, or as many as there are; the first of them calibrate.
        batch_size: images at once; results do not depend on it.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        out: the directory; by default below `runs/`, named after the configuration.
        watch: told how it goes on.

    Returns:
        Scores of all neurons; `.to_dataframe()` is the table of `resilience.csv`.

    Raises:
        DseError: what cannot be found, loaded or differentiated; the message says what to do.

    >>> import dse
    >>> found = dse.resilience(network="digits_cnn", dataset="digits", images=50, out="runs/resilience")
    >>> found.to_dataframe()[["layer", "neuron", "rank"]].head(2)
            layer  neuron  rank
    0  features.0       0  ...
    1  features.0       1  ...
    """
    given = {name: value for name, value in locals().items() if name in RESILIENCE_OPTIONS and value is not None}
    given, objects = objects_apart(given)
    config, _ = configure(run_file, given, keys=RESILIENCE_OPTIONS)
    return characterize_and_draw(
        config, images=images, batch_size=batch_size, device=device, objects=objects, out=out, watch=watch
    )


def default_resilience_path(config: RunConfig) -> Path:
    """Directory of a characterization where none is given."""
    return Path("runs") / f"resilience-{default_run_name(config)}"


def characterize_and_draw(
    config: RunConfig,
    *,
    images: int | None = None,
    batch_size: int | None = None,
    device: str = "cpu",
    objects: dict[str, Any] | None = None,
    out: str | Path | None = None,
    watch: CharacterizationObserver | None = None,
) -> Resilience:
    """Characterizes the network of a configuration (see `resilience`) and draws what was found."""
    from dse.files import replace_file
    from dse.reporting.resilience import positions_data, positions_png, scores_data, scores_png
    from dse.runs.characterization import CharacterizationDirectory, characterize_config
    from dse.runs.preparation import Inputs

    objects = objects or {}
    path = Path(out) if out is not None else default_resilience_path(config)
    found = characterize_config(
        config, path, images=images, batch_size=batch_size, device=device,
        inputs=Inputs(objects.get("network"), objects.get("dataset")), observer=watch,
    )  # fmt: skip
    directory, title = CharacterizationDirectory(path), f"{config.network.name}, {config.data.dataset}"
    replace_file(directory.picture, scores_png(scores_data(found, title=title)))
    maps = positions_data(found, title=title)
    if maps.maps:
        replace_file(directory.positions_picture, positions_png(maps))
    else:
        directory.positions_picture.unlink(missing_ok=True)  # of another network
    return found


def axnn(
    run_file: str | Path | None = None,
    *,
    bounds: Sequence[float] = BOUNDS,
    levels: Sequence[int] = LEVELS,
    multipliers: Sequence[str] | None = None,
    group_share: float = DESIGN.group_share,
    smallest_share: float = DESIGN.smallest_share,
    order: str = DESIGN.order,
    confidence: float = DESIGN.confidence,
    training_images: int | None = None,
    validation_images: int = VALIDATION_IMAGES,
    retraining: FinetuningSettings = RETRAINING,
    network: Any = None,
    weights: str | Path | None = None,
    dataset: Any = None,
    data: str | Path | None = None,
    preprocessing: str | None = None,
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
    threads: int | None = None,
    device: str = "cpu",
    out: str | Path | None = None,
    watch: AxnnObserver | None = None,
) -> AxnnRun:
    """Lowers the precision of neurons, the most resilient ones first, and retrains, within bounds on what may be lost.

    AxNN (Venkataramani et al., ISLPED 2014). The same call continues an interrupted design, and returns a finished one
    at once. Arguments are those of the command `dse axnn`; what they have in common with `explore` means the same.
    Writes tables, networks and a picture, see `dse.runs.axnn_directory`.

    Args:
        run_file: a TOML file.
        bounds: percent of the images that may be lost against the exact network, ascending; each goes on from the
            design of the one before.
        levels: bits below 8 that neurons may be lowered to, falling.
        multipliers: instead of them names of the library, each cheaper than the one before.
        group_share: energy of the neurons lowered at a time, share of all of it at full precision.
        smallest_share: groups below this are not halved any more, but stay as they are.
        order: which neurons come next: "harm" for the energy they save, or "score", the paper's.
        confidence: standard errors by which the loss on the validation images must be below the bound; 0: none.
        training_images: to retrain on; all of the part of the data that calibrates by default.
        validation_images: of the search images, at most, that bounds are about.
        retraining: of each attempt.
        network: a zoo name, `module:function`, or a `torch.nn.Module`; not changed.
        weights: state dict for a named network.
        dataset: a name, `module:function`, or `dse.datasets.Splits`.
        data: folder of the dataset's files.
        preprocessing: of the images, see `dse.datasets.preprocessing`.
        confirm_images: images of the search split, that validation images are taken from.
        calibration_images: how many fix the ranges.
        report_images: how many measure the exact network and the result of each bound.
        top: an image counts where its label is among so many best classes.
        library: of `multipliers`: `builtin`, a path, or a `Library`.
        signed: quantize for signed multipliers.
        compile_c: allow C sources in the library to be compiled and run.
        scheme: `auto`, `unsigned-affine` or `signed-symmetric`.
        observer: `minmax`, `percentile` or `mse`.
        per_channel: one weight scale per output channel.
        exclude: patterns of layer names that stay floating point.
        fold_bias: fold the mean error of each channel into its bias.
        sum_compensation: compensate errors by the sum of each patch.
        weight_tuning: `off`, `uniform` or `histogram`.
        threads: of this process.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        out: the directory; by default below `runs/`, named after the configuration.
        watch: told how it goes on.

    Returns:
        The finished design.

    Raises:
        DseError: what cannot be found, loaded or resolved, and a network without gradients; the message says what to
            do.

    >>> import dse
    >>> small = {"training_images": 64, "validation_images": 200, "group_share": 0.5, "smallest_share": 0.5}
    >>> found = dse.axnn(network="digits_cnn", dataset="digits", bounds=[5.0], levels=[4], **small, out="runs/axnn")
    >>> found.bounds[["bound_pct", "energy_rel", "neurons_8", "neurons_4"]].round(2)
       bound_pct  energy_rel  neurons_8  neurons_4
    0        5.0        0.34          0         90
    """
    given = {name: value for name, value in locals().items() if name in AXNN_OPTIONS and value is not None}
    given, objects = objects_apart(given)
    config, _ = configure(run_file, given, keys=AXNN_OPTIONS)
    options = axnn_options(
        bounds, levels=levels, multipliers=multipliers or (), group_share=group_share, smallest_share=smallest_share,
        order=order, confidence=confidence, training_images=training_images, validation_images=validation_images,
        retraining=retraining,
    )  # fmt: skip
    return design_and_draw(config, options, device=device, objects=objects, out=out, watch=watch)


def axnn_options(
    bounds: Sequence[float],
    *,
    levels: Sequence[int] = LEVELS,
    multipliers: Sequence[str] = (),
    group_share: float = DESIGN.group_share,
    smallest_share: float = DESIGN.smallest_share,
    order: str = DESIGN.order,
    confidence: float = DESIGN.confidence,
    training_images: int | None = None,
    validation_images: int = VALIDATION_IMAGES,
    retraining: FinetuningSettings = RETRAINING,
) -> AxnnOptions:
    """What `axnn` is asked for; bounds in percent."""
    if not bounds or list(bounds) != sorted(set(bounds)) or not 0 < bounds[0] <= bounds[-1] < 100:
        text = ", ".join(f"{bound:g}" for bound in bounds)
        raise ConfigError(f"bounds {text}: expected percents above 0 and below 100, ascending, as 0.5, 2.5, 7.5")
    settings = AxnnSettings(tuple(bound / 100 for bound in bounds), group_share, smallest_share, order, confidence)
    return AxnnOptions(settings, retraining, tuple(levels), tuple(multipliers), training_images, validation_images)


def default_axnn_path(config: RunConfig) -> Path:
    """Directory of a design where none is given."""
    return Path("runs") / f"axnn-{default_run_name(config)}"


def design_and_draw(
    config: RunConfig,
    options: AxnnOptions,
    *,
    device: str = "cpu",
    objects: dict[str, Any] | None = None,
    out: str | Path | None = None,
    watch: AxnnObserver | None = None,
) -> AxnnRun:
    """Designs the neurons of a configuration's network (see `axnn`) and draws what came of it."""
    from dse.files import replace_file
    from dse.reporting.axnn import axnn_data, axnn_png
    from dse.runs.axnn import design_neurons
    from dse.runs.axnn_directory import AxnnDirectory
    from dse.runs.preparation import Inputs

    objects = objects or {}
    path = Path(out) if out is not None else default_axnn_path(config)
    inputs = Inputs(objects.get("network"), objects.get("dataset"), objects.get("library"))
    found = design_neurons(config, path, options, inputs=inputs, device=device, observer=watch)
    title = f"{config.network.name}, {config.data.dataset}"
    replace_file(AxnnDirectory(path).picture, axnn_png(axnn_data(found, title=title)))
    return found
