"""The loader of the native library: what it finds, what it refuses, what it says."""

import logging
import multiprocessing
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dse.simulation
from dse.errors import ConfigError, RunError
from dse.simulation import native_library
from dse.simulation.native_library import ABI_VERSION, LEVELS, NativeLibrary, find, load, open_library

COMPILER = next(filter(None, map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang"))), None)
HEADER = Path(dse.simulation.__file__).parent / "csrc" / "native.h"
ABSENT = "it was not built"

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    monkeypatch.delenv("DSE_ISA", raising=False)
    monkeypatch.delenv("DSE_NATIVE_LIBRARY", raising=False)


@pytest.fixture
def absent(monkeypatch):
    """As if dse had been installed without a compiler."""
    monkeypatch.setattr(native_library, "_open_installed", lambda: ABSENT)
    native_library._warn_once.cache_clear()
    yield
    native_library._warn_once.cache_clear()


@pytest.fixture
def compile_library(tmp_path):
    """A function that compiles C source into a library and returns its path."""

    def compile_source(source):
        path = tmp_path / "some.so"
        command = [COMPILER, "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)]
        subprocess.run(command, input=source, text=True, check=True)
        return path

    return compile_source


def library_source(*, version=ABI_VERSION, best_isa=1):
    return f"int dse_abi_version(void) {{ return {version}; }} int dse_best_isa(void) {{ return {best_isa}; }}"


def test_library_is_there_where_it_can_be_built():
    if COMPILER is None and not os.environ.get("DSE_REQUIRE_NATIVE"):
        pytest.skip("no C compiler: dse works without the library")
    found = find()
    assert isinstance(found, NativeLibrary), f"{found}: `pip install -v` shows why the build failed"
    assert load() is found
    assert found.isa == found.best_isa


def test_python_and_header_agree():
    text = HEADER.read_text(encoding="utf-8")
    assert int(re.search(r"#define DSE_ABI_VERSION (\d+)", text)[1]) == ABI_VERSION
    names = re.search(r"enum dse_isa \{(.*?)\}", text, re.DOTALL)[1]
    expected = ", ".join(f"DSE_{name.upper().replace('-', '_')} = {i}" for i, name in enumerate(LEVELS))
    assert names.strip() == expected


@needs_compiler
@pytest.mark.parametrize("level", LEVELS)
def test_level_is_forced_down_and_not_up(compile_library, monkeypatch, level):
    monkeypatch.setenv("DSE_NATIVE_LIBRARY", str(compile_library(library_source(best_isa=1))))
    monkeypatch.setenv("DSE_ISA", level)
    if level in ("portable", "avx2"):
        library = load()
        assert (library.isa_name, library.best_isa, library.levels) == (level, 1, ("portable", "avx2"))
    else:
        with pytest.raises(ConfigError, match=f"DSE_ISA={level}: .*can run portable, avx2; choose"):
            load()


@needs_compiler
def test_functions_are_the_same_object_every_time(compile_library, monkeypatch):
    monkeypatch.setenv("DSE_NATIVE_LIBRARY", str(compile_library(library_source())))
    functions = load().functions
    monkeypatch.setenv("DSE_ISA", "portable")
    assert load().functions is functions


@needs_compiler
def test_pickle_keeps_path_and_level(compile_library, monkeypatch):
    monkeypatch.setenv("DSE_NATIVE_LIBRARY", str(compile_library(library_source())))
    monkeypatch.setenv("DSE_ISA", "portable")
    data = pickle.dumps(load())
    monkeypatch.delenv("DSE_ISA")
    assert (pickle.loads(data).isa, load().isa) == (0, 1)
    load().path.unlink()
    open_library.cache_clear()  # as in another process
    with pytest.raises(RunError, match="is not a file"):
        pickle.loads(data)


def test_unknown_level_is_an_error(monkeypatch):
    monkeypatch.setenv("DSE_ISA", "avx1024")
    with pytest.raises(ConfigError, match=r"DSE_ISA=avx1024: .*portable.*unset"):
        load()


def test_off_is_silent(monkeypatch, absent, caplog):
    monkeypatch.setenv("DSE_ISA", "off")
    assert load() is None
    assert "DSE_ISA=off" in find()
    assert not caplog.records


def test_absence_is_said_once_with_a_remedy(absent, caplog):
    with caplog.at_level(logging.WARNING, logger=native_library.__name__):
        assert load() is None
        assert load() is None
    assert find() == ABSENT
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert ABSENT in caplog.text
    assert "install a C compiler" in caplog.text


def test_workers_leave_the_warning_to_their_parent(absent, caplog, monkeypatch):
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: multiprocessing.current_process())
    assert load() is None
    assert not caplog.records


def test_forcing_an_absent_library_is_an_error(absent, monkeypatch):
    monkeypatch.setenv("DSE_ISA", "portable")
    with pytest.raises(ConfigError, match=f"DSE_ISA=portable: there is no native library .{ABSENT}"):
        load()


@needs_compiler
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (library_source(version=ABI_VERSION + 1), f"interface version {ABI_VERSION + 1}.*needs {ABI_VERSION}"),
        (library_source(best_isa=len(LEVELS)), f"level {len(LEVELS)}, expected 0 to {len(LEVELS) - 1}"),
        ("int something_else;", "dse_abi_version"),
    ],
)
def test_library_of_something_else_is_refused(compile_library, source, reason):
    assert re.search(reason, open_library(compile_library(source)))


def test_file_that_is_no_library_is_refused(tmp_path):
    path = tmp_path / "text.so"
    path.write_text("not a library")
    assert "cannot be loaded" in open_library(path)


def test_other_build_that_is_missing_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("DSE_NATIVE_LIBRARY", str(tmp_path / "none.so"))
    with pytest.raises(ConfigError, match=r"DSE_NATIVE_LIBRARY=.*none.so is not a file.*unset"):
        load()


def test_library_is_loaded_on_first_use():
    code = "import sys, dse, dse.simulation; print('dse.simulation.native_library' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
