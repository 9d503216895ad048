"""ACDiT (arXiv 2412.07720): blocks out of noise behind clean blocks, of which nothing is modulated.

Its rotary positions are no rotation: the angles of an axis stand twice side by side, but the pairs are channel i and
channel i + half, one of each axis. That is built here; all else is arlab's own. The recording noises blocks to levels
that have nothing to do with their times, so it says nothing of the schedule.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP
from arlab.backbones.noised_modulation import NoisedOnly
from arlab.backbones.norms import NormedQK, RMSNorm
from arlab.backbones.rotary import Rotary
from arlab.backbones.transformer import Transformer
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.generators.sampler import Sampler
from arlab.heads.backbone_denoiser import BackboneDenoiser
from arlab.heads.diffusion import DiffusionHead
from arlab.heads.diffusion_targets import PredictsNoise
from arlab.heads.diffusion_variances import SmallVariance
from arlab.heads.head import Predict
from arlab.heads.noise_schedules import LinearSchedule
from arlab.orderings.entities import Cells
from arlab.orderings.next_block import NextBlock
from arlab.orderings.ordering import Drawn, Prefix
from arlab.orderings.step import Kind, Layout, Slots, Step
from arlab.rng import BatchRng
from arlab.rotation import Rotation
from tests.goldens import golden
from tests.parity.grid_tokenizer import GridTokenizer
from tests.parity.llama import grad_norm
from tests.parity.measured import Measured, Meter

METER = Meter("ACDiT")
IO = "acditA_io"
SIDE, BLOCK, BLOCKS, WIDTH, TOKEN_WIDTH, LAYERS = 8, 16, 4, 128, 4, 2
PLAIN = {
    "x_embedder.weight": "head.input.weight",
    "y_embedder.embedding_table.weight": "conditioner.embedding.weight",
    "final_layer.norm_final.weight": "backbone.norms.0.weight",
} | {
    f"{old}.{part}": f"{new}.{part}"
    for old, new in {
        "t_embedder.mlp.0": "head.denoiser.time.mlp.0",
        "t_embedder.mlp.2": "head.denoiser.time.mlp.2",
        "final_layer.linear": "head.denoiser.outputs.0",
    }.items()
    for part in ("weight", "bias")
}
INSIDE = {
    "attn.q_norm.weight": "attention.qk_norm.q_norm.weight",
    "attn.k_norm.weight": "attention.qk_norm.k_norm.weight",
    "norm1.weight": "attention_norm.weight",
    "norm2.weight": "feed_forward_norm.weight",
} | {
    f"{old}.{part}": f"{new}.{part}"
    for old, new in {
        "attn.qkv": "attention.qkv",
        "attn.proj": "attention.out",
        "mlp.fc1": "feed_forward.fc1",
        "mlp.fc2": "feed_forward.fc2",
    }.items()
    for part in ("weight", "bias")
}
NAMES = PLAIN | {
    f"blocks.{layer}.{old}": f"backbone.blocks.{layer}.{new}" for layer in range(LAYERS) for old, new in INSIDE.items()
}


class MixedAxes(Rotary):
    """cos x + sin (-x_{i + half}, x_i), where the angles of row and column stand side by side, each of them twice.

    Frequencies run from 1 to 1 / base, both included; base = 100 (⌊8 L / π / 100⌋ + 1) on sides of L.
    """

    def __init__(self) -> None:
        pass

    def rotation(
        self, rows: Slots, layout: Layout, head_width: int, num_condition: int, finest: tuple[int, ...] | None = None
    ) -> Rotation:
        exponent = torch.linspace(0, 1, head_width // 4)
        angles = []
        for axis, side in enumerate(layout.shapes[0]):
            base = (int(8 * side / math.pi) // 100 + 1) * 100
            angle = layout.cell_NA[rows.at, axis][:, None] * (1.0 / base**exponent)
            angles += [angle, angle]
        angle = torch.cat(angles, -1)
        return _Mixed(angle.cos(), angle.sin())


class _Mixed(Rotation):
    def __call__(self, x_BHSE: Tensor) -> Tensor:
        first, second = x_BHSE.chunk(2, -1)
        return x_BHSE * self.cos + torch.cat((-second, first), -1) * self.sin


def published() -> Generator:
    backbone = Transformer(
        width=WIDTH,
        num_layers=LAYERS,
        attention=Attention(num_heads=2, qk_norm=NormedQK(norm=RMSNorm(eps=1e-6)), qkv_bias=True, out_bias=True),
        feed_forward=MLP(),
        norm=RMSNorm(eps=1e-6),
        rotary=MixedAxes(),
        modulation=NoisedOnly(),
    )
    head = DiffusionHead(
        denoiser=BackboneDenoiser(), schedule=LinearSchedule(), target=PredictsNoise(), variance=SmallVariance()
    )
    generator = Generator(
        tokenizer=GridTokenizer((SIDE, SIDE), TOKEN_WIDTH, num_classes=10),
        ordering=NextBlock(entities=Cells(shape=[4, 4])),
        backbone=backbone,
        head=head,
        conditioner=ClassLabel(num_slots=0),
    )
    weights = golden("acditA_state")
    ours = {new: weights[old] for old, new in NAMES.items()}
    for part in ("weight", "bias"):
        for layer in range(LAYERS):
            six = weights[f"blocks.{layer}.adaLN_modulation.1.{part}"].chunk(6)
            # Published: shift, scale, gate of attention, then of the MLP; ours: gates, scales, shifts.
            ours[f"backbone.conditioning.inner.blocks.{layer}.{part}"] = torch.cat([six[i] for i in (2, 5, 1, 4, 0, 3)])
        shift, scale = weights[f"final_layer.adaLN_modulation.1.{part}"].chunk(2)
        ours[f"backbone.conditioning.inner.final.{part}"] = torch.cat((scale, shift))
    # Published without.
    ours["head.input.bias"] = torch.zeros(WIDTH)
    generator.load_state_dict(ours)
    generator.head.input.bias.requires_grad_(False)
    return generator.eval()


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
    for key in sorted(key for key in io if key.startswith("grad.")):
        gradient = generator.get_parameter(NAMES[key[5:]]).grad
        assert gradient is not None
        yield METER.scaled(f"∂ loss / ∂ {key[5:]}", gradient, io[key], 1e-3)
    yield METER.close("gradient norm", grad_norm(generator), io["grad_norm"], rtol=1e-4)


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


QUANTITIES = (teacher_forced, gradients, who_sees_whom, decoding)
