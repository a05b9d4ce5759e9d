import numpy as np
import pytest
import torch

from dse.datasets.preprocessing import Preprocessing, preprocessing_names
from dse.errors import DataError

_V = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, axis=1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unit", _V / 255),
        ("raw", _V.astype(float)),
        ("centered", (_V.astype(float) - 128) / 128),
        (
            "imagenet",
            (_V / 255 - np.reshape([0.485, 0.456, 0.406], (1, 3, 1, 1)))
            / np.reshape([0.229, 0.224, 0.225], (1, 3, 1, 1)),
        ),
        ("mean=0.5;std=0.25, 0.5, 1", (_V / 255 - 0.5) / np.reshape([0.25, 0.5, 1], (1, 3, 1, 1))),
    ],
)
def test_formulas(name, expected):
    x = Preprocessing.parse(name).apply(_V)
    assert x.dtype == torch.float32
    np.testing.assert_allclose(x.numpy(), expected, rtol=2e-6, atol=1e-6)


def test_raw_uint8_is_exact():
    assert torch.equal(Preprocessing.parse("raw").apply(_V), torch.from_numpy(_V).float())


def test_unit_leaves_floats_alone_and_inputs_are_not_changed():
    images = np.random.default_rng(0).normal(size=(2, 1, 3, 3)).astype(np.float32)
    before = images.copy()
    x = Preprocessing.parse("unit").apply(images)
    x.zero_()
    np.testing.assert_array_equal(images, before)
    assert torch.equal(Preprocessing.parse("unit").apply(images), torch.from_numpy(before))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("imagnet", "did you mean 'imagenet'"),
        ("mean=a", "expected numbers"),
        ("mean=", "expected numbers"),
        ("std=0", "expected positive"),
        ("std=inf", "expected numbers"),
        ("men=1", "did you mean 'mean'"),
    ],
)
def test_bad_text(text, message):
    with pytest.raises(DataError, match=message):
        Preprocessing.parse(text)


def test_channels_must_fit():
    with pytest.raises(DataError, match="expected 1;"):
        Preprocessing.parse("imagenet").apply(_V[:, :1])


def test_names_can_all_be_parsed():
    assert [Preprocessing.parse(name).text for name in preprocessing_names()] == preprocessing_names()
