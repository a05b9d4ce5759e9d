"""dse.reporting.wording: numbers and names as people read them."""

from dse.reporting.wording import count_names


def test_names_are_counted():
    assert count_names("a;b;b") == "b (2), a (1)"
