"""Imports only point down, torch and pymoo stay in their rooms, files stay short."""

import ast
from pathlib import Path

import pytest

import dse

ROOT = Path(dse.__file__).resolve().parent
MAX_LINES = 500

LAYERS = {
    "errors": 0,
    "objectives": 1,
    "sketch": 1,
    "pareto": 1,
    "config": 1,
    "disk_cache": 1,
    "files": 1,
    "stopping": 1,
    "checkpoint": 2,
    "entry_points": 1,
    "multipliers": 1,
    "quantization": 2,
    "simulation": 2,
    "networks": 2,
    "datasets": 2,
    "cost": 3,
    "sparse": 3,
    "evaluation": 3,
    "robustness": 3,
    "recovery": 3,
    "exported": 4,
    "search": 4,
    "runs": 5,
    "reporting": 6,
    "api": 6,
    "cli": 6,
    "__main__": 6,
    "testing": 6,
}
WITHOUT_TORCH = {"cost", "search", "runs"} | {room for room, layer in LAYERS.items() if layer <= 1}


def room_of(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports_of(tree, package, *, at_module_level=False):
    """(module, line) of every absolute import below `tree`; relative ones resolved against `package`."""
    nodes = tree.body if at_module_level else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parts, *([node.module] if node.module else [])])
            yield module, node.lineno
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def violations(room, tree, package):
    """What is wrong with the imports of a file in `room`, one text per line."""
    found = {}
    for module, line in imports_of(tree, package):
        top, *rest = module.split(".")
        if top == "dse" and rest and rest[0] in LAYERS and LAYERS[rest[0]] > LAYERS[room]:
            found[line] = f"line {line}: {room} (layer {LAYERS[room]}) imports {module} (layer {LAYERS[rest[0]]})"
        if top in ("torch", "torchvision") and room in WITHOUT_TORCH:
            found[line] = f"line {line}: {room} imports {module}"
        if top == "pymoo" and room != "search":
            found[line] = f"line {line}: {room} imports {module}: only search does"
    return list(found.values())


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def package_of(path):
    return ".".join(["dse", *path.relative_to(ROOT).parts[:-1]])


FILES = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in sorted(ROOT.rglob("*.py"))]


@pytest.mark.parametrize("path", FILES)
def test_file_is_short(path):
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= MAX_LINES, f"{path.name} has {n_lines} lines: expected at most {MAX_LINES}; split it"


@pytest.mark.parametrize("path", [p for p in FILES if p.values[0] != ROOT / "__init__.py"])
def test_imports_point_down(path):
    room = room_of(path)
    assert room in LAYERS, f"`{room}` has no layer: give it one in LAYERS"
    assert not violations(room, parse(path), package_of(path))


def test_package_itself_imports_lazily():
    tree = parse(ROOT / "__init__.py")
    modules = {module.split(".")[1] for module, _ in imports_of(tree, "dse", at_module_level=True) if "dse." in module}
    assert modules <= {"errors"}


@pytest.mark.parametrize(
    ("room", "code", "n_expected"),
    [
        ("multipliers", "from dse.search.space import FreeSpace", 1),
        ("multipliers", "from dse import search", 1),
        ("search", "def f():\n    from dse.runs import loop", 1),
        ("search", "from ..runs import loop", 1),
        ("multipliers", "import torch.nn", 1),
        ("runs", "from torch import nn", 1),
        ("runs", "import pymoo.core", 1),
        ("search", "import pymoo.core\nfrom dse.cost import energy\nfrom . import space", 0),
        ("cost", "from dse.errors import ConfigError\nfrom dse.recovery import bias", 0),
    ],
)
def test_the_check_itself(room, code, n_expected):
    assert len(violations(room, ast.parse(code), f"dse.{room}")) == n_expected
