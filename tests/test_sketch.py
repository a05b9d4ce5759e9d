"""dse.sketch: small pictures as text."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from dse.sketch import HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Points, heat_map_png, scatter_svg


def circles(svg):
    """Centers of all circles that are no part of the legend."""
    root = ElementTree.fromstring(svg)
    found = [(float(each.get("cx")), float(each.get("cy"))) for each in root.iter("{http://www.w3.org/2000/svg}circle")]
    return [(x, y) for x, y in found if y < HEIGHT]


def test_places():
    points = Points("a & b", np.array([0.0, 10.0, 11.0]), np.array([0.0, 5.0, 1.0]), hints=["<1>", "two", "outside"])
    svg = scatter_svg([points], Axis("x", 0, 10), Axis("y", 0, 5))
    (x0, y0), (x1, y1) = circles(svg)
    assert (x0, x1, y1) == (LEFT, WIDTH - RIGHT, TOP)
    assert y0 > y1
    assert "outside" not in svg
    assert "&lt;1&gt;" in svg
    ((_, top),) = circles(
        scatter_svg([Points("p", np.zeros(1), np.zeros(1))], Axis("x", 0, 1), Axis("y", 0, 1, False, True))
    )
    assert top == TOP


def test_shapes_are_told_apart_without_color():
    kinds = [Points(shape, np.ones(1), np.ones(1), shape=shape) for shape in ("circle", "dot", "diamond")]
    marks = {re.sub(r'fill="#\w+"', "", scatter_svg([kind], Axis("x", 0, 2), Axis("y", 0, 2))) for kind in kinds}
    assert len(marks) == 3


def test_log_axis_draws_zero_at_its_edge():
    axis = Axis("error", 0.001, 10, is_log=True)
    np.testing.assert_allclose(axis.shares(np.array([0.0, 0.001, 0.1, 10.0])), [0, 0, 0.5, 1])
    np.testing.assert_allclose(axis.ticks(), [0.001, 0.01, 0.1, 1, 10])


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0, 68, [0, 20, 40, 60]), (-0.2, 0.8, [-0.2, 0, 0.2, 0.4, 0.6, 0.8]), (0, 1, None)]
)
def test_ticks_are_round(low, high, expected):
    ticks = Axis("x", low, high).ticks()
    assert 2 < len(ticks) <= 7
    assert low - 1e-9 <= ticks[0] <= ticks[-1] <= high + 1e-9
    if expected:
        np.testing.assert_allclose(ticks, expected, atol=1e-12)


def test_heat_map():
    text = heat_map_png(np.array([[0.0, 1.0], [4.0, 0.0]]))
    image = Image.open(io.BytesIO(base64.b64decode(text.split("base64,")[1].split('"')[0])))
    pixels = np.asarray(image)
    assert pixels.shape == (2, 2, 3)
    assert pixels[0, 0].tolist() == pixels[1, 1].tolist() == [255, 255, 255]
    assert pixels[1, 0].sum() < pixels[0, 1].sum() < 3 * 255
    assert heat_map_png(np.zeros((2, 2)))
