"""A directory of tables, with an `index.csv` that states names and costs, or loose.

Columns of `index.csv`: `name` and `file` (relative to the directory) are required; `signed` (0/1); cost: `power_mw` or
`gates`, with `technology`, `release`, `clock_mhz`, `area_um2`, `delay_ns`; published metrics: `mae`, `mae_pct`, `wce`,
`wce_pct`, `ep_pct`, `mre_pct`, `wcre_pct`, `mse`. `.bin` tables of signed multipliers are int16, indexed by
two's-complement byte. Without an index every file with a known suffix is read, sub-directories included.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dse.errors import MultiplierError, unknown_name
from dse.multipliers.multiplier import Cost, Multiplier
from dse.multipliers.readers import formats, tf_approximate

PUBLISHED = ("mae", "mae_pct", "wce", "wce_pct", "ep_pct", "mre_pct", "wcre_pct", "mse")
"""Metric names kept from an index or from C comments, as in `metrics.ErrorMetrics`."""

UNSTATED = "unstated"
"""Technology of a power figure whose source names none."""

_COST_COLUMNS = ("power_mw", "gates", "clock_mhz", "area_um2", "delay_ns")
_IGNORED_STEMS = ("readme", "license", "licence", "changelog", "requirements")


def read(directory: Path, *, is_signed: bool | None = None, allow_compile: bool = False) -> list[Multiplier]:
    """Read all multipliers of a directory.

    Args:
        directory: see the module.
        is_signed: signedness of loose files that do not state it; with an index of rows without `signed`.
        allow_compile: C sources may be compiled and run.
    """
    index = directory / "index.csv"
    if index.is_file():
        return _read_index(index, is_signed=is_signed, allow_compile=allow_compile)
    files = sorted(path for path in directory.rglob("*") if _is_table(path, directory))
    if not files:
        raise MultiplierError(
            f"directory {str(directory)!r} holds no index.csv and no table: expected files "
            f"{', '.join(formats.TABLE_SUFFIXES)}; check the path"
        )
    return [m for path in files for m in formats.read(path, is_signed=is_signed, allow_compile=allow_compile)]


def _is_table(path: Path, directory: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)
    is_other_text = path.stem.lower().startswith(_IGNORED_STEMS)
    return path.is_file() and not hidden and not is_other_text and path.suffix.lower() in formats.TABLE_SUFFIXES


def _read_index(index: Path, *, is_signed: bool | None, allow_compile: bool) -> list[Multiplier]:
    try:
        text = formats.read_bytes(index).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MultiplierError(f"{str(index)!r} is not UTF-8 text: expected a CSV table; save it as UTF-8") from error
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    columns = rows.fieldnames or []
    for required in ("name", "file"):
        if required not in columns:
            detail = unknown_name("column", required, columns) if columns else "the file is empty"
            raise MultiplierError(f"{str(index)!r} lacks column {required!r}: {detail}; add it to the header line")
    found = []
    for row in rows:
        if None in row or not row["name"] or not row["file"]:
            raise MultiplierError(
                f"{str(index)!r}, line {rows.line_num} {list(row.values())}: expected a name and a file, and no more "
                f"fields than the {len(columns)} of the header; complete the line"
            )
        found.append(_read_row(index, row, is_signed=is_signed, allow_compile=allow_compile))
    if not found:
        raise MultiplierError(f"{str(index)!r} lists no multiplier: expected one line each; add them below the header")
    return found


def _read_row(index: Path, row: Mapping[str, str], *, is_signed: bool | None, allow_compile: bool) -> Multiplier:
    name, path = row["name"].strip(), index.parent / row["file"].strip()
    where = f"{str(index)!r}, multiplier {name!r}"
    stated = _flag(row.get("signed"), where)
    row_is_signed = formats.resolve_sign(name, is_signed=is_signed) if stated is None else stated
    if not path.exists():
        raise MultiplierError(f"{where}: its file {str(path)!r} does not exist: restore it, or delete its line")
    cost = _cost(row, where)
    numbers = {key: _number(row.get(key), f"{where}, column {key!r}") for key in PUBLISHED}
    published = {key: value for key, value in numbers.items() if value is not None}
    if path.suffix.lower() == ".bin":
        return tf_approximate.read_as(path, name=name, is_signed=row_is_signed, cost=cost, published=published)
    members = formats.read(path, is_signed=row_is_signed, allow_compile=allow_compile)
    if len(members) != 1 or members[0].is_signed != row_is_signed:
        kind = "signed" if row_is_signed else "unsigned"
        raise MultiplierError(f"{where}: expected one {kind} table in {str(path)!r}, got {members}; correct the index")
    merged = dict(members[0].published) | published
    return replace(members[0], name=name, cost=cost or members[0].cost, published=merged)


def _cost(row: Mapping[str, str], where: str) -> Cost | None:
    numbers = {key: _number(row.get(key), f"{where}, column {key!r}") for key in _COST_COLUMNS}
    power_mw, gates = numbers["power_mw"], numbers["gates"]
    if power_mw is None and gates is None:
        return None
    return Cost(
        value=gates if power_mw is None else power_mw,
        unit="gates" if power_mw is None else "mW",
        technology=(row.get("technology") or "").strip() or UNSTATED,
        source=(row.get("release") or "").strip() or "index.csv",
        clock_mhz=numbers["clock_mhz"],
        area_um2=numbers["area_um2"],
        delay_ns=numbers["delay_ns"],
    )


def _number(text: str | None, where: str) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        return float(text)
    except ValueError as error:
        raise MultiplierError(f"{where}: {text!r} is not a number: correct it or leave it empty") from error


def _flag(text: str | None, where: str) -> bool | None:
    flags = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
    value = (text or "").strip().lower()
    if value and value not in flags:
        raise MultiplierError(f"{where}: signed is {text!r}: expected 0 or 1; correct it or leave it empty")
    return flags.get(value)
