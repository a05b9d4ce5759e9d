"""dse.cli: options reach the run, errors are one line, tables can be piped."""

import io
import json
import signal
import sys
from pathlib import Path

import pandas as pd
import pytest

from dse import __version__, cli
from dse.runs.journal import read_journal
from dse.runs.results import open_run
from dse.testing.fakes import FakeEvaluator, use_fakes

SMALL = ["--population-size", "8", "--generations", "3"]


@pytest.fixture
def fakes(monkeypatch, tmp_path):
    use_fakes(monkeypatch, FakeEvaluator())
    monkeypatch.chdir(tmp_path)


def test_version(dse):
    assert dse("--version")[:2] == (0, f"dse {__version__}\n")


def test_explore_show_and_point(dse, fakes, tmp_path):
    code, out, err = dse("explore", *SMALL, "--out", "one")
    assert code == 0
    assert "energy saved" in out
    assert "generation 3/3" in err
    assert (tmp_path / "one" / "front.png").read_bytes().startswith(b"\x89PNG")
    assert dse("show", "one")[1] == out
    code, out, _ = dse("show", "one", "--point", 0, "--format", "json")
    assert [row["layer"] for row in json.loads(out)] == ["layer0", "layer1", "layer2", "layer3"]
    code, out, _ = dse("show", "one", "--format", "csv")
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(out)), open_run("one").front)


def test_live_without_a_terminal(dse, fakes):
    code, out, err = dse("explore", *SMALL, "--live", "--out", "one")
    assert (code, "energy saved" in out) == (0, True)
    assert "--live draws on stderr: expected a terminal" in err
    assert "generation 3/3" in err


def test_finished_run_is_printed_again(dse, fakes):
    first = dse("explore", *SMALL, "--out", "one")[1]
    assert dse("explore", *SMALL, "--out", "one", "--jobs", 2)[:2] == (0, first)
    code, _, err = dse("explore", *SMALL, "--out", "one", "--seed", 1)
    assert code == 2
    assert err.startswith("error: one holds a finished run with another configuration: search.seed was 0, is now 1")


def test_default_directory_follows_the_configuration(dse, fakes, tmp_path):
    dse("explore", *SMALL)
    dse("explore", *SMALL)
    dse("explore", *SMALL, "--seed", 1)
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_options_win_over_the_run_file(dse, fakes, tmp_path):
    (tmp_path / "run.toml").write_text("[search]\ngenerations = 2\npopulation_size = 8\nseed = 5\n# my note\n")
    dse("explore", "run.toml", "--seed", 7, "--no-fold-bias", "--exclude", "fc", "--exclude", "conv1", "--out", "one")
    config = open_run("one").config
    assert (config.search.seed, config.search.generations, config.recovery.fold_bias) == (7, 2, False)
    assert config.quantization.exclude == ("fc", "conv1")
    assert "# my note" in (tmp_path / "one" / "config.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explore", "--method", "nsga3"], "error: options [search] method = 'nsga3': expected 'nsga2'"),
        (["explore", "--population-size", "1"], "population_size = 1: expected greater than or equal to 2"),
        (["explore", "--accelerator", "tiles"], "expected free, tiles:T or pipelined:T"),
        (["explore", "--neuron-shares", "25,x"], "error: --neuron-shares 25,x: expected whole numbers with commas"),
        (["explore", "--neuron-shares", "0,50"], "neuron_shares = 0: expected greater than or equal to 1"),
        (["explore", "--neuron-shares", "50", "--accelerator", "tiles:2"], "a tile holds one multiplier"),
        (["explore", "--objectives", "energy,size"], "expected energy and accuracy, or energy, accuracy and memory"),
        (["explore", "--sparsity-levels", "50,x"], "error: --sparsity-levels 50,x: expected whole numbers with commas"),
        (["explore", "--sparsity-levels", "50", "--accelerator", "tiles:2"], "expected accelerator 'free'"),
        (["explore", "--zero-weights", "skipped"], "without sparsity levels"),
        (["explore", "--device", "tpu"], "device = 'tpu': expected auto, cpu, cuda or cuda:N"),
        (["explore", "absent.toml"], "error: cannot read run file absent.toml"),
        (["show", "absent"], "error: absent is not a directory"),
        (["multipliers", "show", "u8_exat"], "did you mean 'u8_exact'?"),
        (["multipliers", "check", "absent.bin"], "error: "),
    ],
)
def test_errors_are_one_line_without_traceback(dse, fakes, arguments, message):
    code, out, err = dse(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


def test_unknown_key_in_the_run_file(dse, fakes, tmp_path):
    (tmp_path / "run.toml").write_text("[search]\npopulaton_size = 8\n")
    code, _, err = dse("explore", "run.toml")
    assert code == 2
    assert err.startswith("error: run.toml [search] populaton_size: unknown key, did you mean population_size?")
    assert not (tmp_path / "runs").exists()


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dse", "--debug", "show", "absent"])
    with pytest.raises(cli.DseError):
        cli.main()


def test_interrupt_says_how_to_continue(dse, fakes, monkeypatch):
    def interrupted(self, assignments, start, stop):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FakeEvaluator, "correct", interrupted)
        code, _, err = dse("explore", *SMALL, "--out", "one")
    assert code == 130
    assert "everything measured is in one. Repeat the same command to continue" in err
    assert dse("explore", *SMALL, "--out", "one")[0] == 0


