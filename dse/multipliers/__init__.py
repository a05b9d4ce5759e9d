"""Approximate multipliers as tables: reading, checking, costing and generating them.

`list`, `show` and `check` are the commands `dse multipliers list`, `show` and `check`.
"""

from dse.multipliers.overview import check_multipliers as check
from dse.multipliers.overview import list_multipliers as list
from dse.multipliers.overview import show_multiplier as show

__all__ = ["check", "list", "show"]
