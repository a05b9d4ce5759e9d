import numpy as np
import pytest

from dse.config import parse_config
from dse.runs.beginning import initial_genomes, make_optimizer, needs_foreknowledge
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
    optimizer, screen = make_optimizer(config, ready, None, 0.95, knowledge)
    return ready, optimizer, screen


def test_agn_starts_from_tolerated_designs(prepared):
    ready, optimizer, screen = make(prepared, 'initial = "agn"')
    X = optimizer.ask()
    assert X[0].tolist() == [4, 4, 4, 4]
    assert len(X) == 12
    assert screen is not None
    # layers that tolerate more never get the better multiplier
    matched = [row for row in X.tolist() if row == sorted(row)]
    assert len(matched) >= 8


def test_number_of_initial_designs_is_the_users(prepared):
    _, optimizer, _ = make(prepared, "initial_designs = 5\nsurrogate = false")
    X = optimizer.ask()
    assert len(X) == 12
    assert [row == sorted(row) for row in X[:5].tolist()] == [True] * 5


def test_tiles_get_designs_with_few_multipliers(prepared):
    ready, optimizer, _ = make(prepared, 'initial = "agn"\n[accelerator]\nkind = "tiles:2"')
    assignments = ready.space.decode(optimizer.ask()).assignments
    assert max(len(set(row)) for row in assignments.tolist()) == 2


def test_plain_search_knows_nothing(prepared):
    _, optimizer, screen = make(prepared, 'initial = "random"\nsurrogate = false', known=False)
    assert screen is None
    assert len(optimizer.ask()) == 12


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
    _, _, screen = make(prepared, "accuracy_floor = 0.9")
    assert screen._loss_limit == pytest.approx(0.05)


def test_designs_that_guess_are_no_start(prepared):
    config = parse_config("")
    ready = prepared(config)
    known = Foreknowledge(ready.guide.predict_errors()[1], np.full(4, 100.0), SIGMA, np.full(4, 1e4))
    assert initial_genomes(config, ready, None, 0.95, known).tolist() == [[4, 4, 4, 4]]
