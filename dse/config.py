"""Schema of a run: what a TOML run file may say, and what is used where it says nothing.

A run file has one table per subject (`[network]`, `[search]`, ...). Unknown keys are errors. Relative paths mean what
they mean on the command line: relative to the current directory.

>>> config = parse_config('[search]\\npopulation_size = 8')
>>> config.search.population_size, config.network.name
(8, 'digits_cnn')
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from dse.errors import ConfigError

Scheme = Literal["auto", "unsigned-affine", "unsigned-centered", "signed-symmetric"]
Observer = Literal["minmax", "percentile", "mse"]
Method = Literal["nsga2", "random", "uniform", "greedy", "exhaustive"]
Initial = Literal["agn", "sensitivity", "uniform", "random"]
WeightTuning = Literal["off", "uniform", "histogram"]
ToleranceMethod = Literal["frozen", "trained"]
ZeroWeights = Literal["multiplied", "skipped"]
Backend = Literal["auto", "factored", "rows", "permute", "columns", "direct", "gpu", "reference"]

FilePath = Annotated[Path | None, Field(strict=False)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Count = Annotated[int, Field(ge=1)]
Shares = Annotated[tuple[Annotated[int, Field(ge=1, le=99)], ...], Field(strict=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Word = Annotated[str, Field(pattern=r"^[\w.:@+,-]+$")]  # it goes into scripts of batch systems

OBJECTIVES = ("energy", "accuracy", "memory")
"""What a search may optimize; the first two always."""


def _objectives(names: tuple[str, ...]) -> tuple[str, ...]:
    if sorted(names) not in (sorted(OBJECTIVES[:2]), sorted(OBJECTIVES)):
        raise ValueError("expected energy and accuracy, or energy, accuracy and memory")
    return OBJECTIVES[: len(names)]


Objectives = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_objectives)]


def _levels(percents: tuple[int, ...]) -> tuple[int, ...]:
    """Ascending and with 0, so that the same levels are the same configuration; none stay none."""
    if len(set(percents)) < len(percents):
        raise ValueError("expected different whole percents from 0 to 99, as 0, 50, 80")
    return tuple(sorted({0, *percents})) if percents else ()


Levels = Annotated[tuple[Annotated[int, Field(ge=0, le=99)], ...], Field(strict=False), AfterValidator(_levels)]

EXECUTION_TABLE = "execution"
"""The one table that may change when a run is continued: it never changes a result."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NetworkConfig(_Table):
    """`name`: a zoo name or `module:function`; `weights`: a state dict for it."""

    name: str = "digits_cnn"
    weights: FilePath = None


class DataConfig(_Table):
    """`dataset`: a dataset name or `module:function`; counts are images, `None` means as many as the split has.

    `images` steer the search; `confirm_images` are these and more, on which the best designs are measured again to
    decide which are on the front; `report_images` are others, that measure the front at the end. `top`: an image counts
    where its label is among so many best classes.
    """

    dataset: str = "digits"
    dir: FilePath = None
    preprocessing: str | None = None
    images: Count | None = None
    confirm_images: Count | None = None
    calibration_images: Count = 512
    report_images: Count | None = None
    top: Count = 1


class LibraryConfig(_Table):
    """`path`: `builtin`, a table file, a directory of them, or a C file (with `compile_c`)."""

    path: str = "builtin"
    signed: bool = False
    include: Names = ()
    exclude: Names = ()
    compile_c: bool = False


class QuantizationConfig(_Table):
    """`scheme = "auto"` follows the library's signedness; `exclude`: patterns of layer names that stay exact floats."""

    scheme: Scheme = "auto"
    observer: Observer = "percentile"
    per_channel: bool = True
    exclude: Names = ()


class RecoveryConfig(_Table):
    """Accuracy given back without training; each switch is independent."""

    fold_bias: bool = True
    sum_compensation: bool = False
    weight_tuning: WeightTuning = "off"


class AcceleratorConfig(_Table):
    """`free`, `tiles:T` or `pipelined:T` with T the number of tiles."""

    kind: str = Field(default="free", pattern=r"^(free|(tiles|pipelined):[1-9][0-9]*)$")


