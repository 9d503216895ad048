"""Quantisation of each channel to its sign.

Letters: C vector width = number of bits, T vectors quantised, V = 2^C codes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from arlab.tokenizers.processes import mean_over_processes
from arlab.tokenizers.quantizers.bits import bit_entropy, check_options, mean_joint, signs, to_bits, to_ids
from arlab.tokenizers.quantizers.entropy import entropy, figures_of
from arlab.tokenizers.quantizers.quantizer import Codebook, Coded

_MOST_BITS = 18


class LFQ(Codebook):
    """Each channel becomes its sign; the signs together are the token, C bits.

    code = sign(z);  id = Σ_c 2^c [z_c > 0];  p_t = softmax_v(-τ |z_t - code_v|²), τ = inverse_temperature;
    loss = entropy_weight · (mean_t H(p_t) - diversity · H(mean_t p_t)) + commitment_weight · mean (z - code)²

    Both entropies are exact, over all codes: the bits of one p_t are independent, so H(p_t) is a sum over bits, and
    mean_t p_t is one product of two tables of (T, √V). The mean is that of all processes. Both are part of training
    only. The decoder's gradient passes straight through. ``tokenizer.token_width`` is the number of bits, at most 18.

    vector-quantize-pytorch's LFQ is what the tests compare with in one process; it is not used here: in
    distributed training its mean is divided by the number of processes without having been summed, its entropies
    fill T × V numbers, and their gradient ends where all probabilities are below 1e-5, which 18 bits are.

    Language Model Beats Diffusion -- Tokenizer is Key to Visual Generation (MAGVIT-v2), arXiv 2310.05737.

    Args:
        entropy_weight: of both entropies, in nats; 0 for none.
        diversity: of the entropy of the mean over that of single latents.
        inverse_temperature: τ, per squared distance.
        commitment_weight: how strongly latents are drawn to their codes.
    """

    zero: Tensor

    def __init__(
        self,
        *,
        entropy_weight: float = 0.1,
        diversity: float = 1.0,
        inverse_temperature: float = 100.0,
        commitment_weight: float = 0.25,
    ) -> None:
        super().__init__()
        check_options(entropy_weight, diversity, inverse_temperature, commitment_weight)
        self.entropy_weight = entropy_weight
        self.diversity = diversity
        self.inverse_temperature = inverse_temperature
        self.commitment_weight = commitment_weight

    def create(self, width: int) -> None:
        if not 1 <= width <= _MOST_BITS:
            why = "LFQ has one bit per channel and counts with every code, so it"
            raise ValueError(
                f"tokenizer.token_width: {why} must be in 1 .. {_MOST_BITS}, got {width}; for more bits there is BSQ"
            )
        self.width = width
        self.codebook_size = 2**width
        self.register_buffer("zero", torch.zeros(()), persistent=False)  # its dtype is that of the codes

    def lookup(self, ids: Tensor) -> Tensor:
        return signs(to_bits(ids, self.width), self.zero.dtype)

    def quantise(self, z_TC: Tensor) -> Coded:
        bits_TC = z_TC > 0
        code_TC = signs(bits_TC, z_TC.dtype)
        regularizer = z_TC.new_zeros(())
        figures: Mapping[str, Tensor] = {}
        if self.training:
            # The softmax over all codes is a product of one sigmoid per bit: |z - 1|² and |z + 1|² differ by 4 z.
            logit_TC = 4 * self.inverse_temperature * z_TC
            sample = bit_entropy(logit_TC).sum(-1).mean()
            batch = entropy(mean_over_processes(mean_joint(logit_TC.sigmoid())))
            regularizer = self.entropy_weight * (sample - self.diversity * batch)
            figures = figures_of(sample, batch)
        loss = self.commitment_weight * F.mse_loss(z_TC, code_TC) + regularizer
        straight_TC = z_TC + (code_TC - z_TC).detach()
        return Coded(to_ids(bits_TC), straight_TC, code_TC, loss, regularizer, figures)
