import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.cost.accelerators import Designs, count_distinct, make_accelerator
from dse.errors import ConfigError, ShapeError

EXACT = 3


def tiled(tile_multipliers, tiles):
    tile_multipliers, tiles = np.array(tile_multipliers), np.array(tiles)
    return Designs(np.take_along_axis(tile_multipliers, tiles, axis=1), tiles, tile_multipliers)


def uniform(multiplier, n_layers=3):
    return Designs(np.full((1, n_layers), multiplier))


@pytest.mark.parametrize("text", ["free", "tiles:1", "tiles:3", "pipelined:1", "pipelined:3"])
def test_exact_uniform_is_one(text, layers, library):
    accelerator = make_accelerator(text, layers, library)
    assert accelerator.name == text
    assert accelerator.energy_rel(uniform(EXACT)).tolist() == pytest.approx([1.0])
    assert accelerator.energy_pj(uniform(EXACT)).tolist() == pytest.approx([0.391 * 4500])


def test_free_and_gated_tiles_agree_on_an_assignment(layers, library):
    designs = Designs(np.array([[0, 1, 1], [2, 2, 0]]))
    free, gated = (make_accelerator(text, layers, library) for text in ("free", "tiles:2"))
    expected = np.array([1000 * 0.1 + 3500 * 0.2, 4000 * 0.3 + 500 * 0.1])
    np.testing.assert_allclose(free.energy_pj(designs), expected)
    np.testing.assert_allclose(free.energy_rel(designs), expected / (0.391 * 4500))
    np.testing.assert_allclose(gated.energy_rel(designs), free.energy_rel(designs))
    np.testing.assert_allclose(gated.energy_pj(designs), free.energy_pj(designs))


def test_too_many_multipliers_for_the_tiles(layers, library):
    with pytest.raises(ConfigError, match="assignment 1 uses 3 multipliers: expected at most 2"):
        make_accelerator("tiles:2", layers, library).energy_rel(Designs(np.array([[0, 0, 0], [0, 1, 2]])))


def test_throughput(layers, library):
    rate = 256 * 1000e6
    designs = tiled([[3, 3]], [[0, 1, 0]])
    assert make_accelerator("free", layers, library).throughput(designs) == pytest.approx(rate / 4500)
    assert make_accelerator("tiles:2", layers, library).throughput(designs) == pytest.approx(rate / 4500)
    assert make_accelerator("pipelined:2", layers, library).throughput(designs) == pytest.approx(rate / 3000)
    slow = make_accelerator("free", layers, library, clock_mhz=100.0, units_per_tile=1)
    assert slow.throughput(designs) == pytest.approx(100e6 / 4500)


def pipelined_by_hand(counts, energy, *, multipliers, tiles, phi):
    loads = [sum(n for n, t in zip(counts, tiles, strict=True) if t == tile) for tile in range(len(multipliers))]
    dynamic = sum(n * energy[multipliers[t]] for n, t in zip(counts, tiles, strict=True))
    leaking = sum(energy[m] * max(loads) for m, load in zip(multipliers, loads, strict=True) if load)
    return ((1 - phi) * dynamic + phi * leaking) / (sum(counts) * energy[-1])


@given(data=st.data())
def test_pipelined_equals_the_formula(make_library, make_layers, data):
    n_layers = data.draw(st.integers(1, 5))
    n_tiles = data.draw(st.integers(1, n_layers))
    counts = data.draw(st.lists(st.integers(1, 1000), min_size=n_layers, max_size=n_layers))
    multipliers = data.draw(st.lists(st.integers(0, 3), min_size=n_tiles, max_size=n_tiles))
    tiles = data.draw(st.lists(st.integers(0, n_tiles - 1), min_size=n_layers, max_size=n_layers))
    phi = data.draw(st.sampled_from([0.0, 0.1, 0.5]))
    energy = [0.1, 0.2, 0.3, 0.391]
    accelerator = make_accelerator(
        f"pipelined:{n_tiles}",
        make_layers(counts),
        make_library(energy),
        leakage_fraction=phi,
    )
    expected = pipelined_by_hand(counts, energy, multipliers=multipliers, tiles=tiles, phi=phi)
    assert accelerator.energy_rel(tiled([multipliers], [tiles])).tolist() == pytest.approx([expected])


