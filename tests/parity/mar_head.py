"""MAR's diffusion head (arXiv 2406.11838): its loss, its steps, its draws, with the published noise."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from arlab.generators.generator import Generator
from arlab.heads.denoiser import Denoised
from arlab.heads.diffusion import DiffusionHead, nats
from arlab.heads.diffusion_samplers import Ancestral
from arlab.heads.head import Hidden, Predict, Predicted, Sampling
from arlab.orderings.ordering import Prefix
from arlab.orderings.raster import Raster
from arlab.orderings.step import Layout, Read, Step
from arlab.rng import BatchRng, Noise
from tests.goldens import golden
from tests.parity import mar
from tests.parity.measured import Measured, Meter

METER = Meter("MAR head")
IO = "marA_io"


def published() -> tuple[Generator, DiffusionHead]:
    """The whole model and its head."""
    generator = mar.published()
    assert isinstance(generator.head, DiffusionHead)
    return generator, generator.head


class Published(Noise):
    """The recorded noise in place of noise of one's own: (B, N, C) to begin with, (S, B, N, C) for the steps."""

    def __init__(self, begin_BNC: Tensor, steps_SBNC: Tensor) -> None:
        super().__init__(range(len(begin_BNC)), begin_BNC.shape[1])
        self.draws = (begin_BNC, *steps_SBNC)

    def normal(self, token: Tensor, width: int, draw: int = 0) -> Tensor:
        return self.draws[draw][:, token]


def a_pass(num_tokens: int) -> Step:
    return Raster().training(Layout(((num_tokens,),)), Prefix(1), BatchRng(0, 1))


def told(z_BMD: Tensor, free_BMD: Tensor | None = None) -> Predict:
    """What the recorded backbone says of tokens in their order."""
    layout = Layout(((z_BMD.shape[1],),))
    read = Read.own(torch.arange(z_BMD.shape[1]), torch.arange(z_BMD.shape[1]))

    def predict(noisy: Tensor | None = None, time: Tensor | None = None) -> Predicted:
        free = None if free_BMD is None else Hidden((free_BMD,), read, layout)
        return Predicted(Hidden((z_BMD,), read, layout), free)

    return predict


def copies(recorded: Tensor, batch: int) -> Tensor:
    """Recorded copy by copy, (K B M, ...) to (B, M, K, ...)."""
    return recorded.unflatten(0, (2, batch, -1)).movedim(0, 2)


def training() -> Iterator[Measured]:
    io, (generator, head) = golden(IO), published()
    target, step, predict = io["patchified"], a_pass(64), told(io["decoder_z"])
    index, noise = copies(io["t"], 3), copies(io["noise"], 3)
    level = head.levels.at(index, target)
    yield METER.close("signal", head.levels.signal, io["sqrt_alphas_cumprod"], rtol=1e-5)
    data = target[:, :, None]
    noisy = level.signal * data + level.sigma * noise
    yield METER.close("noised tokens", noisy, copies(io["x_t"], 3), atol=2e-4, rtol=1e-4)
    said = head.network.look(predict, step)(copies(io["x_t"], 3), level.time[..., 0]).conditional
    yield METER.close("network", said, copies(io["net_out"], 3), atol=2e-4, rtol=1e-4)
    # At the first level the published bound counts bins of pixels, though latents are none; arlab's is a density.
    later = index > 0
    error = (said.chunk(2, -1)[0] - noise).square().mean(-1)
    yield METER.close("squared error", error, copies(io["loss_mse"], 3), atol=1e-6, rtol=1e-5)
    guess = head._guess(Denoised(said), noisy, level)
    bits = nats(data, guess, level).mean(-1) / math.log(2)
    yield METER.close("bound", bits[later], copies(io["loss_vb"], 3)[later], atol=2e-6, rtol=1e-4)
    loss = head.terms_at(predict, step, target, index, noise)
    yield METER.close("loss", loss[later], copies(io["loss_per_token"], 3)[later], atol=2e-6, rtol=1e-5)
    counted = later * io["mask"][..., None]
    total = (loss * counted).sum() / counted.sum()
    yield METER.close("mean loss", total, io["loss_for_grad"], rtol=1e-5)
    total.backward()
    theirs = mar.gradients_of(generator)
    for key in ("final_layer.linear.weight", "res_blocks.0.adaLN_modulation.1.weight"):
        name = f"diffloss.net.{key}"
        yield METER.scaled(f"∂ loss / ∂ {key}", theirs[name], io[f"grad.{name}"], 1e-3)


@torch.no_grad()
def steps() -> Iterator[Measured]:
    io, (_, head) = golden(IO), published()
    assert head.sampled.index.tolist() == io["gen_timestep_map"].tolist()
    levels = head.sampled.all(io["ps_x"])
    noisy, fresh = io["ps_x"][:, None, None], io["ps_noise"][:, None, None]
    denoise = head.network.look(told(io["head_z_cond"][:, None]), a_pass(1))
    for row, number in enumerate(io["ps_t_index"].tolist()):
        guess = head._guess(denoise(noisy, levels[number].time.expand(6, 1, 1)), noisy, levels[number])
        yield METER.scaled(f"data at level {number}", guess.data[:, 0, 0], io["ps_pred_xstart"][row], 1e-5)
        for temperature in (1.0, 0.7) if number else ():
            stepped = Ancestral().step(noisy, guess, levels[number], lambda: fresh, temperature)
            expected = io[f"ps_sample_temp{temperature}"][row]
            yield METER.scaled(f"step from level {number}, temperature {temperature}", stepped[:, 0, 0], expected, 1e-5)


@torch.no_grad()
def draws() -> Iterator[Measured]:
    io, (_, head) = golden(IO), published()
    noise = Published(io["head_init_noise"][:, None], io["head_step_noise"][:, :, None])
    predict = told(io["head_z_cond"][:, None], io["head_z_uncond"][:, None])
    for name, scale, temperature in (("nocfg_t1", 1.0, 1.0), ("nocfg_t09", 1.0, 0.9), ("cfg3_t1", 3.0, 1.0)):
        drawn = head.draw(predict, a_pass(1), scale, Sampling(temperature), noise).tokens[:, 0]
        yield METER.scaled(f"draws, {name}", drawn, io[f"head_sample_{name}"], 1e-4)


QUANTITIES = (training, steps, draws)
