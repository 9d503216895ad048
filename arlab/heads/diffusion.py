"""The diffusion head: a token is what is left when noise has been taken away level by level.

Letters: B batch, M tokens predicted, K noised copies of a token, C token vector width, P numbers per token that the
denoiser says, T noise levels that are trained on, S levels that are sampled through.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from arlab.heads.denoiser import Denoised, Denoiser
from arlab.heads.denoising import DenoisingHead, repeated
from arlab.heads.diffusion_samplers import Ancestral, DiffusionSampler, Guess
from arlab.heads.diffusion_targets import DiffusionTarget, PredictsVelocity
from arlab.heads.diffusion_variances import LearnedRange, StepVariance
from arlab.heads.head import Predict, Sampling
from arlab.heads.noise_levels import NoiseLevel, NoiseLevels
from arlab.heads.noise_schedules import CosineSchedule, NoiseSchedule
from arlab.orderings.ordering import Drawn
from arlab.orderings.step import Kind, Step
from arlab.precision import upcast
from arlab.ranges import require
from arlab.rng import Noise, Rng
from arlab.tokens import TokenSpace

_REPEATS = 4


class DiffusionHead(DenoisingHead):
    """Diffusion: x_t = √ᾱ_t x + √(1 - ᾱ_t) ε; p(x_{t-1} | x_t) is normal around what the denoiser takes for x.

    The loss is the mean squared error of the target over a token's values, and where the variance is learned the
    variational bound beside it. Guidance exaggerates the prediction, u + s (c - u), both of the same x_t; a learned
    variance is that of the condition. The denoiser is told t / T. Top-k and top-p have no meaning here:
    samplers refuse them.

    The defaults are MAR's but for the target: MAR's is PredictsNoise, with which a head that was not trained for long
    draws values of thousands, since an error of the noise counts 20,000 times at the last level of its schedule.

    Autoregressive Image Generation without Vector Quantization (MAR), arXiv 2406.11838.

    Args:
        denoiser: the network; by default ``TokenMLP``, or ``BackboneDenoiser`` where the ordering feeds noised slots.
        schedule: how much noise each of the T levels has.
        target: what the denoiser predicts.
        variance: of the steps from noise to data.
        sampler: how these steps are made.
        num_steps: S, how many levels are sampled through, evenly spaced; at most T.
        clip: draws are guided by data no farther from zero than this; null for no limit.
        repeats: K, how often each token is noised in a training step; by default 4, or once where the backbone is the
            network, since that takes as many passes.
        bound_looks: at how many noise levels of each token, the first aside, the bound looks in validation; 0 for no
            bound. Where the backbone is the network, each look is a pass.
        init_std: standard deviation of the initial weights that embed tokens.
    """

    def __init__(
        self,
        *,
        denoiser: Denoiser | None = None,
        schedule: NoiseSchedule | None = None,
        target: DiffusionTarget | None = None,
        variance: StepVariance | None = None,
        sampler: DiffusionSampler | None = None,
        num_steps: int = 100,
        clip: float | None = None,
        repeats: int | None = None,
        bound_looks: int = 16,
        init_std: float = 0.02,
    ) -> None:
        copies = _REPEATS if repeats is None else repeats
        super().__init__(denoiser=denoiser, repeats=copies, bound_looks=bound_looks, init_std=init_std)
        self._repeats_given = repeats is not None
        if clip is not None:
            require("head.clip", clip, above=0)
        self.schedule = CosineSchedule() if schedule is None else schedule
        self.target = PredictsVelocity() if target is None else target
        self.variance = LearnedRange() if variance is None else variance
        self.sampler = Ancestral() if sampler is None else sampler
        require("head.num_steps", num_steps, at_least=1, at_most=self.schedule.num_train_steps)
        self.num_steps = num_steps
        self.clip = clip
        # Numbers, not weights: they are there in a head that is built without memory, too.
        with torch.device("cpu"):
            betas = self.schedule.betas()
            self.levels = NoiseLevels(betas)
            self.sampled = NoiseLevels(betas, self.sampler.levels(len(betas), num_steps))

    @property
    def outputs_per_value(self) -> int:
        return 2 if self.variance.learned else 1

    def bind(self, width: int, space: TokenSpace, ways: int, *, carries: frozenset[Kind]) -> None:
        super().bind(width, space, ways, carries=carries)
        if not self._repeats_given and self.network.by_backbone:
            self.repeats = 1

    # ---- training

    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        number = len(self.levels)
        level_BMK = (rng.uniform(target.shape[1], self.repeats) * number).long().clamp(max=number - 1)
        return self.loss_at(predict, step, target, level_BMK, self.noise_for(target, rng))

    def loss_at(self, predict: Predict, step: Step, target: Tensor, level_BMK: Tensor, noise_BMKC: Tensor) -> Tensor:
        """The loss (B, M) at given levels (numbers below T, on the CPU) and noise."""
        return self.terms_at(predict, step, target, level_BMK, noise_BMKC).mean(-1)

    def terms_at(self, predict: Predict, step: Step, target: Tensor, level_BMK: Tensor, noise_BMKC: Tensor) -> Tensor:
        """The loss of every copy, (B, M, K)."""
        data, noisy, level = self._noised(target, self.shared(level_BMK, step), noise_BMKC)
        denoised = self.network.look(predict, step)(noisy, level.time[..., 0])
        said, of_variance = self._parted(denoised.conditional)
        error = said - self.target.of(data, upcast(noise_BMKC), level)
        loss_BMK = error.square().mean(-1)
        if not self.variance.learned:
            return loss_BMK
        # The mean is learned by the error alone.
        guess = Guess(self.target.data(said.detach(), noisy, level), self.variance.log(of_variance, level))
        return loss_BMK + self.variance.weight / math.log(2) * nats(data, guess, level).mean(-1)

    def bound(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor | None:
        """A draw (B, M) whose mean is a lower bound on the log-likelihood of the true tokens, in nats.

            -log p(x) <= KL(q(x_T | x) || N(0, 1)) + Σ_t KL(q(x_{t-1} | x_t, x) || p(x_{t-1} | x_t)) - log p(x | x_0)

        That of the chain through all T levels, whose last step is a draw from a normal density, too. Of the sum over
        t > 0 some levels are drawn: as often as log σ² grows there, which for standard normal data is what they are to
        tell, and spread evenly: ``bound_looks`` of them; None where that is 0. What |ε|² has by chance is taken off,
        at no change of the mean.
        """
        if self.bound_looks == 0:
            return None
        target = upcast(target)
        batch, tokens, width = target.shape
        chance = self.levels.sigma.log().diff()
        chance = chance / chance.sum()
        spread_BMK = (rng.uniform(tokens, self.bound_looks) + torch.arange(self.bound_looks)) / self.bound_looks
        part_BMK = torch.searchsorted(chance.cumsum(0), spread_BMK.double(), right=True).clamp(max=len(chance) - 1)
        level_BMK = self.shared(torch.cat((part_BMK.new_zeros(batch, tokens, 1), 1 + part_BMK), -1), step)
        denoise, terms = self.network.look(predict, step), []
        # One look after the other, so that it takes no more memory than training.
        for level_BM1 in level_BMK.split(1, -1):
            noise = rng.normal(tokens, 1, width).to(target)
            data, noisy, level = self._noised(target, level_BM1, noise)
            guess = self._guess(denoise(noisy, level.time[..., 0]), noisy, level)
            # The noise's share of the error where the network is exact and tokens are standard normal.
            share = 0.5 * (level.from_data * level.signal * level.sigma).square() * (-level.log_small).exp()
            terms.append((nats(data, guess, level) - share * (noise.square() - 1)).sum(-1))
        first_BM, nats_BMK = terms[0][..., 0], torch.cat(terms[1:], -1)
        sum_BM = (nats_BMK / chance[level_BMK[..., 1:] - 1].to(nats_BMK)).mean(-1)
        signal = float(self.levels.signal[-1]) ** 2
        end_BMC = 0.5 * (signal * target.square() - signal - math.log1p(-signal))
        return -(first_BM + sum_BM + end_BMC.sum(-1))

    def _noised(self, target: Tensor, level_BMK: Tensor, noise_BMKC: Tensor) -> tuple[Tensor, Tensor, NoiseLevel]:
        """Data, data noised to these levels, and what the levels are."""
        data_BMKC = repeated(upcast(target), noise_BMKC.shape[2])
        level = self.levels.at(level_BMK, data_BMKC)
        return data_BMKC, level.signal * data_BMKC + level.sigma * upcast(noise_BMKC), level

    # ---- drawing

    def draw(self, predict: Predict, step: Step, guidance_scale: float, sampling: Sampling, noise: Noise) -> Drawn:
        denoise = self.network.look(predict, step)
        x_BM1C = self.sampler.begin(self.start(step, noise), sampling.temperature)
        before: tuple[Guess, NoiseLevel] | None = None
        for number, level in enumerate(reversed(self.sampled.all(x_BM1C)), start=1):
            denoised = denoise(x_BM1C, level.time.expand(x_BM1C.shape[:3]))
            guess = self._guess(denoised, x_BM1C, level, guidance_scale)
            if number == len(self.sampled):
                break
            fresh = functools.partial(self.start, step, noise, number)
            ahead = guess if before is None else self.sampler.ahead(guess, level, before)
            x_BM1C = self.sampler.step(x_BM1C, ahead, level, fresh, sampling.temperature)
            before = guess, level
        return Drawn(guess.data[:, :, 0])

    def _guess(self, denoised: Denoised, noisy: Tensor, level: NoiseLevel, guidance_scale: float = 1.0) -> Guess:
        said, _ = self._parted(denoised.guided(guidance_scale))
        _, of_variance = self._parted(denoised.conditional)
        data = self.target.data(said, noisy, level)
        if self.clip is not None:
            data = data.clamp(-self.clip, self.clip)
        return Guess(data, self.variance.log(of_variance, level))

    def _parted(self, said: Tensor) -> tuple[Tensor, Tensor]:
        """What is said of the target and of the variance; of the target twice where it says nothing of the variance."""
        if not self.variance.learned:
            return said, said
        of_target, of_variance = said.chunk(2, -1)
        return of_target, of_variance


def nats(data: Tensor, guess: Guess, level: NoiseLevel) -> Tensor:
    """A level's part of the variational bound, in nats for each value.

    KL(q(x_{t-1} | x_t, x) || p(x_{t-1} | x_t)), and at the first level - log p(x | x_0).
    """
    log = guess.log_variance
    # At the first level the mean is the data itself: its weight is one.
    off = (level.from_data * (data - guess.data)).square() * (-log).exp()
    apart = level.log_small - log
    return 0.5 * (off + torch.where(level.first > 0, math.log(2 * math.pi) + log, apart.exp() - apart - 1))
