"""The bitwise head: every bit of a code by itself, for codebooks too large to list.

Letters: B batch, S slots, M tokens predicted, D width, V codebook size, d bits of a code, V = 2^d.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.heads.discrete import codebook_size, draw_from_logits, guided_logits
from arlab.heads.head import Head, Predict, Predicted, Sampling, embeds
from arlab.orderings.ordering import Drawn
from arlab.orderings.step import Kind, Step
from arlab.ranges import require
from arlab.rng import Noise, Rng
from arlab.tokens import TokenSpace


class BitwiseHead(Head):
    """p(code) = Π_i σ(s_i w_i h), s_i = ±1 the sign of bit i: given h the bits of a token are independent.

    For codes that are rows of bits, LFQ's and BSQ's; d outputs stand in for 2^d, and a token is embedded as a linear
    map of its signs. Of other codebooks of 2^d codes the bits mean nothing, which costs nats but is no error. A
    softmax over two logits a bit is the same with w the difference of its rows.

    The loss is the sum over bits in nats, minus the log-probability of the code, so that it compares with
    ``DiscreteHead``'s (Infinity takes the mean, a d-th of it). Guidance: logits u + s (c - u). Temperature, top-k and
    top-p apply to each bit, as in Infinity: top-k 1 takes the likelier value of each, top-p that of bits which are at
    least so likely to have it.

    Infinity: Scaling Bitwise AutoRegressive Modeling for High-Resolution Image Synthesis, arXiv 2412.04431.

    Args:
        bias: whether outputs have biases.
        zero_init: start the first way's output at zero, that is from a uniform distribution.
        init_std: standard deviation of other initial weights.
    """

    tells_probability = True

    def __init__(self, *, bias: bool = True, zero_init: bool = True, init_std: float = 0.02) -> None:
        super().__init__()
        require("head.init_std", init_std, at_least=0)
        self.bias = bias
        self.zero_init = zero_init
        self.init_std = init_std

    def bind(self, width: int, space: TokenSpace, ways: int, *, carries: frozenset[Kind]) -> None:
        size = codebook_size(self, space, carries)
        self.num_bits = size.bit_length() - 1
        if not 0 < self.num_bits < 63 or size != 1 << self.num_bits:
            raise ValueError(
                f"head: BitwiseHead needs a codebook of 2, 4, 8, ... 2^62 codes, this tokenizer has {size}; choose "
                "DiscreteHead, or a tokenizer whose codes are bits, e.g. with LFQ or BSQ"
            )
        self.embedding = nn.Linear(self.num_bits, width) if embeds(carries) else None
        self.outputs = nn.ModuleList(nn.Linear(width, self.num_bits, bias=self.bias) for _ in range(ways))
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=self.init_std)
            nn.init.zeros_(self.embedding.bias)
        for way, output in enumerate(self.outputs):
            assert isinstance(output, nn.Linear)
            nn.init.normal_(output.weight, std=0.0 if self.zero_init and way == 0 else self.init_std)
            if output.bias is not None:
                nn.init.zeros_(output.bias)

    def embed(self, tokens: Tensor) -> Tensor:
        assert self.embedding is not None, "the ordering did not say that it feeds tokens"
        h_BSD: Tensor = self.embedding(self.signs(tokens).to(self.embedding.weight.dtype))
        return h_BSD

    def signs(self, tokens: Tensor) -> Tensor:
        """1 for a bit that is set, -1 for one that is not, (..., d) int64; bit 0, the lowest, comes first."""
        bit = torch.arange(self.num_bits, device=tokens.device)
        return (tokens[..., None] >> bit) % 2 * 2 - 1

    def logits(self, predicted: Predicted, guidance_scale: float = 1.0) -> Tensor:
        """Guided logits of bits being set, (B, M, d), in float32 at least."""
        return guided_logits(predicted, list(self.outputs), guidance_scale)

    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        return -self._log_prob(predict(), target)

    def log_prob(self, predict: Predict, step: Step, target: Tensor) -> Tensor | None:
        return self._log_prob(predict(), target)

    def _log_prob(self, predicted: Predicted, target_BM: Tensor) -> Tensor:
        return F.logsigmoid(self.signs(target_BM) * self.logits(predicted)).sum(-1)

    def draw(self, predict: Predict, step: Step, guidance_scale: float, sampling: Sampling, noise: Noise) -> Drawn:
        logits_BMd = self.logits(predict(), guidance_scale)
        # Half for, half against: then a code's logit, whose softmax over all codes this is, is the sum of its bits'.
        logits_BMd2 = torch.stack((-logits_BMd / 2, logits_BMd / 2), dim=-1)
        uniform_BMd = torch.stack([noise.uniform(step.read.token, draw=i) for i in range(self.num_bits)], dim=-1)
        drawn = draw_from_logits(logits_BMd2.flatten(1, 2), sampling, uniform_BMd.flatten(1, 2))
        bits_BMd, log_prob_BMd, logit_BMd = (
            each.unflatten(1, logits_BMd.shape[1:]) for each in (drawn.tokens, drawn.log_prob, drawn.logit)
        )
        tokens_BM = (bits_BMd << torch.arange(self.num_bits, device=bits_BMd.device)).sum(-1)
        return Drawn(tokens_BM, log_prob_BMd.sum(-1), logit_BMd.sum(-1))
