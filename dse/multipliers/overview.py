"""What the commands `dse multipliers list`, `show` and `check` tell, as tables; see `dse.multipliers`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from dse.multipliers.library import Library


def list_multipliers(
    library: str | Path | Library = "builtin", *, signed: bool | None = None, compile_c: bool = False
) -> pd.DataFrame:
    """The multipliers of a library with cost and error metrics, cheapest first.

    Args:
        library: `builtin`, a table file, a folder of them, or a `Library`.
        signed: only these, or only unsigned ones.
        compile_c: C sources may be compiled and run; only those you trust.

    Returns:
        One row a multiplier; see `Library.to_dataframe` and `dse.multipliers.metrics`.

    >>> import dse
    >>> table = dse.multipliers.list(signed=False)
    >>> table[table["exact"]][["name", "cost", "unit", "energy_rel", "mae_pct"]]
            name   cost   unit  energy_rel  mae_pct
    36  u8_exact  424.0  gates         1.0      0.0
    """
    return _loaded(library, signed=signed, compile_c=compile_c).to_dataframe()


def show_multiplier(name: str, *, library: str | Path | Library = "builtin", compile_c: bool = False) -> pd.DataFrame:
    """Everything known about one multiplier.

    Args:
        name: or alias.
        library: as in `list`.
        compile_c: as in `list`.

    Returns:
        Columns property and value.

    >>> import dse
    >>> dse.multipliers.show("u8_drum4").set_index("property")["value"]["mae_pct"]
    1.41274...
    """
    from dse.multipliers.checks import describe

    return describe(_loaded(library, compile_c=compile_c)[name])


def check_multipliers(
    path: str | Path | Library, *, signed: bool | None = None, compile_c: bool = False
) -> pd.DataFrame:
    """Checks tables for traps: products of zero, swapped operands, zero power, metadata that disagrees.

    Args:
        path: of a table file or a folder of them; or a `Library`.
        signed: as in `list`.
        compile_c: as in `list`.

    Returns:
        One row a finding: multiplier, severity, finding and detail.

    >>> import dse
    >>> mine = dse.Multiplier.from_function("mine", lambda a, b: a * (b & ~1), is_signed=False)
    >>> dse.multipliers.check(dse.Library([mine]))[["severity", "finding"]]
      severity          finding
    0     info  not_commutative
    1  warning          no_cost
    """
    from dse.multipliers.checks import check_library

    return check_library(_loaded(path, signed=signed, compile_c=compile_c))


def _loaded(library: str | Path | Library, *, signed: bool | None = None, compile_c: bool = False) -> Library:
    from dse.multipliers.library import Library, load_library

    if isinstance(library, Library):
        return library.select(signed)
    return load_library(library, is_signed=signed, allow_compile=compile_c)
