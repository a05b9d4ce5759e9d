"""The accuracy loss of an assignment, predicted from error models and a few measured designs [ours].

A layer whose output carries error of relative variance `v` adds to the loss about in proportion to `v`: AGN (Trommer et
al., ICCAD 2022, arXiv:2206.07546) learns that trade by gradient. Errors of different layers are nearly independent, so
their effects add up, and the accuracy saturates at chance:

    v[l, m] = (residual_std[l, m] / output_std[l])^2            from `error_model`, nothing simulated
    D(a)    = SUM_l s_l v[l, a_l]
    loss(a) = loss_max (1 - exp(-D(a)^g)),   loss_max = exact accuracy - top / n_classes

The sensitivities `s_l > 0` and the exponent `g` are fitted to measured losses: maximum a posteriori under lognormal
priors (centered on learned AGN sensitivities, with a scale common to all layers), by nonlinear least squares. A
measured loss counts with the variance of its images plus that of the model's misfit, proportional to the local slope
of the loss in log D and estimated from the residuals. Predictions carry a standard deviation: misfit and the Laplace
approximation of the parameters' posterior.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from dse.errors import ConfigError, ShapeError

PRIOR_STD = 1.0
"""Of the log of each layer's sensitivity around the prior's."""

SCALE_STD = 2.0
"""Of the log of the scale that all sensitivities share."""

EXPONENT_STD = 0.3
"""Of the log of the exponent."""

SENSITIVITY_SPAN = 30.0
"""Prior sensitivities are kept within this factor of their median: a layer is hardly ever free of all effect."""

INITIAL_MISFIT = 0.5
"""Standard deviation of log D that is assumed before anything is measured."""

MIN_MISFIT = 0.1
"""The additive model is never trusted further than this, in log D."""

FLIP_RATE = 0.02
"""Share of images whose outcome changes without a change of accuracy; they add to the variance of a measured loss."""

_N_REFITS = 3
_LOG_D = (-30.0, 6.0)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted losses: `mean` and `std` float64 [n], both in accuracy."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Surrogate:
    """Predicts losses; made by `make_surrogate`, refitted by `fitted`.

    Attributes:
        noise: relative error variance `v`, float64 [n_layers, n_multipliers].
        prior: log sensitivities before any measurement, float64 [n_layers].
        loss_max: loss of a network that guesses, in (0, 1).
        n_images: images a measured loss stands for.
        parameters: log sensitivities relative to prior and scale, log scale, log exponent; float64 [n_layers + 2].
        covariance: of the parameters, float64 [n_layers + 2, n_layers + 2].
        misfit: standard deviation of log D around the model.
        n_measured: designs it was fitted on.
    """

    noise: NDArray[np.float64]
    prior: NDArray[np.float64]
    loss_max: float
    n_images: int
    parameters: NDArray[np.float64]
    covariance: NDArray[np.float64]
    misfit: float = INITIAL_MISFIT
    n_measured: int = 0

    @property
    def sensitivities(self) -> NDArray[np.float64]:
        """Fitted `s_l`, float64 [n_layers]."""
        return np.exp(self.prior + self.parameters[:-2] + self.parameters[-2])

    @property
    def layer_losses(self) -> NDArray[np.float64]:
        """`s_l v[l, m]`, float64 [n_layers, n_multipliers]: what every choice adds to D, whose order is the loss's."""
        return self.sensitivities[:, None] * self.noise

    def predict(self, assignments: ArrayLike) -> Prediction:
        """Losses of `assignments`, int [n, n_layers]."""
        terms = self._terms(assignments)
        mean, jacobian, slope = self._loss(terms, self.parameters)
        variance = np.einsum("ij,jk,ik->i", jacobian, self.covariance, jacobian) + (self.misfit * slope) ** 2
        return Prediction(mean, np.sqrt(variance))

    def fitted(self, assignments: ArrayLike, losses: ArrayLike) -> "Surrogate":
        """This surrogate fitted to all measured designs.

        Args:
            assignments: int [n, n_layers], n >= 1.
            losses: exact accuracy minus measured accuracy on the same images, float [n], finite; may be negative.
        """
        terms, losses = self._terms(assignments), np.asarray(losses, dtype=np.float64)
        if losses.shape != (len(terms),) or len(losses) == 0 or not np.isfinite(losses).all():
            raise ShapeError(f"expected {len(terms)} finite losses, at least one; got shape {losses.shape}")
        fit = self
        for _ in range(_N_REFITS):
            fit = fit._refitted(terms, losses)
        return replace(fit, n_measured=len(losses))

    def _terms(self, assignments: ArrayLike) -> NDArray[np.float64]:
        """`v` of every layer of every assignment, float64 [n, n_layers]."""
        assignments = np.asarray(assignments)
        if assignments.ndim != 2 or assignments.shape[1] != len(self.noise):
            raise ShapeError(f"expected assignments [n, {len(self.noise)}], got {list(assignments.shape)}")
        return self.noise[np.arange(len(self.noise)), assignments]

    def _loss(
        self, terms: NDArray[np.float64], parameters: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Loss [n], its Jacobian by the parameters [n, n_layers + 2], and its slope in log D [n]."""
        weighted = terms * np.exp(self.prior + parameters[:-2] + parameters[-2])
        total = np.maximum(weighted.sum(axis=1), np.exp(_LOG_D[0]))
        log_total = np.minimum(np.log(total), _LOG_D[1])
        exponent = np.exp(parameters[-1])
        powered = np.exp(np.minimum(exponent * log_total, _LOG_D[1]))
        loss = self.loss_max * -np.expm1(-powered)
        slope = self.loss_max * np.exp(-powered) * powered * exponent
        by_layer = slope[:, None] * weighted / total[:, None]
        jacobian = np.column_stack([by_layer, by_layer.sum(axis=1), slope * log_total])
        return loss, jacobian, slope

    def _refitted(self, terms: NDArray[np.float64], losses: NDArray[np.float64]) -> "Surrogate":
        prior_std = _prior_std(len(self.noise))
        # Weights come from the last fit, so that they do not reward predictions that call themselves uncertain.
        mean, _, slope = self._loss(terms, self.parameters)
        sampling = (np.maximum(mean, np.maximum(losses, 0.0)) + FLIP_RATE) / self.n_images
        std = np.sqrt(sampling + (self.misfit * slope) ** 2)

        def residuals(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.concatenate([(self._loss(terms, parameters)[0] - losses) / std, parameters / prior_std])

        def jacobian(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.vstack([self._loss(terms, parameters)[1] / std[:, None], np.diag(1.0 / prior_std)])

        solution = least_squares(residuals, self.parameters, jac=jacobian, method="trf", loss="soft_l1", max_nfev=100)
        J = jacobian(solution.x)
        fit = replace(self, parameters=solution.x, covariance=np.linalg.inv(J.T @ J))
        return replace(fit, misfit=fit._estimated_misfit(terms, losses, sampling))

    def _estimated_misfit(
        self, terms: NDArray[np.float64], losses: NDArray[np.float64], sampling: NDArray[np.float64]
    ) -> float:
        """What of the residuals the images do not explain, shrunk towards the initial misfit as if 4 designs had it."""
        mean, _, slope = self._loss(terms, self.parameters)
        tells = slope > np.sqrt(sampling)  # elsewhere the images' noise, or saturation, hides the misfit
        if not tells.any():
            return INITIAL_MISFIT
        # Outliers are cut where log D is off by 2. A ratio of sums, because single ratios are noisy for small slopes.
        excess = np.minimum((losses - mean) ** 2 - sampling, 4 * slope**2)[tells].sum() / (slope[tells] ** 2).mean()
        # Every parameter that the data decided, rather than its prior, took one residual away.
        n_decided = (1 - np.diag(self.covariance) / _prior_std(len(self.noise)) ** 2).sum()
        n_free = max(tells.sum() - n_decided, 0.25 * tells.sum())
        pooled = (excess + 4 * INITIAL_MISFIT**2) / (n_free + 4)
        return float(np.sqrt(max(pooled, MIN_MISFIT**2)))


def make_surrogate(
    noise: ArrayLike,
    *,
    exact_accuracy: float,
    n_classes: int,
    n_images: int,
    top: int = 1,
    sensitivity: ArrayLike | None = None,
) -> Surrogate:
    """A surrogate that nothing was measured for yet.

    Args:
        noise: relative error variances, float [n_layers, n_multipliers], >= 0; 0 for the exact multiplier.
        exact_accuracy: of the exact network on the images that losses are measured on, above chance.
        n_classes: of the network.
        n_images: images a loss is measured on.
        top: best classes that a label may be among.
        sensitivity: prior `s_l` up to a common factor, float [n_layers], > 0; as AGN learns them. None: all equal.

    Raises:
        ShapeError: shapes that do not fit.
        ConfigError: noise that is negative or NaN, or an exact network that guesses.
    """
    noise = np.asarray(noise, dtype=np.float64)
    if noise.ndim != 2 or not (noise >= 0).all():
        raise ConfigError(f"noise of shape {noise.shape}: expected [n_layers, n_multipliers] without negatives or NaN")
    loss_max = exact_accuracy - top / n_classes
    if loss_max <= 0:
        raise ConfigError(
            f"the exact network has accuracy {exact_accuracy:.3f}, chance is {top / n_classes:.3f}: there is nothing "
            "to lose. Check that weights, dataset and preprocessing belong together"
        )
    n_layers = len(noise)
    relative = np.ones(n_layers) if sensitivity is None else np.asarray(sensitivity, dtype=np.float64)
    if relative.shape != (n_layers,) or not (relative > 0).all():
        raise ShapeError(f"expected {n_layers} positive sensitivities, got shape {relative.shape}")
    relative = relative / np.median(relative)
    prior = np.log(np.clip(relative, 1 / SENSITIVITY_SPAN, SENSITIVITY_SPAN))
    return Surrogate(noise, prior, loss_max, n_images, np.zeros(n_layers + 2), np.diag(_prior_std(n_layers) ** 2))


def _prior_std(n_layers: int) -> NDArray[np.float64]:
    """Of the parameters before any measurement, float64 [n_layers + 2]."""
    return np.append(np.full(n_layers, PRIOR_STD), [SCALE_STD, EXPONENT_STD])
