"""dse.runs.point_set: settings that make no sense, and directories that are not what they should be."""

import json

import pytest

from dse.config import parse_config
from dse.errors import ConfigError, RunError
from dse.runs.point_set import (
    PointsDirectory,
    PointSettings,
    default_points_path,
    open_points,
    points_config,
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_multipliers": 0}, "0 multipliers were asked for: expected at least 1"),
        ({"n_points": 1}, "1 operating points were asked for: expected at least 2"),
        ({"method": "kmean"}, "unknown method 'kmean': did you mean 'kmeans'?"),
        ({"scales": (1.0, 2.0)}, "--scales 1,2 has 2 numbers: expected 3"),
        ({"scales": (2.0, 1.0, 3.0)}, "--scales 2,1,3: expected rising numbers above 0"),
        ({"max_loss": (0.3, 1.0)}, "--max-loss 0.3,1 has 2 numbers: expected 3"),
        ({"max_loss": (1.0, 1.0, 2.0)}, "--max-loss 1,1,2: expected rising numbers of at least 0"),
        ({"accuracy_floor": 90.0}, "--accuracy-floor is 90.0: expected a fraction"),
        ({"evaluations": 0}, "--evaluations is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"coefficient": float("nan")}, "--coefficient is nan"),
    ],
)
def test_settings_that_make_no_sense(options, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        PointSettings(**options)


def test_defaults_depend_on_the_library():
    settings = PointSettings().resolved(37)
    assert (settings.method, settings.scales) == ("enumerate", (0.3, 1.0, 2.0))
    assert PointSettings().resolved(100).method == "search"
    assert PointSettings(n_points=2, method="kmeans").resolved(100).scales == (0.3, 2.0)
    with pytest.raises(ConfigError, match=r"6 multipliers were asked for, the library has 5.*lower --multipliers"):
        PointSettings(n_multipliers=6).resolved(5)
    assert default_points_path("r", settings).as_posix() == "r/operating_points/enumerate_n4_m3"


def test_what_a_method_does_not_look_at_is_no_setting():
    settings = PointSettings()
    names = {method: set(settings.resolved(9).to_dict()) for method in ("enumerate",)}
    assert not names["enumerate"] & {"seed", "evaluations"}
    assert "seed" in PointSettings(method="kmeans").to_dict()
    assert {"seed", "evaluations"} <= set(PointSettings(method="search").to_dict())


def test_points_share_their_weights():
    config = parse_config("[recovery]\nsum_compensation = true\nweight_tuning = 'uniform'\nfold_bias = false")
    found = points_config(config, 0.7)
    assert found.recovery.model_dump() == {"fold_bias": True, "sum_compensation": False, "weight_tuning": "off"}
    assert found.tolerances.coefficient == 0.7
    assert points_config(config, None).tolerances == config.tolerances


def test_directories_without_points(tmp_path):
    with pytest.raises(
        RunError, match="holds no operating points: expected a directory made by `dse operating-points`"
    ):
        open_points(tmp_path)
    record = PointsDirectory(tmp_path).record
    record.write_text("{")
    with pytest.raises(RunError, match="operating_points.json is damaged"):
        open_points(tmp_path)
    record.write_text(json.dumps({"format": 99}))
    with pytest.raises(RunError, match="has format 99: expected 1. Use a newer dse"):
        open_points(tmp_path)
    record.write_text(json.dumps({"format": 1}))
    with pytest.raises(RunError, match="is not finished: repeat its `dse operating-points` command"):
        open_points(tmp_path)


def test_a_run_is_no_directory_for_points(tmp_path):
    (tmp_path / "resolved.toml").write_text("")
    with pytest.raises(RunError, match="holds a run of `dse explore`: choose another directory with --out"):
        PointsDirectory(tmp_path).check(PointSettings().resolved(9), tmp_path)
