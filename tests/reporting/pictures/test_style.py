"""dse.reporting.pictures.style: looks that print, and no trace in matplotlib's settings."""

import matplotlib as mpl
import numpy as np
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


# Machado, Oliveira & Fernandes, IEEE TVCG 15(6), 2009: what people without one kind of cones see, of linear RGB.
BLINDNESS = {
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def lab(linear):
    """CIE L*a*b* of linear RGB, D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.clip(to_xyz @ linear / [0.9505, 1.0, 1.089], 0, None))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", BLINDNESS)
def test_colors_differ_for_color_blind_people(kind):
    linear = [
        np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(x)]) for x in COLORS
    ]
    seen = [lab(np.clip(BLINDNESS[kind] @ color, 0, 1)) for color in linear]
    distances = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(distances) > 9  # 2.3 is just noticeable
