"""Entry points `MODULE:FUNCTION`: the door for a user's own network or data.

`MODULE` is a dotted module name, looked up in the working directory first, then on `sys.path`, or the path of a
Python file (`some/dir/module.py:function`). The folder that the module came from stays on `sys.path`, so that worker
processes can unpickle classes defined there. Loading an entry point runs the user's code, as `python -m` would.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from dse.errors import DseError, unknown_name


def is_entry_point(text: str) -> bool:
    """Whether `text` looks like `MODULE:FUNCTION` rather than a plain name.

    >>> is_entry_point("example_networks:tiny"), is_entry_point("resnet20")
    (True, False)
    """
    module, separator, function = text.rpartition(":")
    return bool(separator and module and function.isidentifier())


def load_entry_point(text: str, *, error: type[DseError]) -> Callable[..., object]:
    """Import the function that `text` names.

    Args:
        text: `MODULE:FUNCTION` or `path/to/module.py:FUNCTION`.
        error: the leaf of the error tree to raise: `NetworkError` or `DataError`.

    Returns:
        The callable, not yet called.

    >>> from dse.errors import DataError
    >>> load_entry_point("math:sqrt", error=DataError)(9)
    3.0
    """
    module_name, _, function_name = text.rpartition(":")
    if not is_entry_point(text):
        raise error(f"{text!r} is not an entry point: expected MODULE:FUNCTION or path/to/module.py:FUNCTION")
    try:
        module = _import_file(Path(module_name), error) if _is_path(module_name) else _import_name(module_name, error)
    except DseError:
        raise
    except Exception as failure:  # the user's module may raise anything while it is imported
        raise error(f"importing {module_name!r} failed with {type(failure).__name__}: {failure}") from failure
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise error(unknown_name(f"function of {module_name}", function_name, known))
    return function


def call_entry_point(text: str, *arguments: object, error: type[DseError]) -> object:
    """Import and call an entry point; whatever it raises becomes `error`, with the cause attached."""
    function = load_entry_point(text, error=error)
    try:
        return function(*arguments)
    except DseError:
        raise
    except Exception as failure:  # as above: the user's function may raise anything
        given = "no arguments" if not arguments else f"arguments {arguments!r}"
        raise error(f"{text} called with {given} failed with {type(failure).__name__}: {failure}") from failure


def _is_path(module_name: str) -> bool:
    return module_name.endswith(".py") or "/" in module_name or "\\" in module_name


def _import_name(module_name: str, error: type[DseError]) -> ModuleType:
    _put_on_path(Path.cwd())
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as failure:
        if failure.name is None or not f"{module_name}.".startswith(f"{failure.name}."):
            raise  # the module exists, one of its own imports does not
        raise error(
            f"no module named {module_name!r} in {Path.cwd()} or on sys.path: expected an importable module; "
            f"run from its folder or give its path, as in some/dir/{module_name.rpartition('.')[2]}.py:FUNCTION"
        ) from None


def _import_file(path: Path, error: type[DseError]) -> ModuleType:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise error(f"no file {path}: expected a Python file before the colon")
    if not path.stem.isidentifier():
        raise error(f"{path.name} cannot be imported as a module: expected a name like my_network.py; rename the file")
    _put_on_path(path.parent)
    module = importlib.import_module(path.stem)
    found = getattr(module, "__file__", None)
    if found is None or Path(found).resolve() != path:
        raise error(f"{path} is hidden by another module {path.stem!r} ({found}); rename the file")
    return module


def _put_on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
