"""What a sweep file asks for: many runs that differ in the values of a few axes.

    base = "run.toml"                                   # a run file; or its tables here, which win over it

    [search]
    generations = 20

    [sweep]
    search.seed = [0, 1, 2]                             # any key of a run file may be an axis
    network = [                                         # an axis of a name of your own sets several keys at once
        {name = "small", network.name = "resnet8"},
        {name = "large", network.name = "resnet20", network.weights = "resnet20.pt"},
    ]

Every combination is a run. Its name follows from its values alone, so that values added later leave the others' names
as they are. Relative paths start at the current directory, as in run files.
"""

import hashlib
import itertools
import json
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dse.config import RunConfig, load_config, parse_config, to_toml
from dse.errors import ConfigError

MAX_RUNS = 10_000
MAX_LABEL = 60
"""Characters of a value in the name of a run; of a longer one its end, and a digest."""

MAX_NAME_BYTES = 237
"""Of a run: file systems take 255, and the temporary name of `run_files/NAME.toml` is longer."""

TAKEN = ("name", "run", "state", "point", "evaluations", "hypervolume", "accuracy", "assignment", "message", "share")
"""Columns of tables, after which no axis can be called."""

NAMING_KEYS = ("name", "path", "kind", "dataset")
"""Keys that say what their table is: `network.name` is the axis `network`."""


@dataclass(frozen=True)
class Choice:
    """One value of an axis: how it is called, and the keys (dotted) that it sets."""

    label: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Axis:
    """What runs of a sweep differ in.

    Attributes:
        name: of a column, as `seed` or `network`.
        key: dotted where the axis is a key of the run file, else the name of the axis.
        choices: at least one.
    """

    name: str
    key: str
    choices: tuple[Choice, ...]

    @property
    def is_seed(self) -> bool:
        """Whether its runs are repetitions of one experiment."""
        return self.key.rpartition(".")[2] == "seed"


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        name: of its directory.
        labels: of its value on each axis, by the axis' name.
        config: what it does.
    """

    name: str
    labels: Mapping[str, str]
    config: RunConfig


@dataclass(frozen=True)
class SweepPlan:
    """Every run of a sweep, in the order of its axes, seeds last; `text` is that of the sweep file."""

    axes: tuple[Axis, ...]
    runs: tuple[PlannedRun, ...]
    text: str


def load_plan(path: Path) -> SweepPlan:
    """Reads a sweep file.

    Raises:
        ConfigError: the file is missing or no TOML; a key is unknown, a value outside its range, an axis empty; two
            values or runs are the same.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        told = f"cannot read sweep file {path}: {reason}. Expected a TOML file with a table [sweep]"
        raise ConfigError(told) from None
    return parse_plan(text, source=Path(path).name)


def parse_plan(text: str, *, source: str = "sweep") -> SweepPlan:
    """Checks the text of a sweep file; `source` is its name in messages."""
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from None
    axes_table, base = tables.pop("sweep", None), tables.pop("base", None)
    if not isinstance(axes_table, dict) or not axes_table:
        raise ConfigError(f'{source}: no axes. Expected a table [sweep] with, for example, "search.seed" = [0, 1, 2]')
    common = _base_values(base, source) | _flat(tables, source)
    _config(common, source)  # what is wrong for all runs is said without naming one
    axes = _axes(axes_table, source)
    n_runs = 1
    for axis in axes:
        n_runs *= len(axis.choices)
    if n_runs > MAX_RUNS:
        raise ConfigError(f"{source}: {n_runs} runs: expected at most {MAX_RUNS}. Take fewer values")
    runs = tuple(_planned(axes, choices, common, source) for choices in itertools.product(*(a.choices for a in axes)))
    _check_distinct(runs, source)
    return SweepPlan(axes, runs, text)


def _config(values: Mapping[str, Any], source: str) -> RunConfig:
    """The configuration of values by dotted key; `source` is their file in messages."""
    for key in values:
        if key.count(".") != 1:
            raise ConfigError(f"{source}: {key}: expected a table and a key of it, as search.seed")
    return parse_config("", values, source=source)


def _base_values(base: Any, source: str) -> dict[str, Any]:
    if base is None:
        return {}
    if not isinstance(base, str) or "\0" in base:
        raise ConfigError(f"{source}: base = {base!r}: expected the path of a run file, from the current directory")
    load_config(Path(base))
    return _flat(tomllib.loads(Path(base).read_text(encoding="utf-8")), base)


