"""Random convolution problems and tables."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from dse.multipliers.multiplier import Multiplier, exact_table
from dse.simulation.problem import integer_conv


@pytest.fixture(scope="session")
def random_codes():
    """`random_codes(shape, dtype, rng)`: every code equally likely."""

    def draw(shape, dtype, rng):
        info = torch.iinfo(dtype)
        return torch.from_numpy(rng.integers(info.min, info.max + 1, shape)).to(dtype)

    return draw


@dataclass(frozen=True)
class Case:
    problem: object
    x: torch.Tensor


@pytest.fixture(scope="session")
def make_case(random_codes):
    """`make_case(is_signed, ...)`: a random problem and codes for it."""

    def make(
        is_signed, *, channels=8, outputs=6, kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1), dilation=(1, 1),
        groups=1, size=(6, 5), n=2, x_zero_point=0, has_zero_points=True, seed=0,
    ):  # fmt: skip
        rng = np.random.default_rng(seed)
        dtype = torch.int8 if is_signed else torch.uint8
        weight = random_codes((outputs, channels // groups, *kernel), dtype, rng)
        low = torch.iinfo(dtype).min
        zero_points = torch.from_numpy(rng.integers(low, low + 256, outputs)) if has_zero_points else None
        problem = integer_conv(
            weight, dtype, x_zero_point=x_zero_point, stride=stride, padding=padding, dilation=dilation, groups=groups,
            w_zero_point=zero_points, constant=torch.from_numpy(rng.integers(-(10**6), 10**6, outputs)),
        )  # fmt: skip
        return Case(problem, random_codes((n, channels, *size), dtype, rng))

    return make


@pytest.fixture(scope="session")
def low_rank_multiplier():
    """`low_rank_multiplier(is_signed)`: an error of rank three with entries of several bytes; T[0, 0] is not 0."""

    def make(is_signed, seed=0):
        rng = np.random.default_rng(seed)
        error = rng.integers(-20, 20, (256, 3)) @ rng.integers(-20, 20, (3, 256)) + 7
        return Multiplier("low-rank", exact_table(is_signed) + error, is_signed)

    return make
