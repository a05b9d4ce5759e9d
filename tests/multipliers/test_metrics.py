import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import MultiplierError
from dse.multipliers.metrics import error_metrics
from dse.multipliers.multiplier import exact_table, operand_codes


def _scalar_metrics(table, is_signed, p, q):
    """The definitions, entry by entry, in plain Python numbers."""
    codes = operand_codes(is_signed).tolist()
    total = sum(p) * sum(q)
    mae = mse = ep = bias = mre = relative_weight = 0.0
    wce = wcre = 0.0
    for i, a in enumerate(codes):
        for j, b in enumerate(codes):
            weight = p[i] * q[j] / total
            error = int(table[i, j]) - a * b
            mae += weight * abs(error)
            mse += weight * error**2
            bias += weight * error
            ep += weight * (error != 0)
            if weight:
                wce = max(wce, abs(error))
            if a * b != 0 and weight:
                mre += weight * abs(error) / abs(a * b)
                relative_weight += weight
                wcre = max(wcre, abs(error) / abs(a * b))
    return {"mae": mae, "wce": wce, "mse": mse, "ep": ep, "bias": bias, "mre": mre / relative_weight, "wcre": wcre}


@pytest.mark.parametrize("is_signed", [False, True])
def test_agrees_with_scalar_definition(is_signed):
    rng = np.random.default_rng(0)
    table = exact_table(is_signed) + rng.integers(-50, 50, size=(256, 256))
    p, q = rng.integers(0, 3, size=256), rng.integers(0, 9, size=256)
    computed = error_metrics(table, is_signed=is_signed, p=p, q=q)
    for name, value in _scalar_metrics(table, is_signed, p.tolist(), q.tolist()).items():
        assert getattr(computed, name) == pytest.approx(value, rel=1e-9), name


def test_relative_error_ignores_zero_products():
    table = exact_table(False).astype(np.int64)
    table[0, :] = 1000
    table[:, 0] = 1000
    computed = error_metrics(table, is_signed=False)
    assert computed.mre == 0
    assert computed.wcre == 0
    assert computed.wce == 1000
    assert computed.ep == 511 / 65536


def test_percentages():
    computed = error_metrics(exact_table(True) + 2, is_signed=True)
    assert computed.mae_pct == pytest.approx(100 * 2 / 65536)
    assert computed.wce_pct == computed.mae_pct
    assert computed.ep_pct == 100
    assert computed.mre_pct == 100 * computed.mre
    assert computed.wcre_pct == 200
    assert computed.to_dict()["wce_pct"] == computed.wce_pct


def test_exact_table_has_no_error():
    assert set(error_metrics(exact_table(True), is_signed=True).to_dict().values()) == {0.0}


def test_only_zero_operands_leave_relative_error_undefined():
    point = np.zeros(256)
    point[0] = 1
    computed = error_metrics(exact_table(False) + 7, is_signed=False, p=point)
    assert math.isnan(computed.mre)
    assert math.isnan(computed.wcre)
    assert computed.mae == 7


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 255), st.integers(0, 255), st.integers(1, 1000))
def test_point_histograms_pick_one_entry(a, b, scale):
    table = exact_table(False) // 2
    p, q = np.zeros(256), np.zeros(256)
    p[a], q[b] = scale, 3
    computed = error_metrics(table, is_signed=False, p=p, q=q)
    assert computed.bias == pytest.approx(table[a, b] - a * b)
    assert computed.wce == abs(table[a, b] - a * b)


@pytest.mark.parametrize("p", [np.zeros(256), np.ones(255), -np.ones(256), np.full(256, np.nan)])
def test_bad_histograms_are_refused(p):
    with pytest.raises(MultiplierError, match="histogram p"):
        error_metrics(exact_table(False), is_signed=False, p=p)


def test_bad_shape_is_refused():
    with pytest.raises(MultiplierError, match=r"expected \(256, 256\)"):
        error_metrics(np.zeros((16, 16)), is_signed=False)
