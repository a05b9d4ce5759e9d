"""dse.reporting.resilience: what is drawn of neurons."""

import numpy as np
import pytest

from dse.reporting.resilience import positions, positions_data, positions_png, scores, scores_data, scores_png
from dse.robustness.neuron_scores import LayerResilience, Resilience


def resilience(*shapes):
    rng = np.random.default_rng(0)
    layers = tuple(
        LayerResilience(f"layer{i}", rng.random(4 + i) + 0.1, np.ones(4 + i), rng.random(shape) + 0.5, 9)
        for i, shape in enumerate(shapes)
    )
    return Resilience(layers, n_images=50, loss=1.0, accuracy=0.5)


def test_scores_of_zero_are_counted_and_left_out():
    found = resilience((5, 5), (1, 1))
    found.layers[0].scores[1] = 0.0
    data = scores_data(found, title="net, data")
    assert [len(values) for values in data.scores] == [3, 5]
    assert (data.n_zero, data.title) == (1, "net, data, 50 images")
    ax = scores(data)
    assert ax.get_yscale() == "log"
    assert "1 neurons with a score of 0 not shown" in ax.get_title()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["layer0", "layer1"]
    assert scores_png(data).startswith(b"\x89PNG")


def test_a_layer_without_scores_is_drawn():
    found = resilience((5, 5), (1, 1))
    found.layers[1].scores[:] = 0.0
    assert scores_png(scores_data(found, title="")).startswith(b"\x89PNG")


def test_maps_are_relative_to_their_mean_and_only_of_layers_with_an_interior():
    data = positions_data(resilience((5, 7), (1, 1), (2, 2), (3, 3)), title="net, data")
    assert data.layers == ("layer0", "layer3")
    assert [values.shape for values in data.maps] == [(5, 7), (3, 3)]
    assert [values.mean() for values in data.maps] == pytest.approx([1.0, 1.0])


def test_many_maps_stand_in_rows():
    data = positions_data(resilience(*[(4, 4)] * 9), title="net, data")
    panels = [ax for ax in positions(data).axes if ax.images and ax.get_title()]
    assert [panel.get_title().splitlines()[0] for panel in panels] == [f"layer{i}" for i in range(9)]
    assert positions_png(data).startswith(b"\x89PNG")


def test_without_maps_the_picture_says_so():
    figure = positions(positions_data(resilience((1, 1)), title="net, data"))
    assert any("no layer has positions" in text.get_text() for text in figure.texts)
