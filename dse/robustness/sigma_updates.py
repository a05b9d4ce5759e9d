"""How sigmas follow the slopes of the cross entropy: the paper's gradient descent, and ours for frozen weights.

With the reward `lambda * share_l * min(|sigma_l|, sigma_max)` and slope `g_l = dCE/d|sigma_l|`, the loss is stationary
where `g_l = lambda * share_l`. Near its minimum CE grows about as `s_l * sigma_l^2`, with sensitivity
`s_l = g_l / (2 sigma_l)`, fitted by least squares over the recent steps. [ours] `FixedPoint` sets

    sigma_l = lambda * share_l / (2 s_l),    at most sigma_max,

and repeats. Measured on ResNet-20: the slope of one batch scatters by ten times the reward, so that Adam, in steps
large enough to arrive within 120, does a random walk; the fit uses every batch. What scatters most are layers that bear
little or matter little. Noise is therefore never so small that all of a layer's noise costs less than its part of
`PROBE_ENTROPY`, and the sigmas reported are those of the formula: with other random numbers they scatter by 14 %
(each layer, mean of 20; without probing several scatter by a factor of 10).
"""

from typing import Any, Protocol

import torch

from dse.robustness.tolerances import AgnSettings

MOMENTUM = 0.9

PROBE_ENTROPY = 0.05
"""Nats that the noise of all layers together costs at least while sensitivities are measured."""

LOUD_ENTROPY = 0.5
"""Nats above which noise drowns what is to be measured (or `lambda * sigma_max`, the largest reward there is)."""

MAX_STEP = 0.25
"""Largest change of log sigma in a step upwards; downwards twice as much."""

_TINY = 1e-12


class SigmaUpdate(Protocol):
    """One way to learn; `sigma` is the noise of the next step."""

    sigma: torch.Tensor

    def step(self, slopes: torch.Tensor, entropy: float, *, n_done: int, n_steps: int) -> None:
        """Changes `sigma` (and weights, whose gradients are set) given `slopes` dCE/dsigma float32 `[n_layers]`."""

    def tolerance(self) -> torch.Tensor:
        """|sigma| as learned so far, float64 `[n_layers]` on the CPU, at most sigma_max."""

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""

    def restore(self, state: dict[str, Any]) -> None:
        """Takes such a state."""


class Slopes:
    """Least squares of `g = 2 s sigma` through the origin, over about the last half of the steps."""

    def __init__(self, n_layers: int):
        self.sums = torch.zeros(2, n_layers, dtype=torch.float64)  # of g * sigma and 2 * sigma^2
        self.n_added = 0

    def add(self, slopes: torch.Tensor, sigma: torch.Tensor) -> None:
        """One step's, both float `[n_layers]`."""
        slopes, sigma = slopes.double().cpu(), sigma.double().cpu()
        self.n_added += 1
        weight = 2.0 / (self.n_added + 1)
        self.sums += weight * (torch.stack((slopes * sigma, 2 * sigma * sigma)) - self.sums)

    def sensitivity(self) -> torch.Tensor:
        """dCE / d(sigma^2), float64 `[n_layers]`, positive."""
        return (self.sums[0] / self.sums[1].clamp_min(_TINY)).clamp_min(_TINY)


class FixedPoint:
    """[ours] Sigmas from sensitivities; see the module.

    Args:
        shares: of each layer in all multiplications, float32 `[n_layers]`.
        settings: `learning_rate` is the part of the way to the fixed point, on a log scale, that one step goes.
    """

    def __init__(self, shares: torch.Tensor, settings: AgnSettings, slopes: Slopes):
        self._rewards = settings.coefficient * shares.double().cpu()
        self._settings, self._slopes = settings, slopes
        self._baseline: float | None = None
        self.sigma = torch.full_like(shares, settings.sigma_init)

    def start(self, entropy: float) -> None:
        """Cross entropy without noise."""
        self._baseline = entropy

    def step(self, slopes: torch.Tensor, entropy: float, *, n_done: int, n_steps: int) -> None:
        """See `SigmaUpdate`."""
        settings = self._settings
        if entropy > self._baseline + max(LOUD_ENTROPY, settings.coefficient * settings.sigma_max):
            self.sigma = self.sigma * 0.7
            return
        self._slopes.add(slopes, self.sigma)
        probe = (PROBE_ENTROPY / len(slopes) / self._slopes.sensitivity()).sqrt().clamp(max=settings.sigma_max)
        goal = torch.maximum(self.tolerance(), probe)
        sigma = self.sigma.double().cpu()
        limit = MAX_STEP * min(1.0, 2 * (1 - n_done / n_steps))
        change = (settings.learning_rate * torch.log(goal / sigma)).clamp(-2 * limit, limit)
        self.sigma = (sigma * change.exp()).to(self.sigma)

    def tolerance(self) -> torch.Tensor:
        """See `SigmaUpdate`."""
        return (self._rewards / (2 * self._slopes.sensitivity())).clamp(max=self._settings.sigma_max)

    def state(self) -> dict[str, Any]:
        """See `SigmaUpdate`."""
        return {"sigma": self.sigma.cpu(), "baseline": self._baseline}

    def restore(self, state: dict[str, Any]) -> None:
        """See `SigmaUpdate`."""
        self.sigma, self._baseline = state["sigma"].to(self.sigma), state["baseline"]


class GradientDescent:
    """The paper's: SGD with momentum on sigmas and weights, a tenth of the learning rate after each third.

    Args:
        shares: of each layer in all multiplications, float32 `[n_layers]`.
        settings: see there.
        slopes: told every step, for the sensitivities.
        weights: parameters that learn too, with their gradients set before each step.
    """

    def __init__(
        self, shares: torch.Tensor, settings: AgnSettings, slopes: Slopes, *, weights: list[torch.nn.Parameter]
    ):
        self._rewards, self._settings, self._slopes = settings.coefficient * shares, settings, slopes
        self.sigma = torch.full_like(shares, settings.sigma_init)
        groups = [{"params": [self.sigma]}, {"params": weights}]
        self._optimizer = torch.optim.SGD(groups, lr=0.0, momentum=MOMENTUM)

    def step(self, slopes: torch.Tensor, entropy: float, *, n_done: int, n_steps: int) -> None:
        """See `SigmaUpdate`."""
        settings = self._settings
        self._slopes.add(slopes, self.sigma)
        sign = torch.where(self.sigma < 0, -1.0, 1.0)
        self.sigma.grad = slopes - self._rewards * sign * (self.sigma.abs() < settings.sigma_max)
        factor = 0.1 ** (3 * n_done // n_steps)
        rates = (settings.sigma_learning_rate, settings.learning_rate)
        for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        self._optimizer.step()

    def tolerance(self) -> torch.Tensor:
        """See `SigmaUpdate`."""
        return self.sigma.abs().double().cpu().clamp(max=self._settings.sigma_max)

    def state(self) -> dict[str, Any]:
        """See `SigmaUpdate`."""
        return {"sigma": self.sigma.cpu(), "optimizer": self._optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """See `SigmaUpdate`."""
        self.sigma.copy_(state["sigma"])
        self._optimizer.load_state_dict(state["optimizer"])
