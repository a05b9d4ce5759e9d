"""What people see of operating points at a terminal."""

import pandas as pd

from dse.reporting.data import points_data
from dse.reporting.terminal.live_line import LiveLine
from dse.reporting.terminal.output import Format, make_console, print_note, print_table
from dse.reporting.wording import count_names, workers_text
from dse.runs.operating_points import PointsStart
from dse.runs.point_set import PointsDirectory, PointSet


class PointsWatch:
    """Shows how operating points are chosen: a live line at a terminal, else a line a stage. A context manager."""

    def __init__(self) -> None:
        self._line = LiveLine(make_console(to_stderr=True))
        self._stage, self._text = "", ""

    def __enter__(self) -> "PointsWatch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the live line."""
        self._line.close()

    def on_start(self, start: PointsStart) -> None:
        """See `PointsObserver`."""
        for line in start_lines(start):
            self._line.print(line)
        self._line.start("predicting errors")

    def on_learning(self, n_done: int, n_steps: int) -> None:
        """See `PointsObserver`."""
        if self._line.is_live:
            self._line.update(f"learning tolerances, step {n_done} of {n_steps}")
        elif n_done == 1:
            self._line.print(f"learning tolerances in {n_steps} steps")

    def on_stage(self, stage: str, detail: str = "") -> None:
        """See `PointsObserver`."""
        self._text = f"{stage}: {detail}" if detail else stage
        if stage != self._stage and not self._line.is_live:
            self._line.news(self._text)
        else:
            self._line.update(self._text)
        self._stage = stage

    def on_evaluation(self, n_left: int) -> None:
        """See `PointsObserver`."""
        self._line.update(f"{self._text}, {n_left} to simulate")


def start_lines(start: PointsStart) -> list[str]:
    """What is about to happen, in a few lines."""
    lines = [
        f"directory {start.path}",
        f"{start.n_points} operating points over {start.n_multipliers} of {start.n_library} multipliers by "
        f"{start.method}: {start.network} on {start.dataset}, {start.n_layers} layers, {start.n_images_search} search "
        f"and {start.n_images_report} report images of {start.run}, "
        f"{workers_text(start.jobs, start.threads, start.place)}",
        *start.notes,
    ]
    if start.n_journaled:
        lines.append(f"continuing: {start.n_journaled} evaluations are in the journal")
    return lines


def print_points(points: PointSet, output_format: Format) -> None:
    """The points, and where their files are; json and csv have all columns."""
    if output_format != "table":
        print_table(points.table, output_format)
        return
    names = ", ".join(points.multipliers)
    print_table(points_summary(points), "table", title=f"{points.path}: {len(points.table)} points over {names}")
    directory = PointsDirectory(points.path)
    print_note(f"layer by layer in {directory.table}, drawn in {directory.picture.name}")


def points_summary(points: PointSet) -> pd.DataFrame:
    """The columns that fit a terminal, in percent and points; the price is that of sharing multipliers."""
    table = points.table
    interval = [f"{100 * a:.2f} to {100 * b:.2f}" for a, b in zip(table.accuracy_low, table.accuracy_high, strict=True)]
    summary = pd.DataFrame(
        {
            "point": table["point"],
            "energy saved %": table["energy_saved_pct"].map("{:.2f}".format),
            "accuracy %": (100 * table["accuracy"]).map("{:.2f}".format),
            "95 % interval": interval,
            "lost (points)": (100 * (table["accuracy_exact"] - table["accuracy"])).map("{:.2f}".format),
            "lost, search images": (100 * (table["accuracy_exact_search"] - table["accuracy_search"])).map(
                "{:.2f}".format
            ),
            "multipliers (layers)": table["assignment"].map(count_names),
        }
    )
    price = pd.Series(points_data(points).price_pct, index=table.index[table["accuracy"].notna()])
    summary.insert(6, "front saves more %", price.reindex(table.index).map(lambda p: "" if pd.isna(p) else f"{p:.2f}"))
    return summary
