"""Predicted against measured output errors: every layer of ResNet-20 through every unsigned table of EvoApproxLib.

    python benchmarks/error_model_accuracy.py DATA [--out results/error_model]

`DATA` is the folder with `cifar10/`, `weights/` and `evoapprox/`.

Statistics come from calibration (training) images. Errors are measured bit-exactly on the activations of the exact
network, on those images and on as many others, search (test) images. "Folded" and "compensated" take back, per output
channel, the mean error, or an offset and a slope on the sum of the activation codes, fitted on the calibration images
both times; what is left is a root mean square.

Pairs without any error (measured std 0) have no ratio; they are counted and left out.
"""

import argparse
import datetime
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from dse.datasets import Split, load_splits
from dse.multipliers.library import Library, load_library
from dse.networks.convert import IntegerNetwork, quantize_network
from dse.networks.layers import LayerOperator
from dse.networks.recording import record_codes
from dse.networks.zoo import create_network, default_preprocessing
from dse.quantization.affine import scheme_for
from dse.recovery.operators import OperatorBank, Recovery
from dse.robustness.error_forms import Moments
from dse.robustness.error_model import MODELS, predict_errors
from dse.robustness.operands import Operands
from dse.simulation.ops import prepare

PLAIN = "two-way, three terms"
MODELS[PLAIN] = lambda operands, tables: plain_two_way(operands, tables)
QUANTITIES = ("std", "std_folded", "std_compensated")
IMAGES = {"same": "calibration images, as the statistics", "other": "search images (test set)"}
BATCH = 32


def plain_two_way(operands: Operands, tables: torch.Tensor) -> Moments:
    """The two-way form without its refinements: three terms from pooled histograms; for ungrouped layers."""
    p, g, k = operands.activation_histogram, operands.weight_histograms[0], operands.fan_in
    rows, columns = tables @ g, p @ tables
    rest = tables - rows[:, :, None] - columns[:, None, :] + (rows @ p)[:, None, None]
    independent = k * (rest.square() @ g @ p)[:, None]
    patches = rows[:, operands.patches[0]].sum(2)
    centered = patches - patches.mean(1, keepdim=True)
    sums = operands.patch_sums[0] - operands.patch_sums[0].mean()
    variance = centered.square().mean(1, keepdim=True)
    left = variance - (centered * sums).mean(1, keepdim=True).square() / sums.square().mean()
    filters = columns[:, operands.weights[0].to(torch.int64)].sum(2)
    return Moments(filters, variance + independent, left + independent)


