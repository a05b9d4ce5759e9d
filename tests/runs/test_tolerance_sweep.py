"""dse.runs.tolerance_sweep: a directory that a repeated command continues."""

import numpy as np
import pandas as pd
import pytest

from dse.config import load_config
from dse.errors import ConfigError, DseError, RunError
from dse.robustness import agn
from dse.runs.preparation import Inputs, agn_settings, load_data, training_split
from dse.runs.store import RunDirectory
from dse.runs.tolerance_sweep import SilentSweep, SweepDirectory, sweep_tolerances, tolerances_table

SMALL = {"data.calibration_images": 48, "tolerances.steps": 3, "tolerances.batch_size": 16}
TRAINED = {"data.calibration_images": 48, "tolerances.method": "trained", "tolerances.epochs": 1}


def config(base=SMALL, **options):
    return load_config(None, base | {key.replace("__", "."): value for key, value in options.items()})


class _Notes(SilentSweep):
    def __init__(self):
        self.starts, self.steps, self.learned = [], [], []

    def on_start(self, start):
        self.starts.append(start)

    def on_step(self, coefficient, n_done, n_steps, loss):
        self.steps.append((coefficient, n_done, n_steps))

    def on_coefficient(self, found):
        self.learned.append(found.coefficient)


def test_a_sweep_is_continued_and_grows(tmp_path):
    notes, path = _Notes(), tmp_path / "sweep"
    first = sweep_tolerances(config(), path, [0.5, 0.1, 0.5], observer=notes)
    assert [each.coefficient for each in first] == [0.1, 0.5]
    assert notes.learned == [0.5, 0.1]
    assert notes.steps == [(c, k, 3) for c in (0.5, 0.1) for k in (1, 2, 3)]
    second = sweep_tolerances(config(), path, [0.1, 2], observer=notes)
    assert notes.learned == [0.5, 0.1, 2.0]
    assert (notes.starts[1].n_finished, notes.starts[1].n_coefficients, notes.starts[1].n_images) == (1, 2, 48)
    assert [each.coefficient for each in second] == [0.1, 0.5, 2.0]
    assert second[0].to_json() == first[0].to_json()
    names = {file.name for file in path.iterdir()}
    finished = {f"coefficient_{c}.json" for c in (0.1, 0.5, 2.0)}
    assert names == {".dse-lock", "tolerances.toml", "tolerances.csv"} | finished


def test_the_table_keeps_every_digit(tmp_path):
    found = sweep_tolerances(config(), tmp_path, [0.1, 0.5])
    table = pd.read_csv(tmp_path / "tolerances.csv")
    pd.testing.assert_frame_equal(table, tolerances_table(found), check_exact=True)
    assert table.columns.tolist() == [
        "coefficient", "layer", "n_multiplications", "sigma", "is_saturated", "sensitivity", "accuracy_with_noise",
        "accuracy",
    ]  # fmt: skip
    assert len(table) == 2 * len(found[0].layers)


def test_an_interrupted_search_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("dse.robustness.learning.CHECKPOINT_STEPS", 1)

    class Stop(_Notes):
        def on_step(self, coefficient, n_done, n_steps, loss):
            super().on_step(coefficient, n_done, n_steps, loss)
            if n_done == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep_tolerances(config(), tmp_path, [0.1], observer=Stop())
    directory, notes = SweepDirectory(tmp_path), _Notes()
    assert directory.checkpoint(0.1).exists()
    (found,) = sweep_tolerances(config(), tmp_path, [0.1], observer=notes)
    assert notes.steps == [(0.1, 2, 3), (0.1, 3, 3)]
    assert not directory.checkpoint(0.1).exists()
    (whole,) = sweep_tolerances(config(), tmp_path / "whole", [0.1])
    np.testing.assert_array_equal(found.sigma, whole.sigma)


def test_trained_weights_can_be_explored(tmp_path):
    from dse.networks.zoo import create_network

    (found,) = sweep_tolerances(config(TRAINED, tolerances__training_images=64), tmp_path)
    assert (found.coefficient, found.method, found.n_images) == (0.2, "trained", 64)
    weights = SweepDirectory(tmp_path).weights(0.2)
    create_network("digits_cnn", weights=weights)


