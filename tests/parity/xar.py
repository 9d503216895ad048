"""xAR (arXiv 2502.20388): an image of 16 x 16 vectors in four cells, each a flow behind noised cells.

The recording is of the released code, which knows no other grid. Its tables of places are in the order of the cells.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.encoder_decoder import EncoderDecoder
from arlab.backbones.feed_forward import Activation, GatedMLP
from arlab.backbones.modulation import AdaLN
from arlab.backbones.norms import RMSNorm
from arlab.backbones.rotary import AxialRotary
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, Guidance, LinearGuidance
from arlab.generators.sampler import Sampler
from arlab.heads.backbone_denoiser import BackboneDenoiser
from arlab.heads.euler_maruyama import EulerMaruyama
from arlab.heads.even_then_last import EvenThenLast
from arlab.heads.flow import FlowHead
from arlab.heads.head import Predict, Sampling
from arlab.heads.solvers import Euler, Solver
from arlab.heads.time_draws import LogitNormalTime
from arlab.heads.time_grids import EvenTimes, TimeGrid
from arlab.orderings.next_x import NextX
from arlab.orderings.ordering import Drawn, Prefix
from arlab.orderings.step import Kind, Step
from arlab.rng import BatchRng, Noise
from tests.goldens import golden
from tests.parity.grid_tokenizer import GridTokenizer
from tests.parity.llama import grad_norm
from tests.parity.measured import Measured, Meter

METER = Meter("xAR")
IO = "xarA_io"
SIDE, CELLS, TOKEN_WIDTH, WIDTH, LAYERS, STEPS, SCALE = 16, 4, 16, 64, 2, 6, 2.7
OUTSIDE = {
    "class_emb.weight": "conditioner.embedding.weight",
    "z_proj_ln.weight": "backbone.in_norm.weight",
    "encoder_norm.weight": "backbone.encoder_norm.weight",
    "decoder_norm.weight": "backbone.norms.0.weight",
} | {
    f"{old}.{part}": f"{new}.{part}"
    for old, new in {
        "time_embed.mlp.0": "head.denoiser.time.mlp.0",
        "time_embed.mlp.2": "head.denoiser.time.mlp.2",
        "z_proj": "head.input",
        "decoder_embed": "backbone.between",
        "pred": "head.denoiser.outputs.0",
    }.items()
    for part in ("weight", "bias")
}
INSIDE = {
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.out",
    "mlp.fc1_g": "feed_forward.gate",
    "mlp.fc1_x": "feed_forward.up",
    "mlp.fc2": "feed_forward.down",
}


def _names() -> dict[str, str]:
    """Published parameter name -> ours."""
    names = dict(OUTSIDE)
    for part in ("weight", "bias"):
        for number, stage in enumerate(("encoder", "decoder")):
            for layer in range(LAYERS):
                block = f"{stage}_blocks.{layer}"
                names |= {f"{block}.{old}.{part}": f"backbone.{block}.{new}.{part}" for old, new in INSIDE.items()}
                names[f"{block}.ada_lin.1.{part}"] = f"backbone.conditioning.blocks.{LAYERS * number + layer}.{part}"
    return names


NAMES = _names()


def published(solver: Solver | None = None, times: TimeGrid | None = None) -> Generator:
    backbone = EncoderDecoder(
        width=WIDTH,
        num_encoder_layers=LAYERS,
        num_decoder_layers=LAYERS,
        attention=Attention(num_heads=2, qkv_bias=True, out_bias=True),
        feed_forward=GatedMLP(multiple_of=1, activation=Activation.GELU, bias=True),
        norm=RMSNorm(eps=1e-6, affine=False),
        stage_norm=RMSNorm(eps=1e-6),
        rotary=AxialRotary(),
        out_places=[],
        modulation=AdaLN(final=False),
    )
    head = FlowHead(
        denoiser=BackboneDenoiser(truncate_time=True), time_draw=LogitNormalTime(), solver=solver, times=times
    )
    generator = Generator(
        tokenizer=GridTokenizer((SIDE, SIDE), TOKEN_WIDTH, num_classes=1000),
        ordering=NextX(),
        backbone=backbone,
        head=head,
        conditioner=ClassLabel(num_slots=0),
    )
    weights = golden("xarA_state")
    ours = {new: weights[old] for old, new in NAMES.items()}
    token = training_pass(generator).read.token
    for stage in ("encoder", "decoder"):
        table = torch.empty(SIDE * SIDE, WIDTH)
        table[token] = weights[f"{stage}_pos_embed_learned"][0]
        ours[f"backbone.{stage}_places.0.table"] = table
    generator.load_state_dict(ours)
    return generator.eval()


def training_pass(generator: Generator) -> Step:
    return generator.ordering.teacher(generator.layout, Prefix(0), BatchRng(0, 2), torch.device("cpu"))


def velocity(generator: Generator) -> tuple[Tensor, Tensor]:
    """What the training pass says, (B, M, C), and its loss."""
    io, step, head = golden(IO), training_pass(generator), generator.head
    assert isinstance(head, FlowHead)
    tokens = generator.tokenizer.encode(io["latent"])
    predict = generator.teacher_predict(step, tokens, generator.conditioner(io["labels"]))
    time_BM1 = io["t_cell_major"].unflatten(0, (CELLS, -1)).T.repeat_interleave(64, 1)[..., None]
    noise_BM1C = io["noise_cells"].transpose(0, 1).flatten(1, 2)[:, :, None]
    noisy_BM1C = io["noisy_tokens"][:, :, None]
    said = head.network.look(predict, step)(noisy_BM1C, time_BM1).conditional[:, :, 0]
    return said, head.loss_at(predict, step, tokens[:, step.read.token], time_BM1, noise_BM1C).mean()


def teacher_forced() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    token = training_pass(generator).read.token
    yield METER.exact("cells", generator.tokenizer.encode(io["latent"])[:, token], io["cells"].flatten(1, 2))
    encoded: list[Tensor] = []
    generator.backbone.encoder_norm.register_forward_hook(lambda module, args, out: encoded.append(out))
    said, loss = velocity(generator)
    yield METER.close("after the first stage", encoded[0], io["encoder_out"], atol=2e-4, rtol=1e-4)
    yield METER.close("velocity", said, io["v_pred"], atol=2e-4, rtol=1e-4)
    yield METER.close("loss", loss, io["loss"], rtol=1e-5)


def gradients() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    velocity(generator)[1].backward()
    for key in sorted(key for key in io if key.startswith("grad.")):
        gradient = generator.get_parameter(NAMES[key[5:]]).grad
        assert gradient is not None
        yield METER.scaled(f"∂ loss / ∂ {key[5:]}", gradient, io[key], 1e-3)
    yield METER.close("gradient norm", grad_norm(generator), io["grad_norm"], rtol=1e-4)


def who_sees_whom() -> Iterator[Measured]:
    generator = published()
    fed = training_pass(generator).feed
    assert set(fed.kind.tolist()) == {Kind.NOISY}
    yield METER.exact("mask", generator.ordering.see(fed, fed), golden(IO)["train_mask"][0, 0] == 0)


class Recorded(Noise):
    """The recorded noise of a cell: what it begins with, then that of each step."""

    def __init__(self, cell: int) -> None:
        io = golden(IO)
        super().__init__([0, 1], SIDE * SIDE)
        self.draws = [io["gen_init_noise"][cell], *io["gen_step_eps"][cell]]

    def normal(self, token: Tensor, width: int, draw: int = 0) -> Tensor:
        return self.draws[draw]


def samples() -> Iterator[Measured]:
    """Stochastic, with and without guidance that grows from cell to cell, and deterministic."""
    io = golden(IO)
    stochastic: tuple[Solver, TimeGrid] = (EulerMaruyama(), EvenThenLast(num_steps=STEPS))
    straight: tuple[Solver, TimeGrid] = (Euler(), EvenTimes(num_steps=STEPS))
    growing = LinearGuidance(start=1.0, end=SCALE)
    runs: tuple[tuple[str, tuple[Solver, TimeGrid], Guidance], ...] = (
        ("gen_sde_cfg", stochastic, growing),
        ("gen_sde_nocfg", stochastic, ConstantGuidance()),
        ("gen_ode_cfg", straight, growing),
    )
    for key, how, guidance in runs:
        generator = published(*how)

        def draw(predict: Predict, step: Step, head: FlowHead = generator.head, guidance: Guidance = guidance) -> Drawn:
            assert step.progress is not None
            scale = guidance.scale(step.progress)
            return head.draw(predict, step, scale, Sampling(), Recorded(step.progress.step))

        for use_cache in (True, False):
            sampler = Sampler(guidance=guidance, use_cache=use_cache)
            *_, last = sampler.decode(generator, io["gen_labels"], seeds=[0, 1], draw=draw)
            name = key if use_cache else f"{key}, no cache"
            yield METER.close(name, last.tokens, generator.tokenizer.encode(io[key]), atol=1e-3)


QUANTITIES = (teacher_forced, gradients, who_sees_whom, samples)
