"""A front and its points as tables."""

import pandas as pd

from dse.cost.neuron_choices import parse_choice
from dse.reporting.terminal.output import Format, print_note, print_table
from dse.reporting.wording import count_names, percent
from dse.runs.results import Run


def print_front(run: Run, output_format: Format) -> None:
    """The front of a finished run, and where its files are."""
    if output_format != "table":
        print_table(run.front, output_format)
        return
    print_table(front_summary(run), "table", title=f"{run.path}: {len(run.front)} points")
    print_note(f"{run.directory.front} and {run.directory.picture.name}; one point layer by layer: "
               f"dse show {run.path} --point K; to look around: dse report {run.path}")  # fmt: skip


def front_summary(run: Run) -> pd.DataFrame:
    """The columns of a front that fit a terminal, in percent and points."""
    front = run.front
    exact = front.loc[front["is_exact"], "accuracy"].iloc[0]
    interval = [f"{percent(a)} to {percent(b)}" for a, b in zip(front.accuracy_low, front.accuracy_high, strict=True)]
    summary = pd.DataFrame(
        {
            "point": front["point"],
            "energy saved %": front["energy_saved_pct"].map("{:.2f}".format),
            "accuracy %": front["accuracy"].map(percent),
            "95 % interval": interval,
            "lost (points)": (exact - front["accuracy"]).map(percent),
            "multipliers (layers)": front["assignment"].map(count_names),
        }
    )
    if "memory_rel" in front:
        summary.insert(2, "memory saved %", (100 * (1 - front["memory_rel"])).map("{:.2f}".format))
    tuned = finetuned_accuracies(run)
    if tuned:
        found = [tuned.get(point) for point in front["point"]]
        texts = ["" if accuracy is None else f"{percent(accuracy)} ({percent(exact - accuracy)})" for accuracy in found]
        summary.insert(len(summary.columns) - 1, "fine-tuned % (lost)", texts)
    return summary


def finetuned_accuracies(run: Run) -> dict[int, float]:
    """Accuracies on the report images of the points of a front that were fine-tuned, by point."""
    if not run.has_finetuned:
        return {}
    table = run.finetuned.dropna(subset="point")
    return dict(zip(table["point"].astype(int), table["accuracy"], strict=True))


def print_point(run: Run, point: int, output_format: Format) -> None:
    """The multiplier of every layer at one point."""
    table = run.assignment(point)
    row = run.front[run.front["point"] == point].iloc[0]
    title = f"point {point}: {row['energy_saved_pct']:.2f} % energy saved, accuracy {percent(row['accuracy'])} %"
    tuned = finetuned_accuracies(run).get(point)
    if tuned is not None:
        title += f", {percent(tuned)} % fine-tuned"
    if output_format == "table" and run.config.search.neuron_shares:
        table["multiplier"] = table["multiplier"].map(choice_text)
    print_table(table, output_format, title=title)


def choice_text(name: str) -> str:
    """A choice of neurons as people read it.

    >>> choice_text("mul8u_1JFF+mul8u_DM1@50")
    'mul8u_1JFF, mul8u_DM1 in the most resilient 50 %'
    """
    high, low, share_pct = parse_choice(name)
    return f"{high}, {low} in the most resilient {share_pct} %" if share_pct else name
