"""dse.reporting.terminal.output: what is printed."""

import pandas as pd

from dse.reporting.terminal.output import PLAIN_WIDTH, print_table


def test_piped_tables_hold_everything(capsys):
    table = pd.DataFrame({"name": ["x" * 300], "value": [1 / 3]})
    print_table(table, "csv")
    assert "x" * 300 + ",0.3333333333333333" in capsys.readouterr().out
    print_table(table, "json")
    assert '"value": 0.333333333333333' in capsys.readouterr().out
    print_table(table, "table")
    assert max(map(len, capsys.readouterr().out.splitlines())) <= PLAIN_WIDTH
