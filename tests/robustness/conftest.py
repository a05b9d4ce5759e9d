"""A trained network of five layers on the digits data, calibrated once."""

import pytest

from dse.datasets import load_splits
from dse.networks.convert import quantize_network
from dse.networks.zoo import create_network
from dse.quantization.affine import scheme_for


@pytest.fixture(scope="session")
def training():
    """256 images of digits."""
    return load_splits("digits", n_calibration=256).calibration


@pytest.fixture(scope="session")
def digits():
    """The float network."""
    return create_network("digits_cnn")


@pytest.fixture(scope="session")
def integer(digits, training):
    """The integer network for unsigned multipliers."""
    return quantize_network(digits, training, scheme=scheme_for(False))
