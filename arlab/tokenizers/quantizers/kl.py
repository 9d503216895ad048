"""Continuous tokens: each cell of the latent map is a Gaussian, held close to the standard one.

Letters: B batch, C token width, S the latent's sides, N tokens.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from arlab.orderings.step import Layout
from arlab.precision import in_float32, upcast
from arlab.ranges import require
from arlab.tokenizers.quantizers.quantizer import Quantized, Quantizer

_LEAST, _MOST = -30.0, 20.0
# Beyond it nothing is left of tokens in single precision.
_FAR = 10**6


class Gaussian(NamedTuple):
    """Independent normal distributions of the values of a latent map.

    Attributes:
        mean: (B, C, *S).
        log_variance: (B, C, *S), in [-30, 20].
    """

    mean: Tensor
    log_variance: Tensor

    @property
    def deviation(self) -> Tensor:
        """exp(log_variance / 2)."""
        return (self.log_variance / 2).exp()

    def sample(self, noise: Tensor) -> Tensor:
        """mean + deviation · noise, noise from a standard normal distribution."""
        return self.mean + self.deviation * noise

    def nats(self) -> Tensor:
        """KL(N(mean, variance) | N(0, 1)) = ½ Σ (mean² + variance - 1 - ln variance) of each image, (B,)."""
        terms = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return terms.flatten(1).sum(1) / 2


class KL(Quantizer):
    """The encoder gives mean and log variance of each latent value; the decoder gets a draw in training, else the mean.

    z = mean + deviation · ε, ε ~ N(0, 1);  token = scale · mean, ± scale · deviation;
    loss = kl_weight · mean over images of KL(N(mean, deviation²) | N(0, 1)) in nats, summed over C and S

    The reconstruction loss beside it is a mean over the values of an image: the usual 1e-6 beside a sum over them (LDM)
    is 1e-6 / (channels · height · width) here. Figures: kl, nats per image.

    Auto-Encoding Variational Bayes, arXiv 1312.6114; High-Resolution Image Synthesis with Latent Diffusion Models
    (LDM), arXiv 2112.10752.

    Args:
        kl_weight: how strongly the latents are drawn to a standard normal distribution, per nat.
        scale: what tokens are multiplied with so that their spread is about 1 (MAR: 0.2325); the decoder gets them
            divided by it.
    """

    def __init__(self, *, kl_weight: float = 1e-6, scale: float = 1.0) -> None:
        super().__init__()
        require("quantizer.kl_weight", kl_weight, at_least=0)
        require("quantizer.scale", scale, at_least=1 / _FAR, at_most=_FAR)
        self.codebook_size = None
        self.kl_weight = kl_weight
        self.scale = scale

    def extra_repr(self) -> str:
        return f"kl_weight={self.kl_weight}, scale={self.scale}"

    @property
    def token_scale(self) -> float:
        return self.scale

    def encoder_width(self, width: int) -> int:
        """Mean and log variance."""
        return 2 * width

    def bind(self, width: int, shape: tuple[int, ...]) -> None:
        self.layout = Layout((shape,))

    def gaussian(self, z: Tensor) -> Gaussian:
        """What a latent map (B, 2 · C, *S) says: means first, then log variances, those clamped to [-30, 20]."""
        mean, log_variance = upcast(z).chunk(2, dim=1)
        return Gaussian(mean, log_variance.clamp(_LEAST, _MOST))

    @in_float32
    def forward(self, z: Tensor) -> Quantized:
        gaussian = self.gaussian(z)
        vectors = gaussian.sample(torch.randn_like(gaussian.mean)) if self.training else gaussian.mean
        nats = gaussian.nats().mean()
        return Quantized(
            vectors=vectors.to(z.dtype),
            tokens=self._tokens(gaussian.mean),
            loss=self.kl_weight * nats,
            figures={"kl": nats.detach()},
            deviation=self._tokens(gaussian.deviation),
        )

    def _tokens(self, latent: Tensor) -> Tensor:
        return self.scale * latent.flatten(2).transpose(1, 2)

    def at(self, layout: Layout) -> Quantizer:
        if len(layout.shapes) > 1:
            return super().at(layout)
        twin = copy.copy(self)
        twin.layout = layout
        return twin

    def vectors(self, tokens: Tensor) -> Tensor:
        return tokens

    def assemble(self, vectors_BNC: Tensor, level: int | None = None) -> Tensor:
        return super().assemble(vectors_BNC, level) / self.scale
