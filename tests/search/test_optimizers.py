import numpy as np
import pytest

from dse.errors import RunError, ShapeError
from dse.search.optimizers import check_told

ASKED = np.array([[0, 1], [2, 3]])
F = np.array([[0.5, 0.1], [0.6, 0.0]])


def test_figures_pass_through():
    told = check_told(ASKED, ASKED.tolist(), F.tolist(), G=[-1.0, 0.25])
    np.testing.assert_array_equal(told.F, F)
    assert told.violation.tolist() == [0.0, 0.25]
    assert told.failed.tolist() == [False, False]


def test_violations_of_several_constraints_add_up():
    assert check_told(ASKED, ASKED, F, G=[[1.0, -5.0], [0.5, 0.25]]).violation.tolist() == [1.0, 0.75]


def test_failed_rows_may_hold_anything():
    told = check_told(ASKED, ASKED, [[np.nan, np.inf], [0.6, 0.0]], G=[np.nan, 0.0], failed=[True, False])
    assert told.failed.tolist() == [True, False]
    assert told.violation.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_unmarked_failures_are_an_error(value):
    with pytest.raises(RunError, match="row 1 has F .*expected finite figures; mark evaluations that failed"):
        check_told(ASKED, ASKED, [[0.5, 0.1], [0.6, value]])
    with pytest.raises(RunError, match="row 0"):
        check_told(ASKED, ASKED, F, G=[value, 0.0])


def test_another_batch_is_an_error():
    with pytest.raises(RunError, match="other genomes than were asked"):
        check_told(ASKED, ASKED[::-1], F)
    with pytest.raises(RunError, match="without a batch"):
        check_told(None, ASKED, F)


@pytest.mark.parametrize("settings", [{"F": F[:1]}, {"F": F[:, 0]}, {"F": F, "G": [0.0]}, {"F": F, "failed": [True]}])
def test_shapes_must_fit(settings):
    figures = settings.pop("F")
    with pytest.raises(ShapeError, match="for a batch of 2"):
        check_told(ASKED, ASKED, figures, **settings)
