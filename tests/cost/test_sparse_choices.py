import numpy as np
import pytest

from dse.cost.sparse_choices import SparseChoices, choice_name, parse_sparse_choice
from dse.errors import ConfigError, MultiplierError
from dse.multipliers.library import Library
from dse.multipliers.multiplier import Cost, Multiplier, exact_table
from dse.testing.fakes import fake_library


@pytest.fixture(scope="module", params=["multiplied", "skipped"])
def choices(request):
    return SparseChoices(fake_library(), [80, 50], zero_weights=request.param)


def test_every_multiplier_at_every_level(choices):
    assert choices.levels_pct == (0, 50, 80)
    assert len(choices) == 15
    assert len(set(choices.names)) == len({c.key for c in choices}) == 15
    assert choices[choices.exact_index].name == "exact"
    for position, choice in enumerate(choices):
        level = choices.levels_pct.index(choice.sparsity_pct)
        assert choices.position[choice.multiplier, level] == position
        assert (choices.multiplier[position], choices.level[position]) == (choice.multiplier, level)


def test_energies_ascend_and_know_what_zeros_cost(choices):
    assert (np.diff(choices.energy_rel) >= 0).all()
    found = choices.energy_rel[choices.index("t4%50")]
    assert found == pytest.approx(0.6 if choices.zero_weights == "multiplied" else 0.3)
    if choices.zero_weights == "multiplied":  # of equal energy the sparser comes first: it takes less memory
        assert [choices.index(f"t8{level}") for level in ("%80", "%50", "")] == [0, 1, 2]


def test_names_parse_back(choices):
    for choice in choices:
        multiplier, sparsity_pct = parse_sparse_choice(choice.name)
        assert (choices.library.index(multiplier), sparsity_pct) == (choice.multiplier, choice.sparsity_pct)
        assert choice_name(multiplier, sparsity_pct) == choice.name
        assert choices[choices.index(choice.name)] == choice
    assert parse_sparse_choice("100%") == ("100%", 0)


def test_aliases_are_found_at_all_levels():
    twin = Multiplier("twin", exact_table(False), is_signed=False, cost=Cost(10.0, "mW", "fake", "made up"))
    library = Library([*fake_library(), twin], name="aliased").searchable()
    choices = SparseChoices(library, [50], zero_weights="skipped")
    assert choices.index("twin%50") == choices.index("exact%50")
    for unknown in ("twin%60", "other", "exact%"):
        with pytest.raises(MultiplierError, match=r"unknown multiplier|expected|Known"):
            choices.index(unknown)


def test_sparsities_of_assignments(choices):
    assignment = [choices.index(name) for name in ("t8", "exact%80", "t4%50")]
    assert choices.sparsities_pct(np.array([assignment])).tolist() == [[0, 80, 50]]


def test_fingerprints_tell_engines_and_levels_apart():
    options = [([50], "skipped"), ([50], "multiplied"), ([60], "skipped"), ([50, 60], "skipped")]
    found = {SparseChoices(fake_library(), levels, zero_weights=z).fingerprint for levels, z in options}
    assert len(found) == 4
    assert SparseChoices(fake_library(), [0, 50], zero_weights="skipped").fingerprint in found


@pytest.mark.parametrize("levels", [[100], [-1], [50, 50], [0.5], ["50"]])
def test_wrong_levels_are_refused(levels):
    with pytest.raises(ConfigError, match="different whole percents from 0 to 99"):
        SparseChoices(fake_library(), levels, zero_weights="skipped")


def test_names_with_the_sign_are_refused():
    odd = Multiplier("t%8", exact_table(False) // 2, is_signed=False, cost=Cost(1.0, "mW", "fake", "made up"))
    with pytest.raises(ConfigError, match="'t%8'.*rename it"):
        SparseChoices(Library([*fake_library(), odd], name="odd").searchable(), [50], zero_weights="skipped")
