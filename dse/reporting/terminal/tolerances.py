"""How a sweep of tolerances goes on, and what it found."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dse.reporting.terminal.live_line import LiveLine
from dse.reporting.terminal.output import Format, make_console, print_note, print_table
from dse.reporting.wording import duration
from dse.robustness.tolerances import Tolerances
from dse.runs.tolerance_sweep import SweepDirectory, SweepStart, tolerances_table


class SweepWatch:
    """Shows how a sweep of tolerances goes on: a live line at a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._line = LiveLine(make_console(to_stderr=True))

    def __enter__(self) -> "SweepWatch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the live line."""
        self._line.close()

    def on_start(self, start: SweepStart) -> None:
        """See `SweepObserver`."""
        self._line.print(f"directory {start.path}")
        self._line.print(
            f"{start.network} on {start.dataset}: {start.n_layers} layers, {start.method} weights, {start.n_images} "
            f"training images, {start.n_coefficients} coefficients, {start.n_finished} of them finished"
        )
        self._line.start("learning")

    def on_step(self, coefficient: float, n_done: int, n_steps: int, loss: float) -> None:
        """See `SweepObserver`."""
        text = f"coefficient {coefficient:g}: step {n_done} of {n_steps}, loss {loss:.4f}"
        if self._line.is_live:
            self._line.update(text, n_done=n_done, n_total=n_steps)
        elif n_done % max(1, n_steps // 4) == 0:
            self._line.print(text)

    def on_coefficient(self, found: Tolerances) -> None:
        """See `SweepObserver`."""
        self._line.print(f"coefficient {found.coefficient:g}: done in {duration(found.time_s)}")


def print_tolerances(found: Sequence[Tolerances], output_format: Format, *, path: Path) -> None:
    """One row a coefficient; json and csv have one a coefficient and layer."""
    if output_format != "table":
        print_table(tolerances_table(found), output_format)
        return
    print_table(tolerances_summary(found), "table", title=f"{path}: tolerances of {len(found[0].layers)} layers")
    directory = SweepDirectory(path)
    print_note(f"layer by layer in {directory.table}, drawn in {directory.picture.name}")


def tolerances_summary(found: Sequence[Tolerances]) -> pd.DataFrame:
    """A sweep in a few columns; sigmas are averaged by multiplications."""
    rows = [
        {
            "coefficient": each.coefficient,
            "mean sigma": (each.sigma * each.n_multiplications).sum() / each.n_multiplications.sum(),
            "smallest": each.sigma.min(),
            "at its layer": each.layers[int(each.sigma.argmin())],
            "saturated layers": int(each.is_saturated.sum()),
            "accuracy with noise %": f"{100 * each.accuracy_with_noise:.2f}",
            "accuracy %": f"{100 * each.accuracy:.2f}",
        }
        for each in found
    ]
    return pd.DataFrame(rows)
