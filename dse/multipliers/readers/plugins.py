"""Libraries from installed packages, through the entry-point group `dse.multipliers`.

The entry point is a callable without arguments that returns a `Library` or a sequence of `Multiplier`; its name is what
`load_library` takes.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from dse.errors import MultiplierError
from dse.multipliers.multiplier import Multiplier

GROUP = "dse.multipliers"
"""Entry-point group of multiplier libraries."""


def read(name: str) -> list[Multiplier] | None:
    """Members of the plug-in of that name, None where no such plug-in is installed."""
    found = entry_points(group=GROUP, name=name)
    if not found:
        return None
    members = list(next(iter(found)).load()())
    if not members or not all(isinstance(m, Multiplier) for m in members):
        raise MultiplierError(
            f"plug-in {name!r} returned {members!r:.80}: expected a Library or a non-empty list of Multiplier; "
            "report it to the plug-in's author"
        )
    return members
