import numpy as np
import pytest
import torch

from dse.errors import ConfigError, MultiplierError, ShapeError
from dse.multipliers.families import drum
from dse.multipliers.multiplier import Multiplier, exact_table
from dse.simulation import ops
from dse.simulation.native import PermuteKernel
from dse.simulation.native_library import load
from dse.simulation.ops import BACKENDS, lut_conv2d, lut_linear, prepare
from dse.simulation.planner import KERNELS
from dse.simulation.problem import integer_conv


@pytest.fixture(params=sorted(BACKENDS))
def backend(request):
    """Every backend that this machine can run."""
    name, library = request.param, load()
    if name in KERNELS and library is None:
        pytest.skip("no native library")
    if name == "permute" and not PermuteKernel.fits(exact_table(False), library):
        pytest.skip(f"level {library.isa_name} has no byte permutes")
    return name


@pytest.mark.parametrize("is_signed", [False, True])
def test_exact_table_is_torchs_convolution(backend, is_signed, random_codes):
    rng, dtype = np.random.default_rng(0), torch.int8 if is_signed else torch.uint8
    x, w = random_codes((2, 4, 6, 7), dtype, rng), random_codes((6, 2, 3, 2), dtype, rng)
    result = lut_conv2d(
        x, w, exact_table(is_signed), stride=(1, 2), padding=(2, 1), dilation=(2, 1), groups=2, backend=backend
    )
    expected = torch.nn.functional.conv2d(x.double(), w.double(), None, (1, 2), (2, 1), (2, 1), 2)
    assert result.dtype == torch.int32
    assert result.is_contiguous()
    assert torch.equal(result.double(), expected)


def test_linear_is_a_sum_of_entries(backend, random_codes):
    rng, table = np.random.default_rng(0), drum(3).table
    x, w = random_codes((2, 3, 5), torch.uint8, rng), random_codes((4, 5), torch.uint8, rng)
    expected = torch.tensor(table)[x.long()[..., None, :], w.long()].sum(-1)
    result = lut_linear(x, w, torch.tensor(table), backend=backend)
    assert torch.equal(result, expected.to(torch.int32))
    assert torch.equal(lut_linear(x[0, 0], w, table, backend=backend), result[0, 0])
    assert lut_linear(x[:0], w, table, backend=backend).shape == (0, 3, 4)


def test_padding_goes_through_the_table(backend):
    table = np.zeros((256, 256), dtype=np.int32)
    table[7, 3] = 5
    x, w = torch.zeros(1, 1, 1, 1, dtype=torch.uint8), torch.full((1, 1, 3, 3), 3, dtype=torch.uint8)
    assert lut_conv2d(x, w, table, padding=1, x_zero_point=7, backend=backend).item() == 8 * 5


@pytest.mark.parametrize("channels", [3, 200])  # sums below 2^24, which float32 holds, and beyond
@pytest.mark.parametrize("name", ["exact", "approximate", "zero"])
def test_rescaled_is_the_formula(backend, make_case, name, channels):
    case = make_case(False, channels=channels, outputs=18, x_zero_point=7)
    table = {"exact": exact_table(False), "approximate": drum(3).table, "zero": np.zeros((256, 256), dtype=np.int32)}
    multiplier = Multiplier(name, table[name], is_signed=False)
    scale, bias = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 18))).float()
    sums = prepare(case.problem, multiplier, "reference")(case.x).to(torch.float32)
    expected = sums.mul_(scale.view(1, -1, 1, 1)).add_(bias.view(1, -1, 1, 1))
    conv, before = prepare(case.problem, multiplier, backend), case.x.clone()
    for x in (case.x, case.x.contiguous(memory_format=torch.channels_last), case.x[:0]):
        assert torch.equal(ops.rescaled(conv, x, scale, bias), expected[: len(x)])
    assert torch.equal(case.x, before)


def test_tables_of_other_types_and_layouts():
    x, w = torch.full((1, 2), 9, dtype=torch.uint8), torch.full((1, 2), 7, dtype=torch.uint8)
    table = exact_table(False)
    for same in (table.astype(np.int64), table.astype(np.float64), np.asfortranarray(table), torch.tensor(table)):
        assert lut_linear(x, w, same).item() == 2 * 63
    assert lut_linear(x, w, torch.tensor(table, dtype=torch.float32, requires_grad=True)).item() == 2 * 63


