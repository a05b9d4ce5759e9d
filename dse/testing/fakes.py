"""A library, layers and evaluators without a network, fast and deterministic."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dse.multipliers.library import Library
from dse.multipliers.multiplier import Cost, Multiplier
from dse.search.operating_points import Matching


@dataclass(frozen=True)
class FakeLayer:
    name: str
    n_multiplications: int
    kind: str = "conv2d"


@dataclass(frozen=True)
class FakeEvaluator:
    """Accuracy falls with each layer's multiplier index, a little differently per layer; exact is the last index."""

    n_layers: int = 4
    n_multipliers: int = 5
    n_images: int = 200
    fingerprint: str = "fake-search"
    failing: tuple[int, ...] = ()
    log: str | None = None
    calls: list = field(default_factory=list, compare=False)

    @property
    def layers(self):
        return tuple(FakeLayer(f"layer{i}", 100 * (i + 1)) for i in range(self.n_layers))

    def __call__(self, assignments):
        return self.correct(assignments, 0, self.n_images).mean(axis=1)

    def correct(self, assignments, start, stop):
        self.calls.append(len(assignments))
        if self.failing and any(tuple(a) == self.failing for a in assignments):
            raise ValueError("no such multiplier")
        hits = [self._hits(assignment) for assignment in assignments]
        return np.array(hits, dtype=bool).reshape(len(hits), self.n_images)[:, start:stop]

    def _hits(self, assignment):
        """Images are hard or easy for all assignments, and a little for each by itself; the easy ones are hit."""
        loss = (self.n_multipliers - 1 - assignment) * np.linspace(0.02, 0.09, self.n_layers)
        n_hits = round(np.clip(0.95 - loss.sum(), 0, 1) * self.n_images)
        difficulty = np.random.default_rng(self.n_images).random(self.n_images)
        own = np.random.default_rng([int(m) for m in assignment]).random(self.n_images)
        hits = np.zeros(self.n_images, dtype=bool)
        hits[np.argsort(difficulty + 0.1 * own)[:n_hits]] = True
        return hits

    def with_split(self, split):
        return replace(self, fingerprint=f"fake-{split}", calls=self.calls)


def fake_library() -> Library:
    """Five unsigned multipliers by ascending cost; the exact one, `exact`, is the last."""

    def truncated(n_bits):
        return lambda a, b: (a * b) >> n_bits << n_bits

    cost = {f"t{n_bits}": (n_bits, Cost(10.0 - n_bits, "mW", "fake", "made up")) for n_bits in (8, 6, 4, 2)}
    members = [Multiplier.from_function(n, truncated(b), is_signed=False, cost=c) for n, (b, c) in cost.items()]
    exact = Multiplier.from_function("exact", truncated(0), is_signed=False, cost=Cost(10.0, "mW", "fake", "made up"))
    return Library([*members, exact], name="fake")


def fake_matching(n_layers: int, n_multipliers: int, seed: int = 0) -> Matching:
    """Random errors and tolerances; the last multiplier is exact, the others err less the more they cost."""
    rng = np.random.default_rng(seed)
    energy_rel = np.append(np.sort(rng.uniform(0.1, 0.95, n_multipliers - 1)), 1.0)
    residual_std = (1 - energy_rel) ** 2 * rng.lognormal(0, 1, (n_layers, n_multipliers))
    tolerance = rng.lognormal(-1.5, 1, n_layers)
    counts = rng.integers(1, 20, n_layers).astype(float)
    return Matching(residual_std, tolerance, energy_rel, counts, n_multipliers - 1)


@dataclass(frozen=True)
class FakePredictions:
    """Errors of the fake multipliers, the same in all layers; nothing is folded."""

    mean: np.ndarray
    std: np.ndarray
    output_std: np.ndarray


@dataclass(frozen=True)
class FakeTolerances:
    sigma: np.ndarray
    is_saturated: np.ndarray
    sensitivity: np.ndarray


@dataclass(frozen=True)
class FakeGuide:
    """Errors that grow as the multiplier index falls, tolerances that shrink with depth as accuracies do."""

    n_layers: int = 4
    n_multipliers: int = 5

    def predict_errors(self):
        std = np.tile(10.0 * np.arange(self.n_multipliers)[::-1], (self.n_layers, 1))
        return FakePredictions(np.zeros_like(std), std, np.full(self.n_layers, 100.0)), std

    def learn_tolerances(self, on_step):
        on_step(0, 1)
        sigma = np.linspace(0.4, 0.1, self.n_layers)
        return FakeTolerances(sigma, np.zeros(self.n_layers, dtype=bool), 0.01 / sigma**2)


def fake_load(evaluator: FakeEvaluator) -> Any:
    """What `dse.runs.preparation` would load, made of fakes."""
    from dse.runs.preparation import Loaded

    return Loaded(
        evaluator=evaluator,
        confirm=None,
        report=evaluator.with_split("report"),
        guide=FakeGuide(evaluator.n_layers, evaluator.n_multipliers),
        n_classes=10,
        hashes={"network": "n" * 64},
        data_files=("fake.bin",),
    )


def use_fakes(monkeypatch: Any, evaluator: FakeEvaluator) -> None:
    """Makes every run use `evaluator` and `fake_library` instead of what its configuration names.

    Args:
        monkeypatch: pytest's fixture.
        evaluator: for the search images; its `with_split` is used for the report images.
    """
    from dse.runs import preparation

    monkeypatch.setattr(preparation, "_load", lambda config, inputs, library: fake_load(evaluator))
    monkeypatch.setattr(preparation, "read_library", lambda config: fake_library())
