"""dse.api: objects instead of names, one accuracy whatever the door."""

import textwrap

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import dse
from dse.datasets import Split, Splits, load_splits
from dse.errors import ConfigError, DataError, MultiplierError, ShapeError
from dse.networks.zoo import create_network
from dse.runs.results import open_run

SMALL = {"population_size": 6, "generations": 2, "images": 40, "report_images": 40, "threads": 1}
NAMES = ["u8_exact", "u8_trunc6", "u8_drum4", "u8_mitchell7"]


class Undecided(nn.Module):
    """Control flow that depends on data: torch.fx cannot trace it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.linear = nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Linear(144, 10)

    def forward(self, x):
        y = self.norm(self.conv(x))
        if y.mean() > 0:
            y = y.relu()
        return self.linear(y.flatten(1))


@pytest.fixture(scope="module")
def library():
    return dse.load_library("builtin", is_signed=False).select(names=NAMES)


@pytest.fixture(scope="module")
def splits():
    found = load_splits("digits", n_search=40, n_report=40, n_calibration=32)
    return Splits(*(Split.from_arrays(s.stored, s.labels) for s in (found.calibration, found.search, found.report)))


@pytest.fixture
def undecided():
    return Undecided().eval()


def test_objects_and_names_give_one_front(tmp_path, library, splits):
    network = create_network("digits_cnn")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    options = {"population_size": 6, "generations": 2, "threads": 1}
    run = dse.explore(network=network, dataset=splits, library=library, out=tmp_path / "objects", **options)
    again = dse.explore(network=network, dataset=splits, library=library, out=tmp_path / "objects", **options)
    text = f"[library]\ninclude = {NAMES}\n[data]\ncalibration_images = 32\nconfirm_images = 40\n"
    (tmp_path / "run.toml").write_text(text)
    named = dse.explore(tmp_path / "run.toml", **SMALL, out=tmp_path / "names")
    pd.testing.assert_frame_equal(run.front, named.front)
    pd.testing.assert_frame_equal(run.front, again.front)
    pd.testing.assert_frame_equal(run.front, open_run(tmp_path / "objects").front)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert isinstance(run.front, pd.DataFrame)
    assert run.evaluations["is_dominated"].dtype == bool
    assert run.assignment(0)["layer"].tolist() == run.layers["name"].tolist()


@pytest.mark.slow
def test_jobs_do_not_change_the_front(tmp_path):
    fronts = [dse.explore(**SMALL, jobs=jobs, out=tmp_path / str(jobs)).front for jobs in (1, 2)]
    pd.testing.assert_frame_equal(*fronts)


@pytest.mark.parametrize("accelerator", ["tiles:2", "pipelined:2"])
@pytest.mark.parametrize("signed", [False, True])
def test_tiles_and_signedness(tmp_path, accelerator, signed):
    run = dse.explore(**SMALL, accelerator=accelerator, signed=signed, out=tmp_path)
    assert (run.front["n_tiles"] <= 2).all()
    assert run.front["assignment"].str.startswith("s8_" if signed else "u8_").all()
    assert run.front["is_exact"].sum() == 1


def test_network_that_cannot_be_traced(tmp_path, undecided, splits, library):
    run = dse.explore(
        network=undecided, dataset=splits, library=library, population_size=4, generations=1, out=tmp_path, threads=1
    )
    assert run.layers["name"].tolist() == ["conv", "linear"]


def test_data_of_an_entry_point(tmp_path, monkeypatch):
    text = """
        import numpy as np

        def squares():
            rng = np.random.default_rng(0)
            return rng.integers(0, 256, (90, 8, 8), dtype=np.uint8), np.arange(90) % 10
    """
    (tmp_path / "entry_point_data.py").write_text(textwrap.dedent(text))
    monkeypatch.chdir(tmp_path)
    run = dse.explore(dataset="entry_point_data:squares", population_size=4, generations=1, threads=1, out="run")
    assert run.config.data.dataset == "entry_point_data:squares"
    assert run.front["is_exact"].any()


@pytest.mark.parametrize("signed", [False, True])
def test_backends_agree(undecided, splits, signed):
    library = dse.load_library("builtin", is_signed=signed)
    exact, *others = (library.names[library.exact_index], library.names[3], library.names[10])
    assignments = [exact, others[0], [exact, others[1]]]
    for network in (undecided, create_network("digits_cnn")):
        chosen = assignments if network is undecided else assignments[:2]
        fast, slow = (
            dse.evaluate(network, splits, library=library, assignments=chosen, backend=backend)
            for backend in ("auto", "reference")
        )
        assert np.array_equal(fast, slow)
        assert fast.shape == (len(chosen),)


def test_evaluate_takes_names_and_objects(splits):
    objects = dse.evaluate(create_network("digits_cnn"), "digits", library="builtin", assignments=NAMES, images=40)
    names = dse.evaluate("digits_cnn", "digits", library="builtin", assignments=NAMES, images=40)
    assert np.array_equal(objects, names)
    assert dse.evaluate("digits_cnn", "digits", library="builtin", assignments=[], images=40).shape == (0,)


def test_evaluate_prunes(tmp_path):
    def evaluate(*assignments, **options):
        return dse.evaluate("digits_cnn", "digits", library="builtin", assignments=assignments, images=100, **options)

    run = dse.explore(
        objectives=["energy", "accuracy", "memory"], sparsity_levels=[80], images=100, evaluations=8,
        population_size=4, initial="random", surrogate=False, threads=1, out=tmp_path,
    )  # fmt: skip
    assert (run.path / "memory.png").read_bytes()[:4] == b"\x89PNG"
    measured = run.evaluations.query("split == 'search' and n_images == 100").iloc[-2:]
    assert measured["assignment"].str.contains("%80").all()
    found = evaluate(*(text.split(";") for text in measured["assignment"]))
    assert found.tolist() == measured["accuracy"].tolist()
    assert evaluate("u8_exact%80")[0] < evaluate("u8_exact")[0]
    names = ["u8_trunc7%50", "u8_trunc8%50", "u8_bam_v6_h2%50", "u8_bam_v8_h3%50"]
    skipped, multiplied = (evaluate(*names, fold_bias=False, zero_weights=z) for z in ("skipped", "multiplied"))
    assert skipped.sum() > multiplied.sum()  # a zero that is multiplied adds an error
    with pytest.raises(MultiplierError, match="did you mean 'u8_exact'"):
        evaluate("u8_exat%80", "u8_exact%80")
    with pytest.raises(ConfigError, match="without sparsity levels"):
        evaluate("u8_exact", zero_weights="skipped")


@pytest.mark.parametrize("pruning", [{"pruned": "channels"}, {"pruning_rates": "global", "refit": False}])
def test_evaluate_prunes_as_a_run_did(tmp_path, pruning):
    options = {"images": 40, "fold_bias": False, **pruning}
    run = dse.explore(
        sparsity_levels=[20], evaluations=4, population_size=4, initial="random", surrogate=False, racing=False,
        report_images=20, threads=1, out=tmp_path, **options,
    )  # fmt: skip
    measured = run.evaluations.query("split == 'search' and n_images == 40").iloc[-2:]
    names = [text.split(";") for text in measured["assignment"]]
    found = dse.evaluate("digits_cnn", "digits", library="builtin", assignments=names, **options)
    assert found.tolist() == measured["accuracy"].tolist()


def test_evaluate_refuses(splits):
    def evaluate(assignments, data=splits, **options):
        return dse.evaluate("digits_cnn", data, library="builtin", assignments=assignments, **options)

    with pytest.raises(MultiplierError, match="did you mean 'u8_exact'"):
        evaluate(["u8_exat"])
    with pytest.raises(ShapeError, match="names 2 multipliers, the network has 5 layers"):
        evaluate([["u8_exact", "u8_exact"]])
    with pytest.raises(ConfigError, match="backend = 'quick'"):
        evaluate(["u8_exact"], backend="quick")
    with pytest.raises(DataError, match="did you mean 'digits'"):
        evaluate(["u8_exact"], data="digit")


def test_a_class_is_not_a_network():
    with pytest.raises(ConfigError, match="is a class: expected an object or a name"):
        dse.explore(network=Undecided)


def test_front_is_chosen_on_all_search_images(tmp_path):
    options = {"population_size": 6, "generations": 2, "images": 20, "report_images": 40, "threads": 1}
    run = dse.explore(**options, out=tmp_path / "run")
    evaluations = run.evaluations.set_index(["split", "assignment"])["accuracy"]
    assert run.manifest.n_images == {"search": 20, "confirm": 449, "report": 40}
    for _, point in run.front.iterrows():
        assert point["accuracy_search"] == evaluations["confirm", point["assignment"]]


def test_plain_gives_way_to_what_is_asked_for():
    from dse.api.options import configure

    search = configure(None, {"plain": True})[0].search
    assert (search.initial, search.surrogate, search.racing) == ("random", False, False)
    search = configure(None, {"plain": True, "initial": "uniform", "racing": True})[0].search
    assert (search.initial, search.surrogate, search.racing) == ("uniform", False, True)


def test_tolerances_of_objects_and_names(tmp_path, splits):
    network = create_network("digits_cnn")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    options = {"steps": 2, "batch_size": 8, "coefficients": [0.1, 0.4]}
    objects = dse.tolerances(network=network, dataset=splits, out=tmp_path / "objects", **options)
    named = dse.tolerances(calibration_images=32, out=tmp_path / "names", **options)
    assert [each.coefficient for each in objects] == [0.1, 0.4]
    for one, other in zip(objects, named, strict=True):
        np.testing.assert_array_equal(one.sigma, other.sigma)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert (tmp_path / "objects" / "tolerances.png").exists()


def test_tolerances_of_a_network_that_cannot_be_traced(tmp_path, undecided, splits):
    for signed in (False, True):
        (found,) = dse.tolerances(network=undecided, dataset=splits, steps=2, signed=signed, out=tmp_path / str(signed))
        assert found.layers == ("conv", "linear")
