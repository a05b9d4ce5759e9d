"""dse.reporting.pictures.canvas: files that are the same for the same picture."""

import sys

import numpy as np
import pytest

from dse.errors import ConfigError
from dse.reporting.pictures.canvas import (
    FORMATS,
    MOST_LETTERS,
    format_of,
    name_layers,
    name_points,
    new_axes,
    picture_bytes,
)
from dse.reporting.pictures.style import styled


def drawn():
    with styled():
        ax = new_axes((3.5, 2.5))
        ax.plot([0, 1], [1, 0], label="a")
        ax.fill_between([0, 1], [0, 1], alpha=0.2)
        ax.set_title("mean of $2^{16}$")
        ax.legend()
    return ax.figure


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_same_picture_is_the_same_file(file_format, monkeypatch):
    with styled():
        first = picture_bytes(drawn(), file_format)
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")  # the clock must not matter
        assert picture_bytes(drawn(), file_format) == first
    assert b"Date" not in first or b"CreationDate" not in first


def test_fonts_are_embedded_as_publishers_ask():
    with styled():
        content = picture_bytes(drawn(), "pdf")
    assert b"/Type3" not in content
    assert b"/FontFile2" in content


def test_no_window_system_is_touched():
    had = "matplotlib.pyplot" in sys.modules
    picture_bytes(drawn(), "png")
    assert ("matplotlib.pyplot" in sys.modules) == had


def test_formats_by_ending():
    assert [format_of(name) for name in ("a.pdf", "b.v2.SVG", "c/d.png")] == ["pdf", "svg", "png"]
    for name in ("a", "a.jpg", "pdf.", "a.pdf/b"):
        with pytest.raises(ConfigError, match=r"ends in .pdf, .svg or .png"):
            format_of(name)


def test_as_many_names_as_there_is_room_for():
    layers = [f"layer{i}" for i in range(100)]
    ax = new_axes((3.5, 3.5))
    name_layers(ax.yaxis, layers, length_inches=2.5)
    assert [text.get_text() for text in ax.get_yticklabels()] == layers[::5]
    name_layers(ax.xaxis, layers[:3], length_inches=2.5)
    assert [text.get_rotation() for text in ax.get_xticklabels()] == [90, 90, 90]


def test_names_do_not_lie_on_each_other():
    ax = new_axes((3.5, 2.5))
    ax.set(xlim=(0, 1), ylim=(0, 1))
    name_points(ax, np.array([[0.5, 0.5]] * 9 + [[0.99, 0.1]]), [f"name{i}" for i in range(9)] + ["edge"])
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert [text.get_text() for text in ax.texts] == ["name0", "name1", "name2", "name3", "edge"]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert boxes[-1].x1 < ax.get_window_extent().x1


def test_names_do_not_lie_on_marks_without_a_name():
    others = np.array([[0.5 + step, 0.5 + up] for step in (0.1, -0.1) for up in (0.1, 0.0, -0.1)])
    for obstacles, n_named in ((None, 1), (others, 0)):
        ax = new_axes((3.5, 2.5))
        ax.set(xlim=(0, 1), ylim=(0, 1))
        name_points(ax, np.array([[0.5, 0.5]]), ["a name as wide"], others=obstacles)
        assert len(ax.texts) == n_named


def test_names_from_outside_are_short_and_no_formulas():
    ax = new_axes((3.5, 2.5))
    name_layers(ax.yaxis, ["n" * 300, "$\\frac{$", "a"], length_inches=2.0)
    picture_bytes(ax.figure, "png")  # a formula that cannot be read would fail
    shown = [text.get_text() for text in ax.get_yticklabels()]
    assert len(shown[0]) == MOST_LETTERS
    assert "…" in shown[0]
    assert shown[2] == "a"
    assert ax.get_position().width > 0.4
