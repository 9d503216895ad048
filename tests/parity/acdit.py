"""ACDiT (arXiv 2412.07720): blocks out of noise behind clean blocks, of which nothing is modulated.

The recording noises blocks to levels that have nothing to do with their times, so it says nothing of the schedule.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from arlab.backbones.mixed_axes import MixedAxes
from arlab.checkpoints.acdit import ACDiT
from arlab.generators.generator import Generator
from arlab.generators.sampler import Sampler
from arlab.heads.head import Predict
from arlab.orderings.ordering import Drawn, Prefix
from arlab.orderings.step import Kind, Step
from arlab.rng import BatchRng
from tests.goldens import golden
from tests.parity.grid_tokenizer import GridTokenizer
from tests.parity.llama import norm_of, released
from tests.parity.measured import Measured, Meter

METER = Meter("ACDiT")
IO = "acditA_io"
SIDE, BLOCK, TOKEN_WIDTH, HEAD_WIDTH = 8, 16, 4, 64
FAMILY = ACDiT(grid=[SIDE, SIDE], block=[4, 4])


def published() -> Generator:
    tokenizer = GridTokenizer((SIDE, SIDE), TOKEN_WIDTH, num_classes=10)
    return released(FAMILY, golden("acditA_state"), tokenizer)


def training_pass(generator: Generator) -> Step:
    return generator.ordering.teacher(generator.layout, Prefix(0), BatchRng(0, 2), torch.device("cpu"))


def raster(generator: Generator, blocks: Tensor) -> Tensor:
    """(B, blocks, tokens of a block, C) to (B, N, C)."""
    tokens = torch.empty_like(blocks.flatten(1, 2))
    tokens[:, training_pass(generator).read.token] = blocks.flatten(1, 2)
    return tokens


def teacher_forced() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    token = training_pass(generator).read.token
    yield METER.exact("places", generator.layout.cell_NA[token].T, io["position_ids"])
    said = noise_of(generator)
    yield METER.close("noise predicted", said, io["eps_pred"], atol=2e-4, rtol=1e-4)
    yield METER.close("loss", (said - io["noise"].flatten(1, 2)).square().mean(), io["loss"], rtol=1e-5)


def noise_of(generator: Generator) -> Tensor:
    """The noise the training pass says, (B, M, C), of what was recorded as noised, in the order of the pass."""
    io, step = golden(IO), training_pass(generator)
    predict = generator.teacher_predict(step, raster(generator, io["clean"]), generator.conditioner(io["y"]))
    time_BM1 = io["t"].repeat_interleave(BLOCK, 1)[..., None] / 1000
    noisy_BM1C = io["noised"].flatten(1, 2)[:, :, None]
    return generator.head.network.look(predict, step)(noisy_BM1C, time_BM1).conditional[:, :, 0]


def gradients() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    (noise_of(generator) - io["noise"].flatten(1, 2)).square().mean().backward()
    ours = {name: weight.grad for name, weight in generator.named_parameters() if weight.grad is not None}
    theirs = FAMILY.names(generator).published(ours)
    for key in sorted(key for key in io if key.startswith("grad.")):
        yield METER.scaled(f"∂ loss / ∂ {key[5:]}", theirs[key[5:]], io[key], 1e-3)
    yield METER.close("gradient norm", norm_of(theirs.values()), io["grad_norm"], rtol=1e-4)


def rotary_table() -> Iterator[Measured]:
    """In the order of the blocks."""
    io, generator = golden(IO), published()
    step = training_pass(generator)
    noised = step.feed.select(step.feed.kind == Kind.NOISY)
    rotation = MixedAxes().rotation(noised, generator.layout, HEAD_WIDTH, 0)
    for key, got in (("cos", rotation.cos), ("sin", rotation.sin)):
        yield METER.close(f"rotary table, {key}", got, io[f"rope_{key}"], atol=1e-6)


def who_sees_whom() -> Iterator[Measured]:
    """There clean copies stand before noised ones, and the last clean one, which nobody sees, is fed as well."""
    generator = published()
    step = training_pass(generator)
    fed, place = step.feed, torch.empty(SIDE * SIDE, dtype=torch.long)
    place[step.read.token] = torch.arange(SIDE * SIDE)
    row = place[fed.source] + SIDE * SIDE * (fed.kind == Kind.NOISY)
    yield METER.exact("mask", generator.ordering.see(fed, fed), golden(IO)["train_mask"][row][:, row])


def decoding() -> Iterator[Measured]:
    """Two looks at every block, the second at 0.7 of the values; then the true block is written."""
    io, generator = golden(IO), published()
    for use_cache in (True, False):
        said: dict[str, Tensor] = {}

        def draw(predict: Predict, step: Step, said: dict[str, Tensor] = said) -> Drawn:
            assert step.progress is not None
            block = step.progress.step
            noisy_BM1C, time_BM1 = io["noised"][:, block][:, :, None], io["t"][:, block][:, None, None] / 1000
            denoise = generator.head.network.look(predict, step)
            for look, factor in (("first", 1.0), ("second", 0.7)):
                denoised = denoise(factor * noisy_BM1C, time_BM1.expand(-1, BLOCK, 1))
                said[f"inf_eps_block{block}_{look}"] = denoised.conditional[:, :, 0]
            return Drawn(io["clean"][:, block])

        for _ in Sampler(use_cache=use_cache).decode(generator, io["y"], seeds=[0, 1], draw=draw):
            pass
        for key, value in said.items():
            yield METER.close(key if use_cache else f"{key}, no cache", value, io[key], atol=2e-4, rtol=1e-4)


QUANTITIES = (teacher_forced, gradients, rotary_table, who_sees_whom, decoding)
