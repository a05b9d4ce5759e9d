import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import ConfigError
from dse.quantization.affine import (
    CENTER,
    SCHEMES,
    choose_qparams_affine,
    choose_weight_qparams,
    dequantize_affine,
    quantize_affine,
    scheme_for,
)

SCALES = st.one_of(st.integers(-12, 4).map(lambda e: 2.0**e), st.floats(1e-6, 1e3))

ENDS = st.floats(-(2.0**100), 2.0**100, width=32)


def _fake_quantize(x, scale, zero_point, dtype):
    scale, zero_point = torch.tensor(scale, dtype=torch.float32), torch.tensor(zero_point)
    return dequantize_affine(quantize_affine(x, scale, zero_point, dtype), scale, zero_point)


def _values(scale, seed):
    """Random values, ties (odd multiples of half a step), and values far outside of the range."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor(scale, dtype=torch.float32)
    ties = torch.arange(-600, 600) * 0.5 * scale
    return torch.cat([torch.randn(500, generator=generator) * 80 * scale, ties, torch.tensor([0.0, -0.0]), 1e5 * ties])


@settings(max_examples=60, deadline=None)
@given(SCALES, st.integers(0, 255), st.booleans(), st.integers(0, 99))
def test_rounds_as_torch_per_tensor(scale, zero_point, is_signed, seed):
    low, high, dtype = (-128, 127, torch.int8) if is_signed else (0, 255, torch.uint8)
    zero_point = 0 if is_signed else zero_point
    x = _values(scale, seed)
    scale = torch.tensor(scale, dtype=torch.float32).item()
    expected = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, low, high)
    assert torch.equal(_fake_quantize(x, scale, zero_point, dtype), expected)


def test_rounds_as_torch_per_channel():
    scales = torch.tensor([0.5, 0.013, 3.0])
    zero_points = torch.tensor([0, 255, 91])
    x = torch.stack([_values(s, 1) for s in scales.tolist()])
    expected = torch.fake_quantize_per_channel_affine(x, scales, zero_points.to(torch.int32), 0, 0, 255)
    scales, zero_points = scales[:, None], zero_points[:, None]
    codes = quantize_affine(x, scales, zero_points, torch.uint8)
    assert torch.equal(dequantize_affine(codes, scales, zero_points), expected)


def test_ties_go_to_even_before_the_zero_code_is_added():
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5])
    assert quantize_affine(x, torch.tensor(1.0), torch.tensor(3.0), torch.uint8).tolist() == [3, 5, 5, 3, 1]


def test_input_is_kept_and_infinities_are_clamped():
    x = torch.tensor([float("inf"), -float("inf"), 3.4e38])
    before = x.clone()
    assert quantize_affine(x, torch.tensor(0.1), torch.tensor(7), torch.uint8).tolist() == [255, 0, 255]
    assert torch.equal(x, before)


@settings(max_examples=100, deadline=None)
@given(ENDS, ENDS, st.sampled_from(sorted(SCHEMES)))
def test_parameters_cover_the_range_and_hold_zero(a, b, name):
    scheme, (low, high) = SCHEMES[name], sorted((a, b))
    scale, zero_point = choose_qparams_affine(torch.tensor(low), torch.tensor(high), scheme)
    info = torch.iinfo(scheme.dtype)
    assert scale.dtype == torch.float32
    assert torch.isfinite(scale)
    assert scale > 0
    assert torch.isfinite(1 / scale)
    assert info.min <= zero_point <= info.max
    ends = torch.tensor([low, high, 0.0])
    rounded = _fake_quantize(ends, scale.item(), zero_point.item(), scheme.dtype)
    assert rounded[2] == 0
    assert ((rounded - ends).abs() <= scale * 1.001).all()


def test_parameters_per_channel_and_of_nothing():
    low, high = torch.tensor([0.0, -1.0, 2.0]), torch.tensor([0.0, 3.0, 4.0])
    scale, zero_point = choose_qparams_affine(low, high, SCHEMES["unsigned-affine"])
    assert scale.tolist() == pytest.approx([1.0, 4 / 255, 4 / 255])
    assert zero_point.tolist() == [0, 64, 0]
    scale, zero_point = choose_qparams_affine(low, high, SCHEMES["signed-symmetric"])
    assert scale.tolist() == pytest.approx([1.0, 3 / 127, 4 / 127])
    assert zero_point.tolist() == [0, 0, 0]


def test_scheme_fits_the_multipliers():
    assert scheme_for(False).name == "unsigned-affine"
    assert scheme_for(True).name == "signed-symmetric"
    assert scheme_for(True, "signed-symmetric").is_symmetric
    with pytest.raises(ConfigError, match="does not fit unsigned"):
        scheme_for(False, "signed-symmetric")
    with pytest.raises(ConfigError, match="did you mean 'signed-symmetric'"):
        scheme_for(True, "signed-symetric")


def test_centered_weights_fit_int8_less_their_zero_code():
    scheme = SCHEMES["unsigned-centered"]
    assert scheme_for(False, "unsigned-centered") is scheme
    low, high = torch.tensor([-1.0, -0.2, 0.0, -3.0]), torch.tensor([0.3, 0.9, 2.0, 0.0])
    scale, zero_point = choose_weight_qparams(low, high, scheme)
    assert zero_point.tolist() == [CENTER] * 4
    for end in (low, high):
        codes = quantize_affine(end, scale, zero_point, scheme.dtype).to(torch.int64) - zero_point
        assert codes.abs().max() <= 127
        assert (codes * scale - end).abs().max() <= 1e-6 + float(scale.max()) / 2
    assert torch.equal(scale, choose_weight_qparams(low, high, SCHEMES["signed-symmetric"])[0])
    activations = choose_qparams_affine(low, high, scheme)
    assert all(map(torch.equal, activations, choose_qparams_affine(low, high, SCHEMES["unsigned-affine"])))
    weights = choose_weight_qparams(low, high, SCHEMES["unsigned-affine"])
    assert all(map(torch.equal, weights, activations))
    with pytest.raises(ConfigError, match="does not fit signed"):
        scheme_for(True, "unsigned-centered")
