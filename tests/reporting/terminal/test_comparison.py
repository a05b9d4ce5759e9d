"""dse.reporting.terminal.comparison: who is ahead, in words."""

from types import SimpleNamespace

import pandas as pd

from dse.reporting.terminal.comparison import standings_lines


def lines(*intervals, share_a=0.5, share_b=0.5):
    pair = {"group_a": "a", "group_b": "b"}
    return standings_lines(
        SimpleNamespace(
            ahead=pd.DataFrame([pair | interval for interval in intervals]),
            standings=pd.DataFrame([pair | {"share_a": share_a, "share_b": share_b, "mean_saved_more_pct": 1.0}]),
        )
    )


def interval(start, stop, ahead, more):
    return {"loss_from": start, "loss_to": stop, "ahead": ahead, "mean_saved_more_pct": more}


def test_one_everywhere():
    assert lines(interval(0.0, 10.0, "b", -3.0)) == ["b is ahead of a everywhere, by 3.0 % on average"]
    assert lines(interval(0.0, 10.0, "", 0.0)) == ["a and b save the same everywhere"]


def test_turns():
    found = lines(interval(0.0, 1.5, "", 0.0), interval(1.5, 4.0, "a", 2.0), interval(4.0, 10.0, "b", -1.0))
    assert found == [
        "a and b are ahead at 50 % and 50 % of the losses:",
        "   0.00 to  1.50 points: the same",
        "   1.50 to  4.00 points: a, by 2.0 % on average",
        "   4.00 to 10.00 points: b, by 1.0 % on average",
    ]
