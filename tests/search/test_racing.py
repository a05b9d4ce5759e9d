"""dse.search.racing: equals are rarely stopped however often they are looked at, and bad candidates early."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import ConfigError, ShapeError
from dse.search.racing import MIN_IMAGES, Race, choose_rivals, sign_test, told_accuracy


@given(
    n_images=st.integers(1, 20_000),
    first_share=st.floats(0.001, 1.0),
)
def test_stops_ascend_to_all_images(n_images, first_share):
    *inner, last = Race(first_share=first_share).stops(n_images)
    assert last == n_images
    assert inner == sorted(set(inner))
    assert all(MIN_IMAGES <= stop < n_images for stop in inner)
    assert all(isinstance(stop, int) for stop in inner)


def test_stops_double():
    assert Race().stops(1000) == (125, 250, 500, 1000)
    assert Race().stops(200) == (25, 50, 100, 200)
    assert Race().stops(65) == (17, 33, 65)
    assert Race(first_share=1.0).stops(1000) == (1000,)
    assert Race(first_share=0.3).stops(1000) == (300, 600, 1000)


@given(b=st.integers(0, 60), c=st.integers(0, 60), both=st.integers(0, 20))
def test_sign_test_is_the_binomial_tail(b, c, both):
    rival = np.array([True] * b + [False] * c + [True] * both, dtype=bool)
    candidate = np.array([False] * b + [True] * c + [True] * both, dtype=bool)
    expected = sum(math.comb(b + c, k) for k in range(b, b + c + 1)) / 2 ** (b + c)
    assert sign_test(candidate, rival) == pytest.approx(expected, rel=1e-12)


def test_level_is_shared_by_the_looks():
    rival, candidate = np.ones(20, dtype=bool), np.arange(20) >= 6
    assert sign_test(candidate, rival) == pytest.approx(2**-6)
    assert Race(alpha=0.05).is_beaten(candidate, rival, 3)
    assert not Race(alpha=0.05).is_beaten(candidate, rival, 4)
    both = Race().is_beaten(np.stack([candidate, rival]), np.stack([rival, candidate]), 3)
    assert both.tolist() == [True, False]


def raced_out(candidates, rivals, race):
    """Whether each of many races, bool [n, n_images] of both sides, stops at any look."""
    *looks, _ = race.stops(candidates.shape[1])
    beaten = [race.is_beaten(candidates[:, :n], rivals[:, :n], len(looks)) for n in looks]
    return np.any(beaten, axis=0)


@pytest.mark.parametrize("n_images", [100, 1000])
@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_equal_accuracies_are_rarely_stopped(n_images, shared):
    rng, n, race = np.random.default_rng(0), 4000, Race()
    is_shared = rng.random((n, n_images)) < shared
    rivals, own = rng.random((2, n, n_images)) < 0.8
    candidates = np.where(is_shared, rivals, own)
    assert raced_out(candidates, rivals, race).mean() <= race.alpha


def test_equal_counts_of_a_fixed_set_are_rarely_stopped():
    # As in a search: exactly as many hits on all images, seen in random order.
    rng, n, race = np.random.default_rng(0), 4000, Race()
    candidate, rival = np.zeros((2, 1000), dtype=bool)
    candidate[:900], rival[50:950] = True, True
    orders = rng.permuted(np.tile(np.arange(1000), (n, 1)), axis=1)
    assert raced_out(candidate[orders], rival[orders], race).mean() <= race.alpha


def test_better_candidates_are_hardly_ever_stopped():
    rng = np.random.default_rng(0)
    candidates, rivals = rng.random((4000, 400)) < 0.85, rng.random((4000, 400)) < 0.8
    assert raced_out(candidates, rivals, Race()).mean() < 0.005


def test_bad_candidates_are_stopped_at_the_first_look():
    rng, race = np.random.default_rng(0), Race()
    candidates, rivals = rng.random((1000, 1000)) < 0.5, rng.random((1000, 1000)) < 0.9
    first, *looks, _ = race.stops(1000)
    assert race.is_beaten(candidates[:, :first], rivals[:, :first], len(looks) + 1).mean() > 0.999
    slightly_worse = rivals & (rng.random((1000, 1000)) < 0.97)
    assert raced_out(slightly_worse, rivals, race).mean() > 0.9


def test_wrong_shapes_are_refused():
    hits = np.ones((3, 10), dtype=bool)
    for candidate, rival in ((hits, hits[:, :9]), (hits, hits[0]), (True, True), (hits, hits.astype(int))):
        with pytest.raises(ShapeError, match="both on the same images"):
            Race().is_beaten(candidate, rival, 3)
    with pytest.raises(ConfigError, match="n_looks is 0"):
        Race().is_beaten(hits, hits, 0)
    for costs, known in (([[0.5]], [[0.5], [0.6]]), ([[0.5]], [[0.5, 1.0]]), ([0.5], [0.5])):
        with pytest.raises(ShapeError, match="known costs"):
            choose_rivals(costs, known_costs=known, known_accuracy=[0.9])


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"alpha": 1.0}, {"first_share": 0.0}, {"first_share": 1.1}])
def test_bad_settings_are_refused(options):
    with pytest.raises(ConfigError, match="expected"):
        Race(**options)
    with pytest.raises(ConfigError, match="race on 0 images"):
        Race().stops(0)


def test_rivals_are_cheaper_and_most_accurate():
    known = {"known_costs": [[1.0], [0.5], [0.6], [0.5]], "known_accuracy": [0.9, 0.8, 0.8, 0.8]}
    assert choose_rivals([[1.0], [0.99], [0.6], [0.5], [0.49]], **known).tolist() == [0, 1, 1, 1, -1]
    assert choose_rivals([[1.0]], known_costs=np.empty((0, 1)), known_accuracy=[]).tolist() == [-1]
    assert choose_rivals(np.empty((0, 1)), **known).shape == (0,)


def test_rivals_cost_no_more_in_any_respect():
    known = {"known_costs": [[0.5, 0.9], [0.9, 0.5], [0.6, 0.6]], "known_accuracy": [0.9, 0.8, 0.7]}
    candidates = [[0.5, 0.9], [1.0, 1.0], [0.95, 0.6], [0.7, 0.7], [0.4, 1.0], [0.6, 0.59]]
    assert choose_rivals(candidates, **known).tolist() == [0, 0, 1, 2, -1, -1]


def test_told_accuracy_stays_below_the_rival():
    rival, candidate = np.ones(10, dtype=bool), np.arange(10) >= 4
    assert told_accuracy(candidate, rival, 0.7) == pytest.approx(0.3)
    assert told_accuracy(~rival, rival, 0.7) == 0.0
