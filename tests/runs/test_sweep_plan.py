"""dse.runs.sweep_plan: which runs a sweep file asks for, and what is refused."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import ConfigError, DseError
from dse.files import replace_file
from dse.runs.sweep_plan import MAX_LABEL, label_of, load_plan, parse_plan

SWEEP = """
[search]
generations = 3

[sweep]
search.seed = [0, 1]
"search.method" = ["nsga2", "random"]
"""

NETWORKS = """
[sweep]
network = [
    {name = "small", network.name = "resnet8"},
    {name = "large", "network.name" = "resnet20", network.weights = "w.pt", search.generations = 5},
]
"""


def test_every_combination_is_a_run_with_its_name():
    plan = parse_plan(SWEEP)
    assert [run.name for run in plan.runs] == [
        "method_nsga2-seed_0", "method_nsga2-seed_1", "method_random-seed_0", "method_random-seed_1",
    ]  # fmt: skip
    assert plan.runs[2].labels == {"method": "random", "seed": "0"}
    assert [axis.is_seed for axis in plan.axes] == [False, True]
    for run in plan.runs:
        assert (run.config.search.generations, run.config.search.method) == (3, run.labels["method"])
        assert run.config.search.seed == int(run.labels["seed"])
    assert plan.text == SWEEP


def test_an_axis_of_ones_own_sets_several_keys():
    small, large = parse_plan(NETWORKS).runs
    assert (small.name, large.name) == ("network_small", "network_large")
    assert (small.config.network.name, small.config.search.generations) == ("resnet8", 12)
    assert (large.config.network.name, str(large.config.network.weights)) == ("resnet20", "w.pt")
    assert large.config.search.generations == 5


def test_base_is_a_run_file_and_tables_win_over_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text("[search]\ngenerations = 7\npopulation_size = 9\n")
    (tmp_path / "sweep.toml").write_text('base = "run.toml"\n' + SWEEP)
    config = load_plan(tmp_path / "sweep.toml").runs[0].config
    assert (config.search.generations, config.search.population_size) == (3, 9)


def test_names_do_not_depend_on_other_values_nor_on_the_order_of_lines():
    names = {run.name for run in parse_plan(SWEEP).runs}
    more = SWEEP.replace("[0, 1]", "[5, 1, 0]").replace('["nsga2", ', '["greedy", "nsga2", ')
    assert names < {run.name for run in parse_plan(more).runs}
    moved = '[sweep]\nsearch.method = ["random", "nsga2"]\nsearch.seed = [1, 0]\n[search]\ngenerations = 3'
    assert {run.name for run in parse_plan(moved).runs} == names


@pytest.mark.parametrize(
    ("axes", "columns"),
    [
        ('network.name = ["lenet5"]\naccelerator.kind = ["free"]', "accelerator network"),
        ("search.seed = [0]\ntolerances.seed = [1]", "search.seed tolerances.seed"),
        ("search.evaluations = [10]", "search.evaluations"),
        ('data.dataset = ["digits"]', "data"),
    ],
)  # fmt: skip
def test_columns_have_short_names_that_differ(axes, columns):
    assert [axis.name for axis in parse_plan(f"[sweep]\n{axes}").axes] == columns.split()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[search]\nseed = 1", r"no axes. Expected a table \[sweep\]"),
        ("[sweep]", "no axes"),
        ("sweep = 3", "no axes"),
        ("[sweep", "not valid TOML"),
        ("[sweep]\nsearch.seed = []", r"search.seed = \[\]: an axis without values"),
        ("[sweep]\nsearch.seed = 3", r"expected a list of values, as \[3\]"),
        ("[sweep]\nsearch.seed = [1, 2, 1]", "search.seed: 1 is there twice"),
        ("[sweep]\nsearch.sed = [1]", "unknown key, did you mean seed"),
        ("[sweep]\nserch.seed = [1]", "unknown table, did you mean search"),
        ("[sweep]\nsearch.seed = [-1]", "greater than or equal to 0"),
        ('[sweep]\nsearch.method = ["nsga3"]', "'nsga3'"),
        ("[sweep]\nseed = [1]", "expected a key of a run file with its table"),
        ("[sweep]\nsearch.seed = [{a = 1}]", "is a table: expected plain values"),
        ('[sweep]\nn = [{network.name = "a"}]', "has no name"),
        ('[sweep]\nn = [{name = "a"}]', "'a' sets no keys"),
        ('[sweep]\nn = [{name = "a", seed = 1}]', "seed = 1: expected a table"),
        ('[sweep]\nn = [{name = "a", "x.y.z" = 1}]', "x.y.z: expected a table and a key"),
        ('[sweep]\nn = [{name = "a", search.seed = 1}, {name = "a", search.seed = 2}]', "the name of two values"),
        ('[sweep]\nn = [{name = "a", search.seed = 1}, {name = "b", search.seed = 1}]', "are the same"),
        ('[sweep]\nn = [{name = "a", search.seed = 1}]\nsearch.seed = [1]', "2 axes set search.seed"),
        ('[sweep]\nsearch.seed = [1]\n"search.seed" = [2]', "named twice"),
        ('[sweep]\nstate = [{name = "a", search.seed = 1}]', "cannot be called so"),
        ('["search"]\n"a.b" = 2\n[sweep]\nsearch.seed = [1]', "search.a.b: expected a table and a key"),
        ("[sweep]\nsearch.seed = [1]\n[search]\nsed = 2", "unknown key, did you mean seed"),
        ("base = 3\n[sweep]\nsearch.seed = [1]", "base = 3: expected the path"),
        ('base = "no.toml"\n[sweep]\nsearch.seed = [1]', "cannot read run file no.toml"),
        ("bas = 3\n[sweep]\nsearch.seed = [1]", "bas = 3: expected a table"),
        (f"[sweep]\nsearch.seed = {list(range(200))}\ntolerances.seed = {list(range(200))}", "40000 runs"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_plan(text)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot read sweep file"):
        load_plan(tmp_path / "none.toml")


def test_long_values_are_cut_and_stay_different():
    paths = [f"{'d' * 90}{i}/library" for i in range(3)]
    labels = [label_of(path) for path in paths]
    assert len(set(labels)) == 3
    assert all(len(label) == MAX_LABEL for label in labels)


@given(st.text())
def test_labels_are_names_of_directories(text):
    label = label_of(text)
    assert label
    assert "/" not in label
    assert "\0" not in label
    assert not label.startswith(".")


WORDS = st.sampled_from(
    ["search", "network", "name", "seed", "sweep", "base", "method", "", ".", "a.b", "x", "execution"]
)
VALUES = st.recursive(
    st.one_of(
        st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=9), WORDS
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=8,
)


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value).replace("\x7f", "\\u007f")


@settings(max_examples=300)
@given(st.dictionaries(WORDS, VALUES, max_size=3), st.dictionaries(WORDS, VALUES, max_size=3))
def test_any_tables_give_a_plan_or_our_error(tables, axes):
    lines = [f"{toml(key)} = {toml(value)}" for key, value in tables.items() if key != "sweep"]
    text = "\n".join([*lines, "[sweep]", *(f"{toml(key)} = {toml(value)}" for key, value in axes.items())])
    with contextlib.suppress(DseError):
        parse_plan(text)


@pytest.mark.parametrize(
    "text", ["[" * 5000, "[sweep]\nsearch.seed = " + "[" * 5000, 'base = "\\u0000"\n[sweep]\nx = [1]']
)
def test_hostile_texts_are_refused(text):
    with pytest.raises(ConfigError):
        parse_plan(text)


def test_names_fit_into_file_systems(tmp_path):
    long = ", ".join(f'{{name = "{"長" * 60}{n}", search.generations = {n + 1}}}' for n in range(2))
    other = f'{{name = "{"語" * 60}", search.population_size = 6}}'
    runs = parse_plan(f"[sweep]\nsearch.seed = [0, 1]\nlong = [{long}]\nother = [{other}]").runs
    assert len({run.name for run in runs}) == 4
    for run in runs:
        assert run.name.endswith(f"-seed_{run.labels['seed']}")
        replace_file(tmp_path / "run_files" / f"{run.name}.toml", "")
