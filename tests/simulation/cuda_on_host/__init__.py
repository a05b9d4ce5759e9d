"""CUDA kernels compiled for the processor, launched through the driver's interface: their logic runs without a GPU."""

import ctypes
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from dse.simulation.cuda_kernels import SOURCES, Kernels

HERE = Path(__file__).parent
_FLAGS = ["-std=c++17", "-O1", "-g", "-shared", "-fPIC", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror"]
_FOLDER = TemporaryDirectory(prefix="dse-cuda-on-host-")


def host_library(source: str, **defines: int) -> ctypes.CDLL:
    """A driver that has the kernels of `csrc/<source>.cu`; skips where there is no compiler."""
    if shutil.which("g++") is None:
        pytest.skip("no g++: CUDA kernels are compiled for the CPU by it")
    return _compile(source, tuple(defines.items()))


@cache
def _compile(source: str, defines: tuple[tuple[str, int], ...]) -> ctypes.CDLL:
    """`DSE_TEST_CXXFLAGS` adds compiler flags, such as those of a sanitizer."""
    path = Path(_FOLDER.name) / "-".join([source, *(f"{name}{value}" for name, value in defines)])
    flags = [*_FLAGS, "-Wno-unknown-pragmas", *os.environ.get("DSE_TEST_CXXFLAGS", "").split()]
    flags += [f"-D{name}={value}" for name, value in defines] + [f"-I{SOURCES}"]
    subprocess.run(["g++", *flags, str(HERE / f"{source}_on_host.cpp"), "-o", str(path)], check=True)
    return ctypes.CDLL(str(path))


def host_kernels(source: str, *, n_multiprocessors: int = 4, is_reversed: bool = False, **defines: int) -> Kernels:
    """The kernels of `csrc/<source>.cu` on the CPU.

    Args:
        source: "lookup" or "planes".
        n_multiprocessors: that the device pretends to have; many make blocks share a sum.
        is_reversed: threads run in falling order between barriers.
        defines: macros.
    """
    library = host_library(source, **defines)
    library.set_reversed(is_reversed)
    return Kernels(library, b"", device=torch.device("cpu"), n_multiprocessors=n_multiprocessors)