class Errors:
    """Measured errors of one layer and multiplier on one set of images: `error` and `sums`, float64 `[C_out, n]`."""

    def __init__(self, error: torch.Tensor, sums: torch.Tensor):
        self.error, self.sums = error, sums

    def corrections(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Offset `[C_out, 1]` of folding, and offset and slope of sum compensation as one `[3, C_out, 1]`."""
        mean, sum_mean = self.error.mean(1, keepdim=True), self.sums.mean(1, keepdim=True)
        centered = self.sums - sum_mean
        slope = (centered * self.error).sum(1, keepdim=True) / centered.square().sum(1, keepdim=True).clamp(min=1e-9)
        return mean, torch.stack([mean - slope * sum_mean, slope])

    def summary(self, corrections: tuple[torch.Tensor, torch.Tensor]) -> list[float]:
        """Mean, std, and root mean squares after folding and after sum compensation."""
        mean, (offset, slope) = corrections
        folded, left = self.error - mean, self.error - offset - slope * self.sums
        squares = (self.error.var(correction=0), folded.square().mean(), left.square().mean())
        return [float(self.error.mean()), *(float(square) ** 0.5 for square in squares)]


def measure(bank: OperatorBank, index: int, sets: list[torch.Tensor]) -> np.ndarray:
    """`Errors.summary` of layer `index` for every set of codes and multiplier, float64 `[n_sets, M, 4]`."""
    found = np.zeros((len(sets), len(bank.library), 4))
    problem, exact = bank.network.integer_layers[index].problem, bank.exact_sums(index)
    outputs = [channels(exact, codes) for codes in sets]
    sums = [channels(bank.input_sums(index), codes) for codes in sets]
    for m, multiplier in enumerate(bank.library):
        prepared = prepare(problem, multiplier)
        errors = [Errors(channels(prepared, c) - y, s) for c, y, s in zip(sets, outputs, sums, strict=True)]
        corrections = errors[0].corrections()
        found[:, m] = [e.summary(corrections) for e in errors]
    return found


def channels(sums, codes: torch.Tensor) -> torch.Tensor:
    """Outputs by channel, float64 `[C_out, n * positions]`."""
    outputs = torch.cat([sums(part).to(torch.float64) for part in codes.split(BATCH)])
    return outputs.transpose(0, 1).flatten(1)


def other_codes(bank: OperatorBank, split: Split) -> list[torch.Tensor]:
    """Codes of other images, recorded as the bank records its own."""
    layers = enumerate(bank.network.integer_layers)
    exact = [LayerOperator(bank.exact_sums(index), layer.scale, layer.bias) for index, layer in layers]
    return record_codes(bank.network, exact, split)


def load(data: Path, n_images: int, tables: str | None) -> tuple[IntegerNetwork, Library, Split, Split]:
    library = load_library(data / "evoapprox", is_signed=False)
    library = library.select(names=tables.split(",")) if tables else library
    splits = load_splits(
        "cifar10", data_dir=data, n_calibration=n_images, n_search=n_images, n_report=10,
        preprocessing=default_preprocessing("resnet20"),
    )  # fmt: skip
    network = create_network("resnet20", weights=data / "weights" / "cifar10_resnet20.pt")
    integer = quantize_network(network, splits.calibration, scheme=scheme_for(False))
    return integer, library, splits.calibration, splits.search


def quantiles(frame: pd.DataFrame) -> pd.DataFrame:
    """Ratios of standard deviations, and errors of the mean over the measured std, over all pairs with an error."""
    rows = []
    for (model, images), part in frame.groupby(["model", "images"], sort=False):
        part = part[part.measured_std > 0]
        for quantity in QUANTITIES:
            ratio = part[f"predicted_{quantity}"] / part[f"measured_{quantity}"]
            off = (ratio - 1).abs()
            values = [*np.percentile(ratio, [5, 50, 95]), *np.percentile(off, [50, 95]), off.max()]
            rows.append([images, quantity, model, *values])
        off = (part.predicted_mean - part.measured_mean).abs() / part.measured_std
        rows.append([images, "mean", model, np.nan, np.nan, np.nan, *np.percentile(off, [50, 95]), off.max()])
    columns = ["images", "quantity", "model", "p5", "p50", "p95", "off_p50", "off_p95", "off_max"]
    return pd.DataFrame(rows, columns=columns)


def table(summary: pd.DataFrame, images: str) -> list[str]:
    head = ["quantity", "model", "5 %", "median", "95 %", "off, median", "off, 95 %", "off, largest"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * 6]
    for quantity in (*QUANTITIES, "mean"):
        for row in summary[(summary.images == images) & (summary.quantity == quantity)].itertuples():
            cells = ["" if np.isnan(v) else f"{v:.3f}" for v in row[4:7]] + [f"{v:.3f}" for v in row[7:]]
            lines.append("| " + " | ".join([quantity, row.model, *cells]) + " |")
    return lines


def worst(frame: pd.DataFrame, images: str) -> str:
    part = frame[(frame.model == "two-way") & (frame.images == images) & (frame.measured_std > 0)]
    ratio = part.predicted_std / part.measured_std
    chosen = (ratio - 1).abs().nlargest(6).index
    return ", ".join(f"{part.layer[i]} {part.multiplier[i]} {ratio[i]:.2f}" for i in chosen)


def report(frame: pd.DataFrame, times: dict[str, float], options: argparse.Namespace) -> str:
    """The Markdown page."""
    summary = quantiles(frame)
    target = summary[(summary.model == "two-way") & (summary.quantity == "std")].set_index("images")
    n_pairs = len(frame) // (len(IMAGES) * frame.model.nunique())
    n_zero = int((frame.measured_std == 0).sum()) // (len(IMAGES) * frame.model.nunique())
    reached = [
        f"{kind.capitalize()} images: **{100 * target.off_p50[kind]:.1f} %**, **{100 * target.off_p95[kind]:.1f} %**."
        for kind in IMAGES
    ]
    lines = [
        "# Error model: predicted against measured, ResNet-20, CIFAR-10, unsigned EvoApproxLib",
        "",
        f"`{shlex.join(['python', *sys.argv])}`",
        "",
        f"{datetime.date.today()}, {options.threads} thread(s), torch {torch.__version__}; {n_pairs} pairs of layer "
        f"and table, {n_zero} of them without error (the exact multiplier) left out; {options.images} images of "
        "each kind (fewer for large layers, see `dse/networks/recording.py`), all positions; 512 patches a layer.",
        "",
        "Target: standard deviation of the two-way form within 5 % at the median and 20 % at the 95th percentile. "
        + " ".join(reached),
        "",
        "Time in s: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in times.items()) + ".",
        "",
        "![predicted against measured](error_model.png)",
        "",
    ]
    for kind, words in IMAGES.items():
        lines += [f"## Measured on {words}", "", *table(summary, kind), ""]
        lines += [f"Farthest off (two-way, std): {worst(frame, kind)}.", ""]
    notes = [
        "First three columns: quantiles of predicted / measured. \"Off\" is |ratio - 1|; for the mean it is "
        "|predicted - measured| / measured std, and the two-way mean of the statistics' own images is exact "
        "by construction. `two-way, three terms` is the form without refinements (see "
        "`dse/robustness/error_model.py`).",
        *(part.replace("\n", " ").strip() for part in __doc__.split("\n\n")[3:]),
    ]
    return "\n".join([*lines, "\n\n".join(notes), ""])


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Predicted against measured std on other images, one panel a model."""
    models = [model for model in frame.model.unique() if model != PLAIN]
    figure = Figure(figsize=(4 * len(models), 4.2), dpi=130, layout="constrained")
    shown = frame[(frame.images == "other") & (frame.measured_std > 0)]
    limits = shown.measured_std.min() / 2, shown.measured_std.max() * 2
    order = {name: i for i, name in enumerate(frame.layer.unique())}
    panels = figure.subplots(1, len(models), sharex=True, sharey=True)
    for axes, model in zip(panels, models, strict=True):
        part = shown[shown.model == model]
        dots = axes.scatter(
            part.measured_std, part.predicted_std, s=7, c=part.layer.map(order), cmap="viridis", linewidths=0
        )
        axes.plot(limits, limits, color="0.3", lw=0.8)
        off = (part.predicted_std / part.measured_std - 1).abs()
        axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, xlabel="measured std (integer outputs)")
        text = f"{model}: off {100 * off.median():.1f} % (median), {100 * off.quantile(0.95):.0f} % (95th percentile)"
        axes.set_title(text, size=9)
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("predicted std")
    figure.colorbar(dots, ax=panels, label="layer, in order of execution", pad=0.01, ticks=range(0, len(order), 4))
    figure.suptitle("Output error of every layer x multiplier, ResNet-20, on images that the statistics did not see")
    figure.savefig(path)


