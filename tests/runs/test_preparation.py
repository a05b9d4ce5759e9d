"""dse.runs.preparation: a configuration becomes objects that fit together."""

import numpy as np
import pytest

from dse.config import load_config
from dse.errors import ConfigError, DataError, MultiplierError
from dse.runs.preparation import Inputs, prepare

SMALL = {"data.calibration_images": 32, "data.report_images": 40}


def _prepare(**options):
    values = {key.replace("__", "."): value for key, value in options.items()}
    return prepare(load_config(None, SMALL | values), Inputs())


def test_search_images_are_the_first_that_confirm():
    prepared = _prepare(data__images=20, data__confirm_images=50)
    assert prepared.n_images == {"search": 20, "confirm": 50, "report": 40}
    few, many = prepared.evaluator, prepared.confirm_evaluator
    exact = prepared.exact[None]
    np.testing.assert_array_equal(many.correct(exact, 0, 20), few.correct(exact, 0, 20))


def test_nothing_to_confirm_where_all_images_steer():
    prepared = _prepare(data__images=30, data__confirm_images=30)
    assert prepared.confirm_evaluator is None
    assert prepared.n_images == {"search": 30, "report": 40}


def test_more_images_than_there_are():
    with pytest.raises(DataError, match=r"60 images were asked for, the search split has 1\.\.50"):
        _prepare(data__images=60, data__confirm_images=50)


def test_include_and_exclude():
    prepared = _prepare(data__images=20, library__include=("u8_exact", "u8_drum4"))
    assert prepared.library.names == ("u8_drum4", "u8_exact")
    with pytest.raises(MultiplierError, match="leave no multiplier"):
        _prepare(library__include=("u8_drum4",), library__exclude=("u8_drum4",))


def test_device_is_checked_before_anything_is_loaded(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device 'cuda:1': PyTorch finds no GPU here"):
        _prepare(execution__device="cuda:1", data__dir="absent")
