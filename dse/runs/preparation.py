"""From a configuration to objects: the only place where this happens."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.config import RunConfig
from dse.cost.accelerators import Accelerator, Designs, make_accelerator
from dse.cost.neuron_choices import NeuronChoices
from dse.cost.neurons import make_neuron_accelerator
from dse.cost.sparse_choices import SparseChoices
from dse.cost.sparsity import make_sparse_accelerator
from dse.cost.weight_memory import WeightMemory
from dse.errors import ConfigError, DataError, MultiplierError
from dse.multipliers.library import Library, load_library
from dse.robustness.tolerances import AgnSettings
from dse.runs.execution import Evaluator
from dse.runs.foreknowledge import ErrorPredictions, Guide, OnStep, Tolerances
from dse.runs.neuron_shares import check_shares, divide_neurons
from dse.runs.sparsity import check_sparsity, has_memory, prune_layers, quantization_scheme, sparsity_levels
from dse.search.matching import layer_energies
from dse.search.space import Space, make_space
from dse.search.sparse_space import SparseSpace

_log = logging.getLogger("dse")

ALL_IMAGES = 10**9
"""More than there are."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """Objects used instead of what the configuration names: a `torch.nn.Module`, `Splits`, a `Library`."""

    network: Any = None
    splits: Any = None
    library: Library | None = None

    @property
    def is_empty(self) -> bool:
        """Whether everything comes from the configuration."""
        return self.network is None and self.splits is None and self.library is None


@dataclass(frozen=True, eq=False)
class Loaded:
    """Network and data, made ready for a library: evaluators of the search, confirm and report images (`confirm` is
    None where they are the search images), what can be known beforehand, hashes of what made them, the data's files."""

    evaluator: Evaluator
    confirm: Evaluator | None
    report: Evaluator
    guide: Guide
    n_classes: int
    hashes: dict[str, str]
    data_files: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class NetworkGuide:
    """A `Guide` by error models and AGN; see there. Imports torch when asked.

    Attributes:
        config: of the run.
        inputs: of the run.
        network: the float network.
        evaluator: of its integer network, any split.
        calibration: the split that ranges were fixed on.
    """

    config: RunConfig
    inputs: Inputs
    network: Any
    evaluator: Any
    calibration: Any

    def predict_errors(self) -> tuple[ErrorPredictions, NDArray[np.float64]]:
        """See `Guide`."""
        from dse.robustness.error_model import predict_errors

        predictions, recovery = predict_errors(self.evaluator.bank), self.config.recovery
        residual = predictions.residual(fold_bias=recovery.fold_bias, sum_compensation=recovery.sum_compensation)
        return predictions, residual

    def learn_tolerances(self, on_step: OnStep) -> Tolerances:
        """See `Guide`."""
        from dse.robustness.tolerance_cache import load_or_search_tolerances

        return load_or_search_tolerances(
            self.network,
            self.evaluator.bank.network,
            training_split(self.config, self.inputs, self.calibration),
            agn_settings(self.config),
            on_step=lambda n_done, n_steps, loss, sigma: on_step(n_done, n_steps),
        )


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything a search needs, loaded and checked; `library` is what assignments index, `memory` says how large the
    weights of a design are where layers may be pruned, and `has_memory` whether that is an objective."""

    evaluator: Evaluator
    confirm_evaluator: Evaluator | None
    report_evaluator: Evaluator
    layers: Sequence[Any]
    library: Library | NeuronChoices | SparseChoices
    accelerator: Accelerator
    space: Space
    hashes: dict[str, str]
    guide: Guide
    n_classes: int
    data_files: tuple[str, ...] = ()
    memory: WeightMemory | None = None
    has_memory: bool = False

    @property
    def n_objectives(self) -> int:
        """Energy and accuracy, and memory where it is one."""
        return 3 if self.has_memory else 2

    @property
    def objective_memory(self) -> WeightMemory | None:
        """`memory` where it is an objective."""
        return self.memory if self.has_memory else None

    def costs(self, designs: Designs) -> NDArray[np.float64]:
        """What of the objectives is known without measuring, float64 [n, n_costs]: energy, and memory if it is one."""
        energy = self.accelerator.energy_rel(designs)
        return np.column_stack([energy, self.memory.rel(designs)] if self.has_memory else [energy])

    @property
    def layer_costs(self) -> tuple[NDArray[np.float64], ...]:
        """What each layer adds to each of the `costs` by what it is given, float64 [n_layers, n_multipliers]; of idle
        tiles, and of neurons that share multipliers, about."""
        if not isinstance(self.library, SparseChoices):
            return (layer_energies(self.library.energy_rel, self.n_multiplications),)
        energy = self.accelerator.layer_energy_rel / self.accelerator.workload.total
        return (energy, self.memory.layer_rel) if self.has_memory else (energy,)

    @property
    def n_multiplications(self) -> NDArray[np.int64]:
        """Of every layer for one image, int64 [n_layers]."""
        return np.array([layer.n_multiplications for layer in self.layers], dtype=np.int64)

    @property
    def n_images(self) -> dict[str, int]:
        """Images by split."""
        evaluators = {"search": self.evaluator, "confirm": self.confirm_evaluator, "report": self.report_evaluator}
        return {split: evaluator.n_images for split, evaluator in evaluators.items() if evaluator is not None}

    @property
    def exact(self) -> NDArray[np.int64]:
        """The exact assignment, int64 [n_layers]."""
        return np.full(len(self.layers), self.library.exact_index, dtype=np.int64)


def prepare(config: RunConfig, inputs: Inputs) -> Prepared:
    """Loads what the configuration names and checks that it fits together."""
    library = inputs.library if inputs.library is not None else read_library(config)
    library = library.searchable()
    if config.search.neuron_shares:
        check_shares(config, library)
    check_sparsity(config, library)
    loaded = _load(config, inputs, library)
    choices, memory, kind = library, None, config.accelerator.kind
    layers = loaded.evaluator.layers
    if sparsity_levels(config):
        pruned = prune_layers(config, loaded, library)
        loaded, choices, memory = pruned.loaded, pruned.choices, pruned.memory
        accelerator = make_sparse_accelerator(kind, layers, choices, memory.densities)
        space: Space = SparseSpace(len(layers), choices.position)
    elif config.search.neuron_shares:
        loaded, choices = divide_neurons(config, loaded, library)
        accelerator = make_neuron_accelerator(kind, layers, choices)
        space = make_space(accelerator, len(layers), n_multipliers=len(choices))
    else:
        accelerator = make_accelerator(kind, layers, library=library)
        space = make_space(accelerator, len(layers), n_multipliers=len(choices))
    hashes = {**loaded.hashes, "library": library.fingerprint, "evaluator": loaded.evaluator.fingerprint}
    return Prepared(
        loaded.evaluator, loaded.confirm, loaded.report, layers, choices, accelerator, space, hashes, loaded.guide,
        loaded.n_classes, loaded.data_files, memory, has_memory(config),
    )  # fmt: skip


def read_library(config: RunConfig) -> Library:
    """What `[library]` names."""
    options = config.library
    library = load_library(options.path, is_signed=options.signed, allow_compile=options.compile_c)
    chosen = library.select(names=options.include) if options.include else library
    dropped = {library.index(name) for name in options.exclude}
    names = [m.name for m in chosen if library.index(m.name) not in dropped]
    if not names:
        raise MultiplierError(
            f"[library] include and exclude leave no multiplier of {options.path}: expected at least the exact one. "
            "Shorten exclude, or name more in include"
        )
    return chosen.select(names=names)


def _search_images(confirming: Any, n_images: int | None) -> Any:
    """The first `n_images` of the split that confirms."""
    if n_images is None:
        return confirming
    if n_images > confirming.n_images:
        raise DataError(
            f"{n_images} images were asked for, the search split has 1..{confirming.n_images}: "
            "lower --images, or leave it out"
        )
    return confirming.subset(n_images)


def check_objects(config: RunConfig, inputs: Inputs, path: Path, call: str) -> None:
    """Checks that objects a run was made with are given again: they have no name to load them by.

    Args:
        config: of the run.
        inputs: what is given.
        path: of the run.
        call: that takes them, for the message.

    Raises:
        ConfigError: naming what is missing.
    """
    names = {
        "network": (config.network.name, inputs.network),
        "dataset": (config.data.dataset, inputs.splits),
        "library": (config.library.path, inputs.library),
    }
    missing = [key for key, (name, given) in names.items() if str(name).startswith("object:") and given is None]
    if missing:
        raise ConfigError(
            f"{path} was made in Python, with objects as {' and '.join(missing)}: use "
            f"{call}(..., {'=..., '.join(missing)}=...), giving the same objects"
        )


def load_network(config: RunConfig, inputs: Inputs) -> Any:
    """The float network, a `torch.nn.Module`. Imports torch."""
    from dse.networks.zoo import create_network

    if inputs.network is not None:
        return inputs.network
    return create_network(config.network.name, weights=config.network.weights)


def load_data(config: RunConfig, inputs: Inputs, *, n_calibration: int | None = None) -> Any:
    """The `dse.datasets.Splits`; `n_calibration` in place of the configured number. Imports torch."""
    from dse.datasets import load_splits
    from dse.networks.zoo import default_preprocessing

    if inputs.splits is not None:
        return inputs.splits
    data = config.data
    preprocessing = data.preprocessing
    if preprocessing is None and inputs.network is None:
        preprocessing = default_preprocessing(config.network.name)
    return load_splits(
        data.dataset,
        data_dir=data.dir,
        n_calibration=n_calibration or data.calibration_images,
        n_search=data.confirm_images,
        n_report=data.report_images,
        preprocessing=preprocessing,
    )


def training_split(config: RunConfig, inputs: Inputs, calibration: Any) -> Any:
    """The images that tolerances are learned on: the calibration images, or more of the same part."""
    n_images = config.tolerances.training_images
    if n_images is None and config.tolerances.method == "frozen":
        n_images = calibration.n_images
    return training_images(config, inputs, calibration, n_images)


def training_images(config: RunConfig, inputs: Inputs, calibration: Any, n_images: int | None) -> Any:
    """The first `n_images` of the part that calibrates, a `dse.datasets.Split`; `None`: all of them. Imports torch.

    Where the data has one part only, more images would be those of search and report: then there are no more than the
    calibration images.
    """
    n_images = ALL_IMAGES if n_images is None else n_images
    if n_images <= calibration.n_images:
        return calibration.subset(n_images)
    if calibration.part != "train" or inputs.splits is not None:
        _log.info("the %d calibration images are learned on, there are no others", calibration.n_images)
        return calibration
    return load_data(config, inputs, n_calibration=n_images).calibration


def agn_settings(config: RunConfig) -> AgnSettings:
    """Those of `[tolerances]`."""
    options = config.tolerances.model_dump(exclude={"method", "training_images"})
    return AgnSettings(**options, trains_weights=config.tolerances.method == "trained")


def make_integer_network(config: RunConfig, network: Any, calibration: Any, *, is_signed: bool) -> Any:
    """The `dse.networks.convert.IntegerNetwork` for multipliers of this signedness. Imports torch."""
    from dse.networks.convert import quantize_network
    from dse.quantization.affine import scheme_for

    return quantize_network(
        network,
        calibration,
        scheme=scheme_for(is_signed, quantization_scheme(config, is_signed=is_signed)),
        observer=config.quantization.observer,
        per_channel=config.quantization.per_channel,
        exclude=config.quantization.exclude,
    )


def _load(config: RunConfig, inputs: Inputs, library: Library) -> Loaded:
    """Imports torch. The search images are the first of those that confirm."""
    from dse.evaluation import build_evaluator
    from dse.recovery.operators import Recovery
    from dse.simulation.devices import find_device

    find_device(config.execution.device)  # says what is wrong before minutes of loading
    network = load_network(config, inputs)
    splits = load_data(config, inputs)
    search = _search_images(splits.search, config.data.images)
    integer_network = make_integer_network(config, network, splits.calibration, is_signed=library.is_signed)
    evaluator = build_evaluator(
        integer_network,
        library,
        search,
        calibration=splits.calibration,
        recovery=Recovery(**config.recovery.model_dump()),
        backend=config.execution.backend,
        device=config.execution.device,
        batch_size=config.execution.batch_size,
        top=config.data.top,
    )
    hashes = {
        "network": integer_network.fingerprint(),
        "calibration images": splits.calibration.fingerprint,
        "search images": search.fingerprint,
        "report images": splits.report.fingerprint,
    }
    return Loaded(
        evaluator=evaluator,
        confirm=None if search.n_images == splits.search.n_images else evaluator.with_split(splits.search),
        report=evaluator.with_split(splits.report),
        guide=NetworkGuide(config, inputs, network, evaluator, splits.calibration),
        n_classes=integer_network.n_classes,
        hashes=hashes,
        data_files=tuple(splits.found),
    )
