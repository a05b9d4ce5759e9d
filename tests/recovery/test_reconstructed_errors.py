import numpy as np
import pytest

from dse.recovery.reconstructed_errors import reconstructed_errors
from dse.recovery.table_layers import LearningNetwork
from dse.robustness.error_model import predict_errors
from dse.testing.tiny import tiny_split

from .learners import NETWORKS, make_bank
from .test_reconstruction import wide_network

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

MANY = tiny_split(300, seed=3)


def test_errors_fall_and_the_exact_multiplier_has_none():
    bank = make_bank(wide_network(), split=MANY)
    told = []
    exact, multipliers = bank.library.exact_index, [0, 1, 2]
    found = reconstructed_errors(
        bank, [*multipliers, exact], MANY, on_multiplier=lambda m, errors: told.append((m, errors.copy()))
    )
    predictions = predict_errors(bank)
    before = predictions.residual(fold_bias=True, sum_compensation=False) / predictions.output_std[:, None]
    assert (found[:, -1] == 0).all()
    assert (found[:3, :-1] < 0.97 * before[:3, multipliers]).mean() > 0.7  # of convolutions
    np.testing.assert_allclose(found[3, :-1], before[3, multipliers], rtol=0.35)  # the linear layer keeps its weights
    assert [m for m, _ in told] == [*multipliers, exact]
    np.testing.assert_array_equal(np.stack([errors for _, errors in told], 1), found)
    np.testing.assert_array_equal(reconstructed_errors(bank, [2], MANY)[:, 0], found[:, 2])


@pytest.mark.parametrize("network", [*NETWORKS][:4])
def test_networks_of_all_kinds(network):
    bank = make_bank(NETWORKS[network](), sum_compensation=True)
    before = LearningNetwork(bank, np.zeros((1, bank.network.n_layers), dtype=int)).frozen()(MANY.images[:5])
    found = reconstructed_errors(bank, [0], MANY.subset(40))
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert found.max() > 0
    after = LearningNetwork(bank, np.zeros((1, bank.network.n_layers), dtype=int)).frozen()(MANY.images[:5])
    assert (before == after).all()  # nothing of the bank has changed
