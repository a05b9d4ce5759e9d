import pytest
import torch

from dse.errors import ConfigError
from dse.simulation.devices import find_device


def _pretend(monkeypatch, n_gpus):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)


def test_without_a_gpu(monkeypatch):
    _pretend(monkeypatch, 0)
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:1"):
        with pytest.raises(ConfigError, match=r"finds no GPU here.*Use device 'auto' or 'cpu'"):
            find_device(name)


def test_with_gpus(monkeypatch):
    _pretend(monkeypatch, 2)
    assert find_device("auto") == find_device("cuda") == torch.device("cuda", 0)
    assert find_device("cuda:1") == torch.device("cuda", 1)
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"there are 2 GPUs, expected cuda:0..cuda:1"):
        find_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "CPU", "", "cpu:0", "cuda:0\n"])
def test_refuses_other_names(name):
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda or cuda:N"):
        find_device(name)
