"""Commands about what there is: `dse networks`, `dse doctor`."""

from dse.cli.options import Format, FormatOption
from dse.reporting.terminal.installation import print_diagnosis
from dse.reporting.terminal.output import print_table


def networks(output_format: FormatOption = Format.table) -> None:
    """List the networks and datasets that have a name."""
    import pandas as pd

    from dse.datasets import dataset_names
    from dse.networks.zoo import network_names

    rows = [("network", name) for name in network_names()] + [("dataset", name) for name in dataset_names()]
    print_table(pd.DataFrame(rows, columns=["kind", "name"]), output_format)


def doctor(output_format: FormatOption = Format.table) -> None:
    """Say what this machine and installation bring to simulation, and what would make it faster."""
    from dse.simulation.diagnosis import diagnose

    print_diagnosis(diagnose(), output_format)
