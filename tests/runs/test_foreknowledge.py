import numpy as np
import pytest

from dse.errors import RunError
from dse.runs.foreknowledge import Foreknowledge, foreknow, predictions_table
from dse.runs.store import RunDirectory
from dse.search.screening import Checked
from dse.testing.fakes import FakeGuide

LAYERS, NAMES = [f"layer{i}" for i in range(4)], ["t8", "t6", "t4", "t2", "exact"]


class CountingGuide(FakeGuide):
    def learn_tolerances(self, on_step):
        self.asked.append("tolerances")
        return super().learn_tolerances(on_step)

    def predict_errors(self):
        self.asked.append("errors")
        return super().predict_errors()


@pytest.fixture
def guide():
    guide = CountingGuide()
    object.__setattr__(guide, "asked", [])
    return guide


def known(tmp_path, guide, with_tolerances=True):
    return foreknow(
        RunDirectory(tmp_path), guide, layers=LAYERS, multipliers=NAMES, with_tolerances=with_tolerances,
        on_step=lambda done, total: None,
    )  # fmt: skip


def test_everything_is_written_once_and_read_afterwards(tmp_path, guide):
    first, second = known(tmp_path, guide), known(tmp_path, guide)
    assert guide.asked == ["errors", "tolerances"]
    for name in ("residual_std", "output_std", "sigma", "sensitivity"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_allclose(first.residual_std[:, 0], 40.0)
    np.testing.assert_allclose(first.tolerance, np.linspace(0.4, 0.1, 4) * 100)
    np.testing.assert_allclose(first.noise[0], [0.16, 0.09, 0.04, 0.01, 0])


def test_tolerances_only_where_they_are_asked_for(tmp_path, guide):
    without = known(tmp_path, guide, with_tolerances=False)
    assert guide.asked == ["errors"]
    assert not RunDirectory(tmp_path).tolerances.exists()
    with pytest.raises(RunError, match="no tolerances were learned"):
        _ = without.tolerance


def test_layers_that_never_vary_have_bounded_noise():
    known = Foreknowledge(np.array([[1.0, 0.0]]), np.array([0.0]))
    assert known.noise.tolist() == [[1e6, 0.0]]


def test_damaged_files_are_told(tmp_path, guide):
    known(tmp_path, guide)
    directory = RunDirectory(tmp_path)
    directory.errors.write_text("layer,multiplier\nlayer0,t8\n")
    with pytest.raises(RunError, match="lacks the column 'residual_std': delete it"):
        known(tmp_path, guide)
    directory.errors.write_text("layer,multiplier,residual_std,output_std\nlayer0,t8,1,2\n")
    with pytest.raises(RunError, match="1 rows, expected 20"):
        known(tmp_path, guide)
    directory.errors.write_text("")
    with pytest.raises(RunError, match="cannot read"):
        known(tmp_path, guide)


def test_predictions_stand_beside_what_was_measured():
    batch = Checked(np.array([[0, 4]]), np.array([0.5]), np.array([0.1]), np.array([0.02]), np.array([0.12]))
    table = predictions_table([batch, batch], {(0, 4)}, NAMES)
    assert list(table["batch"]) == [0, 1]
    assert table.loc[0, "assignment"] == "t8;exact"
    assert table["is_complete"].all()
    assert not predictions_table([batch], {(1, 4)}, NAMES)["is_complete"].any()
    assert table.loc[0, ["predicted_loss", "predicted_std", "measured_loss"]].tolist() == [0.1, 0.02, 0.12]
