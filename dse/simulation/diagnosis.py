"""What this machine brings to simulation and what it lacks: the content of `dse doctor`."""

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from dse.disk_cache import cache_directory
from dse.errors import ConfigError
from dse.simulation.calibration import N_PLANES, PLANES, TABLE, example_layer
from dse.simulation.engines import OneDnnEngine, default_engine
from dse.simulation.gpu import open_gpu
from dse.simulation.native_library import LEVELS, REMEDY, NativeLibrary, find, is_off, load
from dse.simulation.planner import TYPICAL_POSITIONS, Plan, work_of

FEATURES = (
    "avx2", "avx512_f", "avx512_bw", "avx512_vl", "avx512_dq", "avx512_vbmi", "avx_vnni", "avx512_vnni", "amx_int8",
)  # fmt: skip
"""Instruction sets that make a difference to dse, as PyTorch calls them."""

FLOAT_ADVICE = (
    "PyTorch's int8 convolutions are missing or inexact on this processor, so float32 convolutions take their place: "
    "the results are the same, later. Processors with AVX-512 VNNI or AMX have them"
)


@dataclass(frozen=True)
class Fact:
    """One line of a diagnosis.

    Attributes:
        section: what it is about: processor, native library, torch, ...
        name: what is said about it.
        value: text.
        advice: what is slower than it could be and how to change that; empty where nothing is.
    """

    section: str
    name: str
    value: str
    advice: str = ""


def diagnose() -> list[Fact]:
    """Facts about this machine and installation, section by section.

    Raises:
        ConfigError: DSE_ISA or DSE_NATIVE_LIBRARY has a value that cannot be followed.
    """
    return [fact for section in SECTIONS for fact in section()]


def _processor() -> Iterator[Fact]:
    has = getattr(torch.cpu, "get_capabilities", dict)()  # older PyTorch cannot tell
    yield Fact("processor", "name", str(has.get("cpu_name") or platform.processor() or platform.machine()))
    yield Fact("processor", "cores for this process", str(_n_cores()))
    features = [feature for feature in FEATURES if has.get(feature)]
    yield Fact("processor", "features", ", ".join(features) or ("none of use" if has else "unknown"))


def _n_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def _native_library() -> Iterator[Fact]:
    section, found = "native library", find()
    if isinstance(found, NativeLibrary):
        yield Fact(section, "file", str(found.path))
        yield Fact(section, "levels that run here", ", ".join(found.levels))
        is_forced = found.isa < found.best_isa
        advice = f"DSE_ISA keeps the native library from {LEVELS[found.best_isa]}: unset it" if is_forced else ""
        yield Fact(section, "level in use", found.isa_name, advice)
        return
    advice = "DSE_ISA=off keeps the native library from being used: unset it" if is_off() else f"without it, {REMEDY}"
    yield Fact(section, "file", f"none: {found}", advice)


def _torch() -> Iterator[Fact]:
    is_int8 = isinstance(default_engine(), OneDnnEngine)
    yield Fact("torch", "version", torch.__version__)
    yield Fact("torch", "threads", str(torch.get_num_threads()))
    engine = "int8 (oneDNN)" if is_int8 else "float32"
    yield Fact("torch", "exact convolutions", engine, "" if is_int8 else FLOAT_ADVICE)


def _kernels() -> Iterator[Fact]:
    """What some layers go through here, the fastest first, by the speeds that this machine was measured at."""
    library = load()
    if library is None:
        return
    examples = {
        "3x3, 64 to 64 channels": example_layer(64, 64),
        "1x1, 96 to 24 channels": example_layer(96, 24, size=1),
        "depthwise 3x3": example_layer(32, 32, groups=32),
        "linear, one image": example_layer(256, 256, size=1),
    }
    for name, layer in examples.items():
        positions = 1 if name == "linear, one image" else TYPICAL_POSITIONS
        products = work_of(layer, positions).products
        for kind, planes in (("exact", None), (f"table of {N_PLANES - 1} planes", PLANES)):
            seconds = Plan(layer, TABLE, planes, library).estimates(positions)
            rates = sorted(((products / s / 1e9, kernel) for kernel, s in seconds.items()), reverse=True)
            text = ", ".join(f"{kernel} {rate:.3g}" for rate, kernel in rates)
            yield Fact("kernels: G products/s", f"{name}, {kind}", text)


def _cuda() -> Iterator[Fact]:
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [torch.cuda.get_device_name(i) for i in range(n_devices)]
    yield Fact("cuda", "devices", ", ".join(names) or "none")
    yield from (_gpu_kernels(torch.device("cuda", i)) for i in range(n_devices))


def _gpu_kernels(device: torch.device) -> Fact:
    name = f"kernels on {device}"
    try:
        gpu = open_gpu(device)
    except ConfigError as error:
        return Fact("cuda", name, "none", str(error))
    if gpu.lookups is None:
        return Fact("cuda", name, "int8 matrix products", f"the CUDA kernels are not used: {gpu.lack}")
    return Fact("cuda", name, ", ".join(["table lookups"] + ["planes on tensor cores"] * (gpu.planes is not None)))


def _cache() -> Iterator[Fact]:
    folder = cache_directory()
    yield Fact("cache", "folder", f"{folder}{'' if folder.is_dir() else ' (not there yet)'}")


SECTIONS: tuple[Callable[[], Iterator[Fact]], ...] = (_processor, _native_library, _torch, _kernels, _cuda, _cache)
