"""benchmarks/bench_search.py: what is read off the curves."""

import numpy as np
import pandas as pd


def curve(method, seed, costs, volumes):
    return pd.DataFrame({"method": method, "seed": seed, "cost": costs, "hypervolume": volumes, "time_s": costs})


def test_a_curve_counts_only_as_far_as_it_goes(script):
    ended = curve("full", 0, [50, 100, 200], [0.5, 0.6, 0.7])
    assert script.at_cost(ended, 100) == 0.6
    assert script.at_cost(ended, 150) == 0.6
    assert np.isnan(script.at_cost(ended, 400))
    assert script.cost_to_reach(ended, 0.65) == 200
    assert np.isnan(script.cost_to_reach(ended, 0.8))


def test_the_target_is_the_median_of_the_random_starts(script):
    curves = pd.concat(
        [curve("random-nsga2", seed, [200, 4000], [0.3, 0.6 + seed / 10]) for seed in range(3)]
        + [curve("full", seed, [100, 200], [0.6, 0.72]) for seed in range(2)]
    )
    table = script.summary(curves).set_index("method")
    assert table.loc["full", "cost to 0.7000"] == "200 (200..200)"
    assert table.loc["random-nsga2", "cost to 0.7000"] == "4000 (4000..4000), 2 of 3"
    assert table.loc["full", "at 4000"] == "-"
    assert table.loc["random-nsga2", "at 4000"] == "0.7000 (0.6000..0.8000)"


def test_every_search_learns_tolerances_of_its_own(script, tmp_path):
    first, second = (script.seeded(script.STAGE, seed, tmp_path / "full" / f"s{seed}") for seed in (0, 1))
    seeds = [script.load_config(path).tolerances.seed for path in (first, second)]
    assert seeds == [0, 1]
