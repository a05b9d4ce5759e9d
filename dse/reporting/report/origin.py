"""What a run came to, in a few figures, and how it was made: command, settings, versions, hashes, machine."""

import shlex

from dse.config import RunConfig, to_toml
from dse.reporting.report.designs import Designs
from dse.reporting.report.numbers import Section
from dse.reporting.run_data import LibraryData, ProgressData
from dse.reporting.wording import duration
from dse.runs.results import Run
from dse.runs.run_collection import LOSSES

Pairs = list[list[str]]


def facts(run: Run, designs: Designs, progress: ProgressData, library: LibraryData | None) -> list[Section]:
    """The figures at the top of a report: label, value, detail."""
    found = [] if designs.missing else [*_savings(designs.series[0]), _exact(designs)]
    layers, multiplications = run.layers, int(run.layers["n_multiplications"].sum())
    found.append(
        _fact("layers with multipliers", f"{len(layers)}", f"{_short(multiplications)} multiplications an image")
    )
    found.append(_fact("multipliers to choose from", *_multipliers(run, library)))
    if len(progress.n_evaluations):
        images, time_s = int(progress.n_images[-1]), float(progress.time_s[-1])
        found.append(
            _fact(
                "designs tried", f"{int(progress.n_evaluations[-1]):,}", f"{_short(images)} images, {duration(time_s)}"
            )
        )
    return found


def _fact(label: str, value: str, detail: str = "") -> Section:
    return {"label": label, "value": value, "detail": detail}


def _savings(front: Section) -> list[Section]:
    found = []
    for loss in LOSSES:
        fitting = [k for k, lost in enumerate(front["lost"]) if lost <= loss + 1e-9]
        best = max(fitting, key=lambda k: front["saved"][k])
        detail = "the exact network" if best in front["exact"] else f"{front['noun']} {front['names'][best]}"
        label = f"energy saved for at most {loss:g} {'point' if loss == 1 else 'points'} of accuracy"
        found.append(_fact(label, f"{front['saved'][best]:.1f} %", detail))
    return found


def _exact(designs: Designs) -> Section:
    return _fact("accuracy of the exact network", f"{100 * designs.exact_accuracy:.2f} %", designs.series[0]["images"])


def _multipliers(run: Run, library: LibraryData | None) -> tuple[str, str]:
    details = [] if run.sparsity is None else [f"with {len(set(run.sparsity.sparsity_pct.tolist()))} sparsity levels"]
    if library is None:
        return f"{len(run.manifest.multipliers)}", ", ".join(details)
    details += [f"{int(library.is_used.sum())} on the front"] if library.n_points else []
    return f"{len(library.names)}", ", ".join(details)


def _short(value: int) -> str:
    """In three digits.

    >>> _short(40550400), _short(980)
    ('40.6 million', '980')
    """
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:.3g} {word}"
    return f"{value:,}"


def origin(run: Run, state: str) -> Section:
    """How a run was made, and how it is made again."""
    command = f"dse explore {shlex.quote(str(run.directory.resolved))} --out {shlex.quote(str(run.path))}"
    again = "continues it" if not run.is_finished else "with another --out makes it again, with the same results"
    caption = (
        f"This command, from the directory in which the run was started, {again}. Hashes tell whether network, images "
        "and library are still the same."
    )
    has_manifest = run.directory.manifest.exists()
    return {
        "caption": caption,
        "command": command,
        "changed": _changed(run.config),
        "settings": to_toml(run.config),
        "origin": [["directory", str(run.path)], ["state", state], *(_machine(run) if has_manifest else [])],
        "versions": [[name, str(value)] for name, value in run.manifest.versions.items()] if has_manifest else [],
        "hashes": [[name, value] for name, value in run.manifest.hashes.items()] if has_manifest else [],
    }


def _changed(config: RunConfig) -> Pairs:
    """Settings that are not the defaults."""
    default = RunConfig().model_dump(mode="json")
    return [
        [f"{table}.{key}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)]
        for table, values in config.model_dump(mode="json").items()
        for key, value in values.items()
        if value != default[table][key]
    ]


def _machine(run: Run) -> Pairs:
    manifest = run.manifest
    images = ", ".join(f"{n:,} {split}" for split, n in manifest.n_images.items())
    host = manifest.host
    machine = f"{host.get('name', '')}, {host.get('system', '')}, {host.get('n_cpus', '?')} cores"
    return [
        ["started", str(manifest.started)], ["seed", str(manifest.seed)], ["images", images],
        ["accelerator", str(manifest.accelerator)], ["machine", machine],
    ]  # fmt: skip
