"""dse.finetune: objects, names, and what it leaves alone."""

import inspect
from dataclasses import fields

import numpy as np
import pytest

import dse
from dse.datasets import load_splits
from dse.errors import ConfigError
from dse.networks.zoo import create_network
from dse.recovery.finetuning_settings import FinetuningSettings

RUN = {"population_size": 4, "generations": 1, "plain": True, "threads": 1}
TUNE = {"epochs": 1, "batch_size": 16, "training_images": 48, "validation_images": 20, "reconstruction": False}
NAMES = ["u8_exact", "u8_trunc7", "u8_drum3"]


def test_every_setting_is_an_argument_with_its_default():
    parameters = inspect.signature(dse.finetune).parameters
    for field in fields(FinetuningSettings):
        assert parameters[field.name].default == field.default


@pytest.fixture(scope="module")
def objects():
    splits = load_splits("digits", n_search=40, n_report=40, n_calibration=48)
    library = dse.load_library("builtin", is_signed=False).select(names=NAMES)
    return {"network": create_network("digits_cnn"), "dataset": splits, "library": library}


def test_a_run_of_objects(tmp_path, objects):
    run = dse.explore(**objects, **RUN, out=tmp_path / "run")
    weights = {name: tensor.clone() for name, tensor in objects["network"].state_dict().items()}
    with pytest.raises(ConfigError, match="use dse.finetune"):
        dse.finetune(run, points=0, **TUNE)
    found = dse.finetune(run, points=[0], **TUNE, **objects)
    assert found.path == run.path / "finetuned"
    assert (found.path / "finetuned.png").read_bytes().startswith(b"\x89PNG")
    assert found.table.equals(dse.open_run(run.path).finetuned)
    assert found.options.settings.epochs == 1
    assert all(tensor.equal(weights[name]) for name, tensor in objects["network"].state_dict().items())
    again = dse.finetune(run.path, points="0", **TUNE, **objects)
    assert again.table.equals(found.table)


@pytest.mark.parametrize("accelerator", ["tiles:2", "pipelined:2"])
def test_tiles_and_their_energies(tmp_path, objects, accelerator):
    run = dse.explore(**objects, **RUN, accelerator=accelerator, weight_tuning="uniform", out=tmp_path / "run")
    (tmp_path / "designs.csv").write_text(run.front[["assignment"]].to_csv(index=False))
    point = int(run.front.loc[~run.front["is_exact"], "point"].iloc[0])
    dse.finetune(run, points=point, **TUNE, **objects)
    table = dse.finetune(run, assignments=tmp_path / "designs.csv", **TUNE, **objects).table
    row = run.front.set_index("point").loc[point]
    assert table.loc[table["point"] == point, "energy_rel"].iloc[0] == row["energy_rel"]
    assert (table["energy_rel"] <= 1).all()
    np.testing.assert_array_equal(table["accuracy_untuned"][1:], run.front["accuracy"])
