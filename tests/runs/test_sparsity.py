import json

import numpy as np
import pytest
import torch

from dse.config import load_config, parse_config
from dse.cost.accelerators import Designs
from dse.errors import ConfigError, NetworkError, RunError, ShapeError
from dse.evaluation import hits
from dse.exported.reader import load_exported
from dse.objectives import reference_point
from dse.pareto import hypervolume, nondominated
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.recovery.pruned_network import PrunedDesign
from dse.recovery.switchable import SwitchableNetwork
from dse.runs.exporting import export_points
from dse.runs.finetuned import FinetuneOptions
from dse.runs.finetuning import finetune_points
from dse.runs.manifest import read_manifest
from dse.runs.matching import match_designs
from dse.runs.operating_points import choose_operating_points
from dse.runs.point_set import PointSettings
from dse.runs.preparation import Inputs, prepare
from dse.runs.recorded_sparsity import recorded_sparsity
from dse.runs.results import open_run
from dse.runs.run_status import status_table
from dse.runs.runner import run
from dse.runs.sparsity import _sizes, check_sparsity, quantization_scheme, sparsity_levels, zero_weights
from dse.sparse.pruning import global_masks, is_zero
from dse.testing.fakes import fake_library

SMALL = {
    "search.evaluations": 16, "search.population_size": 6, "data.images": 60, "data.calibration_images": 100,
    "data.report_images": 50, "library.include": ["u8_exact", "u8_trunc6", "u8_trunc8"], "tolerances.steps": 2,
    "execution.threads": 1, "pruning.sparsity_levels": [0, 50, 80],
}  # fmt: skip
OPTIONS = SMALL | {"search.objectives": ["memory", "energy", "accuracy"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small search on the digits."""
    return run(load_config(None, OPTIONS), tmp_path_factory.mktemp("runs") / "three")


def F_of(front):
    return np.column_stack([front["energy_rel"], 1 - front["accuracy_search"], front["memory_rel"]])


def test_the_front_has_three_objectives(finished):
    front = finished.front
    assert finished.objectives == ("energy", "accuracy", "memory")
    assert nondominated(F_of(front))[~front["is_exact"]].all()
    assert len(finished.manifest.reference_point) == 3
    assert len(finished.manifest.multipliers) == 9
    assert finished.manifest.multipliers[finished.manifest.exact_index]["name"] == "u8_exact"
    assert {"sparse choices", "pruned weights"} <= finished.manifest.hashes.keys()
    assert set(";".join(front["sparsities"]).split(";")) <= {"0", "50", "80"}
    exact = front[front["is_exact"]].iloc[0]
    assert (exact["sparsities"], exact["memory_rel"]) == ("0;0;0;0;0", 1.0)
    assert 0.9 < exact["energy_rel"] < 1.0  # weights that quantization made zero are skipped


def test_columns_agree_with_one_another(finished):
    prepared = prepare(load_config(None, OPTIONS), Inputs())
    choices, names = prepared.library, prepared.library.names
    for _, row in finished.front.iterrows():
        assignment = np.array([[names.index(name) for name in row["assignment"].split(";")]])
        assert row["sparsities"] == ";".join(map(str, choices.sparsities_pct(assignment)[0]))
        assert row["memory_bytes"] == prepared.memory.bytes(Designs(assignment))[0]
        assert row["memory_rel"] == pytest.approx(row["memory_bytes"] / prepared.memory.dense_bytes)
        assert row["energy_rel"] == pytest.approx(prepared.accelerator.energy_rel(Designs(assignment))[0])
        assert prepared.costs(Designs(assignment))[0].tolist() == pytest.approx([row["energy_rel"], row["memory_rel"]])
        by_layer = [cost[np.arange(5), assignment[0]].sum() for cost in prepared.layer_costs]
        assert by_layer == pytest.approx([row["energy_rel"], row["memory_rel"]])


def test_layers_of_a_point_add_up(finished):
    for _, row in finished.front.iterrows():
        table = finished.assignment(row["point"])
        total = (table["energy_rel"] * table["n_multiplications"]).sum() / table["n_multiplications"].sum()
        assert total == pytest.approx(row["energy_rel"])
        assert table["memory_bytes"].sum() == row["memory_bytes"]
        assert ";".join(map(str, table["sparsity_pct"])) == row["sparsities"]
        assert set(table["multiplier"]) <= {"u8_exact", "u8_trunc6", "u8_trunc8"}


def test_layers_tell_the_zeros_that_they_have(finished, tmp_path):
    """Which are not the level's share where one rate is spread over all layers."""
    options = {"pruning.rates": "global", "pruning.zero_weights": "multiplied", "pruning.refit": False}
    found = run(load_config(None, OPTIONS | options | {"search.evaluations": 6}), tmp_path / "run")
    network = prepare(load_config(None, OPTIONS | options), Inputs()).evaluator.bank.network
    masks = global_masks(network, 0.8)
    expected = {0: [is_zero(layer.problem).double().mean().item() for layer in network.integer_layers]}
    expected[80] = [mask.mean() for mask in masks]
    assert max(expected[80]) - min(expected[80]) > 0.2
    for level, shares in expected.items():
        for column in found.sparsity.zero_share[:, found.sparsity.sparsity_pct == level].T:
            assert column == pytest.approx(shares)
    table = found.assignment(found.front["point"].iloc[-1])  # the exact network
    assert table["zeros_pct"].to_numpy() == pytest.approx(100 * np.array(expected[0]))
    record = json.loads((finished.path / "manifest.json").read_text())
    layers = [{k: v for k, v in layer.items() if k != "zero_shares"} for layer in record["layers"]]
    (tmp_path / "manifest.json").write_text(json.dumps(record | {"layers": layers}))
    before = recorded_sparsity(read_manifest(tmp_path / "manifest.json"))
    assert np.isnan(before.zero_share).all()
    assert np.array_equal(before.layer_bytes, finished.sparsity.layer_bytes)


def test_evaluations_and_progress_know_memory(finished):
    searched = finished.evaluations.query("split == 'search' and state == 'ok'")
    F = np.column_stack([searched["energy_rel"], 1 - searched["accuracy"], searched["memory_rel"]])
    assert (searched["is_dominated"].to_numpy() == ~nondominated(F)).all()
    volume = hypervolume(F, reference_point(3))
    assert finished.generations["hypervolume"].iloc[-1] == pytest.approx(volume)
    assert status_table(finished.path.parent)["hypervolume"].tolist() == pytest.approx([volume])


def test_no_hypervolume_of_two_objectives_stands_for_one_of_three(finished, tmp_path):
    """Where the manifest does not tell sizes."""
    for name in ("resolved.toml", "evaluations.jsonl", "front.csv", "manifest.json"):
        (tmp_path / name).write_bytes((finished.path / name).read_bytes())
    assert not np.isnan(status_table(tmp_path)["hypervolume"].iloc[0])
    (tmp_path / "manifest.json").write_text("{}")
    assert np.isnan(status_table(tmp_path)["hypervolume"].iloc[0])
    (tmp_path / "manifest.json").unlink()
    assert np.isnan(status_table(tmp_path)["hypervolume"].iloc[0])


def test_what_was_measured_is_measured_again_alike(finished):
    prepared = prepare(load_config(None, OPTIONS), Inputs())
    rows = finished.evaluations.query("split == 'search' and n_images == 60").iloc[-3:]
    names = [[prepared.library.index(name) for name in text.split(";")] for text in rows["assignment"]]
    assert prepared.evaluator(np.array(names)).tolist() == rows["accuracy"].tolist()


def test_an_interrupted_search_goes_on_alike(finished, tmp_path):
    lines = finished.directory.journal.read_text().splitlines(keepends=True)
    part = tmp_path / "part"
    part.mkdir()
    for file in finished.path.iterdir():
        if file.is_file() and file.name != "front.csv":
            (part / file.name).write_bytes(file.read_bytes())
    (part / finished.directory.journal.name).write_text("".join(lines[: len(lines) // 2]))
    again = run(load_config(None, OPTIONS), part)
    assert again.directory.front.read_bytes() == finished.directory.front.read_bytes()


def test_other_weights_are_refused(finished, tmp_path, monkeypatch):
    for file in finished.path.iterdir():
        if file.is_file() and file.name != "front.csv":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr("dse.runs.sparsity.REFIT_SEED", 1)
    monkeypatch.setattr("dse.recovery.kept_weights.RIDGE", 10.0)
    with pytest.raises(RunError, match="cannot be continued.*pruned weights"):
        run(load_config(None, OPTIONS), tmp_path)


@pytest.mark.parametrize("method", ["random", "greedy", "uniform"])
def test_baselines_have_three_objectives(method, tmp_path):
    found = run(load_config(None, OPTIONS | {"search.method": method, "search.evaluations": 12}), tmp_path)
    assert len(found.manifest.reference_point) == 3
    assert nondominated(F_of(found.front))[~found.front["is_exact"]].all()


@pytest.mark.parametrize("initial", ["sensitivity", "uniform", "random"])
def test_searches_start_as_others_do(initial, tmp_path):
    options = {"search.initial": initial, "search.surrogate": initial == "uniform", "search.evaluations": 30}
    found = run(load_config(None, OPTIONS | options), tmp_path)
    assert len(found.front) > 2
    assert found.evaluations["assignment"].str.contains("%").any()


def test_pruning_without_memory_saves_energy(tmp_path):
    found = run(load_config(None, SMALL), tmp_path)
    assert found.objectives == ("energy", "accuracy")
    assert len(found.manifest.reference_point) == 2
    F = np.column_stack([found.front["energy_rel"], 1 - found.front["accuracy_search"]])
    assert nondominated(F)[~found.front["is_exact"]].all()
    assert {"memory_bytes", "memory_rel", "sparsities"} <= set(found.front.columns)


def test_dense_engines_multiply_zeros_and_channels_go_together(tmp_path):
    options = {"pruning.zero_weights": "multiplied", "pruning.structure": "channels", "pruning.refit": False}
    config = load_config(None, OPTIONS | options)
    found = run(config, tmp_path)
    exact = found.front[found.front["is_exact"]].iloc[0]
    assert exact["energy_rel"] == 1.0
    sparse = found.front[found.front["sparsities"].str.contains("80")]
    assert len(sparse)
    assert (sparse["memory_rel"] < 1).all()
    energies = {m["name"]: m["energy_rel"] for m in found.manifest.multipliers}
    layers = found.layers["n_multiplications"]
    for _, row in found.front.iterrows():
        mean = np.average([energies[name] for name in row["assignment"].split(";")], weights=layers)
        assert row["energy_rel"] == pytest.approx(mean)  # pruning saves no multiplication
    bank = prepare(config, Inputs()).evaluator.bank
    matrix = bank.matrix(1, 2)
    assert (~matrix.any(axis=1)).mean() == pytest.approx(0.8, abs=0.05)


def test_levels_may_be_shares_of_all_weights(tmp_path):
    config = load_config(None, OPTIONS | {"pruning.rates": "global", "search.initial": "uniform"})
    found = run(config, tmp_path)
    prepared = prepare(config, Inputs())
    bank = prepared.evaluator.bank
    zeros = np.array([[(bank.matrix(layer, level) == 0).sum() for level in range(3)] for layer in range(5)])
    sizes = np.array([info.n_weights for info in prepared.layers])
    shares = zeros.sum(axis=0) / sizes.sum()
    assert shares[1:] == pytest.approx([0.5, 0.8], abs=0.01)
    assert np.ptp(zeros[:, 2] / sizes) > 0.1  # some layers lose more than others
    assert len(found.front) > 1
    assert found.config.pruning.rates == "global"


def test_manifests_of_runs_without_pruning_are_as_before(tmp_path):
    options = SMALL | {"pruning.sparsity_levels": [], "search.evaluations": 4, "search.initial": "uniform"}
    plain = run(load_config(None, options), tmp_path)
    record = json.loads((plain.path / "manifest.json").read_text())
    assert "pruned weights" not in record["hashes"]
    assert record["layers"][0].keys() == {"name", "kind", "n_multiplications"}
    assert "sparsity_pct" not in record["multipliers"][0]
    assert plain.sparsity is None
    assert "sparsities" not in plain.front


def test_damaged_manifests_are_told(finished, tmp_path):
    record = json.loads((finished.path / "manifest.json").read_text())
    for damage in ("n_weights", "memory_bytes", "multiplied_shares"):
        layers = [{k: v for k, v in layer.items() if k != damage} for layer in record["layers"]]
        (tmp_path / "manifest.json").write_text(json.dumps(record | {"layers": layers}))
        with pytest.raises(RunError, match=r"manifest.json is damaged.*restore it"):
            recorded_sparsity(read_manifest(tmp_path / "manifest.json"))
    with pytest.raises(RunError, match="does not fit the manifest"):
        open_run(finished.path).sparsity.assignments([["u8_exact"] * 4])


def test_what_knows_layers_with_all_weights_refuses(finished):
    asked = [
        lambda: choose_operating_points(finished.path, PointSettings(n_multipliers=2, n_points=2)),
        lambda: match_designs(finished.path, [60.0]),
    ]
    for ask in asked:
        with pytest.raises(ConfigError, match="may prune layers.*all their weights"):
            ask()


@pytest.mark.parametrize("options", [{}, {"pruning.zero_weights": "multiplied", "library.signed": True}])
def test_exports_compute_what_was_measured(options, tmp_path):
    """Also with sum compensation and weight tuning, through tables alone."""
    if options:
        options = options | {"library.include": ["s8_exact", "s8_trunc6", "s8_trunc8"]}
    recovery = {"recovery.sum_compensation": True, "recovery.weight_tuning": "histogram"}
    config = load_config(None, OPTIONS | options | recovery)
    found = run(config, tmp_path / "run")
    report = prepare(config, Inputs()).report_evaluator.split
    points = found.front[found.front["sparsities"].str.contains("50|80")].iloc[-2:]
    assert len(points)
    for _, row in points.iterrows():
        arrays = export_points(found.path, point=int(row["point"])).arrays
        network = load_exported(arrays)
        assert (hits(network(report.images), report.labels).double().mean()) == row["accuracy"]
        assert network.document.points[0].energy_rel == pytest.approx(row["energy_rel"])


FINETUNE = FinetuneOptions(FinetuningSettings(epochs=2, batch_size=20, learning_rate=3e-3), 100, 60)


@pytest.mark.parametrize("options", [{}, {"pruning.zero_weights": "multiplied", "recovery.weight_tuning": "histogram"}])
def test_finetuning_keeps_the_zeros(options, tmp_path):
    """And with them memory and energy; what is exported is what was measured."""
    config = load_config(None, OPTIONS | options)
    found = run(config, tmp_path / "run")
    prepared = prepare(config, Inputs())
    bank, report = prepared.evaluator.bank, prepared.report_evaluator.split
    point = int(found.front.loc[found.front["sparsities"].str.contains("50|80"), "point"].iloc[0])
    row = finetune_points(found.path, FINETUNE, points=[point]).table.iloc[0]
    before = found.front.set_index("point").loc[point]
    for column in ("energy_rel", "assignment", "sparsities", "memory_bytes", "memory_rel"):
        assert row[column] == before[column]
    assert row["accuracy_untuned"] == before["accuracy"]
    assert row["accuracy_exact"] == found.front.loc[found.front["is_exact"], "accuracy"].iloc[0]
    assert row["accuracy_validation"] >= row["accuracy_validation_untuned"]
    design = PrunedDesign(bank, np.array([prepared.library.index(name) for name in row["assignment"].split(";")]))
    tuned = SwitchableNetwork.load(found.path / "finetuned" / f"point_{point}.npz", design.network, design.library)
    assert tuned.hits(report).mean() == row["accuracy"]
    layers = zip(tuned.network.integer_layers, design.network.integer_layers, strict=True)
    problems = [(after.problem, pruned.problem) for after, pruned in layers]
    assert all(torch.equal(is_zero(after), is_zero(pruned)) for after, pruned in problems)
    assert any(not torch.equal(after.weight, pruned.weight) for after, pruned in problems)
    export = export_points(found.path, point=point)
    assert export.is_finetuned
    assert torch.equal(load_exported(export.arrays)(report.images), tuned(report.images))
    assert export_points(found.path, point=point, untuned=True).table["accuracy"][0] == before["accuracy"]


def test_finetuning_of_designs_of_a_file_without_hardening(finished, tmp_path):
    designs = tmp_path / "designs.csv"
    designs.write_text("assignment\nu8_trunc6;u8_trunc6%80;u8_exact%50;u8_exact%50;u8_exact\n")
    quick = FinetuneOptions(FinetuningSettings(epochs=1, reconstruction=False), 20, 20)
    table = finetune_points(finished.path, quick, assignments=designs, out=tmp_path / "out").table
    assert table["sparsities"][0] == "0;80;50;50;0"
    names = [table["assignment"][0].split(";")]
    recorded = finished.sparsity
    assert table["memory_bytes"][0] == recorded.memory_bytes(recorded.assignments(names))[0]
    counts = finished.layers["n_multiplications"]
    energy = np.average(recorded.by_layer(recorded.energy_rel, recorded.assignments(names))[0], weights=counts)
    assert table["energy_rel"][0] == pytest.approx(energy)
    hardened = FinetuneOptions(FinetuningSettings(noise_epochs=1))
    with pytest.raises(ConfigError, match="--noise-epochs is 1: hardening knows layers with all their weights"):
        finetune_points(finished.path, hardened, points=[0])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[pruning]\nsparsity_levels = [50]\n[accelerator]\nkind = "tiles:2"', "expected accelerator 'free'"),
        ("[pruning]\nsparsity_levels = [50]\n[search]\nneuron_shares = [50]", "neuron shares with sparsity levels"),
        ('[search]\nobjectives = ["energy", "accuracy", "memory"]\nneuron_shares = [50]', "neuron shares with"),
        ('[pruning]\nzero_weights = "skipped"', "without sparsity levels"),
        ('[pruning]\nstructure = "channels"', "without sparsity levels"),
        ('[pruning]\nrates = "global"', "without sparsity levels"),
        ("[pruning]\nrefit = false", "none of rates, structure, refit and zero_weights"),
        ('[pruning]\nsparsity_levels = [50]\nrates = "global"\nstructure = "channels"', "LAMP scores single weights"),
        ('[pruning]\nsparsity_levels = [50]\n[quantization]\nscheme = "unsigned-affine"', "'unsigned-centered'"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_loaded(text, told):
    config = parse_config(text + '\n[network]\nname = "none"')
    with pytest.raises(ConfigError, match=told):
        prepare(config, Inputs(library=fake_library()))


def test_layers_beyond_the_format_are_named():
    with pytest.raises(ShapeError, match=r"layer 'wide' cannot be stored in dCSR.*32768.*--exclude it"):
        _sizes("wide", [np.zeros((2, 32768), dtype=np.int16)])
    with pytest.raises(NetworkError, match=r"layer 'odd' cannot be stored in dCSR.*200"):
        _sizes("odd", [np.full((2, 3), 200, dtype=np.int16)])


def test_defaults():
    plain, memory = parse_config(""), parse_config('[search]\nobjectives = ["energy", "accuracy", "memory"]')
    assert (sparsity_levels(plain), zero_weights(plain)) == ((), "multiplied")
    assert (sparsity_levels(memory), zero_weights(memory)) == ((0, 50, 70, 80, 90), "skipped")
    assert quantization_scheme(plain, is_signed=False) == "auto"
    assert quantization_scheme(memory, is_signed=False) == "unsigned-centered"
    assert quantization_scheme(memory, is_signed=True) == "signed-symmetric"
    check_sparsity(plain, fake_library())
    check_sparsity(memory, fake_library())
