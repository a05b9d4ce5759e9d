"""What people see of fine-tuning at a terminal."""

import time

import pandas as pd

from dse.reporting.terminal.live_line import LiveLine
from dse.reporting.terminal.output import Format, print_note, print_table
from dse.reporting.wording import count_names, duration, percent
from dse.runs.finetuned import FinetuneDirectory, FinetunedPoints
from dse.runs.finetuning import FinetuneStart


class FinetuneWatch:
    """Shows how fine-tuning goes on; see `FinetuneObserver`."""

    def __init__(self, line: LiveLine) -> None:
        self._line = line
        self._start: FinetuneStart | None = None
        self._name, self._accuracy = "", ""
        self._n_left = 0
        self._n_spent, self._spent_s = 0, 0.0  # steps of this process but the first of each point
        self._stepped_at: float | None = None

    def on_start(self, start: FinetuneStart) -> None:
        """See `FinetuneObserver`."""
        self._start = start
        for text in start_lines(start):
            self._line.print(text)
        self._line.start("measuring")

    def on_job(self, name: str, n_left: int) -> None:
        """See `FinetuneObserver`."""
        self._name, self._n_left, self._accuracy, self._stepped_at = name, n_left, "", None
        self._line.update(f"{name}: measuring")

    def on_hardening(self, n_done: int, n_steps: int, loss: float) -> None:
        """See `FinetuneObserver`."""
        text = f"{self._name}: learning to bear noise, step {n_done} of {n_steps}, loss {loss:.4f}"
        self._line.update(text, n_done=n_done, n_total=n_steps)

    def on_layer(self, n_done: int, n_layers: int) -> None:
        """See `FinetuneObserver`."""
        text = f"{self._name}: choosing weights for their tables, layer {n_done} of {n_layers}"
        self._line.update(text, n_done=n_done, n_total=n_layers)

    def on_step(self, n_done: int, n_steps: int, loss: float) -> None:
        """See `FinetuneObserver`."""
        left = self._time_left(n_steps - n_done + self._n_left * n_steps)
        epoch = -(-n_done * self._start.n_epochs // n_steps)
        text = (  # what a narrow terminal cuts off comes last
            f"{self._name}: {left}epoch {epoch} of {self._start.n_epochs}, loss {loss:.4f}, "
            f"step {n_done} of {n_steps}{self._accuracy}"
        )
        self._line.update(text, n_done=n_done, n_total=n_steps)

    def _time_left(self, n_steps: int) -> str:
        now = time.monotonic()
        if self._stepped_at is not None:
            self._n_spent, self._spent_s = self._n_spent + 1, self._spent_s + now - self._stepped_at
        self._stepped_at = now
        return f"about {duration(n_steps * self._spent_s / self._n_spent)} left, " if self._n_spent else ""

    def on_epoch(self, epoch: int, accuracies: tuple[float, ...]) -> None:
        """See `FinetuneObserver`."""
        text = ", ".join(percent(accuracy) for accuracy in accuracies)
        self._accuracy = f", {text} % of validation images"
        when = f"after epoch {epoch}" if epoch else "before learning"
        self._line.print(f"{self._name}: {text} % of validation images {when}")

    def on_result(self, name: str, accuracy_untuned: float, accuracy: float, time_s: float) -> None:
        """See `FinetuneObserver`."""
        self._line.print(
            f"{name}: {percent(accuracy_untuned)} to {percent(accuracy)} % of the report images in {duration(time_s)}"
        )


def start_lines(start: FinetuneStart) -> list[str]:
    """What is about to happen, in a few lines."""
    device = "" if start.device == "cpu" else f" on {start.device}"
    finished = f", {start.n_finished} of them finished" if start.n_finished else ""
    return [
        f"directory {start.path}",
        f"{start.network} on {start.dataset}: {start.n_layers} layers, {start.n_images_training} training, "
        f"{start.n_images_validation} validation and {start.n_images_report} report images of {start.source}, "
        f"{start.n_epochs} epochs, {start.threads} threads{device}",
        f"{start.n_jobs} to fine-tune{finished}",
    ]


def print_finetuned(points: FinetunedPoints, output_format: Format) -> None:
    """The points, and where their files are; json and csv have all columns."""
    if output_format != "table":
        print_table(points.table, output_format)
        return
    title = f"{points.path}: {len(points.table)} fine-tuned points"
    print_table(finetuned_summary(points.table), "table", title=title)
    directory = FinetuneDirectory(points.path)
    print_note(f"layer by layer in {directory.table}, drawn in {directory.picture.name}")


def finetuned_summary(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that fit a terminal, in percent and points."""
    lost = 100 * (table["accuracy_exact"] - table[["accuracy_untuned", "accuracy"]].T).T
    summary = pd.DataFrame(
        {
            "point": table["name"].str.removeprefix("point_"),
            "energy saved %": table["energy_saved_pct"].map("{:.2f}".format),
            "untuned %": table["accuracy_untuned"].map(percent),
            "tuned %": table["accuracy"].map(percent),
            "95 % interval": [
                f"{percent(a)} to {percent(b)}" for a, b in zip(table.accuracy_low, table.accuracy_high, strict=True)
            ],
            "lost untuned (points)": lost["accuracy_untuned"].map("{:.2f}".format),
            "lost tuned": lost["accuracy"].map("{:.2f}".format),
            "best epoch": [f"{a} of {b}" for a, b in zip(table.best_epoch, table.epochs, strict=True)],
            "multipliers (layers)": table["assignment"].map(count_names),
        }
    )
    if "overhead_pct" in table:
        summary.insert(8, "private parameters %", table["overhead_pct"].map("{:.2f}".format))
    return summary
