import pytest
import torch

from dse.simulation import cuda_geometry
from dse.simulation.cuda_geometry import geometry, in_32_bits, share, tile_of
from dse.simulation.problem import integer_conv


def test_geometry_of_a_batch():
    weight = torch.zeros(6, 2, 3, 3, dtype=torch.uint8)
    problem = integer_conv(weight, torch.uint8, stride=(2, 3), groups=3)
    made = geometry(problem, 5, (700, 4, 2), strides=(2, 60, 6), n_taps=18)
    values = {name: getattr(made, name) for name, _ in made._fields_}
    assert values == {
        "n_positions": 40, "out_height": 4, "out_width": 2, "image_stride": 700, "group_stride": 2, "row_step": 120,
        "column_step": 18, "n_taps": 18, "n_outputs": 6, "group_outputs": 2,
    }  # fmt: skip


def test_batches_are_cut_where_32_bits_end(monkeypatch):
    monkeypatch.setattr(cuda_geometry, "_MAX_INDEX", 100)
    codes = torch.arange(7 * 30).view(7, 30)
    parts = in_32_bits(codes, 10)
    assert [len(part) for part in parts] == [3, 3, 1]
    assert torch.equal(torch.cat(list(parts)), codes)
    assert [len(part) for part in in_32_bits(codes, 1000)] == [1] * 7  # one image at least


@pytest.mark.parametrize(("n_outputs", "tile"), [(1, 8), (8, 8), (9, 16), (64, 64), (65, 16)])
def test_tile_with_the_least_work(n_outputs, tile):
    assert tile_of(n_outputs, (8, 16, 32, 64), overhead=4) == tile


@pytest.mark.parametrize(("n_steps", "n_blocks"), [(100, 1), (100, 50), (3, 1), (1, 7), (1000, 10)])
def test_shares_keep_multiprocessors_busy(n_steps, n_blocks):
    steps = share(n_steps, n_blocks, 20, smallest=4)
    assert min(4, n_steps) <= steps <= n_steps
    n_shares = -(-n_steps // steps)
    assert n_shares == 1 or n_shares * n_blocks <= 40