def asked_to_stop(monkeypatch, number, *, at=1, n_times=1):
    """Signals arrive while an evaluation goes on; returns a list that gets its assignments."""
    measured, correct = [], FakeEvaluator.correct

    def signaled(self, assignments, start, stop):
        measured.append([tuple(row) for row in assignments.tolist()])
        if len(measured) == at:
            for _ in range(n_times):
                signal.raise_signal(number)
        return correct(self, assignments, start, stop)

    monkeypatch.setattr(FakeEvaluator, "correct", signaled)
    return measured


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("at", [1, 3])
def test_asked_to_stop_it_finishes_what_it_measures(dse, fakes, monkeypatch, number, at):
    dse("explore", *SMALL, "--out", "whole")
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        measured = asked_to_stop(patch, number, at=at)
        code, out, err = dse("explore", *SMALL, "--out", "one")
    assert (code, out) == (0, "")
    assert "stopped as asked; everything measured is in one. Repeat the same command to continue" in err
    assert len(measured) == at
    assert {e.assignment for e in read_journal(Path("one/evaluations.jsonl"))} == {a for part in measured for a in part}
    assert signal.getsignal(number) == before
    assert dse("explore", *SMALL, "--out", "one")[0] == 0
    assert Path("one/front.csv").read_bytes() == Path("whole/front.csv").read_bytes()


def test_a_second_signal_stops_at_once(dse, fakes, monkeypatch):
    with monkeypatch.context() as patch:
        asked_to_stop(patch, signal.SIGTERM, n_times=2)
        code, _, err = dse("explore", *SMALL, "--out", "one")
    assert code == 130
    assert "interrupted; everything measured is in one" in err
    assert read_journal(Path("one/evaluations.jsonl")) == []


def test_files_of_the_dataset_are_told(dse, fakes):
    assert "data from fake.bin" in dse("explore", *SMALL, "--out", "one")[2]


def test_multipliers_list_can_be_piped(dse):
    code, out, _ = dse("multipliers", "list", "--unsigned", "--format", "csv")
    table = pd.read_csv(io.StringIO(out))
    assert code == 0
    assert not table["signed"].any()
    assert table["exact"].any()
    assert "u8_exact" in dse("multipliers", "show", "u8_exact")[1]


