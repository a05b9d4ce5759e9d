"""Fixtures shared by all tests."""

import os
import signal
from pathlib import Path

import pytest

# A shell has what it runs in the background ignore Ctrl-C, and what that starts too; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Tests run tiny networks, on which two threads spend their time waiting for each other. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Speeds measured beside other tests would be wrong, and kept for the user; and each machine would test other kernels.
os.environ.setdefault("DSE_KERNELS", "fixed")


def _shared_data_root() -> Path:
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("DSE_DATA", default))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Root of the reference data (`DSE_DATA`, or `../shared/data`); skips where it is absent."""
    root = _shared_data_root()
    if not root.is_dir():
        pytest.skip(f"reference data not found at {root}; set DSE_DATA to its folder")
    return root
