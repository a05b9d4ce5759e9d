"""Fine-tuning through the table: weights, scales and biases learn what the chosen multipliers do.

E. Trommer, B. Waschneck, A. Kumar, "Combining gradients and probabilities for heterogeneous approximation of neural
networks", ICCAD 2022, and "QoS-Nets", 2024: forward through the table, backward as the exact layer. Several operating
points learn jointly: every mini-batch goes through all of them, gradients add up, those of the shared weights are
divided by their number.

[ours]
- BatchNorm stays folded: its affine parameters are the scale and bias of an integer layer (`dse.recovery.switchable`),
  and what learns is what runs, bit for bit. Running statistics are re-estimated once, before learning
  (`dse.recovery.statistics`).
- Adam instead of SGD: weights are learned in units of their codes, gains in parts of 1, shifts in standard deviations,
  so that one learning rate suits all layers.
- Distillation (Hinton, Vinyals, Dean, 2015): part of the loss is the cross entropy to what the exact integer network
  says of the same images, which costs one exact pass. The network has learned these images' labels before; what the
  exact network does with them says more than they do.
- Weights that are pruned stay zero, and no other becomes zero: memory and energy of the design stay what they were.
  What it learns from is the exact network with all weights.
- Hardening first, where asked for: the network learns to bear noise as large as the errors of its design
  (`dse.recovery.hardening`), and reconstruction aims at that network.
- The best epoch on the validation images counts; epoch 0 is the design before learning.
"""

import copy
import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from dse import stopping
from dse.checkpoint import load_checkpoint, save_checkpoint
from dse.datasets import Split
from dse.datasets.augmentation import augment
from dse.errors import ConfigError, NetworkError, RunError
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.recovery.hardening import noise, residual_errors
from dse.recovery.operators import OperatorBank
from dse.recovery.pruned_network import PrunedDesign
from dse.recovery.reconstruction import OnLayer, reconstruct
from dse.recovery.statistics import match_statistics
from dse.recovery.switchable import SwitchableNetwork, switchable_network
from dse.recovery.table_layers import LearningNetwork

_log = logging.getLogger("dse")

VERSION, JOINT_VERSION = 1, 2
"""Part of every key, the second one of operating points that learn jointly; raised when the same settings give other
results."""

CHECKPOINT_S = 30.0
"""Seconds between checkpoints."""

STATISTICS_IMAGES = 2048
"""Training images that weights are reconstructed and statistics re-estimated on, at most."""

HARDENING_IMAGES = 512
"""Of these, those that a design is prepared on for its errors to be measured."""

OnStep = Callable[[int, int, float], None]
"""Told steps done, number of steps, and the mean loss of the epoch so far."""


@dataclass(frozen=True)
class Epoch:
    """How it stood after an epoch; epoch 0 is before learning.

    Attributes:
        epoch: from 0.
        loss: mean over the epoch's steps and operating points; NaN for epoch 0.
        accuracies: of each operating point on the validation images, in [0, 1].
        time_s: since the start, without what an interrupted process had spent after its last checkpoint.
    """

    epoch: int
    loss: float
    accuracies: tuple[float, ...]
    time_s: float

    @property
    def accuracy(self) -> float:
        """Mean over the operating points; the best epoch is the one with the largest."""
        return float(np.mean(self.accuracies))


@dataclass(frozen=True, eq=False)
class Finetuned:
    """What fine-tuning found: the network after its best epoch, all epochs, and the key of what made them."""

    network: SwitchableNetwork
    history: tuple[Epoch, ...]
    key: str

    @property
    def best_epoch(self) -> int:
        """Which of `history` the network is from."""
        return best(self.history).epoch


def best(history: tuple[Epoch, ...] | list[Epoch]) -> Epoch:
    """The epoch with the largest accuracy; of equal ones the first."""
    return max(history, key=lambda epoch: epoch.accuracy)