def test_multipliers_check(dse, shared_data):
    table = next((shared_data / "evoapprox").rglob("*2AC*.bin"), None)
    if table is None:
        pytest.skip("no table of mul8u_2AC in the reference data")
    code, out, _ = dse("multipliers", "check", table, "--format", "json")
    assert code == 0
    assert "zero_product" in {row["finding"] for row in json.loads(out)}


def test_networks(dse):
    assert "digits_cnn" in dse("networks")[1]


LEARN = ["tolerances", "--calibration-images", "32", "--steps", "2", "--batch-size", "8"]


def test_tolerances(dse, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, out, err = dse(*LEARN, "--coefficients", "0.1,0.5", "--out", "one")
    assert code == 0
    assert "saturated layers" in out
    assert "coefficient 0.5: step 2 of 2" in err
    assert (tmp_path / "one" / "tolerances.png").read_bytes().startswith(b"\x89PNG")
    code, out, err = dse(*LEARN, "--coefficients", "0.5", "--out", "one", "--format", "csv")
    assert "1 of them finished" in err
    assert pd.read_csv(io.StringIO(out))["coefficient"].unique().tolist() == [0.1, 0.5]
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(out)), pd.read_csv(tmp_path / "one" / "tolerances.csv"))
    assert dse(*LEARN)[0] == 0
    assert [path.name[:29] for path in (tmp_path / "runs").iterdir()] == ["tolerances-digits_cnn-digits-"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--coefficients", "0.1,high"], "--coefficients 0.1,high: expected numbers with commas"),
        (["--method", "guessed"], "[tolerances] method = 'guessed': expected 'frozen' or 'trained'"),
        (["--sigma-max", "0"], "[tolerances] sigma_max = 0.0: expected greater than 0"),
        (["--epochs", "2"], "epochs has no effect on frozen weights"),
        (["--device", "tpu"], "device 'tpu': expected 'cpu' or 'cuda'"),
        (["--scheme", "signed-symmetric"], "does not fit unsigned multipliers"),
    ],
)
def test_tolerances_are_refused_in_one_line(dse, monkeypatch, tmp_path, options, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = dse(*LEARN, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.splitlines()[-1].startswith("error: ")


def test_interrupted_tolerances_say_how_to_continue(dse, monkeypatch, tmp_path):
    def interrupted(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dse.reporting.terminal.tolerances.SweepWatch.on_step", interrupted)
    code, _, err = dse(*LEARN, "--out", "one")
    assert code == 130
    assert "what was learned is in one. Repeat the same command to continue" in err


def test_every_option_of_tolerances_reaches_the_configuration():
    import inspect

    from dse.api.options import TOLERANCE_OPTIONS
    from dse.api.tolerances import tolerances
    from dse.config import TolerancesConfig

    rest = {"run_file", "coefficients", "device", "out"}
    names = set(inspect.signature(cli.tolerances.tolerances).parameters) - rest - {"output_format"}
    assert names == set(TOLERANCE_OPTIONS)
    assert set(inspect.signature(tolerances).parameters) - rest - {"watch"} == set(TOLERANCE_OPTIONS)
    assert set(TolerancesConfig.model_fields) - {"coefficient"} <= names


def test_every_option_reaches_the_configuration():
    import inspect

    from dse.api.explore import explore
    from dse.api.options import OPTIONS

    names = set(inspect.signature(cli.explore.explore).parameters) - {"run_file", "out", "live", "output_format"}
    assert names == {*OPTIONS, "plain"}
    assert set(inspect.signature(explore).parameters) - {"run_file", "out", "watch"} == names


def test_doctor(dse, monkeypatch):
    monkeypatch.setenv("DSE_ISA", "off")
    code, out, err = dse("doctor")
    assert code == 0
    assert "native library" in out
    assert "unset it" in err
    code, out, _ = dse("doctor", "--format", "json")
    values = {(row["section"], row["name"]): row["value"] for row in json.loads(out)}
    assert values["native library", "file"] == "none: switched off by DSE_ISA=off"
    monkeypatch.setenv("DSE_ISA", "mmx")
    code, _, err = dse("doctor")
    assert code == cli.EXIT_ERROR
    assert "error: DSE_ISA=mmx: unknown level" in err


POINTS = ["--multipliers", "3", "--points", "2", "--max-loss", "3,20"]


def test_operating_points(dse, fakes, tmp_path):
    dse("explore", *SMALL, "--out", "one")
    code, out, err = dse("operating-points", "one", *POINTS)
    assert code == 0
    assert "2 points over" in out
    assert "choosing multipliers" in err
    folder = tmp_path / "one" / "operating_points" / "enumerate_n3_m2"
    assert (folder / "operating_points.png").read_bytes().startswith(b"\x89PNG")
    assert dse("operating-points", "one", *POINTS)[:2] == (0, out)
    code, out, _ = dse("operating-points", "one", *POINTS, "--format", "csv")
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(out)), pd.read_csv(folder / "operating_points.csv"))
    assert dse("operating-points", "one", *POINTS, "--method", "search", "--evaluations", "20", "--seed", "3")[0] == 0


def test_operating_points_of_the_default_run(dse, fakes, tmp_path):
    code, _, err = dse("operating-points", *POINTS, "--method", "kmeans", "--out", "points")
    assert code == 0
    assert err.index("generation 12/12") < err.index("2 operating points over 3 of 5 multipliers by kmeans")
    assert (tmp_path / "points" / "operating_points.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-loss", "1;2"], "error: --max-loss 1;2: expected numbers with commas between them, as 0.3,1,2.3"),
        (["--scales", "a"], "error: --scales a: expected numbers with commas"),
        (["--scales", "2,1,3"], "error: --scales 2,1,3: expected rising numbers above 0"),
        (["--multipliers", "6"], "error: 6 multipliers were asked for, the library has 5"),
        (["--points", "1"], "error: 1 operating points were asked for: expected at least 2"),
        (["--method", "means"], "error: unknown method 'means': did you mean 'kmeans'?"),
        (["--accuracy-floor", "0.99"], "the exact network reaches 0.9500 on the search images"),
        (["--scales", "0.001,0.002,0.003"], "tie: they cost 1.0000 and 1.0000 of the exact network's energy"),
    ],
)
def test_operating_points_are_refused_in_one_line(dse, fakes, options, message):
    dse("explore", *SMALL, "--out", "one")
    code, out, err = dse("operating-points", "one", *options)
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if line.startswith("error")]
    assert message in line
    assert "Traceback" not in err


