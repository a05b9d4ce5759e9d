"""The public call `resilience`: how much each neuron of a network matters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dse.api import TOLERANCE_OPTIONS, configure, is_named
from dse.config import RunConfig, default_run_name
from dse.robustness.neuron_scores import Resilience
from dse.runs.characterization import CharacterizationObserver

RESILIENCE_OPTIONS = {
    name: key for name, key in TOLERANCE_OPTIONS.items() if key.split(".")[0] != "tolerances"
}  # fmt: skip
"""Options of `resilience`, and the keys of the run file that they override."""


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
    """
    given = {name: value for name, value in locals().items() if name in RESILIENCE_OPTIONS and value is not None}
    objects = {name: given[name] for name in ("network", "dataset") if not is_named(given.get(name))}
    given |= {name: f"object:{type(value).__name__}" for name, value in objects.items()}
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
