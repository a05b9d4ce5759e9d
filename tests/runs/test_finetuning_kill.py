"""A fine-tuning killed with SIGKILL ends with the bits of an uninterrupted one."""

import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

import dse

FINETUNE = """
import sys
import dse
from dse.recovery import finetuning

finetuning.CHECKPOINT_S = 0.0
dse.finetune(sys.argv[1], points="0,1", epochs=3, batch_size=32, augmentation="crop", threads=1, out=sys.argv[2])
"""


def start(run, path):
    return subprocess.Popen([sys.executable, "-c", FINETUNE, str(run), str(path)])


@pytest.mark.slow
def test_killed_twice(tmp_path):
    options = {"population_size": 6, "generations": 2, "images": 60, "report_images": 80, "threads": 1, "plain": True}
    run, whole, parts = (tmp_path / name for name in ("run", "whole", "parts"))
    dse.explore(**options, out=run)
    dse.finetune(run, points="0,1", epochs=3, batch_size=32, augmentation="crop", threads=1, out=whole)
    for k, n_checkpoints in ((0, 20), (1, 5)):
        process, seen, checkpoint = start(run, parts), set(), parts / f"checkpoint_{k}.pt"
        while process.poll() is None and len(seen) < n_checkpoints:
            if checkpoint.exists():
                seen.add(checkpoint.stat().st_mtime_ns)
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (parts / "point_1.json").exists()
    assert start(run, parts).wait() == 0
    for name in ("point_0.npz", "point_1.npz"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()
    tables = [pd.read_csv(path / "finetuned.csv").drop(columns="time_s") for path in (parts, whole)]
    pd.testing.assert_frame_equal(*tables)
    assert not list(parts.glob("checkpoint*"))
