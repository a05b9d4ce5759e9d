"""Piecewise-linear activations: what AxNN does on processors that have no engine of their own.

Venkataramani, Ranjan, Roy and Raghunathan, "AxNN: energy-efficient neuromorphic systems using approximate computing",
ISLPED 2014, section on commodity platforms: resilient neurons use a fast piecewise-linear activation function. [ours]
The function is a sum of clamps, a few instructions a value,

    y = offset + SUM_j slope_j * clamp(x, low_j, high_j),

fitted by least squares to the values that the neurons get. One clamp has 3 segments, two have 5. Of functions that grow
without end (SiLU, GELU) `high` is infinite, and there is one segment less for each clamp.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dse.errors import ConfigError, NetworkError, ShapeError, unknown_name
from dse.networks.graph import aliases_of

APPROXIMABLE = (nn.Sigmoid, nn.Tanh, nn.SiLU, nn.GELU)
"""Modules that are replaced."""

FIT_POINTS = 512
"""Quantiles of the inputs that a function is fitted to, all of equal weight."""

_BOUNDED = (nn.Sigmoid, nn.Tanh)
_SAMPLED = 200_000  # inputs of an activation that quantiles are taken from
_STARTS = (0.02, 0.1, 0.3)  # quantiles that outer knots start from


@dataclass(frozen=True)
class Clamp:
    """`slope * clamp(x, low, high)`; either end may be infinite."""

    slope: float
    low: float
    high: float


class PiecewiseLinear(nn.Module):
    """`offset + SUM slope * clamp(x, low, high)`, for tensors of any shape.

    Args:
        offset: added to all.
        clamps: one or more.
    """

    def __init__(self, offset: float, clamps: Sequence[Clamp]):
        super().__init__()
        self.clamps = tuple(clamps)
        self.register_buffer("offset", torch.tensor(float(offset)), persistent=False)
        first = self.clamps[0]
        # A slope of 0 times an infinite end is no number; such a function is constant.
        ends = [offset + first.slope * end if first.slope else offset for end in (first.low, first.high)]
        self._range = (min(ends), max(ends))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Shape of `input`, which is left as it is."""
        first, *others = self.clamps
        if not others:  # clamped last, in place: a quarter to a half less time
            return torch.add(self.offset, input, alpha=first.slope).clamp_(*self._range)
        y = torch.add(self.offset, torch.clamp(input, first.low, first.high), alpha=first.slope)
        for clamp in others:
            y.add_(torch.clamp(input, clamp.low, clamp.high), alpha=clamp.slope)
        return y

    def extra_repr(self) -> str:
        """As a formula."""
        terms = [f"{clamp.slope:+.4g} * clamp(x, {clamp.low:.4g}, {clamp.high:.4g})" for clamp in self.clamps]
        return f"{float(self.offset):.4g} {' '.join(terms)}"