def test_numpy_integers_are_integers():
    x, w = torch.ones(1, 1, 4, 4, dtype=torch.uint8), torch.ones(1, 1, 2, 2, dtype=torch.uint8)
    result = lut_conv2d(x, w, exact_table(False), stride=np.int64(2), padding=(np.int64(0), 1))
    assert result.shape == (1, 1, 2, 3)


@pytest.mark.parametrize("padding", [1.5, "same", (1, 2, 3), (1.0, 1)])
def test_refuses_bad_padding(padding):
    x = torch.ones(1, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(ShapeError, match="padding"):
        lut_conv2d(x, x, exact_table(False), padding=padding)


def test_refuses_bad_operands():
    x, w, table = torch.ones(1, 2, dtype=torch.uint8), torch.ones(3, 2, dtype=torch.uint8), exact_table(False)
    with pytest.raises(ShapeError, match="share a type"):
        lut_linear(x, w.to(torch.int8), table)
    with pytest.raises(ShapeError, match="expected x"):
        lut_linear(x, w[:, :1], table)
    with pytest.raises(ShapeError, match="uint8 or int8"):
        lut_linear(x.float(), w.float(), table)
    with pytest.raises(ConfigError, match="did you mean 'factored'"):
        lut_linear(x, w, table, backend="factord")
    for bad in (table[:255], table + 0.5, table.astype(object), table.tolist()[:3], "table"):
        with pytest.raises(MultiplierError):
            lut_linear(x, w, bad)


def test_refuses_overflow(backend):
    x = torch.full((1, 33026), 255, dtype=torch.uint8)
    with pytest.raises(ShapeError, match="int32"):
        lut_linear(x, x, exact_table(False), backend=backend)


def test_largest_sums_that_fit(backend):
    x = torch.full((1, 33025), 255, dtype=torch.uint8)
    assert lut_linear(x, x, exact_table(False), backend=backend).item() == 33025 * 65025


def test_refuses_codes_of_the_other_signedness(backend):
    problem = integer_conv(torch.zeros(1, 1, 1, 1, dtype=torch.int8), torch.int8)
    with pytest.raises(ShapeError, match="signedness"):
        prepare(problem, drum(3), backend)


def test_kernels_that_cannot_run_here_say_so(monkeypatch):
    x, wide = torch.zeros(1, 1, dtype=torch.uint8), np.zeros((256, 256), dtype=np.int32)
    wide[0, 0] = 2**16
    monkeypatch.setenv("DSE_ISA", "off")
    for kernel in KERNELS:
        with pytest.raises(ConfigError, match=f"'{kernel}' needs the native library"):
            lut_linear(x, x, exact_table(False), backend=kernel)
    monkeypatch.delenv("DSE_ISA")
    if load() is None:
        pytest.skip("no native library")
    with pytest.raises(ConfigError, match="'permute' cannot take multiplier .* Use 'rows'"):
        lut_linear(x, x, wide, backend="permute")
    monkeypatch.setenv("DSE_ISA", "portable")
    with pytest.raises(ConfigError, match="'permute' cannot take multiplier .* runs at portable"):
        lut_linear(x, x, exact_table(False), backend="permute")


def test_other_backends_compute_on_the_cpu_for_a_gpu():
    problem = integer_conv(torch.full((1, 1, 1, 1), 3, dtype=torch.uint8), torch.uint8)
    conv = prepare(problem, drum(3), "reference", device=torch.device("cuda", 0))
    moves = []

    class Codes:
        device = torch.device("cuda", 0)

        def cpu(self):
            return torch.full((2, 1, 1, 1), 5, dtype=torch.uint8)

    class Sums(torch.Tensor):
        def to(self, device):
            moves.append(device)
            return self.as_subclass(torch.Tensor)

    inner, conv._conv = conv._conv, lambda x: inner(x).as_subclass(Sums)
    assert conv(Codes()).flatten().tolist() == [15, 15]
    assert moves == [torch.device("cuda", 0)]


def test_a_gpu_takes_auto_and_gpu(monkeypatch):
    device = torch.device("cuda", 1)
    monkeypatch.setattr(ops, "open_gpu", lambda asked: ("opened", asked))
    monkeypatch.setattr(ops, "prepare_gpu", lambda problem, multiplier, gpu: gpu)
    problem = integer_conv(torch.zeros(1, 1, 1, 1, dtype=torch.uint8), torch.uint8)
    for backend in ("auto", "gpu"):
        assert prepare(problem, drum(3), backend, device=device) == ("opened", device)
