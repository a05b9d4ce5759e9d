"""dse.reporting.plot and dse.plot: pictures at their final size, and their files."""

import io
import re

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

import dse
from dse.config import parse_config
from dse.errors import ConfigError
from dse.reporting.plot_kinds import KINDS
from dse.runs.runner import run
from dse.testing.fakes import FakeEvaluator, use_fakes

RUN_KINDS = [kind for kind in KINDS if kind not in ("points", "finetuned", "memory")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_fakes(monkeypatch, FakeEvaluator())
        text = "[search]\npopulation_size = 8\ngenerations = 4"
        return run(parse_config(text), tmp_path_factory.mktemp("runs") / "one")


@pytest.mark.parametrize(
    ("kind", "width"), [*((kind, "one") for kind in RUN_KINDS), ("front", "two"), ("layers", "two")]
)
def test_text_is_readable_and_whole_at_the_final_size(finished, kind, width):
    figure = dse.plot(finished, kind=kind, width=width).figure
    assert figure.get_figwidth() == {"one": 3.5, "two": 7.16}[width]
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    assert len(texts) > 5
    assert min(text.get_fontsize() for text in texts) >= 6.9
    assert max(text.get_fontsize() for text in texts) < 9
    box = figure.get_tightbbox()
    assert min(box.x0, box.y0) > -0.05
    assert box.x1 < figure.get_figwidth() + 0.05
    assert box.y1 < figure.get_figheight() + 0.05


@pytest.mark.parametrize(("name", "start"), [("a.pdf", b"%PDF"), ("b.svg", b"<?xml"), ("c.PNG", b"\x89PNG")])
def test_files_are_the_same_each_time(finished, tmp_path, name, start):
    before = dict(mpl.rcParams)
    dse.plot(finished, kind="front", out=tmp_path / name)
    content = (tmp_path / name).read_bytes()
    assert content.startswith(start)
    dse.plot(finished, kind="front").save(tmp_path / "new" / name)
    assert (tmp_path / "new" / name).read_bytes() == content
    assert dict(mpl.rcParams) == before


def test_numbers_beside_the_picture(finished, tmp_path):
    picture = dse.plot(finished, kind="layers", data=tmp_path / "layers.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "layers.csv"), picture.table)
    assert repr(picture).startswith("Picture('layers', 3.50 x ")


def test_notebooks_show_it(finished):
    content = dse.plot(finished, kind="library")._repr_png_()
    assert content.startswith(b"\x89PNG")


def test_axes_of_ones_own(finished):
    axes = Figure().subplots(1, 2)
    picture = dse.plot(finished, kind="progress", ax=axes[1], title="mine")
    assert picture.axes is axes[1]
    assert axes[1].get_title() == "mine"
    assert not axes[0].has_data()
    assert dse.plot(finished, kind="tolerances", ax=axes[0]).axes is axes[0]


def test_titles_heights_and_limits(finished):
    picture = dse.plot(finished, title="", height=4, max_loss=3)
    assert picture.kind == "front"
    assert picture.axes.get_title() == ""
    assert picture.figure.get_figheight() == 4
    assert picture.axes.get_ylim()[0] == 3
    assert dse.plot(finished, kind="tolerances", title="mine").figure.get_suptitle() == "mine"


def test_serif_and_style_sheets(finished, tmp_path):
    sheet = tmp_path / "big.mplstyle"
    sheet.write_text("font.size: 12\n")
    big = dse.plot(finished, style=str(sheet)).axes.xaxis.label.get_fontsize()
    assert big == 12
    buffer = io.BytesIO(dse.plot(finished, style="serif").content("svg"))
    assert b"<svg" in buffer.getvalue()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "front.jpg"}, "ends in .pdf, .svg or .png"),
        ({"kind": "frnt"}, "unknown kind 'frnt'"),
        ({"width": "wide"}, "width wide: expected one"),
        ({"height": 0.1}, "height 0.1: expected inches"),
        ({"style": "no"}, "unknown style 'no'"),
        ({"x": "hours"}, "expected evaluations, images or time"),
        ({"max_loss": -50}, "max_loss -50: expected percentage points above"),
        ({"kind": "layers", "max_loss": 3}, "max_loss is for pictures of kind front, attainment"),
    ],
)
def test_wrong_wishes_are_told(finished, options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        dse.plot(finished, **options)


@pytest.mark.parametrize("title", ["$\\frac{$", "a $\\nope$"])
def test_formulas_that_cannot_be_read_are_named(finished, title):
    for ax in (None, Figure().add_subplot()):
        with pytest.raises(ConfigError, match="has a formula that matplotlib cannot read"):
            dse.plot(finished, title=title, ax=ax)


def test_titles_may_have_formulas_and_dollars(finished):
    for title in ("$\\alpha$ at 5 \\$", "costs 5 $"):
        assert dse.plot(finished, title=title).axes.get_title() == title


def test_what_matplotlib_warns_of_is_a_line(finished, caplog):
    content = dse.plot(finished, title="層").content("png")
    assert content.startswith(b"\x89PNG")
    assert [record.getMessage() for record in caplog.records][0].startswith("the font has no 層: boxes are drawn")
    caplog.clear()
    dse.plot(finished, width=1.5, height=1)
    assert "too small for what stands around it" in caplog.text
