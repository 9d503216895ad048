"""Adversarial training of tokenizers: when a discriminator enters, and how much it weighs.

Letters: B batch, C channels, H and W image sides.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from arlab.configurable import Configurable
from arlab.optimization import AdamW
from arlab.ranges import require
from arlab.tokenizers.discriminator import Discriminator, PatchDiscriminator
from arlab.tokenizers.gan_losses import GanLoss, Hinge
from arlab.tokenizers.opponent import Opponent
from arlab.tokenizers.regularizers import DiscriminatorRegularizer

_MOST_ADAPTIVE = 1e4
_LEAST_SIZE = 1e-4
_SCALED = ("16-mixed", "16-true")


@dataclass(frozen=True)
class Turn:
    """What a training batch comes to.

    Attributes:
        loss: scalar to add to the tokenizer's.
        figures: scalars without gradient to log, by name.
        own: those of them that something minimises beside the tokenizer's loss.
    """

    loss: Tensor
    figures: Mapping[str, Tensor] = field(default_factory=dict)
    own: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _Waiting:
    """What a discriminator's weights will be made from.

    Attributes:
        channels: of the images.
        image_size: (H, W).
        rng_state: of torch's generator where they would have been drawn at once.
    """

    channels: int
    image_size: tuple[int, int]
    rng_state: Tensor


class Adversarial(Configurable):
    """A discriminator D learns to tell reconstructions x̂ from images; from a step on the tokenizer learns to fool it.

    loss = reconstruction + quantizer loss + weight · λ · generator(D(x̂)) + matching_weight · matching;
    λ = min(1e4, |∇ reconstruction| / (|∇ generator| + 1e-4)) at the decoder's last layer; 1 if not adaptive;
    matching = mean over D's layers l before the logits of mean |D_l(x) - D_l(x̂)| / (mean |D_l(x)| + 1e-4)

    The generator's loss draws the distribution of reconstructions to that of images; matching draws each one to its own
    image, in what the discriminator looks at. Both pass through it as one batch, so that BatchNorm hides no difference
    in contrast; each layer counts by its relative error, however large its features.

    Every step counts once: both learn from the same batch, each with an optimizer of its own, and the Trainer sees the
    tokenizer's only. So ``max_steps`` means training steps, and accumulated gradients, clipping (by the same value,
    each by its own norm) and bf16-mixed work as ever. The discriminator is no part of the model: neither its weights
    nor an export hold it; a checkpoint does, under an entry of its own, to go on from.

    Until step ``start_step - lead_steps`` nothing happens, then the discriminator trains, and from ``start_step`` on
    it is heard; before that the tokenizer trains exactly as it would alone. Going on from a checkpoint that has none,
    a discriminator leads first as well. In distributed training its gradients are averaged, and λ is each process's.

    Logged: train/reconstruction, train/adversarial (generator(D(x̂))), train/adaptive_weight (λ),
    train/feature_matching (matching, where it has a weight), train/discriminator (its loss), train/logits_real and
    train/logits_fake. Validation leaves the discriminator out, so that val/loss means the same before it is heard and
    after.

    Taming Transformers for High-Resolution Image Synthesis (VQGAN), arXiv 2012.09841.
    Autoencoding beyond pixels using a learned similarity metric, arXiv 1512.09300.
    High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs (pix2pixHD), arXiv 1711.11585.

    Args:
        discriminator: the network.
        gan_loss: what both sides minimise.
        weight: of the discriminator in the tokenizer's loss.
        adaptive: whether it is scaled to a gradient as large as the reconstruction's.
        start_step: the training step from which it is in the tokenizer's loss.
        lead_steps: how many steps before that the discriminator begins to train; at most ``start_step``.
        regularizer: added to the discriminator's loss.
        optimizer: of the discriminator; its schedule begins with its own first step.
        matching_weight: of the distance between the discriminator's features of image and reconstruction; 0: none.
    """

    opponent: Opponent
    """The discriminator in training; known once bound."""
    _waiting: _Waiting | None = None

    def __init__(
        self,
        *,
        discriminator: Discriminator | None = None,
        gan_loss: GanLoss | None = None,
        weight: float = 0.5,
        adaptive: bool = True,
        start_step: int = 1000,
        lead_steps: int = 200,
        regularizer: DiscriminatorRegularizer | None = None,
        optimizer: AdamW | None = None,
        matching_weight: float = 0.0,
    ) -> None:
        require("adversarial.weight", weight, at_least=0)
        require("adversarial.matching_weight", matching_weight, at_least=0)
        require("adversarial.start_step", start_step, at_least=0)
        if not 0 <= lead_steps <= start_step:
            raise ValueError(f"adversarial.lead_steps: must be in [0, start_step = {start_step}], got {lead_steps}")
        as_published = AdamW(learning_rate=2e-4, weight_decay=0.0, betas=(0.5, 0.9), warmup_steps=0, final_fraction=1.0)
        self.discriminator = PatchDiscriminator() if discriminator is None else discriminator
        self.gan_loss = Hinge() if gan_loss is None else gan_loss
        self.weight = weight
        self.adaptive = adaptive
        self.start_step = start_step
        self.lead_steps = lead_steps
        self.regularizer = regularizer
        self.optimizer = as_published if optimizer is None else optimizer
        self.matching_weight = matching_weight

    def __deepcopy__(self, memo: dict[int, Any]) -> Adversarial:
        # An average of the tokenizer's weights begins as a copy of it; there is one game all the same.
        return self

    @property
    def first_step(self) -> int:
        """The training step from which the discriminator trains."""
        return self.start_step - self.lead_steps

    def bind(self, channels: int, image_size: tuple[int, int]) -> None:
        """See that the discriminator can judge images (C, H, W); its weights are made as a run begins.

        A tokenizer that only encodes, as in a generator, thus holds none.

        Raises:
            ValueError: it cannot judge images of this size, or has no features to match.
        """
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            tried = copy.deepcopy(self.discriminator)
            tried.bind(channels, image_size)
        if self.matching_weight > 0 and type(tried).features is Discriminator.features:
            raise ValueError(
                f"adversarial.matching_weight: {type(tried).__name__} tells no features to match; give it a method "
                f"features, or choose 0, got {self.matching_weight}"
            )
        self._waiting = _Waiting(channels, image_size, torch.get_rng_state())
        self.opponent = Opponent(
            discriminator=self.discriminator,
            gan_loss=self.gan_loss,
            regularizer=self.regularizer,
            optimizer=self.optimizer,
        )

    def create(self) -> None:
        """Make the discriminator's weights unless they are there: those that ``bind`` would have drawn.

        The random numbers of others stay what they are.
        """
        if self._waiting is None:
            return
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.set_rng_state(self._waiting.rng_state)
            self.discriminator.bind(self._waiting.channels, self._waiting.image_size)
        self._waiting = None

    def begin(self, trainer: L.Trainer, last_layer: Tensor) -> None:
        """Get ready for a run, before its first step.

        Raises:
            ValueError: the run scales its losses, or the discriminator it is to go on with is another one.
        """
        if str(trainer.precision) in _SCALED:
            raise ValueError(
                f"trainer.precision: {trainer.precision} scales the tokenizer's loss only, not the discriminator's; "
                "with adversarial choose 32-true or bf16-mixed"
            )
        total_steps = int(trainer.estimated_stepping_batches)
        if total_steps <= self.start_step:
            # No error: a trial run of a few steps is cut short on purpose.
            rank_zero_warn(f"adversarial.start_step: {self.start_step} is not reached in {total_steps} steps")
        self.create()
        self.opponent.begin(last_layer, max(1, total_steps - self.first_step))

    def play(
        self,
        image_BCHW: Tensor,
        reconstruction_BCHW: Tensor,
        distance: Tensor,
        last_layer: Tensor,
        *,
        step: int,
        share: float = 1.0,
    ) -> Turn:
        """Let the discriminator learn from a training batch, and tell what it adds to the tokenizer's loss.

        Args:
            image_BCHW: the batch.
            reconstruction_BCHW: what the tokenizer made of it.
            distance: the reconstruction loss.
            last_layer: the weight of the decoder's last layer.
            step: the training step.
            share: of the batch in that step, where gradients are accumulated.
        """
        nothing = distance.new_zeros(())
        if step < self.first_step:
            return Turn(nothing)
        judged = self.opponent.learn(image_BCHW, reconstruction_BCHW, share)
        own = {"discriminator": judged.loss}
        figures = {**own, "logits_real": judged.logits_real, "logits_fake": judged.logits_fake}
        if step < self.start_step or self.opponent.steps < self.lead_steps:
            return Turn(nothing, figures, own)
        loss = self.gan_loss.generator(self.opponent.judge(reconstruction_BCHW)[-1])
        figures["adversarial"] = loss.detach()
        if self.adaptive:
            figures["adaptive_weight"] = adaptive_weight(distance, loss, last_layer)
            loss = figures["adaptive_weight"] * loss
        loss = self.weight * loss
        if self.matching_weight > 0:
            # As one batch: where a norm takes its statistics from the batch, they are the same for both.
            *maps, _ = self.opponent.judge(torch.cat((image_BCHW, reconstruction_BCHW)))
            real, fake = zip(*(x.chunk(2) for x in maps), strict=True)
            matching = feature_matching([x.detach() for x in real], fake)
            figures["feature_matching"] = matching.detach()
            loss = loss + self.matching_weight * matching
        return Turn(loss, figures, own)


def adaptive_weight(distance: Tensor, loss: Tensor, last_layer: Tensor) -> Tensor:
    """λ = |∇ distance| / (|∇ loss| + 1e-4) at a weight, at most 1e4; without gradient."""
    (toward_image,) = torch.autograd.grad(distance, last_layer, retain_graph=True)
    (toward_real,) = torch.autograd.grad(loss, last_layer, retain_graph=True)
    ratio: Tensor = toward_image.norm() / (toward_real.norm() + 1e-4)
    return ratio.clamp(max=_MOST_ADAPTIVE).detach()


def feature_matching(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean over layers of mean |real - fake| / (mean |real| + 1e-4); at least one layer, equal shapes."""
    apart = [(r - f).abs().mean() / (r.abs().mean() + _LEAST_SIZE) for r, f in zip(real, fake, strict=True)]
    return torch.stack(apart).mean()
