"""Design-space exploration of approximate DNN accelerators.

Names are imported when first used, so `import dse` stays quick and does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Cost": "dse.multipliers.multiplier",
    "DseError": "dse.errors",
    "ExportedNetwork": "dse.exported.reader",
    "FinetuningSettings": "dse.recovery.finetuning_settings",
    "Library": "dse.multipliers.library",
    "Multiplier": "dse.multipliers.multiplier",
    "Run": "dse.runs.results",
    "axnn": "dse.api.neurons",
    "collect": "dse.api.sweeps",
    "compare": "dse.api.compare",
    "dataset_names": "dse.datasets.loading",
    "doctor": "dse.api.installation",
    "evaluate": "dse.api.evaluate",
    "explore": "dse.api.explore",
    "export": "dse.api.export",
    "finetune": "dse.api.finetune",
    "load_exported": "dse.exported.reader",
    "load_library": "dse.multipliers.library",
    "lut_conv2d": "dse.simulation.ops",
    "lut_linear": "dse.simulation.ops",
    "match": "dse.api.match",
    "network_names": "dse.networks.zoo",
    "open_points": "dse.runs.point_set",
    "open_run": "dse.runs.results",
    "operating_points": "dse.api.operating_points",
    "plot": "dse.api.plot",
    "report": "dse.api.report",
    "resilience": "dse.api.neurons",
    "show": "dse.api.results",
    "status": "dse.api.sweeps",
    "sweep": "dse.api.sweeps",
    "tolerances": "dse.api.tolerances",
}

_ROOMS = ("datasets", "multipliers", "networks")
"""Packages whose names people use as `dse.datasets.Splits`."""

__all__ = [
    "Cost",
    "DseError",
    "ExportedNetwork",
    "FinetuningSettings",
    "Library",
    "Multiplier",
    "Run",
    "__version__",
    "axnn",
    "collect",
    "compare",
    "dataset_names",
    "datasets",
    "doctor",
    "evaluate",
    "explore",
    "export",
    "finetune",
    "load_exported",
    "load_library",
    "lut_conv2d",
    "lut_linear",
    "match",
    "multipliers",
    "network_names",
    "networks",
    "open_points",
    "open_run",
    "operating_points",
    "plot",
    "report",
    "resilience",
    "show",
    "status",
    "sweep",
    "tolerances",
]

if TYPE_CHECKING:
    from dse import datasets, multipliers, networks
    from dse.api.compare import compare
    from dse.api.evaluate import evaluate
    from dse.api.explore import explore
    from dse.api.export import export
    from dse.api.finetune import finetune
    from dse.api.installation import doctor
    from dse.api.match import match
    from dse.api.neurons import axnn, resilience
    from dse.api.operating_points import operating_points
    from dse.api.plot import plot
    from dse.api.report import report
    from dse.api.results import show
    from dse.api.sweeps import collect, status, sweep
    from dse.api.tolerances import tolerances
    from dse.datasets.loading import dataset_names
    from dse.errors import DseError
    from dse.exported.reader import ExportedNetwork, load_exported
    from dse.multipliers.library import Library, load_library
    from dse.multipliers.multiplier import Cost, Multiplier
    from dse.networks.zoo import network_names
    from dse.recovery.finetuning_settings import FinetuningSettings
    from dse.runs.point_set import open_points
    from dse.runs.results import Run, open_run
    from dse.simulation.ops import lut_conv2d, lut_linear


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"dse.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'dse' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_ROOMS})
