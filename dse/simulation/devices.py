"""Names of devices that simulation can run on."""

import re

import torch

from dse.errors import ConfigError

DEVICE_PATTERN = r"auto|cpu|cuda(:[0-9]+)?"
CPU = torch.device("cpu")


def find_device(name: str) -> torch.device:
    """The device called `name`, a GPU with its index.

    Args:
        name: "auto" (the first GPU, or the CPU where there is none), "cpu", "cuda" or "cuda:N".

    Raises:
        ConfigError: another name, or a GPU that is not there.
    """
    if not re.fullmatch(DEVICE_PATTERN, name):
        raise ConfigError(f"device {name!r}: expected auto, cpu, cuda or cuda:N, with N the number of a GPU from 0")
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and n_gpus == 0):
        return CPU
    if n_gpus == 0:
        build = "" if torch.version.cuda or torch.version.hip else " (this build of PyTorch is for CPUs only)"
        raise ConfigError(f"device {name!r}: PyTorch finds no GPU here{build}. Use device 'auto' or 'cpu'")
    index = int(name.partition(":")[2] or 0)
    if index >= n_gpus:
        raise ConfigError(f"device {name!r}: there are {n_gpus} GPUs, expected cuda:0..cuda:{n_gpus - 1}")
    return torch.device("cuda", index)
