"""C sources of EvoApproxLib (Mrazek et al., DATE 2017, github.com/ehw-fit/evoapproxlib): one circuit a file.

Metadata are comment lines `// KEY = value [unit]`; power, area and delay are of PDK45, 45 nm. The circuit is a function
of two operands; the first is the row, although many prototypes call it `B`. A source is compiled with the system `cc`
and run to tabulate it, which executes foreign code: only on request, in a temporary directory, in a child process with
a time limit. Prototypes: any of (u)int8/16/32/64_t; for signed circuits with unsigned arguments (known by the prefix
`mul8s` or a directory `signed`) operands are passed as two's-complement bytes; of the result the low 16 bits count,
sign-extended.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dse.errors import MultiplierError
from dse.multipliers.multiplier import N_CODES, Cost, Multiplier
from dse.multipliers.readers.formats import BIN_BYTES, natural_order, read_bytes, resolve_sign

COMPILE_LIMIT_S = 60.0
"""Time limit of the compiler."""

RUN_LIMIT_S = 20.0
"""Time limit of the tabulating process; a circuit needs milliseconds."""

_METADATA = re.compile(r"^\s*//\s*([A-Z][A-Z0-9_]*%?)\s*=\s*([-+]?[0-9]\S*)[ \t]*(\S*)", re.MULTILINE)
_UNITS = {"": 1.0, "%": 1.0, "mW": 1.0, "uW": 1e-3, "nW": 1e-6, "W": 1e3, "um2": 1.0, "ns": 1.0, "ps": 1e-3}
_INTEGER = r"(?:const\s+)?(u?int(?:8|16|32|64)_t)(?:\s+const)?"
_PROTOTYPE = re.compile(rf"{_INTEGER}\s+(\w+)\s*\(\s*{_INTEGER}\s+\w+\s*,\s*{_INTEGER}\s+\w+\s*\)\s*\{{")
_PUBLISHED = {"MAE": "mae", "MAE%": "mae_pct", "WCE": "wce", "WCE%": "wce_pct", "WCRE%": "wcre_pct"}
_PUBLISHED |= {"EP%": "ep_pct", "MRE%": "mre_pct", "MSE": "mse"}
_MAIN = """
#define main circuit_main
#include "circuit.c"
#undef main
#include <stdint.h>
#include <stdio.h>
int main(void) {{
    FILE *out = fopen("products.bin", "wb");
    if (!out) return 1;
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++) {{
            uint16_t product = (uint16_t){name}({first}a, {second}b);
            putc(product & 255, out);
            putc(product >> 8, out);
        }}
    return fclose(out) ? 1 : 0;
}}
"""


@dataclass(frozen=True)
class _Prototype:
    name: str
    first: str
    second: str


def read(path: Path, *, is_signed: bool | None = None, allow_compile: bool = False) -> Multiplier:
    """Compile one source and tabulate its circuit, named by its function.

    Args:
        path: C source.
        is_signed: used where neither the name, the directory nor the argument types tell.
        allow_compile: consent to run the compiler and the program; without it this is an error.
    """
    text = read_bytes(path).decode("utf-8", errors="replace")
    prototype = _find_prototype(path, text)
    if not allow_compile:
        raise MultiplierError(
            f"{str(path)!r} is C source, which is compiled and executed to get its table: expected your consent; "
            "if you trust the file, add --compile-c (Python: load_library(..., allow_compile=True))"
        )
    table_is_signed = _is_signed(path, prototype, is_signed)
    values = _read_metadata(path, text)
    table = _tabulate(path, prototype, is_signed=table_is_signed)
    published = {_PUBLISHED[key]: value for key, value in values.items() if key in _PUBLISHED}
    return Multiplier(prototype.name, table, table_is_signed, _cost(values), published=published, origin=str(path))


def _read_metadata(path: Path, text: str) -> dict[str, float]:
    """Values by key, in mW, um2, ns, percent."""
    values = {}
    for key, number, unit in _METADATA.findall(text):
        if key not in _PUBLISHED and not key.startswith("PDK45_"):
            continue
        try:
            values[key] = float(number) * _UNITS[unit]
        except (ValueError, KeyError) as error:
            raise MultiplierError(
                f"{str(path)!r}: comment `{key} = {number} {unit}`: expected a number and one of the units "
                f"{' '.join(_UNITS).strip()}; correct the comment"
            ) from error
    return values


def _find_prototype(path: Path, text: str) -> _Prototype:
    found = [_Prototype(name, first, second) for _, name, first, second in _PROTOTYPE.findall(text)]
    chosen = [p for p in found if p.name == path.stem] or found
    if len(chosen) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise MultiplierError(
            f"{str(path)!r}: functions of two integers found: {names}: expected one, or one named {path.stem!r}, such "
            f"as `uint16_t {path.stem}(uint8_t A, uint8_t B)`; rename the file or its function"
        )
    width = re.match(r"(?:mul|add|sub)(\d+)(?:x(\d+))?", chosen[0].name)
    is_adder = chosen[0].name.startswith(("add", "sub"))
    if is_adder or (width and (width[1] != "8" or width[2] not in (None, "8"))):
        raise MultiplierError(f"{str(path)!r}: {chosen[0].name!r} is no 8x8 multiplier: expected mul8u_* or mul8s_*")
    return chosen[0]


def _is_signed(path: Path, prototype: _Prototype, is_signed: bool | None) -> bool:
    if prototype.first == prototype.second == "int8_t":
        return True
    named = re.match(r"mul8(?:x8)?[su]", prototype.name)
    nearest = path.resolve().parent.parts[-2:]  # e.g. 8x8_signed/pareto_pwr_mae
    folders = {word for part in nearest for word in re.split(r"[^a-z]+", part.lower())}
    if named is None and folders & {"signed", "unsigned"}:
        return "unsigned" not in folders
    return resolve_sign(prototype.name, is_signed=is_signed)


def _cost(values: dict[str, float]) -> Cost | None:
    if "PDK45_PWR" not in values:
        return None
    return Cost(
        value=values["PDK45_PWR"],
        unit="mW",
        technology="PDK45 45 nm",
        source="EvoApproxLib C source",
        area_um2=values.get("PDK45_AREA"),
        delay_ns=values.get("PDK45_DELAY"),
    )


def _tabulate(path: Path, prototype: _Prototype, *, is_signed: bool) -> np.ndarray:
    """All 65,536 products in natural order, int16 or uint16 [256, 256]."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise MultiplierError(f"{str(path)!r} needs a C compiler: no `cc` on PATH; install one, such as gcc")
    first, second = (_cast(kind, is_signed=is_signed) for kind in (prototype.first, prototype.second))
    main = _MAIN.format(name=prototype.name, first=first, second=second)
    with tempfile.TemporaryDirectory(prefix="dse-c-") as folder:
        work = Path(folder)
        shutil.copyfile(path, work / "circuit.c")
        (work / "main.c").write_text(main)
        _run([compiler, "-O1", "-w", "-o", "tabulate", "main.c"], work, COMPILE_LIMIT_S, f"compiling {str(path)!r}")
        _run([str(work / "tabulate")], work, RUN_LIMIT_S, f"running the circuit of {str(path)!r}")
        products = work / "products.bin"
        content = products.read_bytes() if products.is_file() else b""
    if len(content) != BIN_BYTES:
        raise MultiplierError(f"{str(path)!r} gave {len(content)} bytes of products: expected {BIN_BYTES}; check it")
    table = np.frombuffer(content, dtype="<i2" if is_signed else "<u2").reshape(N_CODES, N_CODES)
    return natural_order(table) if is_signed else table


def _cast(kind: str, *, is_signed: bool) -> str:
    """C cast of a byte 0..255: a signed argument takes the operand's value, an unsigned one its two's complement."""
    return f"({kind})(int8_t)" if is_signed and kind.startswith("int") else f"({kind})"


def _run(command: list[str], folder: Path, limit_s: float, what: str) -> None:
    """Run a child in its own process group; kill the group when it exceeds its time."""
    log = folder / "messages.txt"
    with log.open("wb") as messages:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            raise MultiplierError(f"{what} was stopped after {limit_s:g} s: expected milliseconds; check it") from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if status != 0:
        excerpt = log.read_bytes()[:400].decode("utf-8", errors="replace").strip()
        raise MultiplierError(f"{what} failed with status {status}: {excerpt or 'no message'}; check the source")
