"""The flow head: a token is the end of a path from noise to data, whose velocity a denoiser says.

Letters: B batch, M tokens predicted, K noised copies of a token, C token vector width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from arlab.heads.denoiser import Denoiser
from arlab.heads.denoising import DenoisingHead, repeated
from arlab.heads.head import Predict, Sampling
from arlab.heads.solvers import Euler, Solver
from arlab.heads.time_draws import TimeDraw, UniformTime
from arlab.heads.time_grids import EvenTimes, TimeGrid
from arlab.orderings.ordering import Drawn
from arlab.orderings.step import Step
from arlab.ranges import require
from arlab.rng import Noise, Rng


class FlowHead(DenoisingHead):
    """Rectified flow: x_t = (1 - t) x + t ε; the denoiser learns the velocity v = ε - x, and dx/dt = v leads back.

    The loss is the mean squared error of the velocity over a token's values. Guidance exaggerates the velocity,
    u + s (c - u), for times up to ``guided_until``; temperature multiplies the noise a draw begins with. Top-k and
    top-p have no meaning here and are not looked at.

    Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow, arXiv 2209.03003.

    Args:
        denoiser: the network; by default ``TokenMLP``, or ``BackboneDenoiser`` where the ordering feeds noised slots.
        time_draw: which times are trained on.
        solver: how the path is followed.
        times: at which times the solver looks.
        guided_until: the latest time that is guided; noisier values are not.
        repeats: K, how often each token is noised in a training step.
        init_std: standard deviation of the initial weights that embed tokens.
    """

    def __init__(
        self,
        *,
        denoiser: Denoiser | None = None,
        time_draw: TimeDraw | None = None,
        solver: Solver | None = None,
        times: TimeGrid | None = None,
        guided_until: float = 1.0,
        repeats: int = 1,
        init_std: float = 0.02,
    ) -> None:
        super().__init__(denoiser=denoiser, repeats=repeats, init_std=init_std)
        require("head.guided_until", guided_until, at_least=0, at_most=1)
        self.time_draw = UniformTime() if time_draw is None else time_draw
        self.solver = Euler() if solver is None else solver
        self.times = EvenTimes() if times is None else times
        self.guided_until = guided_until

    @property
    def outputs_per_value(self) -> int:
        return 1

    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        uniform_BMK = rng.uniform(target.shape[1], self.repeats).to(target)
        return self.loss_at(predict, step, target, self.time_draw(uniform_BMK), self.noise_for(target, rng))

    def loss_at(self, predict: Predict, step: Step, target: Tensor, time_BMK: Tensor, noise_BMKC: Tensor) -> Tensor:
        """The loss (B, M) at given times and noise."""
        time_BMK = self.shared(time_BMK, step)
        data_BMKC = repeated(target, noise_BMKC.shape[2])
        noisy_BMKC = data_BMKC.lerp(noise_BMKC, time_BMK[..., None])
        velocity_BMKC = self.network.look(predict, step)(noisy_BMKC, time_BMK).conditional
        return (velocity_BMKC - (noise_BMKC - data_BMKC)).square().mean((-1, -2))

    def draw(self, predict: Predict, step: Step, guidance_scale: float, sampling: Sampling, noise: Noise) -> Drawn:
        denoise = self.network.look(predict, step)

        def velocity(noisy: Tensor, time: float) -> Tensor:
            time_BM1 = torch.full(noisy.shape[:3], time, dtype=torch.float32, device=noisy.device)
            scale = guidance_scale if time <= self.guided_until else 1.0
            return denoise(noisy.float(), time_BM1).guided(scale).to(noisy.dtype)

        def fresh(number: int) -> Tensor:
            return sampling.temperature * self.start(step, noise, number + 1)

        begin_BM1C = sampling.temperature * self.start(step, noise)
        return Drawn(self.solver(velocity, begin_BM1C, self.times(), fresh)[:, :, 0].float())
