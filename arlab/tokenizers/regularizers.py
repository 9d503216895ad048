"""What keeps a discriminator from becoming too sure of itself.

Letters: B batch, C channels, H and W image sides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from arlab.configurable import Configurable
from arlab.precision import upcast
from arlab.ranges import require
from arlab.tokenizers.discriminator import Discriminator
from arlab.tokenizers.processes import average_


class DiscriminatorRegularizer(nn.Module, Configurable, ABC):
    """A scalar added to the loss of a discriminator; what it keeps from step to step lies in buffers."""

    @abstractmethod
    def forward(
        self, discriminator: Discriminator, image_BCHW: Tensor, logits_real: Tensor, logits_fake: Tensor
    ) -> Tensor:
        """The penalty on a training batch; logits in float32, gradients pass to the discriminator."""


class R1(DiscriminatorRegularizer):
    """weight / 2 · mean_B |∇_x Σ D(x)|² on real images: it must not be steep where it is to be content.

    Which Training Methods for GANs do actually Converge?, arXiv 1801.04406.

    Args:
        weight: γ.
    """

    def __init__(self, *, weight: float = 10.0) -> None:
        super().__init__()
        require("adversarial.regularizer.weight", weight, at_least=0)
        self.weight = weight

    def forward(
        self, discriminator: Discriminator, image_BCHW: Tensor, logits_real: Tensor, logits_fake: Tensor
    ) -> Tensor:
        image_BCHW = image_BCHW.detach().requires_grad_()
        total = upcast(discriminator(image_BCHW)).sum()
        (slope_BCHW,) = torch.autograd.grad(total, image_BCHW, create_graph=True)
        return self.weight / 2 * slope_BCHW.square().flatten(1).sum(1).mean()


class LeCam(DiscriminatorRegularizer):
    """weight · (mean (real - ā_fake)² + mean (fake - ā_real)²): logits stay near the other side's moving average ā.

    Regularizing Generative Adversarial Networks under Limited Data, arXiv 2104.03310.

    Args:
        weight: λ.
        decay: of the moving averages, per training batch.
    """

    average_real: Tensor
    average_fake: Tensor

    def __init__(self, *, weight: float = 1e-3, decay: float = 0.999) -> None:
        super().__init__()
        require("adversarial.regularizer.weight", weight, at_least=0)
        require("adversarial.regularizer.decay", decay, at_least=0, below=1)
        self.weight = weight
        self.decay = decay
        self.register_buffer("average_real", torch.zeros(()))
        self.register_buffer("average_fake", torch.zeros(()))

    def forward(
        self, discriminator: Discriminator, image_BCHW: Tensor, logits_real: Tensor, logits_fake: Tensor
    ) -> Tensor:
        means = logits_real.detach().mean(), logits_fake.detach().mean()
        average_(means)
        self.average_real.lerp_(means[0], 1 - self.decay)
        self.average_fake.lerp_(means[1], 1 - self.decay)
        apart = (logits_real - self.average_fake).square().mean() + (logits_fake - self.average_real).square().mean()
        return self.weight * apart
