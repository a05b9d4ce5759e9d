"""`dse.tolerances`: how much noise each layer bears."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dse.api.options import TOLERANCE_OPTIONS, configure, objects_apart
from dse.config import RunConfig, default_run_name
from dse.robustness.tolerances import Tolerances
from dse.runs.tolerance_sweep import SweepObserver


def tolerances(
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
    method: str | None = None,
    coefficients: Sequence[float] | None = None,
    sigma_init: float | None = None,
    sigma_max: float | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    sigma_learning_rate: float | None = None,
    training_images: int | None = None,
    seed: int | None = None,
    device: str = "cpu",
    out: str | Path | None = None,
    watch: SweepObserver | None = None,
) -> list[Tolerances]:
    """Learns how much noise the outputs of each layer bear (AGN), for one coefficient or a sweep of them.

    Arguments are those of the command `dse tolerances`; what they have in common with `explore` means the same. The
    same call continues an interrupted sweep, and returns what is finished at once. Search and report images are not
    touched.

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
        method: `frozen` (weights stay, seconds) or `trained` (weights learn too, as published).
        coefficients: of the reward for noise; larger ones trade more accuracy. By default that of the run file, 0.2.
        sigma_init: start of every sigma.
        sigma_max: largest sigma of interest; a tolerance of that size means "at least".
        steps: gradient steps, frozen.
        epochs: passes over the training images, trained.
        batch_size: images a step.
        learning_rate: see `dse.robustness.tolerances.AgnSettings`.
        sigma_learning_rate: likewise.
        training_images: how many; the first of them calibrate. By default the calibration images (frozen) or all.
        seed: of noise and order.
        device: `cpu` or `cuda`.
        out: the directory; by default below `runs/`, named after the configuration.
        watch: told how it goes on.

    Returns:
        Everything finished in the directory, by rising coefficient. Trained weights are files there,
        `weights_<coefficient>.pt`, for `explore(weights=...)`.

    >>> import dse
    >>> (found,) = dse.tolerances(network="digits_cnn", dataset="digits", coefficients=[0.2], out="runs/tolerances")
    >>> dict(zip(found.layers, found.sigma.round(1).tolist()))
    {'features.0': ..., 'linear': ...}
    """
    given = {name: value for name, value in locals().items() if name in TOLERANCE_OPTIONS and value is not None}
    given, objects = objects_apart(given)
    config, _ = configure(run_file, given, keys=TOLERANCE_OPTIONS)
    return sweep_config(config, coefficients, device=device, out=out, objects=objects, watch=watch)


def sweep_config(
    config: RunConfig,
    coefficients: Sequence[float] | None = None,
    *,
    device: str = "cpu",
    out: str | Path | None = None,
    objects: dict[str, Any] | None = None,
    watch: SweepObserver | None = None,
) -> list[Tolerances]:
    """Learns the tolerances of a configuration in a directory (see `tolerances`) and draws them."""
    from dse.files import replace_file
    from dse.reporting.data import tolerance_data
    from dse.reporting.pictures.tolerances import tolerances_png
    from dse.runs.preparation import Inputs
    from dse.runs.tolerance_sweep import SweepDirectory, sweep_tolerances

    objects = objects or {}
    inputs = Inputs(objects.get("network"), objects.get("dataset"))
    path = Path(out) if out is not None else default_sweep_path(config)
    found = sweep_tolerances(config, path, coefficients, inputs=inputs, device=device, observer=watch)
    title = f"{config.network.name}, {config.data.dataset}, {config.tolerances.method} weights"
    replace_file(SweepDirectory(path).picture, tolerances_png(tolerance_data(found, title=title)))
    return found


def default_sweep_path(config: RunConfig) -> Path:
    """Directory of a sweep where none is given."""
    return Path("runs") / f"tolerances-{default_run_name(config)}"
