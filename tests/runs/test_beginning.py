import numpy as np
import pytest

from dse.config import parse_config
from dse.runs.beginning import begin_search, choose_initial, needs_foreknowledge
from dse.runs.foreknowledge import Foreknowledge
from dse.runs.preparation import Inputs, prepare
from dse.testing.fakes import FakeEvaluator, use_fakes

SIGMA = np.linspace(0.4, 0.1, 4)


@pytest.fixture
def prepared(monkeypatch):
    use_fakes(monkeypatch, FakeEvaluator())
    return lambda config: prepare(config, Inputs())


def make(prepared, text, known=True):
    config = parse_config("[search]\npopulation_size = 12\n" + text)
    ready = prepared(config)
    std = ready.guide.predict_errors()[1]
    knowledge = Foreknowledge(std, np.full(4, 100.0), SIGMA, 0.01 / SIGMA**2) if known else None
    beginning = begin_search(config, ready, None, 0.95, knowledge)
    return ready, beginning


def test_agn_starts_from_tolerated_designs(prepared):
    _, beginning = make(prepared, 'initial = "agn"')
    X = beginning.optimizer.ask()
    assert X[0].tolist() == [4, 4, 4, 4]
    assert len(X) == 12
    assert set(beginning.initial.origins) == {"exact", "tolerated", "traded"}
    assert beginning.screen is not None
    # layers that tolerate more never get the better multiplier
    matched = [row for row in X.tolist() if row == sorted(row)]
    assert len(matched) >= 8


def test_number_of_initial_designs_is_the_users(prepared):
    _, beginning = make(prepared, "initial_designs = 5\nsurrogate = false")
    X = beginning.optimizer.ask()
    assert len(X) == 12
    assert len(beginning.initial.genomes) == 5
    assert [row == sorted(row) for row in X[:5].tolist()] == [True] * 5


def test_tiles_get_designs_with_few_multipliers(prepared):
    ready, beginning = make(prepared, 'initial = "agn"\n[accelerator]\nkind = "tiles:2"')
    assignments = ready.space.decode(beginning.optimizer.ask()).assignments
    assert max(len(set(row)) for row in assignments.tolist()) == 2


def test_plain_search_knows_nothing(prepared):
    _, beginning = make(prepared, 'initial = "random"\nsurrogate = false', known=False)
    assert beginning.screen is None
    assert beginning.initial.origins == ("exact",)
    assert len(beginning.optimizer.ask()) == 12


def test_uniform_designs_are_spread_over_the_library(prepared):
    _, beginning = make(prepared, 'initial = "uniform"\ninitial_designs = 3\nsurrogate = false')
    assert beginning.initial.genomes[:, 0].tolist() == [4, 0, 2]
    assert beginning.initial.origins == ("exact", "uniform", "uniform")


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("", True),
        ('initial = "random"', True),
        ('initial = "random"\nsurrogate = false', False),
        ('initial = "agn"\nsurrogate = false', True),
        ('method = "random"', False),
    ],
)
def test_foreknowledge_is_gathered_only_where_it_is_used(text, needs):
    assert needs_foreknowledge(parse_config("[search]\n" + text)) is needs


def test_accuracy_floor_limits_what_is_screened(prepared):
    _, beginning = make(prepared, "accuracy_floor = 0.9")
    assert beginning.screen._loss_limit == pytest.approx(0.05)


def test_a_network_that_guesses_is_searched_without_a_surrogate(prepared, caplog):
    config = parse_config("")
    ready = prepared(config)
    known = Foreknowledge(ready.guide.predict_errors()[1], np.full(4, 100.0), SIGMA, 0.01 / SIGMA**2)
    assert begin_search(config, ready, None, 0.1, known).screen is None
    assert "chance is 0.100" in caplog.text


def test_designs_that_guess_are_no_start(prepared):
    config = parse_config("")
    ready = prepared(config)
    known = Foreknowledge(ready.guide.predict_errors()[1], np.full(4, 100.0), SIGMA, np.full(4, 1e4))
    assert choose_initial(config, ready, None, 0.95, known).genomes.tolist() == [[4, 4, 4, 4]]
