"""dse.runs.finetuned: what belongs into a directory of fine-tuned points, and how it is read."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from dse.errors import ConfigError, RunError
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.runs.finetuned import FinetuneDirectory, FinetuneOptions, open_finetuned

DEFAULTS = FinetuneOptions()
HASHES = {"network": "a" * 64, "library": "b" * 64}


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "run" / "finetuned").mkdir(parents=True)
    return FinetuneDirectory(tmp_path / "run" / "finetuned")


def begin(directory, options=DEFAULTS, hashes=HASHES):
    directory.claim(directory.path.parent, options, hashes)
    directory.checkpoint("point_1").touch()


def finish(directory, stem, point, **values):
    rows = [{"name": stem, "point": point, "accuracy": 0.5, **values}]
    directory.result(stem).write_text(json.dumps({"format": 1, "key": "k", "rows": rows, "files": {}}))


def test_names(directory):
    assert directory.checkpoint("point_3").name == "checkpoint_3.pt"
    assert directory.checkpoint("row_3").name == "checkpoint_row_3.pt"
    assert directory.checkpoint("points").name == "checkpoint_points.pt"
    assert directory.network("points").name == "points.npz"
    assert directory.result("point_0").name == "point_0.json"


def test_settings_are_named_where_they_differ(directory):
    source = directory.path.parent
    directory.check(source, FinetuneOptions())
    begin(directory)
    directory.check(source, FinetuneOptions())
    changed = FinetuneOptions(replace(FinetuningSettings(), epochs=9, affine_learning_rate=1.0), 50)
    with pytest.raises(RunError) as caught:
        directory.check(source, changed)
    for text in ("--epochs was 3, is now 9", "--affine-learning-rate was 0.0003, is now 1.0",
                 "--training-images was None, is now 50", "with --out"):  # fmt: skip
        assert text in str(caught.value)
    with pytest.raises(RunError, match="they are of .*run, not of"):
        directory.check(source.parent, FinetuneOptions())


def test_nothing_learned_yet_nothing_to_contradict(directory):
    begin(directory)
    directory.checkpoint("point_1").unlink()
    other = FinetuneOptions(validation_images=7)
    directory.check(directory.path.parent, other)
    directory.claim(directory.path.parent, other, HASHES)
    assert directory.read()["settings"]["validation_images"] == 7


def test_other_images_are_refused(directory):
    begin(directory)
    with pytest.raises(RunError, match="has changed: network was aaaaaaaaaaaa, is now cccccccccccc.*--out"):
        begin(directory, hashes={"network": "c" * 64, "library": "b" * 64})


@pytest.mark.parametrize(
    ("name", "kind"),
    [("resolved.toml", "a run"), ("operating_points.json", "operating points"), ("tolerances.toml", "tolerances")],
)
def test_directories_of_other_commands(directory, name, kind):
    (directory.path / name).touch()
    with pytest.raises(RunError, match=f"holds {kind} of .*choose another directory with --out"):
        directory.check(directory.path.parent, FinetuneOptions())


def test_table_and_reading(directory):
    with pytest.raises(RunError, match="holds nothing fine-tuned"):
        open_finetuned(directory.path)
    options = FinetuneOptions(FinetuningSettings(patience=None, augmentation="flip"), 9, 8)
    begin(directory, options)
    with pytest.raises(RunError, match="no point that is finished: repeat its `dse finetune` command"):
        open_finetuned(directory.path)
    for stem, point in (("row_2", None), ("point_10", 10), ("row_10", None), ("point_9", 9)):
        finish(directory, stem, point, overhead_pct=1 / 3)
    directory.write_table()
    found = open_finetuned(directory.path)
    assert found.table["name"].tolist() == ["point_9", "point_10", "row_2", "row_10"]
    assert found.table["point"].dtype == "Int64"
    assert found.table["point"].isna().tolist() == [False, False, True, True]
    assert (found.table["overhead_pct"] == 1 / 3).all()
    assert found.source == directory.path.parent
    assert found.options == options
    assert pd.read_csv(directory.table)["accuracy"].tolist() == [0.5] * 4


def test_damaged_files(directory):
    begin(directory)
    assert directory.read_result("point_1") is None
    directory.result("point_1").write_text("{")
    with pytest.raises(RunError, match=r"point_1.json is damaged .*delete it"):
        directory.read_result("point_1")
    directory.result("point_1").write_text('{"format": 1, "key": "x"}')
    with pytest.raises(RunError, match="damaged.*'files', 'rows'"):
        directory.read_result("point_1")
    directory.record.write_text('{"format": 2}')
    with pytest.raises(RunError, match="has format 2: expected 1. Use a newer dse"):
        directory.read()


@pytest.mark.parametrize("name", ["training_images", "validation_images"])
def test_no_images(name):
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} is 0: expected at least 1 image"):
        FinetuneOptions(**{name: 0})
