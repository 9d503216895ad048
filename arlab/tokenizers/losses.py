"""What a reconstruction is measured by in training.

Letters: B batch, C channels, H and W image sides.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional as F

from arlab.configurable import Configurable


class ReconstructionLoss(nn.Module, Configurable, ABC):
    """A distance between images and their reconstructions, as a mean over all values."""

    @abstractmethod
    def forward(self, reconstruction_BCHW: Tensor, image_BCHW: Tensor) -> Tensor:
        """A scalar; both images in [-1, 1], the reconstruction not clipped."""


class L1(ReconstructionLoss):
    """Mean |x̂ - x|: keeps edges, and forgives single pixels."""

    def forward(self, reconstruction_BCHW: Tensor, image_BCHW: Tensor) -> Tensor:
        return F.l1_loss(reconstruction_BCHW, image_BCHW)


class L2(ReconstructionLoss):
    """Mean (x̂ - x)²: what PSNR measures."""

    def forward(self, reconstruction_BCHW: Tensor, image_BCHW: Tensor) -> Tensor:
        return F.mse_loss(reconstruction_BCHW, image_BCHW)


class Mix(ReconstructionLoss):
    """Σ_i weight_i · loss_i.

    Args:
        losses: the parts.
        weights: one per part; none: 1 each.

    Raises:
        ValueError: their numbers differ, or a weight is negative.
    """

    def __init__(self, *, losses: list[ReconstructionLoss], weights: list[float] | None = None) -> None:
        super().__init__()
        self.weights = [1.0] * len(losses) if weights is None else list(weights)
        if not losses:
            raise ValueError("reconstruction.losses: at least one is needed, got []")
        if not all(0 <= weight < math.inf for weight in self.weights):
            raise ValueError(f"reconstruction.weights: must all be at least 0, got {self.weights}")
        if not any(self.weights):
            raise ValueError(f"reconstruction.weights: at least one must be above 0, got {self.weights}")
        if len(self.weights) != len(losses):
            count = f"{len(self.weights)} for {len(losses)} losses"
            raise ValueError(f"reconstruction.weights: expected one per loss, got {count}")
        self.losses = nn.ModuleList(losses)

    def forward(self, reconstruction_BCHW: Tensor, image_BCHW: Tensor) -> Tensor:
        total = image_BCHW.new_zeros(())
        for weight, loss in zip(self.weights, self.losses, strict=True):
            total = total + weight * loss(reconstruction_BCHW, image_BCHW)
        return total
