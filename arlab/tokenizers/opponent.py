"""A discriminator in training: its weights, its optimizer, and what a run needs to go on with them.

Letters: B batch, C channels, H and W image sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.lr_scheduler import LambdaLR

from arlab.optimization import AdamW
from arlab.precision import upcast
from arlab.tokenizers.discriminator import Discriminator
from arlab.tokenizers.gan_losses import GanLoss
from arlab.tokenizers.processes import average_, from_first_
from arlab.tokenizers.regularizers import DiscriminatorRegularizer

KEY = "adversarial"
"""The entry of a checkpoint that holds it."""


@dataclass(frozen=True)
class Judged:
    """What a discriminator makes of a batch, as scalars without gradient: its loss, and the means of its logits."""

    loss: Tensor
    logits_real: Tensor
    logits_fake: Tensor


class _Judging(nn.Module):
    """A discriminator whose features are what it gives when called, since weights are replaced for calls only."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        return self.discriminator.features(image_BCHW)


class Opponent:
    """Trains a discriminator beside a model that the Trainer trains.

    It is no ``nn.Module``: what it holds never enters the model's ``state_dict``, optimizer or average.

    Args:
        discriminator: bound to the data before ``begin``.
        gan_loss: what it minimises.
        regularizer: added to that.
        optimizer: of its weights.
    """

    steps = 0
    """How many it has made."""

    def __init__(
        self,
        *,
        discriminator: Discriminator,
        gan_loss: GanLoss,
        regularizer: DiscriminatorRegularizer | None,
        optimizer: AdamW,
    ) -> None:
        self.discriminator = discriminator
        self._gan_loss = gan_loss
        self._regularizer = regularizer
        self._recipe = optimizer
        # Both keep state: the second, moving averages.
        self._parts = nn.ModuleList(part for part in (discriminator, regularizer) if part is not None)
        self._optimizer: torch.optim.Optimizer | None = None
        self._schedule: LambdaLR | None = None
        self._loaded: Mapping[str, Any] | None = None
        self._due = False

    def begin(self, like: Tensor, total_steps: int) -> None:
        """Get ready for a run, to go on where ``load`` was called.

        Args:
            like: a weight of the model: where to compute, and in which precision.
            total_steps: the length of its schedule.

        Raises:
            ValueError: the checkpoint's discriminator is another one.
        """
        self._parts.to(like.device, like.dtype).train()
        from_first_(list(self._parts.state_dict().values()))
        built = self._recipe.build(self.discriminator, total_steps)
        stepped = built["lr_scheduler"]
        assert isinstance(stepped, dict)
        assert isinstance(stepped["scheduler"], LambdaLR)
        self._optimizer, self._schedule = built["optimizer"], stepped["scheduler"]
        self._optimizer.zero_grad()
        self.steps, self._due = 0, False
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            return
        try:
            self._parts.load_state_dict(loaded["parts"])
        except RuntimeError as error:
            raise ValueError(
                "adversarial: the checkpoint's discriminator is another one; restore its options"
            ) from error
        self._optimizer.load_state_dict(loaded["optimizer"])
        self._schedule.load_state_dict(loaded["schedule"])
        self.steps = loaded["steps"]

    def learn(self, image_BCHW: Tensor, fake_BCHW: Tensor, share: float) -> Judged:
        """Add a batch's gradients to those kept for ``update``; none reach what made the batch.

        Args:
            image_BCHW: images.
            fake_BCHW: their imitations.
            share: of the batch in its step.
        """
        logits_real = upcast(self.discriminator(image_BCHW))
        logits_fake = upcast(self.discriminator(fake_BCHW.detach()))
        loss = self._gan_loss.discriminator(logits_real, logits_fake)
        if self._regularizer is not None:
            loss = loss + self._regularizer(self.discriminator, image_BCHW, logits_real, logits_fake)
        (share * loss).backward()
        self._due = True
        return Judged(loss.detach(), logits_real.detach().mean(), logits_fake.detach().mean())

    def judge(self, image_BCHW: Tensor) -> list[Tensor]:
        """Features and last the logits; their gradients reach what made the batch, and not the discriminator."""
        judging = _Judging(self.discriminator)
        # Not by freezing weights for a while: some may never train.
        fixed = {name: weight.detach() for name, weight in judging.named_parameters()}
        return [upcast(x) for x in functional_call(judging, fixed, (image_BCHW,))]

    def update(self, trainer: L.Trainer) -> None:
        """A step along the gradients kept, if there are any: averaged over processes, clipped as the Trainer clips."""
        if not self._due or self._optimizer is None or self._schedule is None:
            return
        average_([weight.grad for weight in self.discriminator.parameters() if weight.grad is not None])
        algorithm = trainer.gradient_clip_algorithm or GradClipAlgorithmType.NORM
        trainer.precision_plugin.clip_gradients(self._optimizer, trainer.gradient_clip_val or 0, algorithm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._schedule.step()
        self.steps += 1
        self._due = False

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Write what to go on from; nothing before a run.

        Raises:
            ValueError: its weights are not finite any more.
        """
        if self._optimizer is None or self._schedule is None:
            return
        bad = [name for name, value in self.discriminator.state_dict().items() if not value.isfinite().all()]
        if bad:
            raise ValueError(f"weights of the discriminator are not finite and were not saved: {bad[0]}")
        checkpoint[KEY] = {
            "parts": self._parts.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "steps": self.steps,
        }

    def load(self, checkpoint: Mapping[str, Any]) -> None:
        """Let the run that begins next go on from a checkpoint; afresh, where that holds no discriminator."""
        self._loaded = checkpoint.get(KEY)