def run(options: argparse.Namespace) -> None:
    integer, library, calibration, search = load(options.data, options.images, options.tables)
    times, predictions = {}, {}
    begin = time.perf_counter()
    bank = OperatorBank(integer, library, calibration, recovery=Recovery(fold_bias=False))
    times["recording the statistics"] = time.perf_counter() - begin
    for model in MODELS:
        begin = time.perf_counter()
        predictions[model] = predict_errors(bank, model=model)
        times[f"prediction ({model})"] = time.perf_counter() - begin
    others, frames, names = other_codes(bank, search), [], [layer.name for layer in integer.layers]
    begin, measured = time.perf_counter(), []
    for index, name in enumerate(names):
        measured.append(measure(bank, index, [bank.codes[index], others[index]]))
        print(f"{name}: {time.perf_counter() - begin:.0f} s", flush=True)
    times["measuring both sets"] = time.perf_counter() - begin
    measured = np.stack(measured, 1)  # [n_sets, n_layers, M, 4]
    for model, predicted in predictions.items():
        frame = predicted.to_dataframe(names, library.names)
        frame = frame.rename(columns={name: f"predicted_{name}" for name in ("mean", *QUANTITIES)})
        for images, values in zip(IMAGES, measured, strict=True):
            columns = {f"measured_{q}": values[:, :, i].ravel() for i, q in enumerate(("mean", *QUANTITIES))}
            frames.append(frame.assign(model=model, images=images, **columns))
    frame = pd.concat(frames, ignore_index=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(options.out.with_suffix(".csv"), index=False, float_format="%.6g")
    options.out.with_suffix(".md").write_text(report(frame, times, options), encoding="utf-8")
    draw(frame, options.out.with_suffix(".png"))
    print(quantiles(frame).round(3).to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=512, help="of calibration, and as many others")
    parser.add_argument("--tables", help="names joined by commas; all by default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/error_model"), help="without suffix: .csv, .md, .png")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run(options)


if __name__ == "__main__":
    main()
