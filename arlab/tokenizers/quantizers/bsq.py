"""Quantisation of each channel of a unit vector to its sign: as many bits as wanted.

Letters: C vector width = number of bits, T vectors quantised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from arlab.tokenizers.processes import mean_over_processes
from arlab.tokenizers.quantizers.bits import bit_entropy, check_options, signs, to_bits, to_ids
from arlab.tokenizers.quantizers.entropy import entropy, figures_of
from arlab.tokenizers.quantizers.quantizer import Codebook, Coded

_MOST_BITS = 62


class BSQ(Codebook):
    """Each latent becomes the nearest corner of a cube inside the unit sphere; the signs are the token, C bits.

    u = z / |z|;  code = sign(u) / √C;  id = Σ_c 2^c [z_c > 0];  q_tc = σ(2 τ u_tc / √C), the probability of bit c
    under softmax_v(τ u_t · code_v), τ = inverse_temperature;  h(q) the entropy of one bit;
    loss = entropy_weight · (mean_t Σ_c h(q_tc) - diversity · Σ_c h(mean_t q_tc))
    + commitment_weight · mean_t |u_t - code_t|²

    The first entropy is exact, the second that of independent bits, an upper bound: no list of codes is needed. The
    mean is that of all processes. Both are part of training only. The decoder's gradient passes straight through to
    u. ``tokenizer.token_width`` is the number of bits, at most 62.

    Image and Video Tokenization with Binary Spherical Quantization (BSQ), arXiv 2406.07548.

    Infinity: Scaling Bitwise AutoRegressive Modeling for High-Resolution Image Synthesis, arXiv 2412.04431.

    Args:
        entropy_weight: of both entropies, in nats; 0 for none.
        diversity: of the entropy of the mean over that of single latents.
        inverse_temperature: τ; large values tell near-zero channels only.
        commitment_weight: how strongly directions are drawn to their codes, whose distance is bounded anyway.
    """

    zero: Tensor

    def __init__(
        self,
        *,
        entropy_weight: float = 0.1,
        diversity: float = 1.0,
        inverse_temperature: float = 1.0,
        commitment_weight: float = 0.0,
    ) -> None:
        super().__init__()
        check_options(entropy_weight, diversity, inverse_temperature, commitment_weight)
        self.entropy_weight = entropy_weight
        self.diversity = diversity
        self.inverse_temperature = inverse_temperature
        self.commitment_weight = commitment_weight

    def create(self, width: int) -> None:
        if not 1 <= width <= _MOST_BITS:
            why = f"BSQ has one bit per channel, so it must be in 1 .. {_MOST_BITS}"
            raise ValueError(f"tokenizer.token_width: {why}, got {width}")
        self.width = width
        self.codebook_size = 2**width
        self.register_buffer("zero", torch.zeros(()), persistent=False)  # its dtype is that of the codes

    def lookup(self, ids: Tensor) -> Tensor:
        return self._code(to_bits(ids, self.width), self.zero.dtype)

    def quantise(self, z_TC: Tensor) -> Coded:
        unit_TC = F.normalize(z_TC, dim=-1)
        bits_TC = z_TC > 0
        code_TC = self._code(bits_TC, z_TC.dtype)
        regularizer = z_TC.new_zeros(())
        figures: Mapping[str, Tensor] = {}
        if self.training:
            logit_TC = 2 * self.inverse_temperature / math.sqrt(self.width) * unit_TC
            mean_C = mean_over_processes(logit_TC.sigmoid().mean(0))
            sample = bit_entropy(logit_TC).sum(-1).mean()
            batch = entropy(torch.stack([mean_C, 1 - mean_C], dim=-1)).sum()
            regularizer = self.entropy_weight * (sample - self.diversity * batch)
            figures = figures_of(sample, batch)
        distance = (unit_TC - code_TC).square().sum(-1).mean()
        loss = self.commitment_weight * distance + regularizer
        straight_TC = unit_TC + (code_TC - unit_TC).detach()
        return Coded(to_ids(bits_TC), straight_TC, code_TC, loss, regularizer, figures)

    def _code(self, bits: Tensor, dtype: torch.dtype) -> Tensor:
        return signs(bits, dtype) / math.sqrt(self.width)
