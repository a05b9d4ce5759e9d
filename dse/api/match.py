"""The public call `match`: designs that are going to be fine-tuned."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from dse.runs.matching import MatchObserver


def match(
    run: Any,
    *,
    energy_saved: Sequence[float],
    threads: int | None = None,
    network: Any = None,
    dataset: Any = None,
    library: Any = None,
    out: str | Path | None = None,
    watch: "MatchObserver | None" = None,
) -> "pd.DataFrame":
    """Matches designs on the errors that weights chosen for their tables will leave, see `dse.runs.matching`.

    Args:
        run: a directory of `explore` for the accelerator `free`, or what it returned.
        energy_saved: of the multiplications, in percent; one design for each, that saves at least so much.
        threads: of this process; by default as the run has them.
        network: the `torch.nn.Module` of a run that was made with one.
        dataset: likewise the `dse.datasets.Splits`.
        library: likewise the `Library`.
        out: the directory; by default `matched` in the run.
        watch: told how it goes on.

    Returns:
        One row a design: `energy_saved_pct`, `predicted_growth` of the cross entropy, `assignment`. `finetune` takes
        their file, `designs.csv`, as its `assignments`.

    Raises:
        DseError: what cannot be found or loaded, or a saving that no design reaches.

    >>> import dse
    >>> few = dse.load_library("builtin").select(names=["u8_bam_v8_h3", "u8_trunc5", "u8_exact"])
    >>> run = dse.explore(library=few, population_size=6, generations=1, out="runs/few")
    >>> designs = dse.match(run, energy_saved=[30], library=few)
    >>> bool(designs["energy_saved_pct"].iloc[0] >= 30)
    True
    """
    from dse.runs.matching import match_designs
    from dse.runs.preparation import Inputs

    return match_designs(
        getattr(run, "path", run), energy_saved, out=out, threads=threads, inputs=Inputs(network, dataset, library),
        observer=watch,
    )  # fmt: skip
