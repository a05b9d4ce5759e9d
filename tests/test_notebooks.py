"""notebooks/: each runs from start to end, and its file has the outputs of such a run."""

import importlib.util
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def script():
    path = ROOT / "benchmarks" / "execute_notebooks.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def read(script):
    return lambda path: script.nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_all_are_there():
    assert [path.name[0] for path in NOTEBOOKS] == ["1", "2", "3", "4", "5"]
    assert not [path for path in (ROOT / "notebooks").iterdir() if path not in NOTEBOOKS and path.name[0] != "."]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs(script, read, path):
    notebook = read(path)
    script.nbformat.validate(notebook)
    assert not script.problems(notebook)
    assert sum(bool(cell.outputs) for cell in code_cells(notebook)) > len(code_cells(notebook)) / 2
    assert path.stat().st_size <= script.MAX_BYTES
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for name in (part.split(")")[0] for part in cell.source.split("](")[1:]):
                assert (path.parent / name).exists(), f"{path.name} links to {name}"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_gives_what_is_stored(script, read, path, tmp_path):
    stored = read(path)
    if any("allow_compile=True" in cell.source for cell in stored.cells) and shutil.which("cc") is None:
        pytest.skip("the notebook compiles C")
    found = script.execute(path, tmp_path)
    assert not script.problems(found)
    is_alike = stored.metadata["computed_with"] == found.metadata["computed_with"]
    for before, now in zip(code_cells(stored), code_cells(found), strict=True):
        kinds = [
            [sorted(output.get("data", [output.get("name")])) for output in cell.outputs] for cell in (before, now)
        ]
        assert kinds[0] == kinds[1], before.source
        if "same" in before.metadata.get("tags", []) and is_alike:
            assert script.texts(now) == script.texts(before)


def test_problems_are_found(script):
    nbformat = script.nbformat
    stream = nbformat.v4.new_output("stream", name="stderr", text="Warning: /home/me/x")
    cells = [
        nbformat.v4.new_code_cell("1", execution_count=1),
        nbformat.v4.new_markdown_cell("text"),
        nbformat.v4.new_code_cell("2", execution_count=3, outputs=[stream]),
    ]
    found = script.problems(nbformat.v4.new_notebook(cells=cells))
    assert [text.split(" ", 2)[2][:9] for text in found] == ["has execu", "wrote an ", "shows a p"]
