"""Arguments of a program's operations as JSON, and back.

`null`, booleans, integers, finite floats, texts and lists stand for themselves. Everything else is an object with one
key, its tag:

    {"node": "conv1"}               the value of another node
    {"tuple": [...]}                also torch.Size
    {"dict": {...}}                 keys are texts
    {"slice": [start, stop, step]}
    {"ellipsis": true}
    {"float": "inf"}                or "-inf", "nan"
    {"dtype": "float32"}            of torch
    {"memory_format": "channels_last"}
    {"device": "cpu"}
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import torch
from torch import fx

from dse.errors import NetworkError

_DTYPES = {
    name: getattr(torch, name)
    for name in (
        "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
    )
}  # fmt: skip
_MEMORY_FORMATS = {name: getattr(torch, name) for name in ("contiguous_format", "channels_last", "preserve_format")}
_FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Reference:
    """Stands for the value of a node."""

    name: str


def encode(value: Any, names: Mapping[fx.Node, str], where: str) -> Any:
    """What JSON can hold of an argument.

    Args:
        value: as in a node of torch.fx; nodes within it are keys of `names`.
        names: of the nodes.
        where: what has the argument, for the error.

    Raises:
        NetworkError: a value of a type that has no tag.
    """
    if isinstance(value, fx.Node):
        return {"node": names[value]}
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        return number if math.isfinite(number) else {"float": str(number)}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, list | tuple | slice | dict):
        return _encode_container(value, names, where)
    for tag, known in (("dtype", _DTYPES), ("memory_format", _MEMORY_FORMATS), ("device", {"cpu": _CPU})):
        name = next((name for name, other in known.items() if type(other) is type(value) and other == value), None)
        if name is not None:
            return {tag: name}
    raise NetworkError(
        f"{where} has an argument of type {type(value).__name__} ({str(value):.60}), which an export cannot hold: "
        "expected numbers, texts, slices, types of torch, and values of other nodes. Compute it beforehand and keep it "
        "as a buffer of the network"
    )


def _encode_container(value: list | tuple | slice | dict, names: Mapping[fx.Node, str], where: str) -> Any:
    if isinstance(value, slice):
        return {"slice": [encode(part, names, where) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise NetworkError(f"{where} has a dictionary whose keys are no texts as an argument: expected texts only")
        return {"dict": {key: encode(part, names, where) for key, part in value.items()}}
    parts = [encode(part, names, where) for part in value]
    return parts if isinstance(value, list) else {"tuple": parts}


def decode(data: Any, where: str) -> Any:
    """The argument that `encode` made `data` of, with `Reference` in place of nodes.

    Raises:
        NetworkError: an object that is no tag, or a tag with content of another kind.
    """
    if data is None or isinstance(data, bool | str | int | float):
        return data
    if isinstance(data, list):
        return [decode(part, where) for part in data]
    if isinstance(data, dict) and len(data) == 1:
        ((tag, content),) = data.items()
        if tag in _DECODERS and isinstance(content, _DECODERS[tag][0]):
            found = _DECODERS[tag][1](content, where)
            if found is not None:
                return found
    raise NetworkError(
        f"{where} has an argument that is not understood: {str(data):.80}. Expected the JSON forms of version 1 of the "
        "schema; export the network again"
    )


def _decode_slice(content: list, where: str) -> slice | None:
    return slice(*(decode(part, where) for part in content)) if len(content) == 3 else None


_DECODERS: dict[str, tuple[type, Callable[[Any, str], Any]]] = {
    "node": (str, lambda content, _: Reference(content)),
    "tuple": (list, lambda content, where: tuple(decode(part, where) for part in content)),
    "dict": (dict, lambda content, where: {key: decode(part, where) for key, part in content.items()}),
    "slice": (list, _decode_slice),
    "ellipsis": (bool, lambda content, _: Ellipsis),
    "float": (str, lambda content, _: _FLOATS.get(content)),
    "dtype": (str, lambda content, _: _DTYPES.get(content)),
    "memory_format": (str, lambda content, _: _MEMORY_FORMATS.get(content)),
    "device": (str, lambda content, _: _CPU if content == "cpu" else None),
}


def references(value: Any) -> Iterator[str]:
    """Names of all nodes that a decoded argument refers to."""
    if isinstance(value, Reference):
        yield value.name
    elif isinstance(value, list | tuple):
        for part in value:
            yield from references(part)
    elif isinstance(value, dict):
        yield from references(list(value.values()))
    elif isinstance(value, slice):
        yield from references((value.start, value.stop, value.step))


def resolve(value: Any, values: Mapping[str, Any]) -> Any:
    """A decoded argument with the values of nodes put in."""
    if isinstance(value, Reference):
        return values[value.name]
    if isinstance(value, list):
        return [resolve(part, values) for part in value]
    if isinstance(value, tuple):
        return tuple(resolve(part, values) for part in value)
    if isinstance(value, dict):
        return {key: resolve(part, values) for key, part in value.items()}
    if isinstance(value, slice):
        return slice(*(resolve(part, values) for part in (value.start, value.stop, value.step)))
    return value
