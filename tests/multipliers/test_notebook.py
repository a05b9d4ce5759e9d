"""dse.multipliers.notebook: libraries and multipliers as notebooks show them."""

import dse


def test_library():
    library = dse.load_library("builtin", is_signed=False)
    text = library._repr_html_()
    assert text.count("<title>") == len(library)
    assert text.count("<tr>") == len(library)  # and a row of names, with a style
    assert len(text) < 30_000


def test_both_signednesses():
    library = dse.load_library("builtin")
    assert library._repr_html_().count("<title>") == len(library)


def test_no_picture_where_costs_or_errors_are_unknown():
    exact = dse.Multiplier.from_function("exact", lambda a, b: a * b, is_signed=False)
    wrong = dse.Multiplier.from_function("wrong", lambda a, b: a & ~1, is_signed=False)
    assert "<svg" not in dse.Library([exact, wrong])._repr_html_()
    assert "<svg" not in dse.Library([])._repr_html_()


def test_multiplier():
    library = dse.load_library("builtin")
    assert "heat map" in library["u8_drum4"]._repr_html_()
    assert "heat map" not in library["u8_exact"]._repr_html_()
    assert "274 gates" in library["u8_drum4"]._repr_html_()
    assert len(library["u8_drum4"]._repr_html_()) < 40_000