def finetune(
    bank: OperatorBank | PrunedDesign,
    assignments: NDArray[np.int64],
    training: Split,
    validation: Split,
    settings: FinetuningSettings,
    *,
    top: int = 1,
    checkpoint: Path | None = None,
    on_hardening: OnStep | None = None,
    on_layer: OnLayer | None = None,
    on_step: OnStep | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Finetuned:
    """Fine-tunes one design, or several jointly as operating points. Deterministic; an interrupted one goes on.

    Images are drawn on the CPU, in the same order on every device. On a GPU float sums may differ from those of a CPU
    in their last bits, and functions between the layers that PyTorch has no deterministic gradient for give others
    each time.

    Args:
        bank: operators of the network, with what is recovered without training; not changed. Its device learns.
        assignments: int64 `[n_points, n_layers]`.
        training: labeled images.
        validation: other images, that say which epoch is the best and when to stop.
        settings: see there.
        top: an image counts where its label is among so many best classes.
        checkpoint: file that the state is saved in now and then and read from at the start; the caller removes it when
            the result is safe.
        on_hardening, on_layer, on_step, on_epoch: told how it goes on, in this order.

    Raises:
        ConfigError: several points under weight tuning, which share their weights, or hardening of a pruned design.
        NetworkError: no gradient comes through the network.
        RunError: the loss is not finite, or the checkpoint belongs to something else.
    """
    learning = Learning(bank, assignments, training, validation, settings, top=top, checkpoint=checkpoint)
    return learning.run(on_step, on_epoch, on_layer=on_layer, on_hardening=on_hardening)


class Learning:
    """A fine-tuning and its state; see `finetune`.

    Args:
        bank, assignments, training, validation, settings, top, checkpoint: see there.
        start: state of a `LearningNetwork` to begin with, weights and vectors of another design.
        sigmas: noise to learn under, float32 `[C_out]` of every layer; then the last epoch counts, not the best.
        inner_of: key of the fine-tuning that this one prepares, which decides the noise.
        statistics_images: that it is prepared on, see `STATISTICS_IMAGES`.
    """

    def __init__(
        self,
        bank: OperatorBank | PrunedDesign,
        assignments: NDArray[np.int64],
        training: Split,
        validation: Split,
        settings: FinetuningSettings,
        *,
        top: int,
        checkpoint: Path | None,
        start: Mapping[str, Any] | None = None,
        sigmas: Sequence[torch.Tensor] | None = None,
        inner_of: str | None = None,
        statistics_images: int = STATISTICS_IMAGES,
    ):
        self._n_statistics = statistics_images
        self._bank, self._assignments, self._top, self._sigmas = bank, assignments, top, sigmas
        self._training, self._validation, self._settings, self._path = training, validation, settings, checkpoint
        self._key = finetuning_key(bank, assignments, training, validation, settings, top=top)
        self._key = _extended(self._key, start, inner_of)
        if bank.whole is not bank:
            check_unhardened(settings)
        exact = np.full((1, bank.network.n_layers), bank.whole.library.exact_index)
        self._exact = switchable_network(bank.whole, exact)
        self._learner = LearningNetwork(
            bank, assignments, gradient=settings.gradient, has_gains=settings.has_gains(bank.network.folded)
        )
        if start is None:
            self._untuned = switchable_network(bank, assignments)
        else:
            self._learner.begin_from(start)
            self._untuned = self._learner.frozen()
        self._n_images = min(settings.batch_size, training.n_images)
        self._steps_per_epoch = training.n_images // self._n_images
        self.n_steps = settings.epochs * self._steps_per_epoch
        self._n_done, self._loss, self._saved_s = 0, 0.0, time.monotonic()
        self._history: list[Epoch] = []
        self._best = None if start is None else copy.deepcopy(self._learner.state())
        self._begin = time.monotonic()
        rates = (255 * settings.learning_rate, settings.affine_learning_rate)  # a weight's range is 255 codes
        groups = [
            {"params": parameters, "lr": rate, "rate": rate}
            for parameters, rate in zip(self._learner.parameters(), rates, strict=True)
        ]
        self._optimizer = torch.optim.Adam(groups)

    def run(
        self,
        on_step: OnStep | None = None,
        on_epoch: Callable[[Epoch], None] | None = None,
        *,
        on_layer: OnLayer | None = None,
        on_hardening: OnStep | None = None,
    ) -> Finetuned:
        """From the start, or from the checkpoint where there is one, to the end."""
        if not self._restore():
            self._start(on_layer, on_hardening)
        for epoch in self._history if on_epoch is not None else ():
            on_epoch(epoch)
        while self._n_done < self.n_steps and not self._is_over():
            self._step()
            if on_step is not None:
                n_of_epoch = (self._n_done - 1) % self._steps_per_epoch + 1
                on_step(self._n_done, self.n_steps, self._loss / n_of_epoch)
            if self._n_done % self._steps_per_epoch == 0:
                self._end_epoch()
                if on_epoch is not None:
                    on_epoch(self._history[-1])
            self._save()
            stopping.check()
        if self._best is None:
            return Finetuned(self._untuned, tuple(self._history), self._key)
        self._learner.load_state(self._best)
        return Finetuned(self._learner.frozen(), tuple(self._history), self._key)

    @property
    def state(self) -> dict[str, Any]:
        """Of the learner; once it has run, of what it found."""
        return self._learner.state()

    def _start(self, on_layer: OnLayer | None, on_hardening: OnStep | None) -> None:
        """Looks at the design as it is, then prepares it for learning; the better one is the best so far."""
        untuned = self._measured(self._untuned, 0)
        self._history.append(untuned)
        images = self._training.subset(min(self._n_statistics, self._training.n_images))
        hardening = self._hardening(images)
        if hardening is None:
            self._prepare(self._learner, self._exact, images, on_layer)
        else:
            hardened = hardening.run(on_hardening).network
            self._learner.begin_from(hardening.state)
            self._prepare(self._learner, hardened, images, on_layer)
        prepared = self._measured(self._learner.frozen(), 0)
        if prepared.accuracy > untuned.accuracy:
            self._history[0] = prepared
            self._best = copy.deepcopy(self._learner.state())
        self._save()
        if hardening is not None and hardening._path is not None:
            hardening._path.unlink(missing_ok=True)

    def _prepare(
        self, learner: LearningNetwork, exact: SwitchableNetwork, images: Split, on_layer: OnLayer | None
    ) -> None:
        """Has the outputs of `learner` come close to those of `exact`."""
        if self._settings.reconstruction:
            reconstruct(learner, exact, images, seed=self._settings.seed, on_layer=on_layer)
        else:
            match_statistics(learner, exact, images)

    def _hardening(self, images: Split) -> "Learning | None":
        """Of the exact network, under noise as large as what this design is off by; `None` where not asked for."""
        settings = self._settings
        if settings.noise_epochs == 0:
            return None
        design = LearningNetwork(self._bank, self._assignments, has_gains=self._learner.has_gains)
        few = images.subset(min(HARDENING_IMAGES, images.n_images))
        self._prepare(design, self._exact, few, None)
        sigmas = [settings.noise_scale * sigma for sigma in residual_errors(design, self._exact, few)]
        rows = np.full((1, self._bank.network.n_layers), self._bank.library.exact_index)
        changes = {
            "epochs": settings.noise_epochs, "noise_epochs": 0, "learning_rate": settings.noise_learning_rate,
            "affine_learning_rate": 5 * settings.noise_learning_rate, "reconstruction": False, "patience": None,
        }  # fmt: skip
        return Learning(
            self._bank, rows, self._training, self._validation, replace(settings, **changes), top=self._top,
            checkpoint=None if self._path is None else self._path.with_suffix(".noise.pt"), sigmas=sigmas,
            inner_of=self._key,
        )  # fmt: skip

    def _is_over(self) -> bool:
        patience = self._settings.patience
        return patience is not None and len(self._history) - 1 - best(self._history).epoch >= patience

    def _step(self) -> None:
        """One mini-batch through all operating points."""
        images, labels = self._batch()
        teacher = self._exact(images) if self._settings.distillation > 0 else None
        self._optimizer.zero_grad(set_to_none=True)
        for k in range(self._learner.n_points):
            self._learner.set_operating_point(k)
            self._loss += self._learn(images, labels, teacher) / self._learner.n_points
        self._learner.share_gradients()
        factor = 0.5 * (1 + math.cos(math.pi * self._n_done / self.n_steps))
        for group in self._optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        self._optimizer.step()
        if not self._learner.is_finite:
            self._fail("weights, scales or biases are NaN or infinite")
        self._learner.pack()
        self._n_done += 1

    def _learn(self, images: torch.Tensor, labels: torch.Tensor, teacher: torch.Tensor | None) -> float:
        """The loss of a mini-batch at the current point; its gradients are added up."""
        try:
            with self._noise():
                logits = self._learner(images)
            if not logits.requires_grad:
                raise NetworkError(
                    "no gradient reaches a layer: the forward pass cuts it off before the logits (no_grad, detach, "
                    "round, argmax). Fine-tuning needs a network that could be trained"
                )
            loss = self._loss_of(logits, labels, teacher)
            if math.isfinite(loss.item()):
                self._learner.backward(loss)
        except RuntimeError as error:  # of autograd
            raise NetworkError(
                f"the network cannot learn as its forward pass is written: {_first_sentence(error)}. Where it "
                "changes tensors in place, write x = x + y for x += y, and relu(x) for relu_(x)"
            ) from error
        if not math.isfinite(loss.item()):
            self._fail(f"the loss is {loss.item():.4g}")
        return loss.item()

    def _noise(self) -> AbstractContextManager[None]:
        if self._sigmas is None:
            return nullcontext()
        return noise(self._learner, self._sigmas, seed=(self._settings.seed, self._n_done))

    def _loss_of(self, logits: torch.Tensor, labels: torch.Tensor, teacher: torch.Tensor | None) -> torch.Tensor:
        loss = F.cross_entropy(logits, labels)
        if teacher is None:
            return loss
        share, temperature = self._settings.distillation, self._settings.temperature
        soft = F.softmax(teacher.clone() / temperature, dim=1)
        distilled = F.kl_div(F.log_softmax(logits / temperature, dim=1), soft, reduction="batchmean")
        return (1 - share) * loss + share * temperature**2 * distilled

    def _batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and labels of the next step; order and augmentation follow from seed, epoch and step alone."""
        epoch, position = divmod(self._n_done, self._steps_per_epoch)
        order = np.random.default_rng((self._settings.seed, epoch)).permutation(self._training.n_images)
        chosen = order[position * self._n_images : (position + 1) * self._n_images]
        rng = np.random.default_rng((self._settings.seed, epoch, position))
        stored = augment(self._training.stored[chosen], self._settings.augmentation, rng)
        images, labels = self._training.preprocessing.apply(stored), self._training.labels[torch.from_numpy(chosen)]
        return images.to(self._learner.device), labels.to(self._learner.device)

    def _end_epoch(self) -> None:
        before = best(self._history).accuracy
        epoch = self._n_done // self._steps_per_epoch
        self._history.append(self._measured(self._learner.frozen(), epoch))
        self._loss = 0.0
        if self._history[-1].accuracy > before or self._sigmas is not None:
            self._best = copy.deepcopy(self._learner.state())

    def _measured(self, network: SwitchableNetwork, epoch: int) -> Epoch:
        accuracies = network.hits(self._validation, top=self._top).mean(1)
        loss = self._loss / self._steps_per_epoch if epoch else math.nan
        return Epoch(epoch, loss, tuple(accuracies.tolist()), time.monotonic() - self._begin)

    def _fail(self, what: str) -> None:
        raise RunError(
            f"fine-tuning stopped at step {self._n_done + 1} of {self.n_steps}: {what}. "
            f"Lower the learning rates (now {self._settings.learning_rate:g}, and "
            f"{self._settings.affine_learning_rate:g} of scales and biases)"
        )

    def _save(self) -> None:
        is_due = self._n_done % self._steps_per_epoch == 0 or time.monotonic() - self._saved_s >= CHECKPOINT_S
        if self._path is None or not (is_due or stopping.is_asked()):
            return
        state = {
            "key": self._key,
            "n_done": self._n_done,
            "loss": self._loss,
            "time_s": time.monotonic() - self._begin,
            "history": [asdict(epoch) for epoch in self._history],
            "network": self._learner.state(),
            "best": self._best,
            "optimizer": self._optimizer.state_dict(),
            "sigmas": None if self._sigmas is None else list(self._sigmas),
        }
        save_checkpoint(self._path, state)
        self._saved_s = time.monotonic()

    def _restore(self) -> bool:
        state = None if self._path is None else load_checkpoint(self._path, key=self._key, what="a fine-tuning")
        if state is None:
            return False
        self._n_done, self._loss, self._best = state["n_done"], state["loss"], state["best"]
        self._history = [Epoch(**values | {"accuracies": tuple(values["accuracies"])}) for values in state["history"]]
        self._begin = time.monotonic() - state["time_s"]
        self._sigmas = state.get("sigmas")  # measured with another number of threads they differ in the last bits
        self._learner.load_state(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        return True


def _extended(key: str, start: Mapping[str, Any] | None, inner_of: str | None) -> str:
    """`key`, with what a learning begins with and what it is for."""
    if start is None and inner_of is None:
        return key
    digest = hashlib.sha256(f"{key}{inner_of or ''}".encode())
    for layer in [] if start is None else start["layers"]:
        for tensor in layer.values():
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _first_sentence(error: RuntimeError) -> str:
    """Without PyTorch's advice for its own developers."""
    return str(error).splitlines()[0].partition(" Hint: ")[0].rstrip(". ")


def check_unhardened(settings: FinetuningSettings) -> None:
    """Refuses hardening for designs with pruned layers.

    Raises:
        ConfigError: it is asked for.
    """
    if settings.noise_epochs:
        raise ConfigError(
            f"--noise-epochs is {settings.noise_epochs}: hardening knows layers with all their weights, and layers of "
            "this design may be pruned; expected 0"
        )


def finetuning_key(
    bank: OperatorBank | PrunedDesign,
    assignments: NDArray[np.int64],
    training: Split,
    validation: Split,
    settings: FinetuningSettings,
    *,
    top: int = 1,
) -> str:
    """sha256, hexadecimal, of all that decides the result."""
    device, n_points = bank.device.type, len(assignments)
    parts = (
        str(VERSION if n_points == 1 else JOINT_VERSION),
        bank.network.fingerprint(),
        bank.library.fingerprint,
        repr(bank.recovery),
        bank.calibration_fingerprint,
        training.fingerprint,
        validation.fingerprint,
        repr(np.asarray(assignments).tolist()),
        f"{_described(settings)} top {top}",
        *([] if device == "cpu" else [f"device {device}"]),
        # Which weights stay zero, the network's own fingerprint tells.
        *([] if bank.whole is bank else [f"zeros stay zero, of {bank.whole.network.fingerprint()}"]),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _described(settings: FinetuningSettings) -> str:
    """All that matters; without hardening as it was before there was any."""
    text = repr(settings)
    return text if settings.noise_epochs else text.partition(", noise_epochs=")[0] + ")"
