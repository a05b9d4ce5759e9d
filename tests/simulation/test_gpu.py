"""Which kernel computes a layer on a GPU, and what a device is trusted with."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dse.errors import ConfigError, ShapeError
from dse.evaluation import Evaluator
from dse.multipliers.families import drum, exact
from dse.multipliers.multiplier import Multiplier, exact_table
from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.recovery.operators import OperatorBank, Recovery
from dse.simulation import cuda_kernels, ops
from dse.simulation import gpu as gpu_module
from dse.simulation.gpu import Gpu, is_exact, open_gpu, prepare_gpu
from dse.simulation.int8_matmul import MatmulConv
from dse.simulation.lookup import LookupConv
from dse.simulation.planes import PlanesConv
from dse.simulation.problem import integer_conv
from dse.testing.tiny import tiny_library, tiny_network, tiny_split

from .cuda_on_host import host_kernels, host_library
from .gpu_cases import check

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def gpu():
    return Gpu(CPU, lambda words: host_kernels("planes", WORDS=words), host_kernels("lookup", BUFFERS=2), 2)


def _random_multiplier():
    noise = np.random.default_rng(0).integers(-9, 9, (256, 256))
    return Multiplier("random", exact_table(False) + noise, is_signed=False)


def test_few_planes_go_to_tensor_cores_all_else_is_looked_up(gpu, make_case):
    case = make_case(False, outputs=64)
    depthwise = make_case(False, channels=6, outputs=6, groups=6)
    assert type(prepare_gpu(case.problem, exact(), gpu)) is PlanesConv
    assert type(prepare_gpu(case.problem, drum(3), gpu)) is PlanesConv
    assert type(prepare_gpu(case.problem, _random_multiplier(), gpu)) is LookupConv
    assert type(prepare_gpu(depthwise.problem, exact(), gpu)) is LookupConv


def test_what_is_missing_is_not_used(gpu, make_case):
    problem = make_case(False, outputs=64).problem
    assert type(prepare_gpu(problem, drum(3), replace(gpu, planes=None))) is LookupConv
    assert type(prepare_gpu(problem, _random_multiplier(), replace(gpu, lookups=None))) is PlanesConv
    assert type(prepare_gpu(problem, _random_multiplier(), Gpu(CPU))) is MatmulConv


def test_every_choice_is_exact(gpu, make_case):
    case = make_case(False, outputs=9, size=(4, 4), x_zero_point=3)
    for multiplier in (exact(), drum(3), _random_multiplier()):
        for device in (gpu, Gpu(CPU)):
            check(prepare_gpu(case.problem, multiplier, device), multiplier.table, case.x)


def test_refuses_sums_beyond_int32(gpu):
    problem = integer_conv(torch.full((3, 33026, 1, 1), 255, dtype=torch.uint8), torch.uint8)
    with pytest.raises(ShapeError, match="int32"):
        prepare_gpu(problem, exact(), gpu)


class _Idle:
    device, n_multiprocessors = CPU, 4

    def launch(self, *_, **__):
        pass


def test_self_test_finds_wrong_kernels(gpu):
    assert is_exact(gpu)
    assert not is_exact(replace(gpu, planes=lambda words: _Idle()))
    assert not is_exact(replace(gpu, lookups=_Idle()))


def test_self_test_asks_nothing_that_is_not_used(gpu, monkeypatch):
    """GPUs without int8 on tensor cores may refuse matrix products."""

    def refuse(a, b):
        raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED")

    monkeypatch.setattr(torch, "_int_mm", refuse)
    assert is_exact(replace(gpu, planes=None))


def test_device_without_exact_products_is_refused(monkeypatch):
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: torch.zeros(len(a), b.shape[1], dtype=torch.int32))
    with pytest.raises(ConfigError, match="use device 'cpu'"):
        open_gpu.__wrapped__(CPU)


def test_kernels_that_fail_are_replaced_with_a_warning(monkeypatch, caplog):
    def refuse(device):
        raise OSError("libnvrtc.so.13 was not found")

    monkeypatch.setattr(gpu_module, "_with_kernels", refuse)
    monkeypatch.setattr(gpu_module, "Gpu", lambda device: Gpu(CPU))
    found = open_gpu.__wrapped__(torch.device("cuda", 0))
    assert (found.lookups, found.lack) == (None, "libnvrtc.so.13 was not found")
    assert "libnvrtc.so.13 was not found" in caplog.text


@pytest.mark.parametrize(
    ("capability", "shared_bytes", "n_buffers", "has_planes"),
    [((7, 0), 98304, 2, False), ((7, 5), 65536, 1, True), ((9, 0), 232448, 2, True)],
)
def test_kernels_are_compiled_for_the_device(monkeypatch, capability, shared_bytes, n_buffers, has_planes):
    """All but the GPU: NVRTC gives the name of a variant, and the driver is that of the tests."""
    properties = SimpleNamespace(
        major=capability[0], minor=capability[1], multi_processor_count=4, shared_memory_per_block_optin=shared_bytes
    )
    architectures, last = set(), {}

    def compile_source(text, architecture, defines, *, library):
        architectures.add(architecture)
        last.update(source="lookup" if "lookup_columns" in text else "planes", defines=dict(defines))
        return b"image"

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(cuda_kernels, "nvrtc", lambda: None)
    monkeypatch.setattr(cuda_kernels, "compile_source", compile_source)
    monkeypatch.setattr(gpu_module, "load_kernels", cuda_kernels.load_kernels.__wrapped__)
    monkeypatch.setattr(cuda_kernels, "driver", lambda: host_library(last["source"], **last["defines"]))
    found = gpu_module._with_kernels(CPU)
    assert (found.n_buffers, found.planes is not None) == (n_buffers, has_planes)
    if capability == (7, 5):
        assert is_exact(found)
    assert architectures == {f"sm_{capability[0]}{capability[1]}"}


def test_a_network_through_the_kernels(gpu, monkeypatch):
    monkeypatch.setattr(ops, "open_gpu", lambda device: gpu)
    calibration, images = tiny_split(20), tiny_split(10, seed=1)
    assignments = np.array([[0, 1, 2, 3], [4, 5, 0, 1]])
    hits = []
    for backend in ("gpu", "reference"):
        network = quantize_network(tiny_network(), calibration, scheme=scheme_for(False))
        bank = OperatorBank(network, tiny_library(), calibration, recovery=Recovery(True, True), backend=backend)
        hits.append(Evaluator(bank, images).correct(assignments, 0, 10))
    assert np.array_equal(*hits)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_device(make_case):
    device = torch.device("cuda", 0)
    found = open_gpu(device)
    assert found.lookups is not None
    for outputs, groups in ((64, 1), (10, 1), (6, 6)):
        case = make_case(False, channels=6, outputs=outputs, groups=groups, size=(15, 16), n=5, x_zero_point=3)
        for multiplier in (exact(), drum(3), _random_multiplier()):
            conv = prepare_gpu(case.problem, multiplier, found)
            expected = prepare_gpu(case.problem, multiplier, Gpu(CPU))(case.x)
            assert torch.equal(conv(case.x.to(device)).cpu(), expected)
