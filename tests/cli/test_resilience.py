"""dse.cli.resilience and dse.api.neurons: the same options, files and errors of one line."""

import inspect
import io

import pandas as pd
import pytest

import dse
from dse import cli
from dse.api.neurons import RESILIENCE_OPTIONS
from dse.datasets import Splits
from dse.reporting.terminal.resilience import CharacterizationWatch
from dse.testing.tiny import tiny_network, tiny_split

SMALL = ["resilience", "--calibration-images", "32", "--images", "24"]


@pytest.fixture
def command(dse, monkeypatch, tmp_path):
    """Runs the command in `tmp_path`; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return dse


def test_tables_and_pictures(command, tmp_path):
    code, out, err = command(*SMALL, "--out", "one")
    assert code == 0
    assert "features.3" in out
    assert "border / interior" in out
    assert "90 neurons in 5 layers, 24 training images" in err
    assert "drawn in resilience.png and positions.png" in err
    for name in ("resilience.png", "positions.png"):
        assert (tmp_path / "one" / name).read_bytes().startswith(b"\x89PNG")
    code, out, _ = command(*SMALL, "--format", "csv")
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(out)), pd.read_csv(tmp_path / "one" / "resilience.csv"))
    assert [path.name[:28] for path in (tmp_path / "runs").iterdir()] == ["resilience-digits_cnn-digits"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "0"], "images is 0: expected 1 or more"),
        (["--device", "tpu"], "device 'tpu': expected auto, cpu, cuda or cuda:N"),
        (["--network", "resnet2"], "unknown network 'resnet2'"),
        (["--batch-size", "0"], "batch_size is 0: expected 1 or more images"),
    ],
)
def test_refusals_are_one_line(command, tmp_path, options, message):
    code, out, err = command(*SMALL, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "runs").exists()


def test_an_interrupted_one_says_so(command, monkeypatch):
    def interrupted(self, n_done, n_total):
        raise KeyboardInterrupt

    monkeypatch.setattr(CharacterizationWatch, "on_batch", interrupted)
    code, _, err = command(*SMALL)
    assert code == 130
    assert "nothing was written" in err


def test_options_are_those_of_the_call():
    rest = {"run_file", "images", "batch_size", "device", "out"}
    names = set(inspect.signature(cli.resilience.resilience).parameters) - rest - {"output_format"}
    assert names == set(RESILIENCE_OPTIONS)
    assert set(inspect.signature(dse.resilience).parameters) - rest - {"watch"} == set(RESILIENCE_OPTIONS)


def test_objects_of_your_own(tmp_path):
    split = tiny_split(24)
    splits = Splits(split, split, split)
    (tmp_path / "positions.png").write_bytes(b"old")
    found = dse.resilience(network=tiny_network(), dataset=splits, images=10, out=tmp_path)
    assert [layer.name for layer in found.layers] == ["conv1", "depthwise", "pointwise", "linear"]
    assert found.n_images == 10
    assert (tmp_path / "positions.png").read_bytes().startswith(b"\x89PNG")