def test_another_configuration_is_refused(tmp_path):
    sweep_tolerances(config(), tmp_path, [0.1])
    with pytest.raises(RunError, match=r"tolerances.steps was 3, is now 4.*--out"):
        sweep_tolerances(config(tolerances__steps=4), tmp_path, [0.1])
    with pytest.raises(RunError, match=r"library.signed was False, is now True"):
        sweep_tolerances(config(library__signed=True), tmp_path, [0.1])
    with pytest.raises(RunError, match=r"learning_rate was None, is now 0.1"):
        sweep_tolerances(config(tolerances__learning_rate=0.1), tmp_path, [0.1])
    sweep_tolerances(config(search__seed=3, execution__jobs=2, tolerances__coefficient=0.7), tmp_path, [0.1])


def test_a_command_that_loads_nothing_can_be_corrected_in_place(tmp_path):
    with pytest.raises(DseError, match="missing.pt"):
        sweep_tolerances(config(network__weights=tmp_path / "missing.pt"), tmp_path / "sweep", [0.1])
    assert not (tmp_path / "sweep" / "tolerances.toml").exists()
    assert sweep_tolerances(config(), tmp_path / "sweep", [0.1])[0].coefficient == 0.1


def test_a_lower_learning_rate_goes_on_after_a_failure(tmp_path):
    high, low = (config(TRAINED, tolerances__learning_rate=rate) for rate in (1e20, 1e-4))
    with pytest.raises(RunError, match="Lower the learning rate"):
        sweep_tolerances(high, tmp_path, [0.1])
    assert sweep_tolerances(low, tmp_path, [0.1])[0].accuracy > 0.9


def test_other_weights_are_noticed(tmp_path, monkeypatch):
    sweep_tolerances(config(), tmp_path, [0.1])
    monkeypatch.setattr(agn, "VERSION", -1)
    with pytest.raises(RunError, match="was learned from another network, other images"):
        sweep_tolerances(config(), tmp_path, [0.1])


def test_damaged_file_is_named(tmp_path):
    sweep_tolerances(config(), tmp_path, [0.1])
    (tmp_path / "coefficient_0.1.json").write_text("{}")
    with pytest.raises(RunError, match=r"coefficient_0.1.json: not the text of tolerances"):
        sweep_tolerances(config(), tmp_path, [0.1])


def test_directories_of_runs_are_not_mixed(tmp_path):
    sweep_tolerances(config(), tmp_path / "sweep", [0.1])
    with pytest.raises(RunError, match="holds tolerances of `dse tolerances`"):
        RunDirectory(tmp_path / "sweep").claim(config())
    (tmp_path / "run").mkdir()
    RunDirectory(tmp_path / "run").claim(config())
    with pytest.raises(RunError, match="holds a run of `dse explore`"):
        sweep_tolerances(config(), tmp_path / "run", [0.1])


@pytest.mark.parametrize(
    ("coefficients", "message"), [([], "no coefficients"), ([-1.0], "coefficient = -1"), ([float("nan")], "= nan")]
)
def test_coefficients_are_checked_before_anything_is_written(tmp_path, coefficients, message):
    with pytest.raises(ConfigError, match=message):
        sweep_tolerances(config(), tmp_path / "sweep", coefficients)
    assert not (tmp_path / "sweep").exists()


def test_settings_of_a_configuration():
    assert agn_settings(config()).steps == 3
    settings = agn_settings(config(TRAINED, tolerances__sigma_max=0.4))
    assert (settings.trains_weights, settings.epochs, settings.sigma_max) == (True, 1, 0.4)


def test_training_images_begin_with_the_calibration_images():
    def pick(base=SMALL, inputs=None, **options):
        chosen = config(base, **options)
        calibration = load_data(chosen, Inputs()).calibration
        return calibration, training_split(chosen, inputs or Inputs(), calibration)

    calibration, training = pick()
    assert training.fingerprint == calibration.fingerprint
    assert pick(tolerances__training_images=20)[1].n_images == 20
    calibration, training = pick(tolerances__training_images=100)
    assert training.n_images == 100
    assert training.subset(48).fingerprint == calibration.fingerprint
    assert pick(TRAINED)[1].n_images == 899  # the whole training part
    splits = load_data(config(), Inputs())
    assert pick(inputs=Inputs(splits=splits), tolerances__training_images=100)[1].n_images == 48


def test_data_of_one_part_gives_no_images_of_the_search_away(tmp_path, monkeypatch):
    (tmp_path / "one_part_data.py").write_text(
        "import numpy as np\n"
        "def squares():\n"
        "    return np.zeros((90, 8, 8), dtype=np.uint8), np.arange(90) % 10\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    chosen = config(data__dataset="one_part_data:squares", data__calibration_images=20, tolerances__training_images=30)
    calibration = load_data(chosen, Inputs()).calibration
    assert training_split(chosen, Inputs(), calibration).n_images == 20