def test_interrupted_operating_points_say_how_to_continue(dse, fakes, monkeypatch):
    dse("explore", *SMALL, "--out", "one")

    with monkeypatch.context() as patch:
        measured = asked_to_stop(patch, signal.SIGTERM)
        code, _, err = dse("operating-points", "one", *POINTS)
    assert code == 0
    assert len(measured) == 1
    assert "stopped as asked; everything measured is kept. Repeat the same command to continue" in err
    assert dse("operating-points", "one", *POINTS)[0] == 0


RUN = [
    "--population-size", "4", "--generations", "1", "--images", "40", "--report-images", "40", "--plain",
    "--threads", "1", "--calibration-images", "32", "--out", "one",
]  # fmt: skip
TUNE = [
    "--epochs", "1", "--batch-size", "16", "--training-images", "32", "--validation-images", "20",
    "--no-reconstruction",
]  # fmt: skip


def test_finetune_and_show(dse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dse("explore", *RUN)
    _, before, _ = dse("show", "one")
    assert "fine-tuned" not in before
    code, out, err = dse("finetune", "one", "--points", "0", *TUNE)
    assert code == 0
    assert "one/finetuned: 1 fine-tuned points" in out
    assert "32 training, 20 validation and 40 report images of one, 1 epochs, 1 threads" in err
    assert "point_0: " in err
    folder = tmp_path / "one" / "finetuned"
    assert (folder / "finetuned.png").read_bytes().startswith(b"\x89PNG")
    assert dse("finetune", "one", "--points", "0", *TUNE)[:2] == (0, out)
    _, out, _ = dse("finetune", "one", "--points", "0", *TUNE, "--format", "csv")
    table = pd.read_csv(folder / "finetuned.csv")
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(out)), table)
    _, after, _ = dse("show", "one")
    assert "fine-tuned % (lost)" in after
    assert f"{100 * table['accuracy'][0]:.2f} (" in after
    assert f"{100 * table['accuracy'][0]:.2f} % fine-tuned" in dse("show", "one", "--point", "0")[1]
    assert "fine-tuned" not in dse("show", "one", "--point", "1")[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "error: one is a run: say what to fine-tune"),
        (["--points", "77"], "error: one has no point 77: expected 0 to"),
        (["--points", "all", "--epochs", "0"], "error: epochs = 0: expected a positive number"),
        (["--points", "all", "--gradient", "st"], "error: unknown gradient 'st': did you mean 'ste'?"),
        (["--assignments", "absent.csv"], "error: cannot read absent.csv: No such file or directory"),
        (["--points", "0", "--training-images", "0"], "error: --training-images is 0: expected at least 1 image"),
        (["--points", "0", "--device", "gpu"], "error: device 'gpu': expected auto, cpu, cuda or cuda:N"),
        (["--points", "0", "--out", "one"], "error: one holds a run of `dse explore`: choose another directory"),
    ],
)
def test_finetuning_is_refused_in_one_line(dse, fakes, options, message):
    dse("explore", *SMALL, "--out", "one")
    code, out, err = dse("finetune", "one", *options)
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if line.startswith("error")]
    assert message in line
    assert "Traceback" not in err