def _flat(tables: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Tables of a run file as values by dotted key."""
    values = {}
    for table, content in tables.items():
        if not isinstance(content, dict):
            raise ConfigError(f"{source}: {table} = {content!r}: expected a table [{table}], `base` or [sweep]")
        values |= {f"{table}.{key}": value for key, value in content.items()}
    return values


def _axes(table: Mapping[str, Any], source: str) -> tuple[Axis, ...]:
    """Axes in an order of their own, so that lines of the file may be moved: by key, seeds last."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        nested = {f"{key}.{inner}": each for inner, each in value.items()} if isinstance(value, dict) else {key: value}
        for twice in values.keys() & nested.keys():
            raise ConfigError(f"{source} [sweep] {twice}: named twice. Leave one of them")
        values |= nested
    names = _column_names(list(values))
    axes = [Axis(names[key], key, _choices(key, value, source)) for key, value in values.items()]
    setters = Counter(key for axis in axes for key in {key for choice in axis.choices for key in choice.values})
    for key, count in setters.items():
        if count > 1:
            raise ConfigError(f"{source} [sweep]: {count} axes set {key}. Leave it to one of them")
    return tuple(sorted(axes, key=lambda axis: (axis.is_seed, axis.key)))


def _column_names(keys: Sequence[str]) -> dict[str, str]:
    """Short names of axes; the whole key where two would have the same."""
    short = {}
    for key in keys:
        table, _, last = key.rpartition(".")
        short[key] = table if last in NAMING_KEYS and table else last
    counts = Counter(short.values())
    return {key: name if counts[name] == 1 and name not in TAKEN else key for key, name in short.items()}


def _choices(key: str, values: Any, source: str) -> tuple[Choice, ...]:
    where = f"{source} [sweep] {key}"
    if not isinstance(values, list):
        raise ConfigError(f"{where} = {values!r}: expected a list of values, as [{json.dumps(values, default=str)}]")
    if not values:
        raise ConfigError(f"{where} = []: an axis without values. Give it at least one, or leave it out")
    if key in TAKEN:
        raise ConfigError(f"{where}: an axis cannot be called so, tables have that column. Give it another name")
    is_key = key.count(".") == 1
    choices = tuple(_key_choice(key, v, where) if is_key else _named_choice(v, where) for v in values)
    for label, count in Counter(choice.label for choice in choices).items():
        if count > 1:
            what = "twice" if is_key else "the name of two values"
            raise ConfigError(f"{where}: {label} is there {what}. Expected different values with different names")
    return choices


def _key_choice(key: str, value: Any, where: str) -> Choice:
    if isinstance(value, dict):
        raise ConfigError(
            f"{where}: {value!r} is a table: expected plain values of this key. An axis that sets several keys has a "
            'name without a dot, as network = [{name = "small", network.name = "resnet8"}]'
        )
    return Choice(label_of(value), {key: value})


def _named_choice(value: Any, where: str) -> Choice:
    if not isinstance(value, dict):
        raise ConfigError(
            f"{where}: {value!r}: expected a key of a run file with its table as the axis, as search.seed, or tables "
            'with a name as values, as {name = "small", network.name = "resnet8"}'
        )
    content = dict(value)
    name = content.pop("name", None)
    if not isinstance(name, str) or not name:
        raise ConfigError(f'{where}: {value!r} has no name. Expected one, as {{name = "small", ...}}')
    quoted = {key: each for key, each in content.items() if "." in key}
    values = quoted | _flat({key: each for key, each in content.items() if key not in quoted}, where)
    if not values:
        raise ConfigError(f"{where}: {name!r} sets no keys. Expected at least one, as network.name")
    return Choice(label_of(name), values)


def label_of(value: Any) -> str:
    """A value as a part of a directory's name.

    >>> label_of(0.5), label_of(True), label_of("data/evo approx"), label_of([25, 50])
    ('0.5', 'true', 'data_evo_approx', '25_50')
    """
    parts = value if isinstance(value, list) else [value]
    text = ",".join(part if isinstance(part, str) else json.dumps(part, default=str) for part in parts)
    label = re.sub(r"[^\w.]+", "_", text).strip("_.") or "none"
    if len(label) > MAX_LABEL:
        label = f"{label[-MAX_LABEL + 9 :]}_{_digest(text)}"
    return label


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _fitting(name: str) -> str:
    """The name of a run as file systems take it: its end, and a digest, where it is too long."""
    encoded = name.encode()
    if len(encoded) <= MAX_NAME_BYTES:
        return name
    end = encoded[-(MAX_NAME_BYTES - 9) :].decode(errors="ignore")
    return f"{_digest(name)}_{end}"


def _planned(axes: Sequence[Axis], choices: Sequence[Choice], common: Mapping[str, Any], source: str) -> PlannedRun:
    values = dict(common)
    for choice in choices:
        values |= choice.values
    labels = {axis.name: choice.label for axis, choice in zip(axes, choices, strict=True)}
    name = "-".join(f"{axis.name}_{choice.label}" for axis, choice in zip(axes, choices, strict=True))
    return PlannedRun(_fitting(name), labels, _config(values, source))


def _check_distinct(runs: Sequence[PlannedRun], source: str) -> None:
    seen: dict[str, str] = {}
    for run in runs:
        other = seen.setdefault(to_toml(run.config), run.name)
        if other != run.name:
            raise ConfigError(f"{source}: the runs {other} and {run.name} are the same. Leave one of their values")
    for name, count in Counter(run.name for run in runs).items():
        if count > 1:
            raise ConfigError(f"{source}: {count} runs would be called {name}. Give the values names")
