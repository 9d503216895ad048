"""MyHead: from which distribution a token is drawn.

    pytest plugins/test_my_head.py
    arlab fit --config GENERATOR.yaml --model.head MyHead --model.tokenizer RUN

RUN is that of a KLTokenizer, whose tokens are vectors; a head over codes has space.codebook_size of them.
Add --plugins plugins/my_head.py where the file is not in the folder plugins/ of the working directory.

Letters: B batch, S slots, M tokens predicted, D width of a hidden vector, C width of a token.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from arlab.heads.head import Head, Predict, Predicted, Sampling, embeds
from arlab.orderings.ordering import Drawn
from arlab.orderings.step import Kind, Step
from arlab.precision import upcast
from arlab.ranges import require
from arlab.rng import Noise, Rng
from arlab.tokens import TokenSpace


class MyHead(Head):
    """p(token) = N(token; W h, std²): continuous tokens, squared error, an exact likelihood.

    Args:
        std: of the distribution; small, and draws are sharp.
    """

    # Whether top-k and top-p mean something to it; where not, they are refused.
    truncates = False

    # The constructor is the configuration: {class_path: MyHead, init_args: {std: 0.5}}.
    def __init__(self, *, std: float = 1.0) -> None:
        super().__init__()
        require("head.std", std, above=0)
        self.std = std

    # Weights are made here, where their sizes are known.
    def bind(self, width: int, space: TokenSpace, ways: int, *, carries: frozenset[Kind]) -> None:
        if space.discrete:
            raise ValueError("head: MyHead needs continuous tokens (a KLTokenizer's), this tokenizer has a codebook")
        self.input = nn.Linear(space.width, width) if embeds(carries) else None
        # One output per way: most orderings have one, NextNeighbor has one per axis.
        self.outputs = nn.ModuleList(nn.Linear(width, space.width) for _ in range(ways))

    def embed(self, tokens: Tensor) -> Tensor:
        # What a slot that carries a token is fed with: (B, S, C) to (B, S, D).
        assert self.input is not None
        h_BSD: Tensor = self.input(tokens)
        return h_BSD

    def mean(self, predicted: Predicted, guidance_scale: float = 1.0) -> Tensor:
        """W h, exaggerated by guidance: u + s (c - u), (B, M, C)."""
        mean_BMC = upcast(predicted.conditional.mix(list(self.outputs)))
        if predicted.unconditional is None or guidance_scale == 1.0:
            return mean_BMC
        free_BMC = upcast(predicted.unconditional.mix(list(self.outputs)))
        return free_BMC + guidance_scale * (mean_BMC - free_BMC)

    def log_prob(self, predict: Predict, step: Step, target: Tensor) -> Tensor:
        # Nats (B, M). A head without an exact likelihood leaves this method out.
        z_BMC = (upcast(target) - self.mean(predict())) / self.std
        return -(0.5 * z_BMC.square() + math.log(self.std) + 0.5 * math.log(2 * math.pi)).sum(-1)

    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        return -self.log_prob(predict, step, target)

    def draw(self, predict: Predict, step: Step, guidance_scale: float, sampling: Sampling, noise: Noise) -> Drawn:
        mean_BMC = self.mean(predict(), guidance_scale)
        # Noise belongs to the token, so that a sample is the same in any batch.
        normal_BMC = noise.normal(step.read.token, mean_BMC.shape[-1])
        return Drawn(mean_BMC + sampling.temperature * self.std * normal_BMC)
