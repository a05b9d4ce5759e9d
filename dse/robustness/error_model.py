"""Mean and standard deviation of every layer's integer output error for every multiplier, without simulating one.

Trommer et al., "Combining Gradients and Probabilities for Heterogeneous Approximation of Neural Networks" (AGN),
ICCAD 2022, estimate them from operand statistics of exact runs. `E[x, w]` is what one product is off by, `K` the
fan-in, `h_j` the histogram of activation codes of patch `j`, `p` their mean, `g` and `q_f` those of the weight codes of
a layer and of a filter. Three models:

- "agn" [paper]: `mu_j, var_j` = mean and variance of `E` under `h_j g`;
  `Var_out = K mean_j var_j + K^2 Var_j(mu_j)`. Products count as independent within a patch.
- "global" (baseline): `Var_out = K Var(E)` under `p g`: one histogram for all.
- "two-way" [ours], the default: an analysis of variance. With `r[x] = SUM_w g[w] E[x,w]`, `c[w] = SUM_x p[x] E[x,w]`,
  `gbar = SUM_x p[x] r[x]`, into patches, filters and an independent rest:
  `Var_out = K^2 Var_j(SUM_x h_j[x] r[x]) + K^2 Var_f(SUM_w q_f[w] c[w]) + K SUM_xw p g (E - r - c + gbar)^2`.

"two-way" refines each of its terms:
- filters differ by `Var_f(Mean_f)`, with `Mean_f = SUM_k SUM_x p_k[x] E[x, w_fk]` and a histogram `p_k` for every
  kernel position and input channel (exact for the recorded images, and the mean error to fold);
- the largest component of the interaction, `phi[x] psi[w]` (leading singular pair under `p g`), leaves the rest and
  joins the patches: `Var_j(SUM_k (r[x_jk] + phi[x_jk] psi[w_fk]))` for each filter. Neighboring pixels and a filter's
  structure correlate these terms, which the rest takes for independent;
- the rest is summed over the weights that are there: `SUM_k Var_{p_k}(rest[x, w_fk])`.
What they give together is in `results/error_model.md`.

Grouped convolutions: patches, filters and weights of each group by themselves; outputs are then pooled (mean of the
variances within the channels plus variance of their means). `std_folded` is without the differences of means;
`std_compensated` is what a least-squares slope on `SUM_k x_k` leaves of the patches' part of every channel. "agn" and
"global" know channels only as far as groups.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from dse.errors import ConfigError, ShapeError, unknown_name
from dse.networks.convert import BATCH_SIZE
from dse.recovery.operators import OperatorBank
from dse.robustness.error_forms import Moments, agn, global_histogram, two_way
from dse.robustness.operands import Operands, collect_operands

if TYPE_CHECKING:
    import pandas as pd

MODELS: dict[str, Callable[[Operands, torch.Tensor], Moments]] = {
    "two-way": two_way,
    "agn": agn,
    "global": global_histogram,
}


@dataclass(frozen=True, eq=False)
class ErrorPredictions:
    """Predicted errors of integer outputs (zero points removed), float64 `[n_layers, n_multipliers]` each.

    Attributes:
        mean, std: over all outputs of a layer: images, positions, channels.
        std_folded: what remains when each output channel's mean error is folded into its bias.
        std_compensated: what remains after offset + slope * `SUM_k x_k` per output channel (sum compensation).
        output_std: std of the exact integer outputs, float64 `[n_layers]`.
    """

    mean: np.ndarray
    std: np.ndarray
    std_folded: np.ndarray
    std_compensated: np.ndarray
    output_std: np.ndarray

    def residual(self, *, fold_bias: bool, sum_compensation: bool) -> np.ndarray:
        """Root mean square of the error that reaches the next layer, float64 `[n_layers, n_multipliers]`.

        As if every channel were corrected; an `OperatorBank` corrects those where it helps.
        """
        if sum_compensation:
            return self.std_compensated
        return self.std_folded if fold_bias else np.hypot(self.mean, self.std)

    def to_dataframe(self, layer_names: Sequence[str], multiplier_names: Sequence[str]) -> "pd.DataFrame":
        """One row a (layer, multiplier): both names, `output_std` and the four predictions."""
        import pandas as pd

        if (len(layer_names), len(multiplier_names)) != self.mean.shape:
            raise ShapeError(
                f"got {len(layer_names)} layer and {len(multiplier_names)} multiplier names: expected "
                f"{self.mean.shape[0]} and {self.mean.shape[1]}"
            )
        index = pd.MultiIndex.from_product([layer_names, multiplier_names], names=["layer", "multiplier"])
        columns = {"output_std": np.repeat(self.output_std, len(multiplier_names))}
        columns |= {name: getattr(self, name).ravel() for name in ("mean", "std", "std_folded", "std_compensated")}
        return pd.DataFrame(columns, index=index).reset_index()


def predict_errors(
    bank: OperatorBank, *, model: str = "two-way", n_patches: int | None = None, seed: int = 0
) -> ErrorPredictions:
    """Errors of every layer for every multiplier of a bank, from the codes it recorded, with its weight tuning.

    Args:
        bank: its corrections do not matter: the predictions say what each kind of them leaves.
        model: "two-way", "agn" or "global".
        n_patches: random im2col rows a layer; by default 512, or all there are where there are fewer.
        seed: of the patches.

    Raises:
        ConfigError: an unknown model, or `n_patches` below 1.
        DataError: more patches asked for than the calibration images hold.
    """
    if model not in MODELS:
        raise ConfigError(unknown_name("error model", model, MODELS))
    predicted, spreads = [], []
    for index, info in enumerate(bank.network.layers):
        problem, rng = bank.network.integer_layers[index].problem, np.random.default_rng([seed, index])
        operands = collect_operands(problem, bank.codes[index], info.name, n_patches=n_patches, rng=rng)
        tables = torch.from_numpy(bank.error_table(index)).to(torch.float32)
        predicted.append(MODELS[model](operands, tables).pooled())
        spreads.append(output_std(bank, index))
    mean, std, folded, compensated = np.stack(predicted, 1)
    return ErrorPredictions(mean, std, folded, compensated, np.array(spreads))


def output_std(bank: OperatorBank, index: int) -> float:
    """Of a layer's exact integer outputs on the recorded codes."""
    sums = bank.exact_sums(index)
    outputs = [sums(codes).to(torch.float64) for codes in bank.codes[index].split(BATCH_SIZE)]
    n, total = sum(y.numel() for y in outputs), sum(float(y.sum()) for y in outputs)
    return float(sum(float(((y - total / n) ** 2).sum()) for y in outputs) / n) ** 0.5
