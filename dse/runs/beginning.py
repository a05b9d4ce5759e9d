"""How a search begins: what it starts from, and which optimizer takes it from there."""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dse.config import RunConfig
from dse.robustness.surrogate import make_surrogate
from dse.runs.foreknowledge import Foreknowledge
from dse.runs.meter import Meter
from dse.runs.preparation import Prepared
from dse.search.matching import mixed_matches, spread, tolerance_curve
from dse.search.methods import make_search
from dse.search.optimizers import Optimizer
from dse.search.screening import Screen
from dse.search.seeding import (
    Initial,
    initial_designs,
    loss_matrix,
    probe_multipliers,
    sensitivity_assignments,
    uniform_assignments,
    without_known,
)
from dse.search.space import row_keys

_log = logging.getLogger("dse")

PROBE_SHARE = 0.25
"""Part of the evaluations that the single-layer measurements may take."""

MAX_PROBES = 6
"""Multipliers tried per layer by the single-layer measurements, at most."""

MAX_PREDICTED_LOSS = 2.0
"""Growth of the cross-entropy, in nats, above which a design is not worth starting from: that is a guessing network."""


def needs_foreknowledge(config: RunConfig) -> bool:
    """Whether a search asks for predicted errors."""
    options = config.search
    return options.method == "nsga2" and (options.surrogate or options.initial == "agn")


@dataclass(frozen=True, eq=False)
class Beginning:
    """The optimizer of a run, its screen where it has one, and the designs it starts from."""

    optimizer: Optimizer
    screen: Screen | None
    initial: Initial


def begin_search(
    config: RunConfig, prepared: Prepared, meter: Meter, exact_accuracy: float, known: Foreknowledge | None
) -> Beginning:
    """Chooses where a search starts and makes its optimizer.

    Args:
        config: of the run.
        prepared: likewise.
        meter: measures single layers where the search starts from their losses.
        exact_accuracy: of the exact design on the search images.
        known: what `needs_foreknowledge` asks for.
    """
    options = config.search
    screen = _screen(config, prepared, exact_accuracy, known) if known is not None and options.surrogate else None
    initial = Initial(np.empty((0, prepared.space.n_genes), dtype=np.int64), ())
    if options.method == "nsga2":
        initial = choose_initial(config, prepared, meter, exact_accuracy, known)
    optimizer = make_search(
        options.method,
        prepared.space,
        exact_index=prepared.library.exact_index,
        population_size=options.population_size,
        n_generations=options.generations,
        n_evaluations=options.evaluations,
        seed=options.seed,
        initial=initial.genomes if len(initial.genomes) else None,
        n_objectives=prepared.n_objectives,
        screen=screen,
    )
    return Beginning(optimizer, screen, initial)


def _screen(config: RunConfig, prepared: Prepared, exact_accuracy: float, known: Foreknowledge) -> Screen | None:
    top = config.data.top
    if exact_accuracy <= top / prepared.n_classes:
        _log.warning(
            "the exact network has accuracy %.3f, chance is %.3f: there is no loss to predict, so the search goes on "
            "without a surrogate. Check that weights, dataset and preprocessing belong together",
            exact_accuracy,
            top / prepared.n_classes,
        )
        return None
    model = make_surrogate(
        known.noise,
        exact_accuracy=exact_accuracy,
        n_classes=prepared.n_classes,
        n_images=prepared.evaluator.n_images,
        top=top,
        sensitivity=known.sensitivity,
    )
    floor = config.search.accuracy_floor
    return Screen(
        prepared.space,
        model,
        costs=prepared.costs,
        layer_costs=prepared.layer_costs,
        exact_loss=1.0 - exact_accuracy,
        loss_limit=None if floor is None else exact_accuracy - floor,
        n_tiles=prepared.accelerator.n_tiles,
    )