def test_interrupted_finetuning_says_how_to_continue(dse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dse("explore", *RUN)

    def terminated(*_):
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr("dse.reporting.terminal.finetuning.FinetuneWatch.on_step", terminated)
        code, _, err = dse("finetune", "one", "--points", "0", *TUNE)
    assert code == 0
    assert (Path("one/finetuned") / "checkpoint_0.pt").exists()
    assert "stopped as asked; what was learned is kept. Repeat the same command to continue" in err
    assert dse("finetune", "one", "--points", "0", *TUNE)[0] == 0


def test_every_option_of_fine_tuning_reaches_the_settings(dse, fakes, monkeypatch):
    from dataclasses import fields

    from dse.recovery.finetuning_settings import FinetuningSettings
    from dse.runs.finetuned import FinetuneOptions

    values = {
        "epochs": 7, "batch_size": 9, "learning_rate": 0.5, "affine_learning_rate": 0.25, "distillation": 0.75,
        "temperature": 5.0, "augmentation": "flip", "reconstruction": False, "gradient": "smoothed", "private": "bias",
        "patience": 6, "seed": 4, "noise_epochs": 3, "noise_scale": 1.25, "noise_learning_rate": 0.125,
    }  # fmt: skip
    assert values.keys() == {field.name for field in fields(FinetuningSettings)}
    calls, devices = [], []
    stand_in = lambda path, options, *, device, **_: calls.append(options) or devices.append(device) or 1 / 0  # noqa: E731
    monkeypatch.setattr("dse.runs.finetuning.finetune_points", stand_in)
    arguments = []
    for name, value in values.items():
        option = name.replace("_", "-")
        arguments += [f"--no-{option}"] if value is False else [f"--{option}", value]
    for extra in ([], ["--patience", "0", "--device", "cuda:1"]):
        with pytest.raises(ZeroDivisionError):
            dse("finetune", "one", *arguments, "--training-images", "3", "--validation-images", "2", *extra)
    assert calls[0] == FinetuneOptions(FinetuningSettings(**values), 3, 2)
    assert calls[1].settings.patience is None
    assert devices == [None, "cuda:1"]
