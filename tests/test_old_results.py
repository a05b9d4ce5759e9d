"""Results of older versions open forever: `assets` holds runs as they were written, of each format of the journal."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

import dse
from dse.api import sweeps as api_sweeps
from dse.errors import DseError
from dse.runs.journal import read_journal
from dse.runs.run_status import status_table

ASSETS = Path(__file__).parent / "assets"
RUNS = sorted(ASSETS.glob("run_format_*"))


@pytest.fixture(params=RUNS, ids=lambda path: path.name)
def run(request, tmp_path):
    """A copy, which may be written to."""
    return dse.open_run(shutil.copytree(request.param, tmp_path / request.param.name))


def test_every_format_is_here():
    assert [path.name for path in RUNS] == ["run_format_1", "run_format_2"]
    assert sum(file.stat().st_size for path in RUNS for file in path.iterdir()) < 60_000


def test_tables_open(run):
    number = run.path.name[-1]
    assert run.directory.journal.read_text().startswith(f'{{"kind": "header", "format": {number}}}\n')
    assert run.is_finished
    assert run.manifest.seed == run.config.search.seed == 1
    assert {"energy_rel", "accuracy", "assignment"} <= set(run.front.columns)
    assert run.front["is_exact"].any()
    assert len(run.evaluations) == len({e.key for e in read_journal(run.directory.journal)})
    whole = run.evaluations.query("state == 'ok'")
    assert (whole["n_images"] == whole["split"].map(run.manifest.n_images)).all()
    assert run.generations["n_gen"].tolist() == [1, 2]
    assert len(run.assignment(0)) == len(run.layers) == 5


def test_commands_show_them(run, monkeypatch, capsys):
    from dse import cli

    before = {file.name: file.read_bytes() for file in run.path.iterdir()}
    for arguments in (["show", str(run.path)], ["show", str(run.path), "--point", "0"]):
        monkeypatch.setattr("sys.argv", ["dse", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        assert "energy saved" in capsys.readouterr().out
    assert {file.name: file.read_bytes() for file in run.path.iterdir()} == before


def test_they_are_collected(run, tmp_path):
    assert status_table(tmp_path)["state"].tolist() == ["finished"]
    found = api_sweeps.collect(tmp_path, out=tmp_path / "collected")
    table = pd.read_csv(tmp_path / "collected" / "collected.csv")
    assert len(table) == len(run.front)
    assert found is not None


@pytest.mark.parametrize(
    "kind", ["front", "progress", "attainment", "layers", "energy", "library", "predictions", "tolerances"]
)
def test_they_are_drawn(run, kind):
    if kind in ("predictions", "tolerances") and not (run.path / f"{kind}.csv").exists():
        with pytest.raises(DseError, match="expected"):
            dse.plot(run, kind=kind)
        return
    assert len(dse.plot(run, kind=kind).table) > 0


def test_they_are_compared():
    found = dse.compare(RUNS[0])
    assert found.groups["n_images_median"].iloc[0] > 0
    assert len(found.tests) == len(found.standings) == 0


def test_a_repeated_command_returns_them(run, monkeypatch):
    monkeypatch.setattr("dse.runs.runner.prepare", lambda *_: pytest.fail("it is finished"))
    sizes = {"population_size": 4, "generations": 2, "images": 40, "report_images": 40, "calibration_images": 32}
    if run.path.name == "run_format_2":  # defaults of the first version were others
        assert dse.explore(**sizes, threads=1, seed=1, out=run.path).front.equals(run.front)
