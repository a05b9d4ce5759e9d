"""dse.runs.sweep_folder: what is beside the runs of a sweep."""

import pytest

from dse.config import to_toml
from dse.errors import RunError
from dse.runs.store import RunDirectory, RunLock, lock_holder
from dse.runs.sweep_folder import Outcome, SweepFolder
from dse.runs.sweep_plan import parse_plan

PLAN = parse_plan("[sweep]\nsearch.seed = [0, 1]")
FIRST, SECOND = PLAN.runs


@pytest.fixture
def folder(tmp_path):
    folder = SweepFolder(tmp_path / "sweep")
    with RunLock(RunDirectory(folder.path)):
        folder.claim(PLAN)
    return folder


def begin(folder, run):
    directory = folder.run(run.name)
    directory.claim(run.config)
    return directory


def test_claim_writes_run_files_and_the_plan(folder):
    assert folder.rows() == [{"name": "seed_0", "seed": "0"}, {"name": "seed_1", "seed": "1"}]
    assert folder.run_file("seed_1").read_text() == to_toml(SECOND.config)
    assert folder.config("seed_1") == SECOND.config
    assert (folder.path / "sweep.toml").read_text() == PLAN.text
    assert folder.config("seed_7") is None


def test_claiming_again_leaves_files_alone_and_keeps_former_runs(folder):
    begin(folder, SECOND)
    before = folder.run_file("seed_1").stat().st_mtime_ns
    folder.claim(PLAN)
    assert folder.run_file("seed_1").stat().st_mtime_ns == before
    folder.claim(parse_plan("[sweep]\nsearch.seed = [5]"))
    assert [row["name"] for row in folder.rows()] == ["seed_5", "seed_1"]


def test_a_run_whose_weights_lie_elsewhere_is_done_once_more(tmp_path):
    text = "[network]\nweights = '{}'\n[sweep]\nsearch.seed = [0]"
    folder = SweepFolder(tmp_path)
    with RunLock(RunDirectory(tmp_path)):
        folder.claim(parse_plan(text.format("/a/w.pt")))
        directory = begin(folder, parse_plan(text.format("/a/w.pt")).runs[0])
        assert not folder.is_done("seed_0")
        directory.front.write_text("point\n")
        assert folder.is_done("seed_0")
        folder.claim(parse_plan(text.format("/b/w.pt")))
    assert folder.state("seed_0") == "finished"
    assert not folder.is_done("seed_0")  # `dse explore` compares hashes, and says where things are now
    directory.claim(parse_plan(text.format("/b/w.pt")).runs[0].config)
    assert folder.is_done("seed_0")


def test_states(folder):
    name = FIRST.name
    assert folder.state(name) == "waiting"
    folder.write_outcome(name, Outcome("failed", "no network", 1.5))
    assert folder.state(name) == "failed"
    assert folder.read_outcome(name) == Outcome("failed", "no network", 1.5)
    folder.write_outcome(name, None)
    folder.write_outcome(name, None)
    with RunLock(folder.run(name)):
        directory = begin(folder, FIRST)
        assert folder.state(name) == "running"
    assert folder.state(name) == "interrupted"
    directory.front.write_text("point\n")
    assert folder.state(name) == "finished"


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"state": 1, "other": 2}'])
def test_a_damaged_outcome_is_unknown(folder, text):
    path = folder.path / "logs" / f"{FIRST.name}.json"
    path.parent.mkdir()
    path.write_text(text)
    assert folder.read_outcome(FIRST.name) is None


@pytest.mark.parametrize(
    "text",
    ["", "nome\na\n", "name\n../x\n", "name\n..\n", "name\n.\n", 'name\n""\n', 'name\n"a\0b"\n', "name\na\na\n",
     "name\nlogs\n", 'name\n"a\n'],
)  # fmt: skip
def test_a_damaged_plan_is_refused(folder, text):
    folder.plan.write_text(text)
    with pytest.raises(RunError, match="is damaged.*: repeat the `dse sweep` command"):
        folder.rows()
    folder.claim(PLAN)
    assert [row["name"] for row in folder.rows()] == ["seed_0", "seed_1"]


def test_runs_of_another_configuration_are_refused(folder):
    begin(folder, FIRST)
    other = parse_plan("[search]\ngenerations = 3\n[sweep]\nsearch.seed = [0, 1]")
    with pytest.raises(RunError, match=r"seed_0 holds an unfinished run .* search.generations was 12, is now 3"):
        folder.claim(other)


def test_directories_are_not_mixed(folder, tmp_path):
    with pytest.raises(RunError, match="holds the runs of `dse sweep`"):
        RunDirectory(folder.path).claim(FIRST.config)
    run = RunDirectory(tmp_path / "run")
    run.claim(FIRST.config)
    with pytest.raises(RunError, match="holds a run of `dse explore`"):
        SweepFolder(run.path).check(PLAN)


def test_foreign_directories_and_files_are_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match="is not empty and holds no run"):
        SweepFolder(tmp_path).check(PLAN)
    with pytest.raises(RunError, match=r"thesis.tex is a file: expected a directory"):
        SweepFolder(tmp_path / "thesis.tex").check(PLAN)


def test_a_sweep_copied_without_its_lock_is_still_one(folder):
    (folder.path / ".dse-lock").unlink()
    with RunLock(RunDirectory(folder.path)):
        folder.claim(PLAN)


def test_looking_at_a_lock_changes_nothing(folder):
    directory = folder.run(FIRST.name)
    assert lock_holder(directory.path) is None
    assert not directory.path.exists()
    with RunLock(directory):
        assert "process" in lock_holder(directory.path)
    assert lock_holder(directory.path) is None