class SearchConfig(_Table):
    """`evaluations` bounds the measured designs, `accuracy_floor` in [0, 1] is a constraint. `objectives`: energy and
    accuracy, or these and memory, the bytes of the weights.

    `initial`: where NSGA-II starts; `initial_designs`: how many designs that gives, `None` is a population.
    `neuron_shares`: percents of a layer's neurons, the most resilient ones, that may get a cheaper multiplier than its
    others; none: one multiplier a layer. `surrogate`: simulate only offspring that a prediction cannot rule out;
    `racing`: stop simulating a design once it is beaten on the images so far. Random initial designs without both are
    plain ALWANN.
    """

    objectives: Objectives = OBJECTIVES[:2]
    method: Method = "nsga2"
    population_size: Annotated[int, Field(ge=2)] = 24
    generations: Count = 12
    evaluations: Count | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    accuracy_floor: Annotated[float, Field(ge=0, le=1)] | None = None
    initial: Initial = "agn"
    initial_designs: Count | None = None
    neuron_shares: Shares = ()
    surrogate: bool = True
    racing: bool = True


class PruningConfig(_Table):
    """`sparsity_levels`: percents of a layer's weights that may be pruned, chosen by layer, 0 always among them; none:
    nothing is pruned, or the default levels where memory is an objective.

    `rates`: whether a level is the share of the layer's own weights, or what a share of all layers' weights, chosen by
    LAMP, takes from the layer. `structure`: weights each by itself, or all of an output channel together. `refit`:
    choose the weights that remain anew, so that layers give what they gave, without training. `zero_weights`: whether
    they are `multiplied`, as in a dense array, or `skipped`; `None`: skipped where layers may be pruned.
    """

    sparsity_levels: Levels = ()
    rates: Literal["layer", "global"] = "layer"
    structure: Literal["weights", "channels"] = "weights"
    refit: bool = True
    zero_weights: ZeroWeights | None = None


class TolerancesConfig(_Table):
    """AGN tolerances (`dse tolerances`); `None`: what suits the method, see `dse.robustness.tolerances.AgnSettings`.

    `steps` belong to the method `frozen`, `epochs` and `sigma_learning_rate` to `trained`; `training_images` come from
    the calibration split, which may grow for them.
    """

    method: ToleranceMethod = "frozen"
    coefficient: NonNegative = 0.2
    sigma_init: Positive = 0.1
    sigma_max: Positive = 0.5
    steps: Count | None = None
    epochs: Count | None = None
    batch_size: Count | None = None
    learning_rate: Positive | None = None
    sigma_learning_rate: Positive | None = None
    training_images: Count | None = None
    seed: Annotated[int, Field(ge=0)] = 0


class ExecutionConfig(_Table):
    """`jobs`: worker processes; `threads`: per worker, `None` shares the cores evenly (one for small networks);
    `batch_size`: images at once, `None` as the network's size suggests; `device`: what simulates, `auto` is a GPU where
    there is one.

    `workers_backend`: processes or threads of this machine through joblib, or processes through dask. `cluster`: a
    running dask cluster as `dask:tcp://host:port`, or a batch system on which `workers` dask workers are started; with
    its `partition` (queue), `walltime`, `memory` of each worker, and the network `interface` that machines reach each
    other by. `worker_timeout_s`: what a worker may take for an assignment before another gets it too; `None`: by
    experience."""

    jobs: Count = 1
    threads: Count | None = None
    backend: Backend = "auto"
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")
    batch_size: Count | None = None
    workers_backend: Literal["loky", "threading", "dask"] = "loky"
    cluster: str | None = Field(default=None, pattern=r"^(dask:(tcp|tls)://[^\s/]+:[0-9]+|slurm|pbs|lsf)$")
    workers: Count | None = None
    partition: Word | None = None
    walltime: Word | None = None
    memory: str | None = Field(default=None, pattern=r"^[0-9]+(\.[0-9]+)? ?[kKMGT]?i?B?$")
    interface: Word | None = None
    worker_timeout_s: Positive | None = None


class RunConfig(_Table):
    """Everything that a run needs, every default filled."""

    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    library: LibraryConfig = LibraryConfig()
    quantization: QuantizationConfig = QuantizationConfig()
    recovery: RecoveryConfig = RecoveryConfig()
    accelerator: AcceleratorConfig = AcceleratorConfig()
    search: SearchConfig = SearchConfig()
    pruning: PruningConfig = PruningConfig()
    tolerances: TolerancesConfig = TolerancesConfig()
    execution: ExecutionConfig = ExecutionConfig()


