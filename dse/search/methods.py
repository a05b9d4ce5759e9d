"""Search methods by name."""

from numpy.typing import ArrayLike

from dse.errors import ConfigError, unknown_name
from dse.search.baselines import ExhaustiveSearch, GreedyBaseline, RandomSearch, UniformBaseline
from dse.search.nsga2 import NSGA2Search
from dse.search.optimizers import Optimizer
from dse.search.screening import Screen
from dse.search.space import Space

METHODS = ("nsga2", "random", "uniform", "greedy", "exhaustive")


def make_search(
    method: str,
    space: Space,
    *,
    exact_index: int,
    population_size: int = 50,
    n_generations: int = 50,
    n_evaluations: int | None = None,
    seed: int = 0,
    initial: ArrayLike | None = None,
    n_objectives: int = 2,
    screen: Screen | None = None,
    max_designs: int = 100_000,
) -> Optimizer:
    """Optimizer by name; a method ignores the parameters that it has no use for.

    Args:
        method: "nsga2", "random", "uniform", "greedy" or "exhaustive".
        space: Where to search.
        exact_index: Position of the exact multiplier ("greedy" starts there).
        population_size: Designs in a generation ("nsga2") or batch ("random", "exhaustive").
        n_generations: Batches, the initial one included ("nsga2").
        n_evaluations: Designs in all ("greedy": None is no limit; "random": None is population_size * n_generations).
            "nsga2" is not cut within a generation: its caller stops asking.
        seed: All randomness derives from it ("nsga2", "random").
        initial: Genomes to start from, int [k, n_genes] ("nsga2", "random").
        n_objectives: Energy and accuracy, and memory where it is a third ("nsga2"; "greedy" sees it by itself).
        screen: Picks the offspring worth measuring ("nsga2").
        max_designs: Largest space accepted ("exhaustive").
    """
    if method == "nsga2":
        return NSGA2Search(
            space,
            population_size=population_size,
            n_generations=n_generations,
            seed=seed,
            initial=initial,
            n_objectives=n_objectives,
            screen=screen,
        )
    if method == "random":
        budget = population_size * n_generations if n_evaluations is None else n_evaluations
        return RandomSearch(space, n_evaluations=budget, batch_size=population_size, seed=seed, initial=initial)
    if method == "uniform":
        return UniformBaseline(space)
    if method == "greedy":
        return GreedyBaseline(space, exact_index=exact_index, n_evaluations=n_evaluations)
    if method == "exhaustive":
        return ExhaustiveSearch(space, max_designs=max_designs, batch_size=population_size)
    raise ConfigError(unknown_name("search method", method, METHODS))
