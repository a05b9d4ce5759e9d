import numpy as np
import pytest
import torch

from dse.errors import NetworkError
from dse.networks.weight_files import load_weights, read_weights
from dse.networks.zoo import create_network


def _state():
    return dict(create_network("lenet5").state_dict())


def test_npz_equals_pt(tmp_path):
    state = _state()
    torch.save(state, tmp_path / "w.pt")
    np.savez(tmp_path / "w.npz", **{name: value.numpy() for name, value in state.items()})
    one, other = read_weights(tmp_path / "w.pt"), read_weights(tmp_path / "w.npz")
    assert one.keys() == other.keys() == state.keys()
    assert all(torch.equal(one[name], other[name]) for name in state)


def test_checkpoint_with_state_dict_inside(tmp_path):
    torch.save({"state_dict": _state(), "epoch": 3}, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt").keys() == _state().keys()


def test_missing_file(tmp_path):
    with pytest.raises(NetworkError, match="no weights file"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.npz"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut"])
def test_unreadable(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NetworkError, match="expected a state dict"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["w.pt", "w.npz"])
def test_truncated(tmp_path, name):
    state = _state()
    file = tmp_path / name
    torch.save(state, file) if name == "w.pt" else np.savez(
        file, **{key: value.numpy() for key, value in state.items()}
    )
    file.write_bytes(file.read_bytes()[:-3000])
    with pytest.raises(NetworkError, match="expected a state dict"):
        read_weights(file)


def test_whole_modules_are_not_loaded(tmp_path):
    torch.save(create_network("lenet5"), tmp_path / "w.pt")
    with pytest.raises(NetworkError, match="more than tensors"):
        read_weights(tmp_path / "w.pt")


def test_not_a_state_dict(tmp_path):
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(NetworkError, match="does not hold a state dict"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_weights_are_named(tmp_path, value):
    state = _state()
    state["features.3.weight"][1, 2, 0, 0] = value
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(NetworkError, match=r"parameter features\.3\.weight has 1 NaN or infinite values of 2400"):
        read_weights(tmp_path / "w.pt")


def test_other_names():
    state = _state()
    state["fc.weight"] = state.pop("linear.weight")
    with pytest.raises(NetworkError, match=r"missing linear\.weight; unexpected fc\.weight"):
        load_weights(create_network("lenet5"), state, where="w.pt")


def test_long_lists_are_cut():
    with pytest.raises(NetworkError, match="and 92 more; unexpected none"):
        load_weights(create_network("resnet20"), {}, where="w.pt")


def test_counters_of_batch_norm_may_be_missing_or_present():
    network = create_network("digits_cnn")
    state = network.state_dict()
    without = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert len(without) < len(state)
    for given in (state, without):
        load_weights(network, given, where="w.pt")
