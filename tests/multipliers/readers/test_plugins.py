from importlib.metadata import EntryPoint, EntryPoints

import pytest

from dse.errors import MultiplierError
from dse.multipliers.families import drum, exact
from dse.multipliers.library import Library, load_library
from dse.multipliers.readers import plugins


def small_library():
    return Library([exact(), drum(4)])


def nothing():
    return []


@pytest.fixture
def installed(monkeypatch):
    points = EntryPoints(
        EntryPoint(name, f"{__name__}:{function}", plugins.GROUP)
        for name, function in {"mine": "small_library", "broken": "nothing"}.items()
    )
    monkeypatch.setattr(plugins, "entry_points", lambda *, group, name: points.select(group=group, name=name))


@pytest.mark.usefixtures("installed")
def test_installed_library_is_loaded_by_name():
    library = load_library("mine")
    assert library.names == ("u8_drum4", "u8_exact")
    assert library.name == "mine"


@pytest.mark.usefixtures("installed")
def test_plugin_without_multipliers():
    with pytest.raises(MultiplierError, match="plug-in 'broken' returned"):
        load_library("broken")


def test_no_such_plugin():
    assert plugins.read("no-such-library") is None
