"""dse.runs.comparability: what stands between two runs."""

import json

import pytest

import dse
from dse.config import parse_config
from dse.runs.comparability import comparability
from dse.runs.runner import run


def edit_manifest(path, edit):
    record = json.loads((path / "manifest.json").read_text())
    edit(record)
    (path / "manifest.json").write_text(json.dumps(record))


@pytest.fixture
def pair(tmp_path, evaluator):
    for name in ("a", "b"):
        run(parse_config("[search]\npopulation_size = 4\ngenerations = 1"), tmp_path / name)
        edit_manifest(tmp_path / name, lambda record: record["hashes"].update({"report images": "r"}))

    def changed(edit=lambda record: None, **config):
        edit_manifest(tmp_path / "b", edit)
        if config:
            text = "\n".join(f"[{table}]\n{line}" for table, line in config.items())
            (tmp_path / "b" / "resolved.toml").write_text(text)
        return comparability({name: dse.open_run(tmp_path / name) for name in ("a", "b")})

    return changed


def test_runs_of_one_experiment_are_comparable(pair):
    assert pair() == comparability({})
    assert not pair().obstacles


@pytest.mark.parametrize(
    ("edit", "config", "message"),
    [
        (lambda r: r["layers"][0].update(name="x"), {}, "different networks: digits_cnn, 4 layers (a)"),
        (lambda r: r["hashes"].update({"report images": "x"}), {}, "different report images: 200 images of digits (a)"),
        (lambda r: r.update(cost_technology="other"), {}, "different technologies of the costs: fake (a); other (b)"),
        (lambda r: None, {"data": "top = 5"}, "different what counts as right: top 1 (a); top 5 (b)"),
    ],
)  # fmt: skip
def test_obstacles(pair, edit, config, message):
    (found,) = pair(edit, **config).obstacles
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("edit", "config", "message"),
    [
        (lambda r: r["hashes"].update(network="x"), {}, "different quantized networks: exact accuracy 95.00 % (a)"),
        (lambda r: r["hashes"].update(library="x"), {}, "different libraries: 5 choices of builtin (a); 5 choices of"),
        (
            lambda r: None,
            {"search": "objectives = ['energy', 'accuracy', 'memory']"},
            "different objectives: energy, acc",
        ),
        (
            lambda r: None,
            {"pruning": "sparsity_levels = [0, 50]"},
            "different treatments of weights of zero: multiplied (a); skipped (b)",
        ),
        (lambda r: None, {"accelerator": "kind = 'tiles:2'"}, "different accelerators: free (a); tiles:2 (b)"),
    ],
)
def test_notes(pair, edit, config, message):
    found = pair(edit, **config)
    assert not found.obstacles
    assert any(note.startswith(message) for note in found.notes)


def test_manifests_of_before_do_not_tell_technologies(pair):
    assert not pair(lambda record: record.pop("cost_technology")).obstacles


def test_many_runs_are_counted(pair, tmp_path):
    pair(lambda record: record["layers"][0].update(name="x"))
    run_a, run_b = (dse.open_run(tmp_path / name) for name in "ab")
    found = comparability({f"a{i}": run_a for i in range(6)} | {"b": run_b})
    assert "(a0, a1, a2 and 3 more)" in found.obstacles[0]
