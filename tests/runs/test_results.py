"""dse.runs.results: a run directory as tables."""

import json

import pytest

from dse.errors import RunError
from dse.reporting.terminal.fronts import finetuned_accuracies
from dse.runs.journal import Evaluation, Journal
from dse.runs.results import open_run
from dse.runs.runner import Silent, run


def test_point_shows_every_layer(tmp_path, evaluator, config):
    result = run(config, tmp_path)
    point = int(result.front["point"].iloc[0])
    table = result.assignment(point)
    assert table["layer"].tolist() == ["layer0", "layer1", "layer2", "layer3"]
    assert table["energy_share_pct"].sum() == pytest.approx(100)
    assert table["saved_share_pct"].sum() == pytest.approx(result.front["energy_saved_pct"].iloc[0])
    assert result.layers["n_multiplications"].tolist() == [100, 200, 300, 400]
    with pytest.raises(RunError, match="has no point 99: expected 0 to"):
        result.assignment(99)


def test_evaluations_mark_what_is_dominated(tmp_path, evaluator, config):
    result = run(config, tmp_path)
    searched = result.evaluations[result.evaluations["split"] == "search"]
    best = searched[~searched["is_dominated"]]
    assert set(best["assignment"]) >= set(result.front.loc[~result.front["is_exact"], "assignment"])


def test_others_are_those_beside_the_front(tmp_path, evaluator, config):
    result = run(config, tmp_path)
    searched = result.evaluations[result.evaluations["split"] == "search"]
    assert len(result.others) == len(searched) - len(result.front) > 0
    assert not set(result.others["assignment"]) & set(result.front["assignment"])


def test_evaluations_show_the_longest_stage(tmp_path, evaluator, config):
    run(config, tmp_path)
    before = open_run(tmp_path).evaluations
    assert (before["n_images"] == 200).all()
    assert (before["state"] == "ok").all()

    def stage(assignment, state, n_images=0, hits="", accuracy=1.0):
        return Evaluation("search", assignment, "another", accuracy, state, "", 0.01, None, n_images, hits)

    with Journal(tmp_path / "evaluations.jsonl") as journal:
        journal.append([stage((0, 0, 0, 1), "partial", 8, "ff"), stage((0, 0, 0, 2), "partial", 16, "ffff")])
        journal.append([stage((0, 0, 0, 1), "raced", 8, "ff"), stage((0, 0, 0, 3), "ok")])
    table = open_run(tmp_path).evaluations.iloc[len(before) :]
    assert table["state"].tolist() == ["raced", "partial", "ok"]
    assert table["n_images"].tolist() == [8, 16, 200]
    assert table["is_dominated"].tolist() == [True, True, False]
    assert table["assignment"].iloc[0] == "t8;t8;t8;t6"


def test_representations(tmp_path, evaluator, config):
    result = run(config, tmp_path)
    assert f"{len(result.front)} points" in repr(result)
    assert "<table" in result._repr_html_()


def test_unfinished_run_shows_what_it_has(tmp_path, evaluator, config):
    class Stop(Silent):
        def on_generation(self, progress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path, observer=Stop())
    result = open_run(tmp_path)
    assert len(result.evaluations) > 0
    assert "unfinished" in result._repr_html_()
    with pytest.raises(RunError, match="is not finished"):
        _ = result.front


def test_directory_that_is_no_run(tmp_path):
    with pytest.raises(RunError, match=r"holds no resolved.toml"):
        open_run(tmp_path)
    with pytest.raises(RunError, match="is not a directory"):
        open_run(tmp_path / "absent")


def test_fine_tuned_points_where_there_are_any(tmp_path, evaluator, config):
    result = run(config, tmp_path)
    assert not result.has_finetuned
    with pytest.raises(RunError, match="no fine-tuned points yet: make them with `dse finetune"):
        result.finetuned  # noqa: B018
    (tmp_path / "finetuned").mkdir()
    (tmp_path / "finetuned" / "finetuned.csv").write_text("name,point,accuracy\npoint_2,2,0.5\nrow_0,,0.25\n")
    assert result.has_finetuned
    assert result.finetuned["point"].tolist()[0] == 2
    assert finetuned_accuracies(result) == {2: 0.5}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("front.csv", b"", "front.csv is damaged"),
        ("front.csv", b"\xff\xfe", "front.csv is damaged"),
        ("front.csv", b"point,accuracy\n0,1\n", "without a column 'energy_rel'"),
        ("front.csv", b"point,energy_rel,accuracy,assignment\n0,1,1,\n", "without an assignment in some row"),
        ("front.csv", b"point,energy_rel,accuracy,assignment\n0,1,1,exact;t2\n", "does not fit the 4 layers"),
        (
            "front.csv",
            b"point,energy_rel,accuracy,assignment,tiles\n0,1,1,a;b;c;d,0;x;1;1\n",
            "does not fit the 4 layers",
        ),
        *(
            ("front.csv", f"point,energy_rel,accuracy,is_exact,assignment\n{row},a\n".encode(), "front.csv is damaged")
            for row in ("x,1,1,True", "0,abc,1,True", "0,1,abc,True", "0,1,1,abc", "1.5,1,1,True", f"{10**30},1,1,True")
        ),
        ("manifest.json", b"[]", "manifest.json is damaged"),
        ("manifest.json", b"[" * 100_000, "manifest.json is damaged"),
    ],
)
def test_damaged_files_are_told(tmp_path, evaluator, config, name, content, message):
    run(config, tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=message):
        open_run(tmp_path).assignment(0)


@pytest.mark.parametrize(
    "change",
    [
        {"multipliers": [{"energy_rel": 1.0, "key": "k"}]}, {"layers": [3]}, {"layers": "abc"}, {"exact_index": 99},
        {"hashes": {"network": 3}}, {"n_images": []}, {"seed": None}, {"versions": []},
    ],
)  # fmt: skip
def test_a_manifest_of_other_kinds_is_told(tmp_path, evaluator, config, change):
    run(config, tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunError, match="manifest.json is damaged.*restore it from a copy"):
        open_run(tmp_path).layers  # noqa: B018
