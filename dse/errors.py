"""The error tree: one root, few leaves, each leaf also the builtin that callers would expect.

A message says what is wrong with the value, what was expected, and what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class DseError(Exception):
    """Root of every error that dse raises on purpose.

    >>> import dse
    >>> try:
    ...     dse.open_run("runs/nothing")
    ... except dse.DseError as error:
    ...     print(error)
    runs/nothing is not a directory: expected a run directory. Make one with `dse explore --out runs/nothing`
    """


class ConfigError(DseError, ValueError):
    """A run file or option has an unknown key or a value outside its range."""


class MultiplierError(DseError, ValueError):
    """A multiplier, its table or a library of them cannot be used as asked."""


class ShapeError(DseError, ValueError):
    """An array has another shape or type than the operation needs."""


class DataError(DseError, ValueError):
    """A dataset is missing, truncated, empty or of the wrong shape."""


class NetworkError(DseError, ValueError):
    """A network or its weights cannot be used as asked."""


class UnsupportedLayerError(DseError, NotImplementedError):
    """A network holds a layer that has multiplications dse cannot simulate."""


class RunError(DseError, RuntimeError):
    """A run directory cannot be created, continued or read."""


class MissingDependencyError(DseError, ImportError):
    """An optional package is needed and absent."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Message for a name that is not known: the nearest match, then the list.

    >>> unknown_name("network", "resnet2", ["resnet20", "lenet5"])
    "unknown network 'resnet2': did you mean 'resnet20'? Known: lenet5, resnet20"
    """
    names = sorted(known)
    match = get_close_matches(name, names, n=1)
    hint = f"did you mean {match[0]!r}? " if match else ""
    return f"unknown {kind} {name!r}: {hint}Known: {', '.join(names)}"