def choose_initial(
    config: RunConfig, prepared: Prepared, meter: Meter, exact_accuracy: float, known: Foreknowledge | None
) -> Initial:
    """What NSGA-II starts from, as `search.initial` says."""
    options = config.search
    n_designs = options.initial_designs or options.population_size
    uniform = uniform_assignments(len(prepared.layers), len(prepared.library))
    if options.initial == "random":
        groups = {}
    elif options.initial == "agn":
        groups = _tolerated(prepared, known, n_designs=n_designs - 1)
    elif options.initial == "sensitivity":
        few = uniform[spread(np.arange(len(uniform), dtype=np.float64), max(1, n_designs // 3))]
        groups = {"matched": _matched(config, prepared, meter, exact_accuracy), "uniform": few}
    else:
        groups = {"uniform": uniform[spread(np.arange(len(uniform), dtype=np.float64), n_designs)]}
    return initial_designs(prepared.space, {"exact": prepared.exact[None], **groups}, n_designs=n_designs)


def _tolerated(prepared: Prepared, known: Foreknowledge, *, n_designs: int) -> dict[str, NDArray[np.int64]]:
    """Designs that learned tolerances suggest, by origin, spread over the energy range; nothing is simulated.

    `tolerated` are AGN's: in each layer the cheapest multiplier that it tolerates, with all tolerances scaled together.
    `traded` [ours] weigh the energy of a multiplier against the growth of the cross-entropy that the layer's
    sensitivity, learned in the same search, predicts; tiled accelerators get only these, over subsets of the library.
    """
    energies, counts = prepared.library.energy_rel, prepared.n_multiplications
    growth = known.sensitivity[:, None] * known.noise
    traded = mixed_matches(
        growth, prepared.layer_costs, n_designs=n_designs, n_tiles=prepared.accelerator.n_tiles,
        max_loss=MAX_PREDICTED_LOSS,
    )  # fmt: skip
    if prepared.accelerator.n_tiles is not None:
        return {"traded": traded}
    tolerated = tolerance_curve(known.residual_std, known.tolerance, energies, n_multiplications=counts)
    tolerated = tolerated[growth[np.arange(len(counts)), tolerated].sum(axis=1) <= MAX_PREDICTED_LOSS]
    first = _spread(tolerated, n_designs // 2, prepared)
    second = _spread(without_known(traded, set(row_keys(first))), n_designs - len(first), prepared)
    rest = without_known(tolerated, set(row_keys(np.concatenate([first, second]))))
    more = _spread(rest, n_designs - len(first) - len(second), prepared)
    return {"tolerated": np.concatenate([first, more]), "traded": second}


def _spread(designs: NDArray[np.int64], n_designs: int, prepared: Prepared) -> NDArray[np.int64]:
    """At most `n_designs` of designs sorted by energy, without the exact one."""
    designs = designs[(designs != prepared.library.exact_index).any(axis=1)]
    weights = prepared.n_multiplications / prepared.n_multiplications.sum()
    return designs[spread(prepared.library.energy_rel[designs] @ weights, n_designs)] if n_designs > 0 else designs[:0]


def _matched(config: RunConfig, prepared: Prepared, meter: Meter, exact_accuracy: float) -> NDArray[np.int64]:
    """Assignments matched to measured single-layer losses; none where the budget is too small to measure them."""
    options, n_layers, n_multipliers = config.search, len(prepared.layers), len(prepared.library)
    total = options.evaluations or options.population_size * options.generations
    n_probes = min(int(PROBE_SHARE * total / n_layers), MAX_PROBES)
    if n_probes < 1:
        _log.info("too few evaluations to measure single layers: starting from uniform designs")
        return np.empty((0, n_layers), dtype=np.int64)
    sizes = {"n_layers": n_layers, "n_multipliers": n_multipliers, "exact_index": prepared.library.exact_index}
    sizes["probes"] = probe_multipliers(prepared.library.energy_rel, n_probes)
    assignments = sensitivity_assignments(**sizes)
    fits = prepared.space.is_representable(assignments)
    if not fits.any():
        _log.info("%s cannot approximate single layers: starting from uniform designs", prepared.accelerator.name)
        return np.empty((0, n_layers), dtype=np.int64)
    accuracies = np.full(len(assignments), np.nan)
    accuracies[fits] = meter(prepared.space.decode(prepared.space.encode(assignments[fits])), is_raced=False).accuracy
    return mixed_matches(
        loss_matrix(accuracies, exact_accuracy, **sizes),
        prepared.layer_costs,
        n_designs=max(1, options.population_size - 1 - options.population_size // 3),
        n_tiles=prepared.accelerator.n_tiles,
    )
