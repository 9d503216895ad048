"""What a discriminator and the tokenizer it judges minimise."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor
from torch.nn import functional as F

from arlab.configurable import Configurable


class GanLoss(Configurable, ABC):
    """The two sides of a game, as means over all logits."""

    @abstractmethod
    def discriminator(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        """Scalar, small where images get large logits and reconstructions small ones."""

    @abstractmethod
    def generator(self, logits_fake: Tensor) -> Tensor:
        """Scalar, small where reconstructions get large logits."""


class Hinge(GanLoss):
    """Logits count until they are on their side by 1; halved, as VQGAN has it.

    discriminator: ½ (mean max(0, 1 - real) + mean max(0, 1 + fake));  generator: -mean fake

    Geometric GAN, arXiv 1705.02894.
    """

    def __init__(self) -> None:
        pass

    def discriminator(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        return (F.relu(1 - logits_real).mean() + F.relu(1 + logits_fake).mean()) / 2

    def generator(self, logits_fake: Tensor) -> Tensor:
        return -logits_fake.mean()


class NonSaturating(GanLoss):
    """Logistic: the negative log-likelihood of the right side, and for the generator of the wrong one.

    discriminator: ½ (mean softplus(-real) + mean softplus(fake));  generator: mean softplus(-fake)

    Generative Adversarial Networks, arXiv 1406.2661.
    """

    def __init__(self) -> None:
        pass

    def discriminator(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        return (F.softplus(-logits_real).mean() + F.softplus(logits_fake).mean()) / 2

    def generator(self, logits_fake: Tensor) -> Tensor:
        return F.softplus(-logits_fake).mean()
