"""C sources written for these tests in the style of the library; no published circuit is copied."""

import shutil

import numpy as np
import pytest

from dse.errors import MultiplierError
from dse.multipliers.library import load_library
from dse.multipliers.readers import evoapprox_c

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler `cc` on PATH")

METADATA = """/***
* This file holds a circuit made for a test
***/
// MAE% = 0.0015 %
// MAE = 1.0
// WCRE% = 1.2e2 %
// MSE = 33959.043e2
// EP% = 100.00 %
// PDK45_PWR = 0.391 mW
// PDK45_AREA = 709.6 um2
// PDK45_DELAY = 1.43 ns
#include <stdint.h>
#include <stdlib.h>

"""


def _write(folder, name, source):
    path = folder / f"{name}.c"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(METADATA + source)
    return path


def _read(path, **options):
    return evoapprox_c.read(path, allow_compile=True, **options)


@needs_compiler
def test_unsigned_64_bit_prototype_with_swapped_names(tmp_path):
    source = "uint64_t mul8u_T1(const uint64_t B,const uint64_t A)\n{\n   int avg=0;\n   return A*B + (B & 1);\n}\n"
    m = _read(_write(tmp_path, "mul8u_T1", source))
    assert m.name == "mul8u_T1"
    assert not m.is_signed
    assert m.table[3, 10] == 31  # the first argument is the row, whatever its name
    assert m.table[10, 3] == 30
    assert m.table[255, 255] == 65026


@needs_compiler
def test_metadata(tmp_path):
    m = _read(_write(tmp_path, "mul8u_T2", "uint16_t mul8u_T2(uint8_t A, uint8_t B)\n{ return A*B+1; }\n"))
    assert dict(m.published) == {"mae_pct": 0.0015, "mae": 1.0, "wcre_pct": 120.0, "mse": 3395904.3, "ep_pct": 100.0}
    cost = m.cost
    assert (cost.value, cost.unit, cost.technology) == (0.391, "mW", "PDK45 45 nm")
    assert (cost.area_um2, cost.delay_ns) == (709.6, 1.43)


@needs_compiler
@pytest.mark.parametrize(
    ("prototype", "body"),
    [
        ("int16_t mul8s_T3(int8_t A, int8_t B)", "return A * B;"),
        ("uint16_t mul8s_T3(uint8_t A, uint8_t B)", "if (A > 255) abort(); return (int8_t)A * (int8_t)B;"),
        ("uint64_t mul8s_T3(const uint64_t A,const uint64_t B)", "if (A > 255) abort(); return (int8_t)A * (int8_t)B;"),
        ("int64_t mul8s_T3(int64_t A, int64_t B)", "return A * B;"),
        ("static inline int32_t mul8s_T3(int16_t A, int16_t B)", "return A * B;"),
    ],
)
def test_signed_prototypes(tmp_path, prototype, body):
    m = _read(_write(tmp_path, "mul8s_T3", f"{prototype}\n{{ {body} }}\n"))
    assert m.is_signed
    assert m.is_exact


@needs_compiler
def test_directory_decides_the_sign_of_an_unprefixed_name(tmp_path):
    source = "uint16_t circuit(uint8_t A, uint8_t B) { return (int8_t)A * (int8_t)B; }"
    assert _read(_write(tmp_path / "8x8_signed", "circuit", source)).is_exact
    assert not _read(_write(tmp_path / "8x8_unsigned", "circuit", source), is_signed=True).is_signed


@needs_compiler
def test_source_with_its_own_main_and_helper(tmp_path):
    source = (
        "static uint8_t low(uint8_t a, uint8_t b) { return a & b; }\n"
        "uint16_t mul8u_T4(uint8_t A, uint8_t B) { return A * B + low(A, 0); }\n"
        "int main(void) { return 7; }\n"
    )
    assert _read(_write(tmp_path, "mul8u_T4", source)).is_exact


@needs_compiler
def test_directory_of_sources(tmp_path):
    for name in ("mul8u_A", "mul8u_B"):
        _write(tmp_path / "pareto", name, f"uint16_t {name}(uint8_t A, uint8_t B) {{ return A*B; }}")
    library = load_library(tmp_path, allow_compile=True)
    assert library.names == ("mul8u_A",)
    assert library[0].aliases == ("mul8u_B",)


def test_needs_consent(tmp_path):
    path = _write(tmp_path, "mul8u_T5", "uint16_t mul8u_T5(uint8_t A, uint8_t B) { return A*B; }")
    with pytest.raises(MultiplierError, match="--compile-c"):
        load_library(path)


def test_needs_a_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = _write(tmp_path, "mul8u_T5", "uint16_t mul8u_T5(uint8_t A, uint8_t B) { return A*B; }")
    with pytest.raises(MultiplierError, match="no `cc` on PATH"):
        _read(path)


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("mul8u_T6", "int main(void) { return 0; }", "functions of two integers found: none"),
        ("other", "int8_t f(int8_t a, int8_t b) { return 1; } int8_t g(int8_t a, int8_t b) { return 1; }", "f, g"),
        ("mul16u_T6", "uint64_t mul16u_T6(uint64_t A, uint64_t B) { return A*B; }", "no 8x8 multiplier"),
        ("mul8x4u_T6", "uint64_t mul8x4u_T6(uint64_t A, uint64_t B) { return A*B; }", "no 8x8 multiplier"),
        ("add8u_T6", "uint64_t add8u_T6(const uint64_t A, const uint64_t B) { return A+B; }", "no 8x8 multiplier"),
    ],
)
def test_other_sources_are_refused_before_compiling(tmp_path, name, source, message):
    with pytest.raises(MultiplierError, match=message):
        _read(_write(tmp_path, name, source))


@needs_compiler
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return A *; ", "(?s)compiling .* failed with status 1: .*error"),
        ("abort(); ", "running the circuit of .* failed with status -6"),
        ("exit(0); ", "gave 0 bytes of products: expected 131072"),
        ("while (1) {} return 0;", "running the circuit of .* was stopped after 0.5 s"),
    ],
)
def test_failing_sources(tmp_path, monkeypatch, body, message):
    monkeypatch.setattr(evoapprox_c, "RUN_LIMIT_S", 0.5)
    path = _write(tmp_path, "mul8u_T7", f"uint16_t mul8u_T7(uint8_t A, uint8_t B) {{ {body} }}")
    with pytest.raises(MultiplierError, match=message):
        _read(path)


@needs_compiler
def test_unknown_unit_of_a_known_key(tmp_path):
    path = tmp_path / "mul8u_T8.c"
    path.write_text(
        "#include <stdint.h>\n// NODES = 7 gates\n// PDK45_PWR = 391 horsepower\n"
        "uint16_t mul8u_T8(uint8_t A, uint8_t B) { return A*B; }"
    )
    with pytest.raises(MultiplierError, match="PDK45_PWR = 391 horsepower"):
        _read(path)
    path.write_text(path.read_text().replace("horsepower", "uW"))
    assert _read(path).cost.value == pytest.approx(0.391)


@needs_compiler
def test_nothing_is_left_behind(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    path = _write(tmp_path, "mul8u_T9", "uint16_t mul8u_T9(uint8_t A, uint8_t B) { return A*B; }")
    assert _read(path).table.dtype == np.int32
    assert list(scratch.iterdir()) == []
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["mul8u_T9.c"]
