"""dse.config: strict keys, ranges, defaults, and the text that goes back out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.config import RunConfig, default_run_name, differences, load_config, parse_config, to_toml
from dse.errors import ConfigError


def test_defaults_are_the_embedded_example():
    config = load_config(None)
    assert (config.network.name, config.data.dataset, config.library.path) == ("digits_cnn", "digits", "builtin")
    assert config.quantization.scheme == "auto"
    assert config.recovery.fold_bias


def test_unknown_key_names_file_table_and_nearest_match(tmp_path):
    path = tmp_path / "search.toml"
    path.write_text("[search]\npopulaton_size = 3\n")
    with pytest.raises(ConfigError, match=r"search.toml \[search\] populaton_size: unknown key, .* population_size\?"):
        load_config(path)


def test_unknown_table_names_nearest_match():
    with pytest.raises(ConfigError, match=r"\[serch\]: unknown table, did you mean search\?"):
        parse_config("[serch]\nseed = 1")


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        parse_config("[search]\nsed = 1\ngenerations = 0\n[library]\nsigned = 'yes'")
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[search]\nseed = '1'", r"\[search\] seed = '1': expected a valid integer"),
        ("[search]\nmethod = 'nsga3'", r"\[search\] method = 'nsga3': expected 'nsga2'"),
        ("[accelerator]\nkind = 'tiles:0'", "expected free, tiles:T or pipelined:T"),
        ("[execution]\ndevice = 'gpu'", r"\[execution\] device = 'gpu': expected auto, cpu, cuda or cuda:N"),
        ("[search]\naccuracy_floor = 90", "less than or equal to 1"),
        ("[tolerances]\nmethod = 'guessed'", "expected 'frozen' or 'trained'"),
        ("[tolerances]\ncoefficient = -0.1", "greater than or equal to 0"),
        ("[tolerances]\nsigma_max = inf", "finite number"),
        ("search = 3", r"\[search\] = 3"),
        ("[search", "not valid TOML"),
    ],
)
def test_bad_values(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(text)


def test_missing_file():
    with pytest.raises(ConfigError, match="cannot read run file nowhere.toml"):
        load_config(Path("nowhere.toml"))


def test_overrides_win_over_the_file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[search]\nseed = 1\ngenerations = 7\n")
    config = load_config(path, {"search.seed": 5, "network.weights": Path("w.pt")})
    assert (config.search.seed, config.search.generations, config.network.weights) == (5, 7, Path("w.pt"))


@given(
    name=st.text(max_size=20),
    include=st.lists(st.text(max_size=8), max_size=3),
    floor=st.none() | st.floats(0, 1),
    seed=st.integers(0, 2**40),
)
def test_resolved_text_reads_back_identically(name, include, floor, seed):
    config = parse_config(
        "",
        {
            "network.name": name,
            "library.include": tuple(include),
            "search.accuracy_floor": floor,
            "search.seed": seed,
        },
    )
    assert parse_config(to_toml(config)) == config


def test_resolved_text_writes_every_key():
    text = to_toml(RunConfig())
    keys = [key for table in RunConfig().model_dump().values() for key in table]
    assert all(key in text for key in keys)


def test_execution_may_differ_between_continuations():
    one, other = parse_config("[execution]\njobs = 2"), parse_config("[search]\nseed = 3")
    assert list(differences(RunConfig(), one)) == []
    assert list(differences(RunConfig(), other)) == [("search.seed", 0, 3)]


def test_run_name_follows_the_configuration():
    one = parse_config("[execution]\njobs = 2\n[network]\nname = 'my_nets:small'")
    assert default_run_name(one).startswith("small-digits-")
    assert default_run_name(one) == default_run_name(parse_config("[network]\nname = 'my_nets:small'"))
    assert default_run_name(one) != default_run_name(RunConfig())


def test_default_name_is_that_of_runs_before_top_could_be_chosen():
    assert default_run_name(RunConfig()) == "digits_cnn-digits-dde13ac4"
    assert default_run_name(parse_config("[data]\ntop = 5")) != default_run_name(RunConfig())


def test_neuron_shares():
    assert parse_config("[search]\nneuron_shares = [25, 50]").search.neuron_shares == (25, 50)
    for wrong in ("[0]", "[100]", "[2.5]", '["50"]', "50"):
        with pytest.raises(ConfigError, match=r"\[search\] neuron_shares"):
            parse_config(f"[search]\nneuron_shares = {wrong}")


def test_objectives_and_pruning():
    config = parse_config('[search]\nobjectives = ["memory", "accuracy", "energy"]\n[pruning]\nsparsity_levels = [50]')
    assert config.search.objectives == ("energy", "accuracy", "memory")
    assert config.pruning.sparsity_levels == (0, 50)
    for same in ("[80, 0, 50]", "[50, 80]", "[0, 50, 80]"):  # one configuration, which a repeated command continues
        assert parse_config(f"[pruning]\nsparsity_levels = {same}").pruning.sparsity_levels == (0, 50, 80)
    assert parse_config("[pruning]\nsparsity_levels = []").pruning.sparsity_levels == ()
    assert RunConfig().search.objectives == ("energy", "accuracy")
    for wrong in ('["energy"]', '["accuracy", "memory"]', '["energy", "energy"]', '["energy", "accuracy", "size"]'):
        with pytest.raises(ConfigError, match=r"\[search\] objectives.*expected energy and accuracy, or"):
            parse_config(f"[search]\nobjectives = {wrong}")
    wrong_levels = [f"sparsity_levels = {wrong}" for wrong in ("[100]", "[-1]", "[50, 50]", "[0.5]")]
    for wrong in (*wrong_levels, 'zero_weights = "free"', 'structure = "rows"'):
        with pytest.raises(ConfigError, match=r"\[pruning\] .*expected"):
            parse_config(f"[pruning]\n{wrong}")


def test_runs_without_pruning_keep_their_names():
    for text in ('[search]\nobjectives = ["energy", "accuracy", "memory"]', "[pruning]\nsparsity_levels = [50]"):
        assert default_run_name(parse_config(text)) != default_run_name(RunConfig())


def test_runs_without_neuron_shares_keep_their_names():
    plain, shared = RunConfig(), parse_config("[search]\nneuron_shares = [50]")
    assert default_run_name(plain) == "digits_cnn-digits-dde13ac4"
    assert default_run_name(shared) != default_run_name(plain)
