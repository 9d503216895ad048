"""Pyramids, heads and quantizers that break one law each.

Letters: B batch, M tokens predicted, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from arlab.heads.discrete import DiscreteHead, draw_from_logits
from arlab.heads.head import Head, Predict, Predicted, Sampling, embeds
from arlab.orderings.ordering import Drawn
from arlab.orderings.step import Kind, Layout, Step
from arlab.pyramids.depth import DepthPyramid
from arlab.pyramids.pyramid import Refine
from arlab.pyramids.scale import ScalePyramid
from arlab.rng import Noise, Rng
from arlab.tokenizers.quantizers.fsq import FSQ
from arlab.tokenizers.quantizers.quantizer import Quantized
from arlab.tokens import TokenSpace

# ---- pyramids


class EndsEarly(ScalePyramid):
    def layout(self, shape: tuple[int, ...]) -> Layout:
        return Layout(super().layout(shape).shapes[:-1])


class Shrinks(ScalePyramid):
    def layout(self, shape: tuple[int, ...]) -> Layout:
        *below, last = super().layout(shape).shapes
        return Layout((*reversed(below), last))


class SharesTwice(DepthPyramid):
    def share(self, z: Tensor, level: int) -> Tensor | None:
        return z if level < 2 else None


class Loses(ScalePyramid):
    def down(self, rest: Tensor, level: int) -> Tensor:
        return 0.9 * super().down(rest, level)


class AddsUpWrong(ScalePyramid):
    def contributions(
        self, levels: Sequence[Tensor], shape: tuple[int, ...], refine: Refine | None = None
    ) -> list[Tensor]:
        return [2 * part for part in super().contributions(levels, shape, refine)]


class LeadsAway(ScalePyramid):
    def up(self, values: Tensor, level: int, shape: tuple[int, ...]) -> Tensor:
        whole = super().up(values, level, shape)
        return -2 * whole if level == len(self.layout(shape).shapes) - 2 else whole


class MixesLatents(ScalePyramid):
    def down(self, rest: Tensor, level: int) -> Tensor:
        return super().down(rest - 0.1 * rest.mean(0) if level == 0 else rest, level)


class Detached(ScalePyramid):
    def down(self, rest: Tensor, level: int) -> Tensor:
        below = super().down(rest, level)
        return below.detach() if level == 0 else below


class Unwritable(ScalePyramid):
    def __init__(self, *, change: Callable[[Tensor], Tensor] = torch.clone) -> None:
        super().__init__()
        self.change = change


# ---- heads


class HasIdleWeights(DiscreteHead):
    def bind(self, width: int, space: TokenSpace, ways: int, *, carries: frozenset[Kind]) -> None:
        super().bind(width, space, ways, carries=carries)
        self.idle = nn.Linear(2, 2)


class NeverLearns(DiscreteHead):
    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        return super().loss(predict, step, target, rng) * torch.nan


class Unnormalised(DiscreteHead):
    def log_prob(self, predict: Predict, step: Step, target: Tensor) -> Tensor:
        return self.logits(predict()).gather(-1, target[..., None])[..., 0]


class CountsDouble(DiscreteHead):
    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        return 2 * super().loss(predict, step, target, rng)


class Draws(DiscreteHead):
    def draw(self, predict: Predict, step: Step, guidance_scale: float, sampling: Sampling, noise: Noise) -> Drawn:
        logits_BMV = self.logits(predict(), guidance_scale)
        return draw_from_logits(logits_BMV, self.sharpness(sampling), self.uniform(noise.uniform(step.read.token)))

    def sharpness(self, sampling: Sampling) -> Sampling:
        return sampling

    def uniform(self, uniform_BM: Tensor) -> Tensor:
        return uniform_BM


class DrawsGlobally(Draws):
    def uniform(self, uniform_BM: Tensor) -> Tensor:
        return torch.rand_like(uniform_BM)


class SharesNoise(Draws):
    def uniform(self, uniform_BM: Tensor) -> Tensor:
        return uniform_BM.roll(1, 0)


class DrawsTooFlat(Draws):
    def sharpness(self, sampling: Sampling) -> Sampling:
        return Sampling(3 * sampling.temperature)


class NeverGreedy(Draws):
    def sharpness(self, sampling: Sampling) -> Sampling:
        return Sampling(sampling.temperature or 1.0)


class GuidesTooMuch(DiscreteHead):
    def logits(self, predicted: Predicted, guidance_scale: float = 1.0) -> Tensor:
        return super().logits(predicted, guidance_scale + 1 if predicted.unconditional else 1.0)


class IgnoresGuidance(DiscreteHead):
    def logits(self, predicted: Predicted, guidance_scale: float = 1.0) -> Tensor:
        return super().logits(Predicted(predicted.conditional))


class Gauss(Head):
    """Continuous tokens, each number with a Gaussian of its own, whose density is ``scale`` times too large.

    Draws are ``spread`` times too wide, bounds ``above`` nats too large.
    """

    def __init__(self, *, scale: float = 1.0, spread: float = 1.0, above: float = 0.0) -> None:
        super().__init__()
        self.scale = scale
        self.spread = spread
        self.above = above

    def bind(self, width: int, space: TokenSpace, ways: int, *, carries: frozenset[Kind]) -> None:
        if space.discrete:
            raise ValueError("head: Gauss needs continuous tokens")
        self.input = nn.Linear(space.width, width) if embeds(carries) else None
        self.outputs = nn.ModuleList(nn.Linear(width, space.width) for _ in range(ways))

    def embed(self, tokens: Tensor) -> Tensor:
        assert self.input is not None
        return self.input(tokens)

    def log_prob(self, predict: Predict, step: Step, target: Tensor) -> Tensor:
        mean_BMC = predict().conditional.mix(list(self.outputs))
        density_BMC = torch.distributions.Normal(mean_BMC, 1.0).log_prob(target)
        return density_BMC.sum(-1) + torch.tensor(self.scale).log()

    def bound(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        return self.log_prob(predict, step, target) + self.above

    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        return -self.log_prob(predict, step, target)

    def draw(self, predict: Predict, step: Step, guidance_scale: float, sampling: Sampling, noise: Noise) -> Drawn:
        predicted = predict()
        mean_BMC = predicted.conditional.mix(list(self.outputs))
        if predicted.unconditional is not None:
            free_BMC = predicted.unconditional.mix(list(self.outputs))
            mean_BMC = free_BMC + guidance_scale * (mean_BMC - free_BMC)
        spread = self.spread * sampling.temperature
        return Drawn(mean_BMC + spread * noise.normal(step.read.token, mean_BMC.shape[-1]))


class BoundsTogether(Gauss):
    """Bounds a likelihood by the mean over the batch."""

    def bound(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        own = super().bound(predict, step, target, rng)
        return own.mean(0, keepdim=True).expand_as(own)


# ---- quantizers


class CountsFromOne(FSQ):
    def forward(self, z: Tensor) -> Quantized:
        right = super().forward(z)
        assert self.codebook_size is not None
        return Quantized(right.vectors, right.tokens + self.codebook_size, right.loss)


class LooksUpWrong(FSQ):
    def vectors(self, tokens: Tensor) -> Tensor:
        return super().vectors(tokens).flip(1)
