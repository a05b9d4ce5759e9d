"""`dse.doctor`: what this machine brings."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def doctor() -> "pd.DataFrame":
    """What this machine and installation bring to simulation, and what would make it faster.

    Returns:
        One row a fact: section, name, value, and advice where something could be better, else an empty text.

    Raises:
        ConfigError: DSE_ISA or DSE_NATIVE_LIBRARY has a value that cannot be followed.

    >>> import dse
    >>> dse.doctor()["section"].unique()[:2].tolist()
    ['processor', 'native library']
    """
    from dataclasses import asdict

    import pandas as pd

    from dse.simulation.diagnosis import diagnose

    return pd.DataFrame([asdict(fact) for fact in diagnose()])
