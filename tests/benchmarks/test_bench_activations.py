"""benchmarks/bench_activations.py: variants of a network, ratios of their times."""

import torch
from torch import nn

from dse.testing.tiny import tiny_split


def test_tanh_by_sigmoid_is_tanh(script):
    exact = script.lenet(nn.Tanh).eval()
    images = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(script.replaced(exact, nn.Tanh, script.TanhBySigmoid)(images), exact(images))


def test_every_network_is_timed_in_every_round(script):
    networks = {name: nn.Flatten() for name in ("exact", "other")}
    found = script.times(networks, tiny_split(8), batch_size=4, rounds=3)
    assert {name: len(values) for name, values in found.items()} == {"exact": 3, "other": 3}


def test_ratios_are_of_the_same_round(script):
    row = script._row("other", {"exact": [2.0, 4.0, 9.0], "other": [1.0, 2.0, 3.0]})
    assert (row["ratio"], row["ratio_quartile_1"], row["ratio_quartile_3"]) == (2.0, 2.0, 2.5)
    assert row["time_us"] == 2e6
