import pytest
import torch

from dse.recovery.bias import SLOPE_STEP, Correction, Observed, fit_correction


def _observed(errors, sums=None):
    errors = torch.as_tensor(errors, dtype=torch.float64)
    return Observed(errors, torch.zeros_like(errors) if sums is None else torch.as_tensor(sums, dtype=torch.float64))


def _noisy(offset, slope, n=400, seed=0):
    """Two channels of `offset + slope * S + noise`, as two halves."""
    generator = torch.Generator().manual_seed(seed)
    sums = torch.randint(0, 1000, (2, n), generator=generator).double()
    errors = offset + slope * sums + torch.randn(2, n, generator=generator, dtype=torch.float64)
    return Observed(errors[:, ::2], sums[:, ::2]), Observed(errors[:, 1::2], sums[:, 1::2])


def test_apply_is_the_formula():
    correction = Correction(torch.tensor([1.0, -2.0]).double(), torch.tensor([0.5, 0.0]).double())
    left = correction.apply(_observed([[3, 4], [5, 6]], [[2, 4], [9, 9]]))
    assert left.tolist() == [[1, 1], [7, 8]]


def test_folding_removes_the_mean_of_every_channel():
    first, second = _noisy(100, 0)
    correction = fit_correction(first, second, is_sloped=False)
    assert not correction.slope.any()
    assert correction.apply(first.joined(second)).mean(1).abs().max() < 1e-9
    assert correction.offset == pytest.approx([100, 100], abs=1)


@pytest.mark.parametrize("is_sloped", [False, True])
def test_channels_are_fitted_each_by_itself(is_sloped):
    generator = torch.Generator().manual_seed(1)
    error, sums = (torch.randint(-(2**20), 2**20, (19, 700), generator=generator).double() for _ in range(2))
    halves = [Observed(error[:, a:b] + sums[:, a:b] * 0.3, sums[:, a:b]) for a, b in ((0, 333), (333, 700))]
    whole = fit_correction(*halves, is_sloped=is_sloped)
    each = [fit_correction(*pair, is_sloped=is_sloped) for pair in zip(*(h.split(1) for h in halves), strict=True)]
    assert torch.equal(whole.offset, torch.cat([fit.offset for fit in each]))
    assert torch.equal(whole.slope, torch.cat([fit.slope for fit in each]))
    assert bool(whole.slope.any()) == is_sloped


def test_sum_compensation_also_removes_what_is_linear_in_the_sum():
    first, second = _noisy(-30, 0.75)
    both = first.joined(second)
    folded = fit_correction(first, second, is_sloped=False).apply(both)
    sloped = fit_correction(first, second, is_sloped=True)
    left = sloped.apply(both)
    assert left.mean(1).abs().max() < 1e-9
    assert (left**2).sum() < 0.01 * (folded**2).sum()
    assert torch.equal(sloped.slope / SLOPE_STEP, (sloped.slope / SLOPE_STEP).round())


def test_rare_large_errors_are_not_folded():
    """One output in a hundred is off by 1000: folding would move the other ninety-nine by 10."""
    errors = torch.zeros(2, 400)
    errors[0, ::100] = 1000
    errors[1] = 10
    correction = fit_correction(_observed(errors[:, :200]), _observed(errors[:, 200:]), is_sloped=False)
    assert correction.offset.tolist() == [0, 10]


def test_what_helps_one_half_only_is_not_kept():
    first, second = _observed([[10.0] * 50]), _observed([[-10.0] * 50])
    assert fit_correction(first, second, is_sloped=True).offset.tolist() == [0]


@pytest.mark.parametrize("is_sloped", [False, True])
def test_degenerate_observations(is_sloped):
    """No error at all, and sums that never change, and a single observation."""
    none = fit_correction(_observed([[0.0, 0.0]]), _observed([[0.0, 0.0]]), is_sloped=is_sloped)
    assert (none.offset.item(), none.slope.item()) == (0, 0)
    constant = _observed([[5.0, 7.0]], [[3.0, 3.0]])
    kept = fit_correction(constant, constant, is_sloped=is_sloped)
    assert (kept.offset.item(), kept.slope.item()) == (6, 0)
    single = _observed([[5.0]], [[3.0]])
    assert fit_correction(single, single, is_sloped=is_sloped).offset.item() == 5


def test_inputs_are_not_changed():
    first, second = _noisy(4, 0.5)
    before = [t.clone() for t in (first.error, first.input_sum, second.error, second.input_sum)]
    fit_correction(first, second, is_sloped=True)
    after = [first.error, first.input_sum, second.error, second.input_sum]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
