"""FlowAR (arXiv 2412.15205): next-scale prediction of continuous tokens, each scale drawn by a flow over all of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from unittest.mock import patch

import torch
from torch import Tensor

from arlab.checkpoints.flowar import FlowAR
from arlab.generators.generator import Generator
from arlab.generators.guidance import LinearGuidance
from arlab.generators.sampler import Sampler
from arlab.heads.flow import FlowHead
from arlab.heads.head import Hidden, Predict, Predicted, Sampling
from arlab.heads.two_pace_times import TwoPaceTimes
from arlab.orderings.ordering import Drawn, Prefix
from arlab.orderings.step import Read, Step
from arlab.rng import BatchRng, Noise
from tests.goldens import golden, golden_table
from tests.parity.grid_tokenizer import GridTokenizer
from tests.parity.llama import released
from tests.parity.measured import Measured, Meter

METER = Meter("FlowAR")
IO, MODEL, CONFIG = "flowarA_io", "flowarA_model_fp16", "flowarA_config"
FAMILY = FlowAR(scales=[1, 2, 4, 8, 16])
CLASSES, CFG = 1000, 2.5


def published() -> Generator:
    weights = golden(MODEL)
    # Of the table of classes only rows are recorded.
    rows, index = weights.pop("class_emb.rows"), weights.pop("class_emb.row_index")
    weights["class_emb.weight"] = rows.new_zeros(CLASSES + 1, rows.shape[1]).index_copy(0, index, rows)
    return released(FAMILY, weights, GridTokenizer((16, 16), 16, num_classes=CLASSES))


def recorded(measure: Callable[[], Iterator[Measured]]) -> Callable[[], Iterator[Measured]]:
    """By the frequencies of the recording, which were rounded to half precision as its weights were."""

    @functools.wraps(measure)
    def wrapped() -> Iterator[Measured]:
        old = golden(MODEL)
        both = old["encoder_blocks.0.attn.rope.freqs"], old["flownet.res_blocks.0.attn.rope.freqs"]
        known = {len(each): each for each in both}
        with patch("arlab.rotation.frequencies", lambda pairs, base, device: known[pairs].to(device)):
            return iter(list(measure()))

    return wrapped


def _teacher(generator: Generator) -> tuple[Predict, Step, Tensor]:
    """The pass, its plan and the tokens of all scales."""
    io = golden(IO)
    tokens = generator.tokenizer.encode(io["latents"])
    condition = generator.conditioner(io["labels"])
    step = generator.ordering.teacher(generator.layout, condition.prefix, BatchRng(0, 2), tokens.device)
    return generator.teacher_predict(step, tokens, condition), step, tokens


def conditions() -> Iterator[Measured]:
    """What the backbone says of each scale."""
    io, generator = golden(IO), published()
    predict, step, _ = _teacher(generator)
    yield METER.exact("order", step.read.token, torch.arange(341))
    z_BND = predict().conditional.ways[0]
    for level in range(5):
        z_BnD = z_BND[:, generator.layout.tokens(level)]
        yield METER.close(f"z of scale {level}", z_BnD, io[f"z_{level}"], atol=5e-5)


def _losses(generator: Generator) -> Tensor:
    """Of each token, (B, N), at the recorded times and noise."""
    io = golden(IO)
    predict, step, tokens = _teacher(generator)
    assert isinstance(generator.head, FlowHead)
    time = torch.cat([io[f"t_{level}"].expand(-1, size, -1) for level, size in enumerate(generator.layout.sizes)], 1)
    noise = torch.cat([io[f"noise_{level}"] for level in range(5)], 1)
    return generator.head.loss_at(predict, step, tokens, time, noise[:, :, None])


def losses() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    loss_BN = _losses(generator)
    for level in range(5):
        loss_B = loss_BN[:, generator.layout.tokens(level)].mean(1)
        yield METER.close(f"loss of scale {level}", loss_B, io[f"loss_per_sample_{level}"], rtol=1e-5)
    # n_s / 256 of the mean of a scale is every token's loss over 256.
    yield METER.close("loss", loss_BN.sum(1).mean()[None] / 256, io["train_loss"], rtol=1e-5)


def gradients() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    (_losses(generator).sum(1).mean() / 256).backward()
    ours = {name: weight.grad for name, weight in generator.named_parameters() if weight.grad is not None}
    theirs = FAMILY.names(generator).published(ours)
    norms = torch.stack([theirs[name].double().norm() for name in golden_table(CONFIG)["grad_norm_names"]])
    yield METER.close("gradient norms", norms, io["grad_norms"], atol=1e-7, rtol=1e-3)


def times() -> Iterator[Measured]:
    io, grid = golden(IO), torch.tensor(TwoPaceTimes()(), dtype=torch.float64)
    yield METER.exact("times of the solver", grid.float(), io["t_steps"])
    yield METER.exact("times embedded", (1000 * grid.float()[:-1]).floor().long(), io["t_steps_int"])
    for level in range(5):
        drawn = (1000 * io[f"t_{level}"].flatten()).floor().long()
        yield METER.exact(f"times trained on, scale {level}", drawn, io[f"t_int_{level}"])


def velocity() -> Iterator[Measured]:
    """The flow network alone, on one scale."""
    io, generator = golden(IO), published()
    level = int(io["head_scale_index"])
    steps = list(generator.ordering.steps(generator.layout, Prefix(1), BatchRng(0, 2)))
    own = torch.arange(len(steps[level].read))
    hidden = Hidden((io[f"z_{level}"],), Read.own(steps[level].read.token, own), generator.layout)

    def predict(noisy: Tensor | None = None, time: Tensor | None = None) -> Predicted:
        return Predicted(hidden)

    assert isinstance(generator.head, FlowHead)
    denoise = generator.head.network.look(predict, steps[level])
    noisy, time = io["head_xt"][:, :, None], io[f"t_{level}"].expand(-1, len(own), -1)
    yield METER.close("velocity", denoise(noisy, time).conditional[:, :, 0], io["head_v"], atol=5e-5)


class Published(Noise):
    """The recorded noise in place of noise of one's own, (B, N, C)."""

    def __init__(self, noise_BNC: Tensor) -> None:
        super().__init__(range(len(noise_BNC)), noise_BNC.shape[1])
        self.noise_BNC = noise_BNC

    def normal(self, token: Tensor, width: int, draw: int = 0) -> Tensor:
        return self.noise_BNC[:, token]


