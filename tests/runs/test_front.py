"""dse.runs.front: intervals against scipy, and the columns others rely on."""

import numpy as np
import pytest
from scipy.stats import binomtest

from dse.cost.accelerators import Designs, make_accelerator
from dse.runs.front import front_table, wilson_interval
from dse.runs.measured import Measured
from dse.testing.fakes import FakeEvaluator, fake_library


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 7), (449, 500), (9173, 10000)])
def test_wilson_interval_equals_scipy(k, n):
    expected = binomtest(k, n).proportion_ci(0.95, method="wilson")
    low, high = wilson_interval([k / n], n)
    np.testing.assert_allclose([low[0], high[0]], [expected.low, expected.high], atol=1e-12)


def test_columns_and_failed_point():
    library = fake_library()
    accelerator = make_accelerator("free", FakeEvaluator().layers, library=library)
    designs = Designs(np.array([[0, 1, 2, 3], [4, 4, 4, 4]]))
    chosen = Measured(
        designs, accelerator.energy_rel(designs), np.array([0.7, 0.9]), np.full(2, 60), np.ones(2, dtype=bool)
    )
    table = front_table(
        chosen,
        np.array([np.nan, 0.88]),
        n_images_report=50,
        accelerator=accelerator,
        names=library.names,
        exact_index=library.exact_index,
    )
    first = ["point", "energy_rel", "energy_pj", "energy_saved_pct", "accuracy", "accuracy_low", "accuracy_high"]
    assert list(table.columns) == [*first, "accuracy_search", "n_images_report", "state", "is_exact", "assignment"]
    assert table["state"].tolist() == ["failed", "ok"]
    assert table["assignment"].tolist() == ["t8;t6;t4;t2", "exact;exact;exact;exact"]
    assert table["is_exact"].tolist() == [False, True]
