"""The loop of an AGN search: batches in, slopes of the cross entropy out, checkpoints and refusals on the way."""

import copy
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from dse import stopping
from dse.checkpoint import load_checkpoint, save_checkpoint
from dse.datasets import Split
from dse.errors import NetworkError, RunError
from dse.networks.layers import LayerInfo
from dse.robustness.noise import NoisyNetwork
from dse.robustness.sigma_updates import FixedPoint, GradientDescent, SigmaUpdate, Slopes
from dse.robustness.tolerances import AgnSettings

_log = logging.getLogger("dse")

CHECKPOINT_STEPS = 50
"""Steps between checkpoints."""

DIVERGED = 20
"""Times sigma_max, beyond which a sigma no longer comes back."""

REACH_STEPS = 10
"""A layer that has not run after so many steps is not going to."""

OnStep = Callable[[int, int, float, NDArray[np.float64]], None]
"""Told steps done, number of steps, loss, and sigmas float64 `[n_layers]` after each step."""


class Search:
    """A search and its state.

    Args:
        noisy: the network.
        layers: what is known of its noisy layers.
        training: labeled images.
        settings: see there.
        checkpoint: file of the state, or `None`.
        key: of what a checkpoint must belong to.

    Attributes:
        update: holds the sigmas.
        slopes: sensitivities so far.
        n_steps: of the whole search.
    """

    def __init__(
        self,
        noisy: NoisyNetwork,
        layers: Sequence[LayerInfo],
        training: Split,
        settings: AgnSettings,
        *,
        checkpoint: Path | None,
        key: str,
    ):
        self._noisy, self._training, self._settings = noisy, training, settings
        self._path, self._key = checkpoint, key
        self._names = [info.name for info in layers]
        # Mirrored noise: each image comes twice in a batch.
        n_images = settings.batch_size if settings.trains_weights else max(1, settings.batch_size // 2)
        self._n_images = min(n_images, training.n_images)
        self._steps_per_epoch = training.n_images // self._n_images
        self.n_steps = settings.epochs * self._steps_per_epoch if settings.trains_weights else settings.steps
        self._n_done = 0
        self._weights = [parameter for parameter in noisy.module.parameters() if parameter.requires_grad]
        counts = torch.tensor([float(info.n_multiplications) for info in layers], device=noisy.device)
        self._shares = counts / counts.sum()
        self.slopes = Slopes(len(layers))
        self.update: SigmaUpdate
        if settings.trains_weights:
            self.update = GradientDescent(self._shares, settings, self.slopes, weights=self._weights)
        else:
            self.update = FixedPoint(self._shares, settings, self.slopes)

    def run(self, on_step: OnStep | None) -> None:
        """Goes on from the checkpoint, where there is one, to the last step."""
        if not self._restore():
            self._start()
        while self._n_done < self.n_steps:
            is_due = self._path is not None and self._n_done % CHECKPOINT_STEPS == 0
            state = copy.deepcopy(self._state()) if is_due else None
            loss = self._step()
            if state is not None:  # only now it is known to be a good one
                save_checkpoint(self._path, state)
            self._n_done += 1
            if self._n_done == min(REACH_STEPS, self.n_steps):
                self._check_reach()
            if on_step is not None:
                on_step(self._n_done, self.n_steps, loss, self.update.tolerance().numpy())
            if stopping.is_asked():
                break
        if self._path is not None:
            save_checkpoint(self._path, self._state())
        stopping.check()

    def _start(self) -> None:
        """Looks at one batch without noise."""
        if isinstance(self.update, FixedPoint):
            images, labels = self._batch()
            with torch.no_grad():
                self.update.start(F.cross_entropy(self._noisy(images), labels).item())

    def _step(self) -> float:
        """One batch; returns the loss."""
        images, labels = self._batch()
        sigma = self.update.sigma.detach().clone()
        sigmas = [value.requires_grad_() for value in sigma.unbind()]
        self._noisy.sigmas = sigmas
        entropy = F.cross_entropy(self._run(images), labels)
        self._noisy.sigmas = None
        if not entropy.requires_grad:
            raise NetworkError(_no_gradient("the logits"))
        gradients = torch.autograd.grad(entropy, [*sigmas, *self._weights], allow_unused=True)
        for weight, gradient in zip(self._weights, gradients[len(sigmas) :], strict=True):
            weight.grad = gradient
        slopes = gradients[: len(sigmas)]
        if self._n_done == 0:
            self._check_connections(slopes, images)
        slopes = torch.stack([torch.zeros_like(value) if slope is None else slope
                              for slope, value in zip(slopes, sigmas, strict=True)])  # fmt: skip
        reward = (self._shares * sigma.abs().clamp(max=self._settings.sigma_max)).sum()
        loss = entropy.item() - self._settings.coefficient * reward.item()
        if not (math.isfinite(loss) and bool(torch.isfinite(slopes).all())):
            self._fail(f"the loss is {loss:.4g}" if not math.isfinite(loss) else "gradients are NaN or infinite")
        self.update.step(slopes, entropy.item(), n_done=self._n_done, n_steps=self.n_steps)
        self._check_values()
        return loss

    def _run(self, images: torch.Tensor) -> torch.Tensor:
        """Logits; Dropout and the like draw what follows from seed and step alone."""
        devices = [] if self._noisy.device.type == "cpu" else [torch.cuda.current_device()]
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(hash((self._settings.seed, self._n_done)) % 2**63)
            return self._noisy(images)

    def _batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and labels of the next step; the order follows from seed and epoch alone."""
        epoch, position = divmod(self._n_done, self._steps_per_epoch)
        order = np.random.default_rng((self._settings.seed, epoch)).permutation(self._training.n_images)
        chosen = order[position * self._n_images : (position + 1) * self._n_images]
        images = self._training.preprocessing.apply(self._training.stored[chosen])
        labels = self._training.labels[torch.from_numpy(chosen)]
        if self._noisy.source.is_mirrored:
            images, labels = torch.cat((images, images)), torch.cat((labels, labels))
        return images.to(self._noisy.device), labels.to(self._noisy.device)

    def _check_connections(self, slopes: Sequence[torch.Tensor | None], images: torch.Tensor) -> None:
        """Refuses layers that change the logits without a gradient; one that changes nothing bears any noise."""
        noisy = self._noisy
        suspects = [i for i, g in enumerate(slopes) if noisy.is_reached[i] and (g is None or g.item() == 0.0)]
        if not suspects:
            return
        state, is_training = noisy.source.state, noisy.module.training
        noisy.module.eval()
        with torch.no_grad():
            before = noisy(images)
            for index in suspects:
                noisy.sigmas = [torch.tensor(float(i == index), device=noisy.device) for i in range(len(slopes))]
                if not torch.equal(before, noisy(images)):
                    raise NetworkError(_no_gradient(f"layer {self._names[index]!r}"))
        noisy.sigmas, noisy.source.state = None, state
        noisy.module.train(is_training)

    def _check_reach(self) -> None:
        reached = zip(self._names, self._noisy.is_reached, strict=True)
        missing = [name for name, is_reached in reached if not is_reached]
        if missing:
            raise NetworkError(
                f"layers never reached by the training images: {', '.join(missing)}. Expected each layer to run: "
                "check the data, or exclude these layers (--exclude)"
            )

    def _check_values(self) -> None:
        limit = DIVERGED * self._settings.sigma_max
        for name, value in zip(self._names, self.update.sigma.detach().abs().tolist(), strict=True):
            if not value <= limit:  # also for NaN
                self._fail(f"sigma of layer {name!r} is {value:.4g}, beyond {DIVERGED} times sigma_max = {limit:g}")
        if not all(bool(torch.isfinite(weight).all()) for weight in self._weights):
            self._fail("weights are NaN or infinite")

    def _fail(self, what: str) -> None:
        is_kept = self._path is not None and self._path.exists()
        kept = f"The last good state is kept in {self._path}; a repeated search goes on from it. " if is_kept else ""
        settings = self._settings
        rates = f"{settings.learning_rate:g}"
        if settings.trains_weights:
            rates += f", of the sigmas {settings.sigma_learning_rate:g}"
        raise RunError(
            f"tolerance search stopped at step {self._n_done + 1} of {self.n_steps}: {what}. {kept}"
            f"Lower the learning rate (now {rates})"
        )

    def _state(self) -> dict[str, Any]:
        return {
            "key": self._key,
            "learning_rate": self._settings.learning_rate,
            "n_done": self._n_done,
            "update": self.update.state(),
            "slopes": self.slopes.sums,
            "n_added": self.slopes.n_added,
            "is_reached": list(self._noisy.is_reached),
            "noise": self._noisy.source.state,
            "network": self._noisy.module.state_dict() if self._settings.trains_weights else {},
        }

    def _restore(self) -> bool:
        if self._path is None:
            return False
        state = load_checkpoint(self._path, key=self._key, what="a tolerance search")
        if state is None:
            return False
        self._n_done = state["n_done"]
        if state["learning_rate"] != self._settings.learning_rate:
            _log.warning(
                "%s: continuing after step %d, so far with learning rate %g, now %g",
                self._path, self._n_done, state["learning_rate"], self._settings.learning_rate,
            )  # fmt: skip
        self.slopes.sums, self.slopes.n_added = state["slopes"], state["n_added"]
        self._noisy.is_reached, self._noisy.source.state = state["is_reached"], state["noise"]
        if self._settings.trains_weights:
            self._noisy.module.load_state_dict(state["network"])
        self.update.restore(state["update"])
        return True


def _no_gradient(what: str) -> str:
    return (
        f"no gradient reaches the noise of {what}: the forward pass cuts it off (no_grad, detach, round, argmax). "
        "Tolerances cannot be learned; let the search start from measured layers instead (--initial sensitivity)"
    )
