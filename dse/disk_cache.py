"""Where dse keeps what takes long to find out and can be found out again, and how it is written.

A cache that cannot be read or written costs time on the next start, never correctness.
"""

import contextlib
import os
import tempfile
from pathlib import Path

from dse.errors import RunError
from dse.files import replace_file


def cache_directory() -> Path:
    """Folder of dse's disk caches (created on first write)."""
    if "DSE_CACHE" in os.environ:
        return Path(os.environ["DSE_CACHE"])
    if "XDG_CACHE_HOME" in os.environ:
        return Path(os.environ["XDG_CACHE_HOME"]) / "dse"
    try:
        return Path.home() / ".cache" / "dse"
    except RuntimeError:  # a user without a home, as in some containers
        return Path(tempfile.gettempdir()) / "dse"


def keep(path: Path, data: bytes) -> None:
    """Writes a file of the cache in one step. In a full or read-only folder nothing is written."""
    with contextlib.suppress(RunError):
        replace_file(path, data)
