"""Execute the notebooks and keep their outputs in the files.

    OMP_NUM_THREADS=1 python benchmarks/execute_notebooks.py [notebooks/1_first_front.ipynb ...]

Each runs in an empty temporary folder, so that only relative paths are in the outputs. Outputs of cells with the tag
`same` are the same on every machine whose PyTorch computes alike; tests compare them. Needs `pip install 'dse[test]'`.
"""

import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
import torch
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"

TIME_LIMIT_S = 300

MAX_BYTES = 300_000
"""Of a notebook with its outputs."""


def notebooks() -> list[Path]:
    """All of them, in the order of their numbers."""
    return sorted(FOLDER.glob("*.ipynb"))


def execute(path: Path, folder: Path) -> Any:
    """A notebook after it has run in a folder, from start to end; the file stays as it is.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raises an error.
    """
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=TIME_LIMIT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--log-level=ERROR"],  # a kernel tells that it listens on this machine
    ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "computed_with": computed_with(),
    }
    return notebook


def computed_with() -> str:
    """What may make the last digits of learned numbers differ: where it agrees, outputs of cells `same` do."""
    version = torch.__version__.split("+")[0]
    return f"torch {version}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} thread"


def texts(cell: Any) -> list[str]:
    """Outputs of a cell as plain text."""
    found = []
    for output in cell.get("outputs", []):
        found.append(output["text"] if output["output_type"] == "stream" else output["data"].get("text/plain", ""))
    return found


def problems(notebook: Any) -> list[str]:
    """What must not be in a stored notebook, a text each: warnings, errors, paths of a machine, cells out of order."""
    found, expected = [], 1
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        if cell.execution_count != expected:
            found.append(f"cell {number} has execution count {cell.execution_count}: expected {expected}")
        expected += 1
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(f"cell {number} wrote an error or a warning: {str(output)[:300]}")
            for leak in re.findall(
                r"(?:/tmp|/home|/root|/work|/Users)/\S*|[A-Z]:\\\S*", str(output.get("data", output))
            ):
                found.append(f"cell {number} shows a path of this machine: {leak[:80]}")
    return found


def main() -> None:
    """Executes what is named, or all."""
    for path in [Path(name) for name in sys.argv[1:]] or notebooks():
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.monotonic() - begin:.0f} s, {path.stat().st_size / 1000:.0f} kB")
        for problem in problems(notebook):
            print(f"  {problem}")


if __name__ == "__main__":
    main()
