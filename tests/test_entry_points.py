import sys

import pytest

from dse.entry_points import call_entry_point, is_entry_point, load_entry_point
from dse.errors import NetworkError


@pytest.fixture(autouse=True)
def _restore_imports(monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a:b", True), ("a.b:c", True), ("d/a.py:b", True), ("a", False), (":b", False), ("a:", False)],
)
def test_is_entry_point(text, expected):
    assert is_entry_point(text) is expected


def test_module_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "entry_in_cwd.py").write_text("def f(a=1): return a + 1\n")
    monkeypatch.chdir(tmp_path)
    assert call_entry_point("entry_in_cwd:f", error=NetworkError) == 2
    assert call_entry_point("entry_in_cwd:f", 5, error=NetworkError) == 6


def test_relative_path(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "entry_by_path.py").write_text("def f(): return __name__\n")
    monkeypatch.chdir(tmp_path)
    assert load_entry_point("deep/entry_by_path.py:f", error=NetworkError)() == "entry_by_path"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plain", "expected MODULE:FUNCTION"),
        ("no_such_module_here:f", "no module named 'no_such_module_here'.*give its path"),
        ("nowhere/at_all.py:f", "no file"),
        ("my-net.py:f", "rename the file"),
        ("json.py:f", "hidden by another module"),
        ("entry_imports_nothing.py:f", "failed with ModuleNotFoundError.*absent_dependency"),
        ("entry_broken.py:f", "failed with SyntaxError"),
        ("math:sqtr", "did you mean 'sqrt'"),
    ],
)
def test_messages(tmp_path, monkeypatch, text, message):
    (tmp_path / "my-net.py").touch()
    (tmp_path / "json.py").touch()
    (tmp_path / "entry_imports_nothing.py").write_text("import absent_dependency\n")
    (tmp_path / "entry_broken.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    import json  # noqa: F401  (so that the file of this name is hidden)

    with pytest.raises(NetworkError, match=message):
        load_entry_point(text, error=NetworkError)
