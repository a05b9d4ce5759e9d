"""dse.reporting.pictures.style: looks that print, and no trace in matplotlib's settings."""

import matplotlib as mpl
import pytest
from matplotlib.colors import to_rgb

from dse.errors import ConfigError
from dse.reporting.pictures.style import COLORS, STYLES, looks, styled, width_inches


@pytest.mark.parametrize("style", [*STYLES, "grayscale"])
def test_settings_are_as_before_afterwards(style):
    before = dict(mpl.rcParams)
    mpl.rcParams["lines.linewidth"] = 7
    try:
        with styled(style):
            assert mpl.rcParams["pdf.fonttype"] == 42
            assert mpl.rcParams["lines.linewidth"] != 7  # a user's settings make no other pictures
        assert mpl.rcParams["lines.linewidth"] == 7
    finally:
        mpl.rcParams["lines.linewidth"] = before["lines.linewidth"]
    assert dict(mpl.rcParams) == before


def test_style_sheets_win(tmp_path):
    sheet = tmp_path / "mine.mplstyle"
    sheet.write_text("font.size: 11\n")
    with styled(str(sheet)):
        assert mpl.rcParams["font.size"] == 11
        assert mpl.rcParams["pdf.fonttype"] == 42


def test_unknown_styles_are_told(tmp_path):
    with pytest.raises(ConfigError, match="unknown style 'papr': did you mean 'paper'"), styled("papr"):
        pass
    sheet = tmp_path / "broken.mplstyle"
    sheet.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"), styled(str(sheet)):
        pass
    with pytest.raises(ConfigError, match="unknown style"), styled("http://127.0.0.1/x.mplstyle"):
        pass  # matplotlib would fetch it


@pytest.mark.parametrize(("width", "inches"), [("one", 3.5), ("two", 7.16), ("5.5", 5.5), (4, 4.0)])
def test_widths(width, inches):
    assert width_inches(width) == inches


@pytest.mark.parametrize("width", ["three", "0.5", 100, "nan"])
def test_widths_beyond_reason_are_refused(width):
    with pytest.raises(ConfigError, match=r"expected one \(3.5 inches\), two"):
        width_inches(width)


def test_many_things_look_different():
    found = looks(28)
    assert len({(look.color, look.dash) for look in found}) == 28
    assert len({look.marker for look in looks(7)}) == 7
    assert len(looks(30)) == 30


def luminance(color):
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


def test_colors_stand_out_from_paper():
    assert min((1.05) / (luminance(color) + 0.05) for color in COLORS) > 2
    assert len(set(COLORS)) == 7
