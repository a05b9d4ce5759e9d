"""Whether the fronts of several runs can be put side by side.

Losses are relative to the exact network on the report images, energies to the exact multiplier. So fronts are
comparable where the layers, the report images, what counts as right, and the technology of the costs are the same. Runs
may differ in how the network was quantized, in the library, and in how was searched: that is what people compare.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from dse.runs.results import Run
from dse.runs.sparsity import zero_weights

MAX_NAMED = 3
"""Runs named in a message before the rest is counted."""


@dataclass(frozen=True)
class Comparability:
    """What stands between runs.

    Attributes:
        obstacles: what makes their fronts incomparable, a sentence each.
        notes: what to bear in mind when they are compared.
    """

    obstacles: tuple[str, ...]
    notes: tuple[str, ...]


def comparability(runs: Mapping[str, Run]) -> Comparability:
    """Looks at what runs were made with.

    Args:
        runs: by their names; all have a manifest.
    """
    obstacles = (
        _differing(runs, "networks", _layers, _layers_text),
        _differing(runs, "report images", lambda run: run.manifest.hashes.get("report images"), _n_images),
        _differing(runs, "what counts as right", lambda run: run.config.data.top, lambda run: f"top {_top(run)}"),
        _differing(runs, "technologies of the costs", _technology, lambda run: str(_technology(run))),
    )
    notes = (
        _differing(runs, "quantized networks", lambda run: run.manifest.hashes.get("network"), _exact_accuracy),
        _differing(runs, "search images", lambda run: run.manifest.hashes.get("search images"), _n_search_images),
        _differing(runs, "libraries", lambda run: run.manifest.hashes.get("library"), _library),
        _differing(runs, "objectives", lambda run: run.config.search.objectives, _objectives),
        _differing(runs, "treatments of weights of zero", _zero_weights, _zero_weights),
        _differing(runs, "accelerators", lambda run: run.config.accelerator.kind, _accelerator),
    )
    return Comparability(tuple(text for text in obstacles if text), tuple(text for text in notes if text))


def _differing(
    runs: Mapping[str, Run], what: str, identity: Callable[[Run], Hashable], text: Callable[[Run], str]
) -> str:
    """A sentence where the known identities are not all the same, else nothing."""
    members: dict[Hashable, list[str]] = {}
    for name, run in runs.items():
        if (key := identity(run)) is not None:
            members.setdefault(key, []).append(name)
    if len(members) < 2:
        return ""
    parts = (f"{text(runs[names[0]])} ({_named(names)})" for names in members.values())
    return f"different {what}: {'; '.join(parts)}"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def _layers(run: Run) -> Hashable:
    return tuple((layer["name"], layer["n_multiplications"]) for layer in run.manifest.layers)


def _layers_text(run: Run) -> str:
    return f"{run.config.network.name}, {len(run.manifest.layers)} layers"


def _n_images(run: Run) -> str:
    return f"{run.manifest.n_images.get('report', 0)} images of {run.config.data.dataset}"


def _n_search_images(run: Run) -> str:
    return f"{run.manifest.n_images.get('search', 0)} images"


def _top(run: Run) -> int:
    return run.config.data.top


def _technology(run: Run) -> str | None:
    """Manifests of before do not tell."""
    return run.manifest.cost_technology or None


def _exact_accuracy(run: Run) -> str:
    front = run.front
    accuracy = front.loc[front["is_exact"], "accuracy"]
    return "unknown accuracy" if accuracy.empty else f"exact accuracy {100 * accuracy.iloc[0]:.2f} %"


def _library(run: Run) -> str:
    return f"{len(run.manifest.multipliers)} choices of {run.config.library.path}"


def _objectives(run: Run) -> str:
    return ", ".join(run.config.search.objectives)


def _zero_weights(run: Run) -> str:
    return zero_weights(run.config)


def _accelerator(run: Run) -> str:
    return run.config.accelerator.kind
