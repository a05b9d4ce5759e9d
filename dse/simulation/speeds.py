"""The speeds of this machine: measured once (half a second), kept on disk per processor, build, level and threads.

`DSE_KERNELS=fixed` takes those of a machine that was measured beforehand.
"""

import hashlib
import json
import os
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path

import numpy as np
import torch

from dse.disk_cache import cache_directory, keep
from dse.errors import ConfigError, unknown_name
from dse.simulation.calibration import Speeds, measure_speeds
from dse.simulation.native_library import NativeLibrary

MODES = ("measured", "fixed")

_INT8 = (2.2e-12, 7e-11, 4.5e-10, 5e-11, 5.6e-11)
_LOOK_UPS = (8.5e-10, 2.8e-10)
FIXED = {
    "portable": Speeds(*_INT8, 6.6e-11, 6.5e-9, 4.9e-7, np.inf, np.inf, *_LOOK_UPS),
    "avx2": Speeds(*_INT8, 3.7e-11, 6.6e-9, 4e-7, np.inf, np.inf, *_LOOK_UPS),
    "avx512": Speeds(*_INT8, 3.2e-11, 7e-9, 3.6e-7, np.inf, np.inf, *_LOOK_UPS),
    "avx512-vbmi": Speeds(*_INT8, 3.2e-11, 7e-9, 3.6e-7, 2.2e-11, 1.2e-9, *_LOOK_UPS),
}
"""By level, from one thread of an AMD EPYC (Zen 5)."""


def load_speeds(library: NativeLibrary) -> Speeds:
    """Speeds of this machine at the library's level: measured now or before, or fixed where `DSE_KERNELS` says so.

    Raises:
        ConfigError: DSE_KERNELS has another value.
    """
    mode = os.environ.get("DSE_KERNELS") or "measured"
    if mode not in MODES:
        problem = unknown_name("choice", mode, MODES)
        raise ConfigError(f"DSE_KERNELS={mode}: {problem}. Choose one of these, or unset it to measure this machine")
    return FIXED[library.isa_name] if mode == "fixed" else _measured(library, torch.get_num_threads())


@cache
def _measured(library: NativeLibrary, n_threads: int) -> Speeds:
    path = _path(library, n_threads)
    speeds = _read(path)
    if speeds is None:
        speeds = measure_speeds(library)
        keep(path, json.dumps(asdict(speeds), indent=1).encode())
    return speeds


def _path(library: NativeLibrary, n_threads: int) -> Path:
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    built = library.path.stat().st_mtime_ns
    made_by = [str(library.path), built, library.isa_name, n_threads, torch.__version__]
    text = json.dumps([*made_by, sorted(map(str, capabilities.items()))])
    return cache_directory() / "speeds" / f"{library.isa_name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def _read(path: Path) -> Speeds | None:
    """None where the file is absent or damaged: then it is measured again."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Speeds(**{field.name: float(values[field.name]) for field in fields(Speeds)})
    except (OSError, ValueError, KeyError, TypeError):
        return None
