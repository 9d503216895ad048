"""The flow head: a token is the end of a path from noise to data, whose velocity a denoiser says.

Letters: B batch, M tokens predicted, K noised copies of a token, C token vector width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from arlab.heads.denoiser import Denoise, Denoiser
from arlab.heads.denoising import DenoisingHead, repeated
from arlab.heads.head import Predict, Sampling
from arlab.heads.solvers import Euler, Solver
from arlab.heads.time_draws import TimeDraw, UniformTime
from arlab.heads.time_grids import EvenTimes, TimeGrid
from arlab.orderings.ordering import Drawn
from arlab.orderings.step import Step
from arlab.precision import upcast
from arlab.ranges import require
from arlab.rng import Noise, Rng

BOUND_FROM = 1e-3
"""t0, the smallest time that ``FlowHead.bound`` looks at."""


class FlowHead(DenoisingHead):
    """Rectified flow: x_t = (1 - t) x + t ε; the denoiser learns the velocity v = ε - x, and dx/dt = v leads back.

    The loss is the mean squared error of the velocity over a token's values. Guidance exaggerates the velocity,
    u + s (c - u), for times from ``guided_from`` to ``guided_until``; temperature multiplies the noise a draw begins
    with. Top-k and top-p have no meaning here: samplers refuse them. There is no exact likelihood, but a bound.

    Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow, arXiv 2209.03003; Applying
    Guidance in a Limited Interval Improves Sample and Distribution Quality in Diffusion Models, arXiv 2404.07724.

    Args:
        denoiser: the network; by default ``TokenMLP``, or ``BackboneDenoiser`` where the ordering feeds noised slots.
        time_draw: which times are trained on.
        solver: how the path is followed.
        times: at which times the solver looks.
        guided_from: the earliest time that is guided; clearer values are not.
        guided_until: the latest time that is guided; noisier values are not.
        repeats: K, how often each token is noised in a training step; where the backbone is the network, that many
            passes.
        bound_looks: at how many times, t0 aside, the bound looks in validation; 0 for no bound. Where the backbone is
            the network, each look is a pass.
        init_std: standard deviation of the initial weights that embed tokens.
    """

    def __init__(
        self,
        *,
        denoiser: Denoiser | None = None,
        time_draw: TimeDraw | None = None,
        solver: Solver | None = None,
        times: TimeGrid | None = None,
        guided_from: float = 0.0,
        guided_until: float = 1.0,
        repeats: int = 1,
        bound_looks: int = 8,
        init_std: float = 0.02,
    ) -> None:
        super().__init__(denoiser=denoiser, repeats=repeats, bound_looks=bound_looks, init_std=init_std)
        require("head.guided_from", guided_from, at_least=0, at_most=1)
        require("head.guided_until", guided_until, at_least=guided_from, at_most=1)
        self.time_draw = UniformTime() if time_draw is None else time_draw
        self.solver = Euler() if solver is None else solver
        self.times = EvenTimes() if times is None else times
        self.guided_from = guided_from
        self.guided_until = guided_until

    @property
    def outputs_per_value(self) -> int:
        return 1

    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        target = upcast(target)
        # Drawn where random numbers are, on the CPU: not every device can invert every distribution.
        time_BMK = self.time_draw(rng.uniform(target.shape[1], self.repeats)).to(target)
        return self.loss_at(predict, step, target, time_BMK, self.noise_for(target, rng))

    def loss_at(self, predict: Predict, step: Step, target: Tensor, time_BMK: Tensor, noise_BMKC: Tensor) -> Tensor:
        """The loss (B, M) at given times and noise."""
        denoise, time_BMK = self.network.look(predict, step), self.shared(time_BMK, step)
        return _error(denoise, target, time_BMK, noise_BMKC).square().mean((-1, -2))

    def draw(self, predict: Predict, step: Step, guidance_scale: float, sampling: Sampling, noise: Noise) -> Drawn:
        denoise = self.network.look(predict, step)

        def velocity(x: Tensor, time: float) -> Tensor:
            time_BM1 = x.new_full(x.shape[:3], time)
            scale = guidance_scale if self.guided_from <= time <= self.guided_until else 1.0
            return denoise(x.float(), time_BM1).guided(scale).to(x)

        def fresh(number: int) -> Tensor:
            return sampling.temperature * self.start(step, noise, number + 1)

        begin_BM1C = sampling.temperature * self.start(step, noise)
        # Sums over many small steps are kept in float64, as published samplers do, where the device has it; what the
        # network is shown is float32, so that this costs next to nothing.
        begin_BM1C = begin_BM1C if begin_BM1C.device.type == "mps" else begin_BM1C.double()
        return Drawn(self.solver(velocity, begin_BM1C, self.times(), fresh)[:, :, 0].float())

    def bound(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor | None:
        """A draw (B, M) whose mean is a lower bound on a log-likelihood of the true tokens, in nats.

        That of the diffusion that undoes the same noise by the same velocities, in infinitely many steps that each add
        some; ``draw`` adds none and follows the same densities as far as the velocities are exact. With e = v̂ - v,
        the network's error, and s0 = t0 / (1 - t0):

            -log p(x) <= ∫_t0^1 (1 - t) / t E|e|² dt + (1 - t0)² / 2 E|e(t0)|² + C log s0 + C / 2 log 2π

        The integral is the variational bound in continuous time; at t = 1 nothing is left of x. The rest is what it
        costs to say x given x_t0, by a Gaussian of deviation s0 around what the network makes of it; a density that
        varies within s0 is told as if it were blurred by that. Times are drawn evenly in log t, one from each of
        ``bound_looks`` equal parts; None where that is 0. Off |e|² is taken, at no change of its mean, what |ε|² has by
        chance. Noise of some nats a token is left: look at means over many images.

        Variational Diffusion Models, arXiv 2107.00630.
        """
        if self.bound_looks == 0:
            return None
        target = upcast(target)
        (batch, tokens, width), most = target.shape, math.log(1 / BOUND_FROM)
        part_K = torch.arange(self.bound_looks, device=target.device)
        share_BMK = (part_K + rng.uniform(tokens, self.bound_looks).to(target)) / self.bound_looks
        first_BM1 = target.new_full((batch, tokens, 1), BOUND_FROM)
        time_BMK = self.shared(torch.cat((first_BM1, (-most * share_BMK).exp()), -1), step)
        denoise, errors = self.network.look(predict, step), []
        # One look after the other, so that it takes no more memory than training.
        for time_BM1 in time_BMK.split(1, -1):
            noise_BM1C = rng.normal(tokens, 1, width).to(target)
            square_BM1 = _error(denoise, target, time_BM1, noise_BM1C).square().sum(-1)
            # The noise's share of the error where the network is exact and tokens are standard normal.
            clean_BM1 = 1 - time_BM1
            share_BM1 = (clean_BM1 / (clean_BM1.square() + time_BM1.square())).square()
            errors.append(square_BM1 - share_BM1 * (noise_BM1C.square().sum(-1) - width))
        error_BMK = torch.cat(errors, -1)
        path_BM = most * ((1 - time_BMK) * error_BMK)[..., 1:].mean(-1)
        std = BOUND_FROM / (1 - BOUND_FROM)
        end_BM = 0.5 * (1 - BOUND_FROM) ** 2 * error_BMK[..., 0] + width * math.log(std * math.sqrt(2 * math.pi))
        return -path_BM - end_BM


def _error(denoise: Denoise, target_BMC: Tensor, time_BMK: Tensor, noise_BMKC: Tensor) -> Tensor:
    """Velocity said minus velocity, (B, M, K, C), of copies noised to these times."""
    data_BMKC = repeated(target_BMC, noise_BMKC.shape[2])
    noisy_BMKC = data_BMKC.lerp(noise_BMKC, time_BMK[..., None])
    return denoise(noisy_BMKC, time_BMK).conditional - (noise_BMKC - data_BMKC)
