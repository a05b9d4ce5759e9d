"""The public names of dse: each command has its function, each option its parameter, each name an example that runs."""

import doctest
import inspect
import types

import pytest

import dse
from dse.cli import app

ELSEWHERE = {
    "networks": {"network_names", "dataset_names"},
    "multipliers list": {"multipliers.list"},
    "multipliers show": {"multipliers.show"},
    "multipliers check": {"multipliers.check"},
}
"""What the commands do whose names are those of packages."""

AT_THE_TERMINAL = {"output_format", "table", "live", "watch", "interval"}
"""Options of commands that say how things are shown; functions return tables, and take observers instead: `watch`."""

CALLED_DIFFERENTLY = {
    # The first argument is a directory, or what made it.
    ("status", "directory"): "path",
    ("collect", "directory"): "path",
    ("finetune", "directory"): "path",
    ("export", "directory"): "path",
    # `retraining` is a `FinetuningSettings`, whose names these are.
    ("axnn", "affine_learning_rate"): "retraining",
    ("axnn", "augmentation"): "retraining",
    ("axnn", "epochs"): "retraining",
    ("axnn", "learning_rate"): "retraining",
    ("axnn", "seed"): "retraining",
    # `dse.api.sweeps.preview` returns what would be done.
    ("sweep", "dry_run"): None,
}


def commands(app, prefix=""):
    """(name, callback) of every command, those of groups with a space in the name."""
    for command in app.registered_commands:
        yield prefix + (command.name or command.callback.__name__.replace("_", "-")), command.callback
    for group in app.registered_groups:
        yield from commands(group.typer_instance, f"{group.name} ")


COMMANDS = dict(commands(app))
FUNCTIONS = [name for name in COMMANDS if name not in ELSEWHERE]
WITH_EXAMPLES = [
    name for name in dse.__all__ if not isinstance(getattr(dse, name), types.ModuleType) and not name.startswith("__")
]


def attribute(path):
    found = dse
    for name in path.split("."):
        found = getattr(found, name)
    return found


def test_each_command_has_a_function():
    for name in FUNCTIONS:
        assert name.replace("-", "_") in dse.__all__, f"`dse {name}` is missing in Python"
    for name, functions in ELSEWHERE.items():
        assert name in COMMANDS
        for path in functions:
            assert callable(attribute(path)), path


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_option_has_a_parameter(name):
    options = set(inspect.signature(COMMANDS[name]).parameters) - AT_THE_TERMINAL
    parameters = set(inspect.signature(getattr(dse, name.replace("-", "_"))).parameters)
    expected = {CALLED_DIFFERENTLY.get((name, option), option) for option in options} - {None}
    assert expected <= parameters, f"`dse {name}`: dse.{name.replace('-', '_')} lacks {sorted(expected - parameters)}"


@pytest.mark.parametrize("name", sorted({path for paths in ELSEWHERE.values() for path in paths if "." in path}))
def test_options_of_groups(name):
    options = set(inspect.signature(COMMANDS[name.replace(".", " ")]).parameters) - AT_THE_TERMINAL
    assert options == set(inspect.signature(attribute(name)).parameters)


def test_defaults_agree():
    """Where command and function both have a default, it is the same; None leaves it to the run file."""
    unset = {inspect.Parameter.empty, None}
    for name in FUNCTIONS:
        function = inspect.signature(getattr(dse, name.replace("-", "_"))).parameters
        for option, parameter in inspect.signature(COMMANDS[name]).parameters.items():
            pair = [parameter.default, function[option].default] if option in function else [None]
            if all(isinstance(value, int | float | str | bool) and value not in unset for value in pair):
                assert pair[0] == pair[1], f"`dse {name}`, {option}"


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_each_name_has_an_example(name):
    text = inspect.getdoc(getattr(dse, name)) or ""
    methods = vars(getattr(dse, name)).values() if inspect.isclass(getattr(dse, name)) else ()
    texts = [text, *(inspect.getdoc(method) or "" for method in methods)]
    assert any(doctest.DocTestParser().get_examples(each) for each in texts), f"dse.{name} shows no example"


def test_packages_need_no_import():
    for name in ("datasets", "multipliers", "networks"):
        assert getattr(dse, name).__name__ == f"dse.{name}"
    assert {"datasets", "multipliers", "explore"} <= set(dir(dse))
    with pytest.raises(AttributeError, match="no attribute 'explor'"):
        dse.explor  # noqa: B018
