"""`import dse` is quick and leaves torch alone."""

import subprocess
import sys

LIMIT_S = 0.5

# The best of three counts: the first import after a change compiles, and other work on the machine is not ours.
TIME_IMPORT = "import time; t = time.perf_counter(); import dse; print(time.perf_counter() - t)"
LOADED = "import sys, {modules}; print('torch' in sys.modules)"


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import_is_quick():
    best = min(float(run(TIME_IMPORT)) for _ in range(3))
    assert best < LIMIT_S, f"`import dse` took {best:.2f} s: expected less than {LIMIT_S} s; make an import lazy"


def test_import_leaves_torch_alone():
    assert run(LOADED.format(modules="dse")) == "False"


def test_search_and_cost_leave_torch_alone():
    modules = "dse.objectives, dse.pareto, dse.cost.accelerators, dse.search.methods, dse.search.seeding"
    assert run(LOADED.format(modules=modules)) == "False"