def load_config(path: Path | None, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Reads a run file; `None` means all defaults.

    Args:
        path: a TOML file, or `None`.
        overrides: values by dotted key, as `{"search.seed": 3}`; they win over the file.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown, or a value is outside its range.
    """
    if path is None:
        return parse_config("", overrides)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"cannot read run file {path}: {reason}. Expected a TOML file") from None
    return parse_config(text, overrides, source=Path(path).name)


def parse_config(text: str, overrides: Mapping[str, Any] | None = None, *, source: str = "options") -> RunConfig:
    """Checks the text of a run file; `source` is its name in messages."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from None
    for dotted, value in (overrides or {}).items():
        table, key = dotted.split(".")
        if isinstance(tables.setdefault(table, {}), dict):
            tables[table][key] = value
    try:
        return RunConfig.model_validate(tables)
    except ValidationError as error:
        raise ConfigError("\n".join(_message(source, item) for item in error.errors())) from None


def _message(source: str, error: Mapping[str, Any]) -> str:
    table, *rest = (str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = list(RunConfig.model_fields if not rest else RunConfig.model_fields[table].annotation.model_fields)
        kind, name = ("key", rest[0]) if rest else ("table", table)
        where = f"{source} [{table}] {name}" if rest else f"{source} [{table}]"
        match = get_close_matches(name, known, n=1)
        hint = f", did you mean {match[0]}?" if match else "."
        return f"{where}: unknown {kind}{hint} Known: {', '.join(known)}"
    where = f"{source} [{table}]" + (f" {rest[0]}" if rest else "")
    return f"{where} = {error['input']!r}: {_expectation(error)}"


WORD = "letters, digits and the signs ._:@+,- only, as batch systems take"
_PATTERNS = {
    "kind": "free, tiles:T or pipelined:T, with T a number of at least 1",
    "device": "auto, cpu, cuda or cuda:N, with N the number of a GPU from 0",
    "cluster": "dask:tcp://HOST:PORT of a running dask scheduler (or dask:tls://...), slurm, pbs or lsf",
    "memory": "a size as 4GB or 800MB",
    "partition": WORD,
    "walltime": WORD,
    "interface": WORD,
}


def _expectation(error: Mapping[str, Any]) -> str:
    if error["type"] == "string_pattern_mismatch":
        return f"expected {_PATTERNS[error['loc'][-1]]}"
    return error["msg"].removeprefix("Value error, ").replace("Input should be", "expected", 1)


def to_toml(config: RunConfig) -> str:
    """Text of a run file with every default written out; values that are not set appear as comments."""
    lines: list[str] = []
    for table, values in config.model_dump(mode="json").items():
        lines.append(f"[{table}]")
        lines += [f"# {key} is not set" if v is None else f"{key} = {_toml_value(v)}" for key, v in values.items()]
        lines.append("")
    return "\n".join(lines)


def _toml_value(value: str | bool | int | float | list[str]) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, str):  # a JSON string is a TOML basic string, except for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    return json.dumps(value)


LOCATIONS = ("network.weights", "data.dir", "library.path")
"""Keys that say where something lies; what it is, hashes tell."""


def differences(old: RunConfig, new: RunConfig, *, may_move: bool = False) -> Iterator[tuple[str, Any, Any]]:
    """Keys (dotted) whose values differ, `[execution]` apart, with both values.

    Args:
        old, new: the configurations.
        may_move: leave out `LOCATIONS`.
    """
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    for table in before:
        if table == EXECUTION_TABLE:
            continue
        for key, value in before[table].items():
            if value != after[table][key] and not (may_move and f"{table}.{key}" in LOCATIONS):
                yield f"{table}.{key}", value, after[table][key]


def default_run_name(config: RunConfig) -> str:
    """Name of the run directory where none is given: the same configuration finds its directory again."""
    data = config.model_dump(mode="json", exclude={EXECUTION_TABLE})
    if config.data.top == 1:  # runs of before there was a choice keep their names
        del data["data"]["top"]
    if not config.search.neuron_shares:
        del data["search"]["neuron_shares"]
    if config.search.objectives == OBJECTIVES[:2]:
        del data["search"]["objectives"]
    if config.pruning == PruningConfig():
        del data["pruning"]
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:8]
    words = (config.network.name.rpartition(":")[2], config.data.dataset.rpartition(":")[2], digest)
    return "-".join(re.sub(r"[^\w.]+", "_", word) for word in words)
