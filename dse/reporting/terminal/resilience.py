"""What people see of a resilience characterization at a terminal."""

from pathlib import Path

from dse.reporting.terminal.live_line import LiveLine
from dse.reporting.terminal.output import Format, print_note, print_table
from dse.reporting.wording import percent
from dse.robustness.neuron_scores import Resilience
from dse.runs.characterization import CharacterizationDirectory, CharacterizationStart, layers_table


class CharacterizationWatch:
    """Shows how a characterization goes on; see `CharacterizationObserver`."""

    def __init__(self, line: LiveLine) -> None:
        self._line = line

    def on_start(self, start: CharacterizationStart) -> None:
        """See `CharacterizationObserver`."""
        self._line.print(f"directory {start.path}")
        self._line.print(
            f"{start.network} on {start.dataset}: {start.n_neurons} neurons in {start.n_layers} layers, "
            f"{start.n_images} training images"
        )
        self._line.start("propagating errors back", n_total=start.n_images)

    def on_batch(self, n_done: int, n_total: int) -> None:
        """See `CharacterizationObserver`."""
        self._line.update(f"{n_done} of {n_total} images", n_done=n_done, n_total=n_total)


def print_resilience(found: Resilience, output_format: Format, *, path: Path) -> None:
    """One row a layer, and where the files are; json and csv have one a neuron."""
    if output_format != "table":
        print_table(found.to_dataframe(), output_format)
        return
    table = layers_table(found).rename(
        columns={"score_median": "median score", "spread": "90 % / 10 %", "edge_ratio": "border / interior"}
    )
    print_table(table, "table", title=f"{path}: {found.n_neurons} neurons on {found.n_images} images")
    print_note(f"accuracy {percent(found.accuracy)} %, cross entropy {found.loss:.4g} on these images")
    directory = CharacterizationDirectory(path)
    maps = f" and {directory.positions_picture.name}" if directory.positions_picture.exists() else ""
    print_note(
        f"neuron by neuron in {directory.table}, by position in {directory.positions.name}, "
        f"drawn in {directory.picture.name}{maps}"
    )
