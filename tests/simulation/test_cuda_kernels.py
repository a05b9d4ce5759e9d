"""CUDA sources compile for the GPUs they are meant for, and the launcher says what is wrong."""

import os
import re
import shutil
import subprocess

import pytest
import torch

from dse.simulation.cuda_kernels import SOURCES, compile_source, nvrtc

from .cuda_on_host import host_kernels

VARIANTS = [("lookup", "BUFFERS", 1), ("lookup", "BUFFERS", 2), *(("planes", "WORDS", n) for n in (1, 2, 4))]
QUICK = {("lookup", "sm_80", 2), ("planes", "sm_75", 1)}
REGISTERS = {"lookup": 65536 // 512, "planes": 65536 // 256}  # of a thread, so that a block fits


def _cases():
    for source, macro, value in VARIANTS:
        for architecture in ("sm_70", "sm_75", "sm_80", "sm_90"):
            if source == "planes" and architecture == "sm_70":
                continue  # no int8 on tensor cores
            marks = () if (source, architecture, value) in QUICK else pytest.mark.slow
            yield pytest.param(source, macro, value, architecture, marks=marks)


@pytest.mark.parametrize(("source", "macro", "value", "architecture"), list(_cases()))
def test_compiles_with_nvcc(tmp_path, source, macro, value, architecture):
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc")
    known = subprocess.run(["nvcc", "--list-gpu-code"], capture_output=True, text=True, check=True).stdout
    if architecture not in known.split():
        pytest.skip(f"this nvcc does not compile for {architecture}")
    command = ["nvcc", f"-arch={architecture}", f"-D{macro}={value}", "-cubin", "-Xptxas", "-v", "-o", os.devnull]
    done = subprocess.run([*command, str(SOURCES / f"{source}.cu")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", done.stderr)]
    assert len(registers) == {"lookup": 5, "planes": 3}[source]
    assert max(registers) <= REGISTERS[source]
    assert max(int(n) for n in re.findall(r"(\d+) bytes spill stores", done.stderr)) <= 16


@pytest.fixture(scope="module")
def compiler():
    try:
        return nvrtc()
    except OSError as error:
        pytest.skip(str(error))


def test_compiles_at_run_time(compiler):
    for source, macro, value in VARIANTS[1::3]:
        text = (SOURCES / f"{source}.cu").read_text(encoding="utf-8")
        assert compile_source(text, "sm_80", {macro: value}, library=compiler).startswith(b"\x7fELF")


def test_compiler_messages_are_shown(compiler):
    with pytest.raises(RuntimeError, match='identifier "y" is undefined'):
        compile_source("__device__ int x = y;", "sm_80", {}, library=compiler)
    with pytest.raises(RuntimeError, match="sm_10"):
        compile_source("", "sm_10", {}, library=compiler)


def test_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "77.0")
    with pytest.raises(OSError, match=r"nvrtc.*77.*PyTorch's CUDA wheels"):
        nvrtc()


def test_driver_errors_are_shown():
    kernels = host_kernels("planes", WORDS=1)
    with pytest.raises(RuntimeError, match="CUDA driver: named symbol not found"):
        kernels.launch("planes_17", (1, 1, 1), 256, ())
    with pytest.raises(RuntimeError, match="CUDA driver: invalid value"):
        kernels.launch("planes_16", (1, 65536, 1), 256, ())
    with pytest.raises(RuntimeError, match="CUDA driver"):
        kernels.launch("planes_16", (1, 1, 1), 256, (), shared_bytes=10**6)