class PartlyLinear(nn.Module):
    """A piecewise-linear activation whose sensitive channels keep the exact one.

    Args:
        exact: for the sensitive channels.
        linear: for the others.
        sensitive: their indices, int64 `[n]`.
        axis: of the channels.
    """

    def __init__(self, exact: nn.Module, linear: PiecewiseLinear, sensitive: torch.Tensor, *, axis: int):
        super().__init__()
        self.exact, self.linear, self._axis = exact, linear, axis
        self.register_buffer("sensitive", sensitive, persistent=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Shape of `input`."""
        exact = self.exact(input.index_select(self._axis, self.sensitive))
        return self.linear(input).index_copy_(self._axis, self.sensitive, exact)


def activation_modules(network: nn.Module) -> dict[str, nn.Module]:
    """The modules that can be replaced, by name, in order of definition; one that is shared comes once."""
    return {name: module for name, module in network.named_modules() if isinstance(module, APPROXIMABLE)}


def approximate_activations(
    network: nn.Module,
    images: torch.Tensor,
    *,
    resilient: Mapping[str, NDArray[np.bool_]] | None = None,
    n_clamps: int = 1,
) -> nn.Module:
    """A copy of the network whose resilient neurons use piecewise-linear activations, in eval mode.

    Args:
        network: sigmoids and the like must be modules (`nn.Tanh()`, not `torch.tanh`); left as it is.
        images: float32 `[n, C, H, W]`; functions are fitted to what activations get from these.
        resilient: which channels of which activation, bool `[C]` by name (`activation_modules`); all by default.
        n_clamps: 1 or 2. More are nearer to the function, and slower.

    Raises:
        ConfigError: an unknown name, or another number of clamps.
        NetworkError: no activation to replace, one that does not run, or one that is to be replaced in part while it
            serves layers with different numbers of channels.
        ShapeError: a mask of another length than the activation has channels.
    """
    if n_clamps not in (1, 2):
        raise ConfigError(f"n_clamps is {n_clamps!r}: expected 1 (3 segments) or 2 (5 segments)")
    approximate = copy.deepcopy(network).eval()
    modules = activation_modules(approximate)
    if not modules:
        kinds = ", ".join(kind.__name__ for kind in APPROXIMABLE)
        raise NetworkError(
            f"no activation to replace: expected modules among {kinds}. "
            "Where the forward pass calls torch.tanh(x), make it a module self.tanh = nn.Tanh()"
        )
    for name in resilient or ():
        if name not in modules:
            raise ConfigError(unknown_name("activation", name, modules))
    chosen = modules if resilient is None else {name: modules[name] for name in resilient}
    inputs = _record_inputs(approximate, chosen, images)
    for name, module in chosen.items():
        mask = None if resilient is None else np.asarray(resilient[name], dtype=np.bool_)
        replacement = _replacement(name, module, inputs[name], mask, n_clamps)
        for alias in aliases_of(approximate, module):
            approximate.set_submodule(alias, replacement)
    return approximate


def fit_clamps(
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    points: NDArray[np.float64],
    *,
    n_clamps: int = 1,
    is_bounded: bool = True,
) -> PiecewiseLinear:
    """The sum of clamps nearest to a function in the mean square over `points`. Deterministic.

    Args:
        function: of float64 arrays.
        points: float64 `[n]`, all of equal weight.
        n_clamps: 1 or 2, one within the other.
        is_bounded: the sum is constant at both ends; else it goes on at its upper end.
    """
    from scipy.optimize import minimize  # takes 0.4 s to import

    targets, ends = function(points), (points.min(), points.max())

    def knots_to_clamps(knots: NDArray[np.float64]) -> NDArray[np.float64]:
        """Low and high of every clamp, float64 `[n_clamps, 2]`."""
        ordered = np.sort(np.clip(knots, *ends))
        if not is_bounded:
            return np.stack((ordered, np.full(n_clamps, np.inf)), 1)
        return np.stack((ordered[:n_clamps], ordered[::-1][:n_clamps]), 1)

    def solve(knots: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        columns = [np.clip(points, low, high) for low, high in knots_to_clamps(knots)]
        basis = np.stack((np.ones_like(points), *columns), 1)
        factors = np.linalg.lstsq(basis, targets, rcond=None)[0]
        return factors, float(np.square(basis @ factors - targets).mean())

    best = None
    for share in _STARTS:
        lows = np.linspace(share, 0.5, n_clamps + 1)[:-1]
        start = np.quantile(points, np.concatenate((lows, 1 - lows)) if is_bounded else lows)
        found = minimize(lambda knots: solve(knots)[1], start, method="Nelder-Mead", options={"maxiter": 400})
        best = found if best is None or found.fun < best.fun else best
    offset, *slopes = solve(best.x)[0]
    pairs = zip(slopes, knots_to_clamps(best.x), strict=True)
    return PiecewiseLinear(float(offset), [Clamp(float(slope), float(a), float(b)) for slope, (a, b) in pairs])


def _record_inputs(
    network: nn.Module, modules: Mapping[str, nn.Module], images: torch.Tensor
) -> dict[str, list[torch.Tensor]]:
    """What each activation gets, a tensor a call."""
    found: dict[str, list[torch.Tensor]] = {name: [] for name in modules}
    handles = [
        module.register_forward_pre_hook(lambda _m, inputs, name=name: found[name].append(inputs[0].clone()))
        for name, module in modules.items()
    ]
    try:
        with torch.inference_mode():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _replacement(
    name: str, module: nn.Module, inputs: list[torch.Tensor], mask: NDArray[np.bool_] | None, n_clamps: int
) -> nn.Module:
    """What stands in for an activation with the channels of `mask` resilient, or all of them."""
    if not inputs:
        raise NetworkError(f"activation {name!r} does not run on these images: name the others in `resilient`")
    is_whole = mask is None or bool(mask.all())
    axes = {(1 if x.dim() == 4 else x.dim() - 1, x.shape[1 if x.dim() == 4 else -1]) for x in inputs}
    if mask is not None:
        _check_mask(name, mask, axes, is_whole=is_whole)
        if not mask.any():
            return module
    if not is_whole:
        ((axis, _),) = axes
        inputs = [x.index_select(axis, torch.from_numpy(np.flatnonzero(mask))) for x in inputs]
    linear = fit_clamps(
        lambda x: module(torch.from_numpy(x)).numpy(), _quantiles(inputs), n_clamps=n_clamps,
        is_bounded=isinstance(module, _BOUNDED),
    ).to(inputs[0].device)  # fmt: skip
    if is_whole:
        return linear
    sensitive = torch.from_numpy(np.flatnonzero(~mask)).to(inputs[0].device)
    return PartlyLinear(module, linear, sensitive, axis=axis)


def _check_mask(name: str, mask: NDArray[np.bool_], axes: set[tuple[int, int]], *, is_whole: bool) -> None:
    if len(axes) > 1:
        if is_whole:
            return
        raise NetworkError(
            f"activation {name!r} serves layers with {sorted(n for _, n in axes)} channels, so a part of it cannot be "
            "replaced: give each layer a module of its own"
        )
    ((_, n_channels),) = axes
    if mask.shape != (n_channels,):
        raise ShapeError(f"resilient[{name!r}] has shape {mask.shape}: expected ({n_channels},), one a channel")


def _quantiles(inputs: list[torch.Tensor]) -> NDArray[np.float64]:
    """Midpoints of `FIT_POINTS` parts with equally many inputs each, float64."""
    values = torch.cat([x.flatten() for x in inputs])
    step = max(1, len(values) // _SAMPLED)
    return np.quantile(values[::step].cpu().double().numpy(), (np.arange(FIT_POINTS) + 0.5) / FIT_POINTS)
