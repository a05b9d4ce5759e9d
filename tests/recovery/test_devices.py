"""Learning on another device: the same network comes of it, and no tensor is left behind on the CPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils._pytree import tree_map_only

from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.recovery import finetuning, reconstruction, table_layers
from dse.recovery.finetuning import finetune, finetuning_key
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.recovery.operators import OperatorBank, Recovery
from dse.recovery.switchable import SwitchableNetwork
from dse.recovery.table_layers import LearningNetwork
from dse.simulation.devices import CPU
from dse.simulation.gpu import Gpu, is_exact
from dse.testing.tiny import tiny_library, tiny_split

from .learners import NETWORKS, SPLIT, random_rows
from .stand_in import stand_in_device
from .test_finetuning import assert_same_network

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

SETTINGS = FinetuningSettings(epochs=1, batch_size=16, learning_rate=3e-3)
TRAINING, VALIDATION = tiny_split(32, seed=1), tiny_split(24, seed=2)


def bank_on(device, network="tiny", *, backend="auto", **recovery):
    integer = quantize_network(NETWORKS[network](), SPLIT, scheme=scheme_for(False))
    recovery = Recovery(**recovery)
    return OperatorBank(integer, tiny_library(), SPLIT, recovery=recovery, backend=backend, device=device)


def tune(bank, n_points=2, settings=SETTINGS, **options):
    return finetune(bank, random_rows(bank, n_points), TRAINING, VALIDATION, settings, **options)


@pytest.fixture(scope="module", autouse=True)
def _exact_products():
    if not is_exact(Gpu(CPU)):
        pytest.skip("torch._int_mm saturates on this processor, so no GPU can be stood in for")


@pytest.fixture
def device(monkeypatch):
    """Stands in for a GPU, and like one computes backward in float32."""
    monkeypatch.setattr(table_layers, "_has_bfloat16", lambda: False)
    monkeypatch.setattr(reconstruction, "SWEEPS", 1)  # each operation is slow there
    with stand_in_device(monkeypatch) as device:
        yield device


def test_the_stand_in_refuses_tensors_of_the_cpu(device):
    there, here = torch.arange(3.0, device=device), torch.ones(3)
    assert (there.to(device) is there, (there + 1).device, (there + 1).cpu().tolist()) == (True, device, [1, 2, 3])
    assert torch.tensor([5.0, 6.0], device=device)[1].item() == 6
    assert (there * torch.tensor(2.0)).sum().item() == 6
    for mixed in (lambda: there + here, lambda: torch.cat([there, here]), lambda: there.add_(here)):
        with pytest.raises(RuntimeError, match="two devices"):
            mixed()


@pytest.mark.parametrize("recovery", [{}, {"sum_compensation": True}])
def test_through_the_matrix_products_of_a_gpu(recovery):
    expected = tune(bank_on(CPU, **recovery))
    moved = tune(bank_on(torch.device("cpu", 0), backend="gpu", **recovery))
    assert_same_network(expected, moved)
    assert moved.network.device == torch.device("cpu", 0)
    assert moved.key == expected.key


@pytest.mark.parametrize(
    ("network", "n_points", "changes", "recovery"),
    [
        ("tiny", 2, {}, {}),
        ("tiny", 1, {"gradient": "ste", "distillation": 0.0}, {"weight_tuning": "histogram"}),
        ("Varied", 2, {"gradient": "smoothed", "private": "affine"}, {"sum_compensation": True}),
        ("Undecided", 2, {"reconstruction": False}, {"fold_bias": False}),
        ("Shared", 1, {}, {"fold_bias": False}),
    ],
)
def test_no_tensor_is_left_behind(device, network, n_points, changes, recovery):
    settings = replace(SETTINGS, **changes)
    expected = tune(bank_on(CPU, network, **recovery), n_points, settings)
    moved = tune(bank_on(device, network, **recovery), n_points, settings)
    assert_same_network(expected, moved)
    assert moved.network.device == device
    assert all(vector.is_cpu for point in moved.network.points for k in range(2) for vector in point.owned(k))
    assert moved.key != expected.key


def test_neurons_that_differ(device):
    def learned(bank):
        n_neurons = sum(info.weight_shape[0] for info in bank.network.layers)
        rows = np.random.default_rng(0).integers(0, len(bank.library), (2, n_neurons))
        return finetune(bank, rows, TRAINING, VALIDATION, SETTINGS)

    assert_same_network(learned(bank_on(CPU)), learned(bank_on(device)))


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")  # which the stand-in carries out
def test_interrupted_and_continued(device, monkeypatch, tmp_path):
    """A checkpoint is read onto the CPU, wherever its tensors were."""
    bank, saved = bank_on(device, fold_bias=False), {}
    whole = tune(bank)

    def save(path, state):
        saved.update(tree_map_only(torch.Tensor, lambda tensor: tensor.cpu().clone(), state))

    def stop(n_done, n_steps, loss):
        if n_done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(finetuning, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(finetuning, "save_checkpoint", save)
    monkeypatch.setattr(finetuning, "load_checkpoint", lambda path, **_: saved or None)
    with pytest.raises(KeyboardInterrupt):
        tune(bank, checkpoint=tmp_path / "checkpoint.pt", on_step=stop)
    assert saved["n_done"] == 1
    assert_same_network(whole, tune(bank, checkpoint=tmp_path / "checkpoint.pt"))


def test_saved_here_and_loaded_there(device, tmp_path):
    bank, path = bank_on(CPU), tmp_path / "points.npz"
    model = LearningNetwork(bank, random_rows(bank, 2)).frozen()
    model.save(path)
    moved = SwitchableNetwork.load(path, bank.network, bank.library, device=device)
    np.testing.assert_array_equal(moved.ranks(SPLIT), model.ranks(SPLIT))
    assert torch.equal(moved(SPLIT.images).cpu(), model(SPLIT.images))
    moved.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_gradients_are_added_in_one_order(device):
    learner, seen = LearningNetwork(bank := bank_on(device, fold_bias=False), random_rows(bank, 1)), []
    learner.layers[0].weight.register_hook(lambda gradient: seen.append(torch.backends.cudnn.deterministic))
    learner.backward(F.cross_entropy(learner(SPLIT.images), SPLIT.labels.to(device)))
    assert seen == [True]
    assert not torch.backends.cudnn.deterministic


def test_keys_name_the_kind_of_another_device(monkeypatch):
    bank = bank_on(CPU)

    def key(device, n_points=1):
        bank.device = torch.device(device)
        return finetuning_key(bank, random_rows(bank, n_points), TRAINING, VALIDATION, SETTINGS)

    single, joint = key("cpu"), key("cpu", 2)
    assert key("cuda:0") == key("cuda:1") != single
    assert key("cpu:0") == single
    monkeypatch.setattr(finetuning, "JOINT_VERSION", finetuning.JOINT_VERSION + 1)
    assert key("cpu") == single
    assert key("cpu", 2) != joint


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("gradient", ["linear", "smoothed"])
def test_cuda_device(gradient):
    cuda, settings = torch.device("cuda", 0), replace(SETTINGS, gradient=gradient)
    one, two = (tune(bank_on(cuda), 2, settings) for _ in range(2))
    assert_same_network(one, two)
    expected = tune(bank_on(CPU), 2, settings)
    assert one.history[-1].loss == pytest.approx(expected.history[-1].loss, rel=0.05)
