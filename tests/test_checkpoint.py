"""dse.checkpoint: one file, of one thing that learns, replaced in one step."""

import pytest
import torch

from dse.checkpoint import load_checkpoint, save_checkpoint, weights_bytes
from dse.errors import RunError
from dse.networks.weight_files import read_weights

STATE = {"key": "k", "learning_rate": 0.1, "n_done": 5, "values": torch.arange(3)}


def test_round_trip_leaves_one_file(tmp_path):
    path = tmp_path / "deep" / "state.pt"
    assert load_checkpoint(path, key="k", what="a search") is None
    for _ in range(2):
        save_checkpoint(path, STATE)
    assert torch.equal(load_checkpoint(path, key="k", what="a search")["values"], STATE["values"])
    assert [file.name for file in path.parent.iterdir()] == ["state.pt"]


def test_other_searches_and_other_files_are_refused(tmp_path):
    path = tmp_path / "state.pt"
    save_checkpoint(path, STATE)
    with pytest.raises(RunError, match="belongs to a search with other settings"):
        load_checkpoint(path, key="other", what="a search")
    for content in (b"", b"nonsense", path.read_bytes()[:200]):
        path.write_bytes(content)
        with pytest.raises(RunError, match="is not a checkpoint of a search"):
            load_checkpoint(path, key="k", what="a search")


def test_code_in_a_file_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit",))

    torch.save({"key": Evil()}, tmp_path / "state.pt")
    with pytest.raises(RunError, match="is not a checkpoint"):
        load_checkpoint(tmp_path / "state.pt", key="k", what="a search")


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        save_checkpoint(tmp_path / "file" / "state.pt", STATE)


def test_weights_are_read_as_any_weight_file(tmp_path):
    (tmp_path / "w.pt").write_bytes(weights_bytes({"a": torch.arange(3.0)}))
    assert torch.equal(read_weights(tmp_path / "w.pt")["a"], torch.arange(3.0))
