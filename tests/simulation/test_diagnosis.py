"""What `dse doctor` says about a machine."""

import pytest
import torch

from dse.errors import ConfigError
from dse.simulation import diagnosis, native_library
from dse.simulation.diagnosis import diagnose
from dse.simulation.engines import FloatEngine
from dse.simulation.gpu import Gpu


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    monkeypatch.delenv("DSE_ISA", raising=False)
    monkeypatch.delenv("DSE_NATIVE_LIBRARY", raising=False)


def facts_of(section):
    return {fact.name: fact for fact in diagnose() if fact.section == section}


def test_every_section_has_facts():
    sections = {"processor", "native library", "torch", "cuda", "cache"}
    sections |= {"kernels: G products/s"} if native_library.load() else set()
    assert {fact.section for fact in diagnose()} == sections


def test_kernels_fastest_first():
    if native_library.load() is None:
        pytest.skip("the native library is not built here")
    for fact in facts_of("kernels: G products/s").values():
        rates = [float(part.split()[-1]) for part in fact.value.split(", ")]
        assert len(rates) >= 4
        assert rates == sorted(rates, reverse=True)


def test_library_and_its_levels():
    library = native_library.load()
    if library is None:
        pytest.skip("the native library is not built here")
    facts = facts_of("native library")
    assert facts["file"].value == str(library.path)
    assert facts["level in use"].value == library.isa_name
    assert not any(fact.advice for fact in facts.values())


def test_forced_level_is_pointed_out(monkeypatch):
    library = native_library.load()
    if library is None or library.best_isa == 0:
        pytest.skip("no level to force down from")
    monkeypatch.setenv("DSE_ISA", "portable")
    fact = facts_of("native library")["level in use"]
    assert fact.value == "portable"
    assert library.isa_name in fact.advice


def test_absence_has_a_reason_and_a_remedy(monkeypatch):
    monkeypatch.setattr(native_library, "_open_installed", lambda: "it was not built")
    fact = facts_of("native library")["file"]
    assert fact.value == "none: it was not built"
    assert "install a C compiler" in fact.advice


def test_switched_off(monkeypatch):
    monkeypatch.setenv("DSE_ISA", "off")
    fact = facts_of("native library")["file"]
    assert fact.value == "none: switched off by DSE_ISA=off"
    assert "unset it" in fact.advice


def test_processor_without_exact_int8(monkeypatch):
    monkeypatch.setattr(diagnosis, "default_engine", FloatEngine)
    fact = facts_of("torch")["exact convolutions"]
    assert fact.value == "float32"
    assert "float32 convolutions take their place" in fact.advice


def test_older_torch_cannot_tell_features(monkeypatch):
    monkeypatch.delattr(diagnosis.torch.cpu, "get_capabilities", raising=False)
    assert facts_of("processor")["features"].value == "unknown"


def test_cache_follows_its_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("DSE_CACHE", str(tmp_path / "cache"))
    assert facts_of("cache")["folder"].value == f"{tmp_path / 'cache'} (not there yet)"


def test_what_a_gpu_runs(monkeypatch):
    found = {
        0: Gpu(torch.device("cpu"), planes=lambda words: None, lookups="compiled"),
        1: Gpu(torch.device("cpu"), lookups="compiled"),
        2: Gpu(torch.device("cpu"), lack="no NVRTC"),
    }

    def open_gpu(device):
        if device.index not in found:
            raise ConfigError("use device 'cpu'")
        return found[device.index]

    monkeypatch.setattr(diagnosis, "open_gpu", open_gpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"card {index}")
    devices, *kernels = diagnosis._cuda()
    assert devices.value == "card 0, card 1, card 2, card 3"
    assert [(fact.value, fact.advice) for fact in kernels] == [
        ("table lookups, planes on tensor cores", ""),
        ("table lookups", ""),
        ("int8 matrix products", "the CUDA kernels are not used: no NVRTC"),
        ("none", "use device 'cpu'"),
    ]
