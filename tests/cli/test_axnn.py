"""dse.cli.axnn and dse.axnn: the same options, files and errors of one line."""

import inspect
import io

import pandas as pd
import pytest

import dse
from dse import cli
from dse.api.neurons import AXNN_OPTIONS
from dse.datasets import Splits
from dse.errors import ConfigError
from dse.multipliers.families import builtin_library
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.reporting.terminal.axnn import AxnnWatch
from dse.testing.tiny import tiny_network, tiny_split

SMALL = [
    "axnn", "--calibration-images", "32", "--training-images", "64", "--report-images", "60", "--epochs", "1",
    "--bounds", "4,20", "--levels", "4", "--group-share", "1", "--smallest-share", "1", "--confidence", "0",
    "--threads", "1",
]  # fmt: skip


@pytest.fixture
def command(dse, monkeypatch, tmp_path):
    """Runs the command in `tmp_path`; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return dse


def test_a_design_and_its_files(command, tmp_path, monkeypatch):
    original = AxnnWatch.on_attempt

    def interrupted(*arguments):
        original(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(AxnnWatch, "on_attempt", interrupted)
        code, _, err = command(*SMALL)
    assert code == 130
    assert "every attempt is kept. Repeat the same command to continue" in err
    code, out, err = command(*SMALL)
    assert code == 0
    assert "1 attempts and 0 bounds are finished" in err
    assert "bound of 20 % finished: energy" in err
    assert "neurons by level" in out
    folder = next((tmp_path / "runs").iterdir())
    assert folder.name.startswith("axnn-digits_cnn-digits")
    assert (folder / "axnn.png").read_bytes().startswith(b"\x89PNG")
    code, out, err = command(*SMALL, "--format", "csv")
    assert "attempt 0" not in err
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(out)), pd.read_csv(folder / "bounds.csv"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bounds", "0.5"], "a bound of 0.5 % is 2.25 of 449 validation images"),
        (["--bounds", "5,2"], "bounds 5, 2: expected percents above 0 and below 100, ascending, as 0.5, 2.5, 7.5"),
        (["--bounds", "5;2"], "--bounds 5;2: expected numbers with commas between them, as 0.5,2.5,7.5"),
        (["--levels", "3,1"], "a level of bits 1: expected 2 to 7"),
        (["--multipliers", "u8_trunc8"], "--levels and --multipliers: neurons have one or the other"),
        (["--group-share", "0"], "group shares"),
        (["--order", "size"], "order 'size': expected one of harm, score"),
        (["--confidence", "-1"], "confidence -1.0: expected a number of standard errors"),
        (["--learning-rate", "0"], "learning_rate = 0.0: expected a positive number"),
        (["--network", "resnet2"], "unknown network 'resnet2'"),
    ],
)
def test_refusals_are_one_line(command, options, message):
    code, out, err = command(*SMALL, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.splitlines()[-1].startswith("error: ")


def test_options_are_those_of_the_call():
    loop = {
        "bounds", "levels", "multipliers", "group_share", "smallest_share", "order", "confidence", "training_images",
        "validation_images",
    }  # fmt: skip
    learning = {"epochs", "learning_rate", "affine_learning_rate", "augmentation", "seed"}
    rest = {"run_file", "device", "out"}
    command = set(inspect.signature(cli.axnn.axnn).parameters) - rest - loop - learning - {"output_format"}
    call = set(inspect.signature(dse.axnn).parameters) - rest - loop - {"retraining", "watch"}
    assert call == set(AXNN_OPTIONS)
    assert call - command == {"confirm_images", "fold_bias", "sum_compensation", "weight_tuning"}
    assert command <= call


def test_objects_of_your_own(tmp_path):
    splits = Splits(tiny_split(32), tiny_split(60, seed=1), tiny_split(20, seed=2))
    retraining = FinetuningSettings(epochs=1, reconstruction=False)
    library = builtin_library().select(names=["s8_exact", "s8_trunc6"])
    network = tiny_network()
    found = dse.axnn(
        network=network, dataset=splits, library=library, multipliers=["s8_trunc6"], bounds=[20], group_share=1.0,
        smallest_share=1.0, retraining=retraining, calibration_images=16, out=tmp_path,
    )  # fmt: skip
    assert {"neurons_s8_exact", "neurons_s8_trunc6"} <= set(found.bounds.columns)
    assert found.network(20).library.is_signed
    assert found.options.retraining == retraining
    with pytest.raises(ConfigError, match="bounds : expected percents"):
        dse.axnn(network=network, dataset=splits, bounds=[])
