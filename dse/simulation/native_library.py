"""Finds and loads the native library (`csrc/`) and says which instruction-set level it runs at.

Environment variables:
    DSE_ISA: highest level to use, one of `LEVELS`; `off` switches the native library off.
    DSE_NATIVE_LIBRARY: path of another build, as a build with sanitizers.
"""

import ctypes
import logging
import multiprocessing
import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import dse.simulation
from dse.errors import ConfigError, RunError, unknown_name

ABI_VERSION = 7  # DSE_ABI_VERSION in csrc/native.h
LEVELS = ("portable", "avx2", "avx512", "avx512-vbmi")  # `enum dse_isa` in csrc/native.h, by position
OFF = "off"
FILE_NAMES = ("dse_native.so", "dse_native.dll")
REMEDY = (
    "simulation falls back to PyTorch's kernels, 2.7 times slower for the median multiplier and up to 40 times. To get "
    "the library, install a C compiler (such as gcc or clang) and repeat the installation: "
    "`pip install --force-reinstall --no-deps .` (with -e for an editable one)"
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NativeLibrary:
    """The native library, ready to be called.

    Attributes:
        path: the file.
        functions: the C functions of csrc/native.h; callers declare `argtypes` of theirs.
        best_isa: highest level, as a position in `LEVELS`, that this machine and this build can run.
        isa: level to use: `best_isa` unless DSE_ISA forces a lower one.
    """

    path: Path
    functions: ctypes.CDLL
    best_isa: int
    isa: int

    def __reduce__(self) -> tuple:
        """Travels to another process as the path and level."""
        return _reopen, (self.path, self.isa)

    @property
    def isa_name(self) -> str:
        """Level to use, by name."""
        return LEVELS[self.isa]

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the levels that can be forced here."""
        return LEVELS[: self.best_isa + 1]


def load() -> NativeLibrary | None:
    """The native library at the level of DSE_ISA, or `None` where it is switched off or absent.

    Absence is logged as a warning, once; worker processes leave that to their parent. The environment is read on every
    call, the file once.

    Raises:
        ConfigError: DSE_ISA or DSE_NATIVE_LIBRARY has a value that cannot be followed.
    """
    found = find()
    if isinstance(found, NativeLibrary):
        return found
    if not is_off() and multiprocessing.parent_process() is None:
        _warn_once(found)
    return None


def find() -> NativeLibrary | str:
    """As `load`, but in place of `None` and a warning the reason why there is no library.

    Raises:
        ConfigError: DSE_ISA or DSE_NATIVE_LIBRARY has a value that cannot be followed.
    """
    wanted = os.environ.get("DSE_ISA") or None
    if wanted not in (None, OFF, *LEVELS):
        problem = unknown_name("level", wanted, (*LEVELS, OFF))
        raise ConfigError(f"DSE_ISA={wanted}: {problem}. Choose one of these, or unset it for the best level")
    if wanted == OFF:
        return "switched off by DSE_ISA=off"
    override = os.environ.get("DSE_NATIVE_LIBRARY") or None
    opened = open_library(Path(override)) if override else _open_installed()
    if isinstance(opened, NativeLibrary):
        return opened if wanted is None else _forced(opened, wanted)
    if override:
        raise ConfigError(f"DSE_NATIVE_LIBRARY={override}: {opened}; give the path of a build of dse, or unset it")
    if wanted is not None:
        raise ConfigError(f"DSE_ISA={wanted}: there is no native library ({opened}); build it or unset DSE_ISA")
    return opened


def is_off() -> bool:
    """Whether DSE_ISA switches the native library off."""
    return os.environ.get("DSE_ISA") == OFF


@cache
def open_library(path: Path) -> NativeLibrary | str:
    """The library in the file `path`, at its best level, or the reason why it cannot be used.

    Opened once per path, so that `argtypes` that a caller declares stay declared.
    """
    if not path.is_file():
        return f"{path} is not a file"
    try:
        functions = ctypes.CDLL(str(path))
        version = functions.dse_abi_version()
        best_isa = functions.dse_best_isa()
    except (OSError, AttributeError) as error:
        return f"{path} cannot be loaded: {error}"
    if version != ABI_VERSION:
        return f"{path} has interface version {version}, but this dse needs {ABI_VERSION}: it is of another build"
    if not 0 <= best_isa < len(LEVELS):
        return f"{path} reports instruction-set level {best_isa}, expected 0 to {len(LEVELS) - 1}"
    return NativeLibrary(path=path, functions=functions, best_isa=best_isa, isa=best_isa)


def _reopen(path: Path, isa: int) -> NativeLibrary:
    opened = open_library(path)
    if not isinstance(opened, NativeLibrary):
        raise RunError(f"the native library of the parent process is gone ({opened}): repeat the command")
    return replace(opened, isa=isa)


@cache
def _open_installed() -> NativeLibrary | str:
    folders = dse.simulation.__path__  # an editable installation may add a folder of built files
    path = next((file for folder in folders for name in FILE_NAMES if (file := Path(folder) / name).is_file()), None)
    return "it was not built when dse was installed" if path is None else open_library(path)


def _forced(library: NativeLibrary, wanted: str) -> NativeLibrary:
    isa = LEVELS.index(wanted)
    if isa > library.best_isa:
        levels = ", ".join(library.levels)
        raise ConfigError(f"DSE_ISA={wanted}: this machine and build can run {levels}; choose one of these or unset it")
    return replace(library, isa=isa)


@cache
def _warn_once(reason: str) -> None:
    _log.warning("no native library (%s): %s", reason, REMEDY)
