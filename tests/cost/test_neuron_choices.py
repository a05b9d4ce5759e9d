import numpy as np
import pytest

from dse.cost.neuron_choices import MAX_PAIRED, NeuronChoices, folded_error_std, parse_choice
from dse.errors import ConfigError, MultiplierError, ShapeError
from dse.multipliers.families import builtin_library
from dse.multipliers.library import Library
from dse.multipliers.multiplier import Cost, Multiplier, exact_table
from dse.testing.fakes import fake_library
from dse.testing.tiny import tiny_library


@pytest.fixture(scope="module")
def choices():
    return NeuronChoices(fake_library(), [50, 25])


def test_all_multipliers_and_all_pairs_of_a_small_library(choices):
    assert len(choices) == 5 + 10 * 2
    assert choices.shares_pct == (25, 50)
    plain = [c for c in choices if not c.share_pct]
    assert [c.name for c in plain] == list(fake_library().names)
    assert choices[choices.exact_index].name == "exact"
    energies = choices.library.energy_rel
    assert all(energies[c.low] < energies[c.high] for c in choices if c.share_pct)


def test_neighbors_are_neighbors_in_energy(choices):
    assert (np.diff(choices.energy_rel) >= 0).all()
    composite = choices[choices.index("exact+t8@25")]
    assert (composite.high, composite.low) == (4, 0)
    assert choices.energy_rel[choices.index("exact+t8@25")] == pytest.approx(0.75 * 1 + 0.25 * 0.2)


def test_names_parse_back(choices):
    for choice in choices:
        high, low, share_pct = parse_choice(choice.name)
        assert (choices.library.index(high), choices.library.index(low), share_pct) == (
            choice.high, choice.low, choice.share_pct
        )  # fmt: skip
        assert choices[choices.index(choice.name)] == choice
    assert parse_choice("a+b@a1b2c3@50") == ("a", "b@a1b2c3", 50)  # a library tells equal names apart like that
    for broken in ("a+b", "a+b@x", "+b@50", "a+@50"):
        with pytest.raises(MultiplierError, match="two and a share"):
            parse_choice(broken)


def test_unknown_names_and_aliases(choices):
    with pytest.raises(MultiplierError, match="exact\\+t8@25"):
        choices.index("exact+t8@26")
    library = Library([*fake_library(), Multiplier("alias", exact_table(False), is_signed=False)])
    named = NeuronChoices(library, [25])
    assert named.index("alias") == named.exact_index


def test_a_large_library_pairs_its_front():
    library = builtin_library().select(is_signed=False).searchable()
    choices = NeuronChoices(library, [25, 50, 75])
    composites = [c for c in choices if c.share_pct]
    paired = sorted({c.high for c in composites} | {c.low for c in composites})
    assert [c.high for c in choices if not c.share_pct] == list(range(len(library)))
    assert len(paired) == MAX_PAIRED
    assert len(composites) == 3 * MAX_PAIRED * (MAX_PAIRED - 1) // 2
    assert library.exact_index in paired
    assert 0 in paired
    errors, energies = folded_error_std(library), library.energy_rel
    for m in paired:
        assert not ((errors <= errors[m]) & (energies < energies[m])).any()
        assert not ((errors < errors[m]) & (energies <= energies[m])).any()


def test_pairs_are_far_apart_in_energy():
    cost = [Cost(c, "mW", "fake", "made up") for c in (1.0, 1.1, 1.2, 1.3, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)]
    tables = [exact_table(False) // 2**i * 2**i for i in range(9, -1, -1)]
    members = zip(range(10), tables, cost, strict=True)
    library = Library([Multiplier(f"m{i}", table, is_signed=False, cost=c) for i, table, c in members])
    composites = [c for c in NeuronChoices(library, [50]) if c.share_pct]
    paired = {c.low for c in composites} | {c.high for c in composites}
    assert paired == {0, 3, 4, 5, 6, 7, 8, 9}


def test_errors_may_be_given():
    library = fake_library()
    left_out = NeuronChoices(library, [50], errors=[np.inf, 4, np.inf, 2, 0])
    assert [c.name for c in left_out if c.share_pct] == ["t2+t6@50", "exact+t6@50", "exact+t2@50"]
    choices = NeuronChoices(library, [50], errors=[1, 9, 9, 9, 0])
    assert [c.name for c in choices if c.share_pct] == ["exact+t8@50"]
    with pytest.raises(ShapeError, match="one a multiplier"):
        NeuronChoices(library, [50], errors=[1, 2])


def test_without_shares_it_is_the_library():
    library = tiny_library()
    choices = NeuronChoices(library, [])
    assert choices.names == library.names
    assert choices.exact_index == library.exact_index
    assert np.array_equal(choices.energy_rel, library.energy_rel)
    assert [c.key for c in choices] == [m.key for m in library]


def test_numbers_of_neurons(choices):
    counts = choices.n_low(10)
    assert counts[choices.index("exact+t8@25")] == 3  # halves are rounded up
    assert counts[choices.index("exact+t8@50")] == 5
    assert counts[choices.exact_index] == 0
    assert choices.n_low(1)[choices.index("exact+t8@25")] == 0


def test_mixing(choices):
    weights = choices.low_weights([np.ones(10), [0, 0, 1, 3]])
    index = choices.index("exact+t8@50")
    assert weights[:, index].tolist() == [0.5, 0.0]
    values = np.array([[5.0, 4, 3, 2, 1], [50, 40, 30, 20, np.inf]])
    mixed = choices.mixed(values, weights)
    assert mixed[0, index] == 0.5 * 1 + 0.5 * 5
    assert np.array_equal(mixed[:, [choices.index(n) for n in choices.library.names]], values)
    assert np.array_equal(choices.mixed(values[0], weights)[0], mixed[0])
    assert choices.low_weights([np.zeros(4)])[0, index] == 0.5  # no layer is without importance
    with pytest.raises(ShapeError, match="expected 5 multipliers"):
        choices.mixed(np.ones(4), weights)


def test_fingerprints():
    library = fake_library()
    fingerprints = {NeuronChoices(library, shares).fingerprint for shares in ([], [25], [50], [25, 50])}
    assert len(fingerprints) == 4
    assert NeuronChoices(library, [50, 25]).fingerprint in fingerprints


@pytest.mark.parametrize("shares", [[0], [100], [25, 25], [0.5], [-1]])
def test_wrong_shares_are_refused(shares):
    with pytest.raises(ConfigError, match="whole percents from 1 to 99"):
        NeuronChoices(fake_library(), shares)


def test_names_with_the_sign_are_refused():
    cost = Cost(5.0, "mW", "fake", "made up")
    library = Library([*fake_library(), Multiplier("a+b", exact_table(False) // 2 * 2, is_signed=False, cost=cost)])
    assert len(NeuronChoices(library, [])) == 6
    with pytest.raises(ConfigError, match="'a\\+b' has a '\\+'"):
        NeuronChoices(library, [50])