def test_pipelined_without_leakage_is_free(layers, library):
    designs = tiled([[0, 2]], [[0, 1, 0]])
    pipelined = make_accelerator("pipelined:2", layers, library, leakage_fraction=0.0)
    free = make_accelerator("free", layers, library)
    np.testing.assert_allclose(pipelined.energy_rel(designs), free.energy_rel(designs))


def test_unbalanced_exact_tiles_cost_more_than_one(layers, library):
    pipelined = make_accelerator("pipelined:2", layers, library, leakage_fraction=0.2)
    assert pipelined.energy_rel(tiled([[3, 3]], [[0, 1, 0]]))[0] == pytest.approx(0.8 + 0.2 * 2 * 3000 / 4500)


def test_unused_tiles_do_not_leak(layers, library):
    pipelined = make_accelerator("pipelined:3", layers, library)
    assert pipelined.energy_rel(tiled([[3, 0, 1]], [[0, 0, 0]])).tolist() == pytest.approx([1.0])


def test_pipelined_takes_assignments_with_a_tile_per_multiplier(layers, library):
    pipelined = make_accelerator("pipelined:2", layers, library)
    bare = Designs(np.array([[2, 0, 2]]))
    assert pipelined.energy_rel(bare) == pytest.approx(pipelined.energy_rel(tiled([[0, 2]], [[1, 0, 1]])))
    with pytest.raises(ConfigError, match="at most 2"):
        pipelined.energy_rel(Designs(np.array([[2, 0, 1]])))


def test_contradictory_tiles_are_an_error(layers, library):
    pipelined = make_accelerator("pipelined:2", layers, library)
    good = tiled([[0, 2]], [[1, 0, 1]])
    with pytest.raises(ShapeError, match="disagree"):
        pipelined.energy_rel(Designs(good.assignments, 1 - good.tiles, good.tile_multipliers))
    with pytest.raises(ShapeError, match="`tile_multipliers` has shape"):
        pipelined.energy_rel(tiled([[0, 2, 2]], [[1, 0, 1]]))


def test_energy_in_picojoule_needs_power(layers, make_library):
    library = make_library([100.0, 400.0], unit="gates")
    for text in ("free", "tiles:2", "pipelined:2"):
        accelerator = make_accelerator(text, layers, library)
        assert np.isnan(accelerator.energy_pj(uniform(0))).all()
        assert np.isfinite(accelerator.energy_rel(uniform(0))).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fre", "unknown accelerator 'fre': did you mean 'free'"),
        ("free:2", "'free' has no tiles"),
        ("tiles", "expected a number of tiles after the colon, as 'tiles:4'"),
        ("tiles:", "expected a number"),
        ("tiles:two", "expected a number"),
        ("tiles:-1", "expected a number"),
        ("tiles:0", "expected 1 to 3 tiles"),
        ("pipelined:4", "expected 1 to 3 tiles for a network of 3 layers"),
        ("", "unknown accelerator ''"),
    ],
)
def test_bad_text_is_explained(text, message, layers, library):
    with pytest.raises(ConfigError, match=message):
        make_accelerator(text, layers, library)


def test_bad_parameters_are_explained(layers, library, make_layers):
    with pytest.raises(ConfigError, match="leakage_fraction is 1.0"):
        make_accelerator("pipelined:2", layers, library, leakage_fraction=1.0)
    with pytest.raises(ConfigError, match="units_per_tile is 0"):
        make_accelerator("free", layers, library, units_per_tile=0)
    with pytest.raises(ConfigError, match="no layers"):
        make_accelerator("free", [], library)
    with pytest.raises(ConfigError, match="layer `l1` has no multiplications"):
        make_accelerator("free", make_layers([5, 0]), library)


@given(st.lists(st.lists(st.integers(0, 4), min_size=4, max_size=4), min_size=1))
def test_count_distinct(rows):
    assert count_distinct(np.array(rows)).tolist() == [len(set(row)) for row in rows]
