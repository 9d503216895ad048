"""How the decoder's gradient passes a codebook, whose choice of a code has none.

Letters: C vector width, T vectors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from arlab.configurable import Configurable

_SHORTEST = 1e-6


class GradientPassage(Configurable, ABC):
    """Gives the decoder the code, and the latent the decoder's gradient; the codebook learns nothing from it."""

    @abstractmethod
    def __call__(self, z_TC: Tensor, code_TC: Tensor) -> Tensor:
        """The values of ``code_TC`` with a gradient to ``z_TC`` alone."""


class StraightThrough(GradientPassage):
    """z + sg(e - z): the latent gets the gradient as it is.

    Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation, arXiv 1308.3432.
    """

    def __call__(self, z_TC: Tensor, code_TC: Tensor) -> Tensor:
        return z_TC + (code_TC - z_TC).detach()


class RotationTrick(GradientPassage):
    """sg(|e| / |z| · R) z, where R turns z to e: the latent gets the gradient turned back and scaled by |e| / |z|.

    Codes that follow by moving averages must follow fast (VectorQuantizer: decay 0.8, commitment_weight 1); at its
    defaults most of them were lost in a trial on digits. Codes learned by gradient need nothing else.

    A latent of zero has no direction to turn from; its gradient passes straight through. The rotation itself is
    vector-quantize-pytorch's.

    Restructuring Vector Quantization with the Rotation Trick, arXiv 2410.06424.
    """

    def __call__(self, z_TC: Tensor, code_TC: Tensor) -> Tensor:
        # The import takes a second, and few configurations need it.
        from vector_quantize_pytorch.vector_quantize_pytorch import rotate_to

        # To that function a tiny latent is zero: it would give zero, and a gradient a million times too large.
        length_T1 = z_TC.detach().norm(dim=-1, keepdim=True)
        turned_TC: Tensor = rotate_to(z_TC, code_TC.detach())
        return turned_TC.where(length_T1 > _SHORTEST, z_TC + (code_TC - z_TC).detach())
