import json
from dataclasses import replace

import numpy as np
import pytest

from dse.config import load_config, parse_config
from dse.cost.neuron_choices import NeuronChoices, parse_choice
from dse.errors import ConfigError, RunError
from dse.reporting.terminal.fronts import print_point
from dse.robustness import neuron_ranking
from dse.runs.exporting import export_points
from dse.runs.finetuned import FinetuneOptions
from dse.runs.finetuning import finetune_points
from dse.runs.neuron_shares import NeuronGuide, check_shares
from dse.runs.operating_points import choose_operating_points
from dse.runs.point_set import PointSettings
from dse.runs.preparation import Inputs, prepare
from dse.runs.results import open_run
from dse.runs.runner import run
from dse.testing.fakes import FakeGuide, fake_library

OPTIONS = {
    "search.neuron_shares": [50], "search.evaluations": 16, "search.population_size": 6, "data.images": 60,
    "data.calibration_images": 100, "data.report_images": 50, "library.include": ["u8_exact", "u8_trunc6", "u8_trunc8"],
    "tolerances.steps": 2, "execution.threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small search on the digits."""
    return run(load_config(None, OPTIONS), tmp_path_factory.mktemp("runs") / "neurons")


def test_points_of_neurons_and_of_layers_share_a_front(finished):
    names = set(";".join(finished.front["assignment"]).split(";"))
    manifest = finished.manifest
    assert names <= {m["name"] for m in manifest.multipliers}
    assert len(manifest.multipliers) == 6
    assert manifest.multipliers[manifest.exact_index]["name"] == "u8_exact"
    assert {"neuron choices", "neuron rankings"} <= manifest.hashes.keys()
    evaluated = finished.evaluations["assignment"].str.split(";").explode()
    assert any(parse_choice(name)[2] for name in evaluated)
    assert finished.front.loc[finished.front["is_exact"], "energy_rel"].tolist() == [1.0]


def test_predictions_of_composites_lie_between_those_of_their_multipliers(finished):
    errors = finished.directory.errors.read_text().splitlines()
    header, *rows = [line.split(",") for line in errors]
    residual = {(row[0], row[1]): float(row[header.index("residual_std")]) for row in rows}
    for (layer, name), value in residual.items():
        high, low, share_pct = parse_choice(name)
        if share_pct:
            assert residual[layer, high] <= value <= residual[layer, low]


def test_a_measured_composite_is_measured_again_alike(finished):
    prepared = prepare(load_config(None, OPTIONS), Inputs())
    row = finished.evaluations.query("split == 'search' and n_images == 60").iloc[-1]
    assignment = np.array([[prepared.library.index(name) for name in row["assignment"].split(";")]])
    assert prepared.evaluator(assignment)[0] == row["accuracy"]


def test_an_interrupted_search_goes_on_alike(finished, tmp_path):
    lines = finished.directory.journal.read_text().splitlines(keepends=True)
    part = tmp_path / "part"
    part.mkdir()
    for file in finished.path.iterdir():
        if file.is_file() and file.name not in ("front.csv", "front.png"):
            (part / file.name).write_bytes(file.read_bytes())
    (part / finished.directory.journal.name).write_text("".join(lines[: len(lines) // 2]))
    again = run(load_config(None, OPTIONS), part)
    assert again.front.equals(finished.front)


def test_another_ranking_is_refused(finished, tmp_path, monkeypatch):
    def reversed_ranking(network, split, *, device):
        found = neuron_ranking.rank_neurons(network, split, device=device)
        return replace(found, orders=tuple(order[::-1].copy() for order in found.orders))

    for file in finished.path.iterdir():
        if file.is_file() and file.name != "front.csv":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(neuron_ranking, "load_or_rank_neurons", reversed_ranking)
    with pytest.raises(RunError, match="cannot be continued.*neuron rankings"):
        run(load_config(None, OPTIONS), tmp_path)


def test_what_knows_one_multiplier_a_layer_refuses(finished):
    with pytest.raises(ConfigError, match="fine-tuning knows one multiplier a layer"):
        finetune_points(finished.path, FinetuneOptions(), points=[0])
    with pytest.raises(ConfigError, match="an export knows"):
        export_points(finished.path, point=0)
    with pytest.raises(ConfigError, match="operating points knows"):
        choose_operating_points(finished.path, PointSettings(n_multipliers=2, n_points=2))


def test_tiles_are_refused_before_anything_is_loaded():
    config = parse_config('[search]\nneuron_shares = [50]\n[accelerator]\nkind = "tiles:2"\n[network]\nname = "none"')
    with pytest.raises(ConfigError, match="a tile holds one multiplier"):
        prepare(config, Inputs(library=fake_library()))
    with pytest.raises(ConfigError, match="different whole percents"):
        check_shares(parse_config("[search]\nneuron_shares = [50, 50]"), fake_library())


def test_the_guide_mixes_by_neurons_and_by_importance():
    guide, choices = FakeGuide(2, 5), NeuronChoices(fake_library(), [50])
    importances = (np.ones(4), np.array([0.0, 0.0, 1.0, 1.0]))
    mixed = NeuronGuide(guide, guide.predict_errors(), choices, importances)
    predicted, residual = mixed.predict_errors()
    t8, exact, both = (choices.index(name) for name in ("t8", "exact", "exact+t8@50"))
    assert residual[:, t8].tolist() == [40.0, 40.0]
    assert residual[:, exact].tolist() == [0.0, 0.0]
    assert residual[:, both] == pytest.approx([40 * 0.5**0.5, 0])  # the layer's resilient neurons do not matter at all
    assert predicted.std[:, both] == pytest.approx([40 * 0.5**0.5] * 2)
    assert mixed.learn_tolerances(lambda done, total: None).sigma.shape == (2,)


def test_manifests_of_runs_without_shares_are_as_before(tmp_path):
    options = OPTIONS | {"search.neuron_shares": [], "search.evaluations": 4, "search.initial": "uniform"}
    plain = run(load_config(None, options), tmp_path / "plain")
    assert len(plain.manifest.multipliers) == 3
    assert "neuron rankings" not in json.loads((plain.path / "manifest.json").read_text())["hashes"]


def test_energies_of_layers_add_up(finished):
    for _, row in finished.front.iterrows():
        table = finished.assignment(row["point"])
        total = (table["energy_rel"] * table["n_multiplications"]).sum() / table["n_multiplications"].sum()
        assert total == pytest.approx(row["energy_rel"])
    name = next(m["name"] for m in finished.manifest.multipliers if parse_choice(m["name"])[2])
    shown = replace_front(finished, finished.front.iloc[:1].assign(point=0, assignment=";".join([name] * 5)))
    assert finished.layers["n_neurons"].tolist()[-1] == 10
    assert shown.assignment(0)["energy_rel"].nunique() == 1  # even numbers of neurons


def test_a_point_is_printed_readably(finished, capsys):
    name = next(m["name"] for m in finished.manifest.multipliers if parse_choice(m["name"])[2])
    composite = finished.front.iloc[:1].assign(point=0, assignment=";".join([name] * 5))
    shown = replace_front(finished, composite)
    print_point(shown, 0, "table")
    assert capsys.readouterr().out.count("in the most resilient 50 %") >= 1
    print_point(shown, 0, "csv")
    assert name in capsys.readouterr().out


def replace_front(finished, front):
    """The run with another front."""
    shown = open_run(finished.path)
    shown.__dict__["front"] = front
    return shown
