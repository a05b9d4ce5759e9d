"""A fine-tuning killed with SIGKILL ends with the bits of an uninterrupted one."""

import signal
import subprocess
import sys

import pandas as pd
import pytest

import dse

FINETUNE = """
import sys, time
import dse
from dse.recovery import finetuning

save, name, n_most = finetuning.save_checkpoint, sys.argv[3], int(sys.argv[4])
n_saved = 0

def told(path, state):
    global n_saved
    save(path, state)
    n_saved += path.name == name
    if path.name == name:
        print(n_saved, flush=True)
    if n_saved == n_most:
        time.sleep(600)  # whoever is to kill it is late

finetuning.CHECKPOINT_S, finetuning.save_checkpoint = 0.0, told
dse.finetune(sys.argv[1], points="0,1", epochs=3, batch_size=32, augmentation="crop", threads=1, out=sys.argv[2])
"""


def start(run, path, checkpoint="none", n_most=-1):
    """A fine-tuning that prints a line at each of its checkpoints of a name, and waits to be killed at the last."""
    command = [sys.executable, "-c", FINETUNE, str(run), str(path), checkpoint, str(n_most)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_twice(tmp_path):
    options = {"population_size": 6, "generations": 2, "images": 60, "report_images": 80, "threads": 1, "plain": True}
    run, whole, parts = (tmp_path / name for name in ("run", "whole", "parts"))
    dse.explore(**options, out=run)
    dse.finetune(run, points="0,1", epochs=3, batch_size=32, augmentation="crop", threads=1, out=whole)
    for k, n_checkpoints in ((0, 20), (1, 5)):
        process = start(run, parts, f"checkpoint_{k}.pt", n_checkpoints + 5)
        while process.stdout.readline() not in (f"{n_checkpoints}\n", ""):
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (parts / "point_1.json").exists()
    last = start(run, parts)
    last.communicate()
    assert last.returncode == 0
    for name in ("point_0.npz", "point_1.npz"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()
    tables = [pd.read_csv(path / "finetuned.csv").drop(columns="time_s") for path in (parts, whole)]
    pd.testing.assert_frame_equal(*tables)
    assert not list(parts.glob("checkpoint*"))