def samples() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    guidance = LinearGuidance(start=1, end=CFG)
    # The first rows are of the images, the others of the halves without a class, which their sampler begins apart.
    noise = Published(torch.cat([io[f"sample_noise_{level}"][:2] for level in range(5)], 1))
    for use_cache in (True, False):
        suffix = "" if use_cache else ", no cache"
        seen: list[Predicted] = []

        def draw(predict: Predict, step: Step, seen: list[Predicted] = seen) -> Drawn:
            assert step.progress is not None
            seen.append(predict())
            return generator.head.draw(lambda: seen[-1], step, guidance.scale(step.progress), Sampling(), noise)  # type: ignore[arg-type]

        sampler = Sampler(guidance=guidance, use_cache=use_cache)
        *_, last = sampler.decode(generator, io["labels"], seeds=range(2), draw=draw)
        for level in range(5):
            halves = seen[level].conditional, seen[level].unconditional
            z = torch.cat([half.ways[0][:, half.read.slot[:, 0]] for half in halves if half is not None])
            drawn = last.tokens[:, generator.layout.tokens(level)]
            yield METER.close(f"z, sampling scale {level}{suffix}", z, io[f"sample_z_{level}"], atol=1e-4)
            yield METER.close(f"scale {level} sampled{suffix}", drawn, io[f"sample_out_{level}"][:2], atol=1e-4)
        (latent,) = generator.tokenizer.canvases(last.tokens, [5])
        yield METER.close(f"latent sampled{suffix}", latent, io["sample_latent"], atol=1e-4)


QUANTITIES = tuple(map(recorded, (conditions, losses, gradients, times, velocity, samples)))
